//! The programs under test, built once per process from the sources as they are.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `rendezvous` or `punchline`, of the same profile as this program.
///
/// # Panics
/// If they do not build: nothing can be told without them.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

/// Cargo does not build another package's binaries for a test, so this does; where they are fresh it takes no time.
fn build() -> PathBuf {
    let own = env::current_exe().expect("a running program has a path");
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a target folder").to_owned();
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "client", "--package", "rendezvous", "--bins"]);
    // What `cargo test` tells of this package: the build script of ring looks at it, and would have everything built anew.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    if folder.ends_with("release") {
        command.arg("--release");
    }
    // The folder above the profile's is the target folder, wherever the caller has put it.
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "punchline and rendezvous do not build");
    folder
}
