//! Loading a ruleset: `nft -f -` in the router's namespace, the rules on its standard input.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::process::Process;
use super::programs;

/// Names the program to use in place of the `nft` in the search path.
const OVERRIDE: &str = "NETSIM_NFT";

/// Loads the ruleset into the namespace.
pub(super) fn load(namespace: &Namespace, ruleset: &str) -> Result<()> {
    let mut command =
        Command::new(programs::find("nft", OVERRIDE).map_err(|looked_in| Error::NftMissing { looked_in })?);
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
