//! Loading a ruleset: `nft -f -` in the router's namespace, the rules on its standard input.

use std::env;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::process::Process;

/// Names the program to use in place of the `nft` in the search path.
const OVERRIDE: &str = "NETSIM_NFT";
/// Where Debian and others put it; an ordinary user's `PATH` often lacks these.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Loads the ruleset into the namespace.
pub(super) fn load(namespace: &Namespace, ruleset: &str) -> Result<()> {
    let mut command = Command::new(find()?);
    command.args(["-f", "-"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nft = Process::spawn(namespace, command)?;
    let mut said = String::new();
    let mut talk = || -> io::Result<bool> {
        // Dropped at the end of the statement, which is nft's end of input. The rules fit into the pipe, and nft reads
        // them all before it says anything.
        nft.take_stdin().map_or(Ok(()), |mut stdin| stdin.write_all(ruleset.as_bytes()))?;
        if let Some(mut stderr) = nft.take_stderr() {
            stderr.read_to_string(&mut said)?;
        }
        Ok(nft.wait()?.success())
    };
    match talk() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::NftRefused { router: namespace.name().to_owned(), said: said.trim().to_owned() }),
        Err(source) => Err(Error::kernel(namespace.name(), "talk to nft")(source)),
    }
}

fn find() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(OVERRIDE) {
        let chosen = PathBuf::from(chosen);
        let looked_in = format!("{} (from {OVERRIDE})", chosen.display());
        return if chosen.is_file() { Ok(chosen) } else { Err(Error::NftMissing { looked_in }) };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    directories
        .map(|directory| directory.join("nft"))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::NftMissing { looked_in: format!("PATH, {}", SYSTEM_DIRECTORIES.join(", ")) })
}
