//! Where the programs are that routers are made of: `nft`, `miniupnpd`.

use std::env;
use std::path::PathBuf;

/// Where Debian and others put them; an ordinary user's `PATH` often lacks these.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The program of this name, or the one that the variable names in its place; or where it was looked for.
pub(super) fn find(program: &str, variable: &str) -> Result<PathBuf, String> {
    if let Some(chosen) = env::var_os(variable) {
        let chosen = PathBuf::from(chosen);
        let looked_in = format!("{} (from {variable})", chosen.display());
        return if chosen.is_file() { Ok(chosen) } else { Err(looked_in) };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    directories
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("PATH, {}", SYSTEM_DIRECTORIES.join(", ")))
}
