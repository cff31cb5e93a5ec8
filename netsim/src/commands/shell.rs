//! `netsim shell`: a person in a host of a scenario.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use netsim::scenario::{Interrupt, Scenario};

use super::run::How;

/// Work in a host of a scenario's network
///
/// Builds the network, starts none of the scenario's programs, and runs $SHELL
/// (or the given command) in that host. Names in braces in the command are
/// those of the scenario: `netsim shell home.toml alice -- ping {server.address}`.
/// When it ends, everything is gone. Its exit status is ours.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The scenario
    file: PathBuf,

    /// One of its hosts
    host: String,

    /// What to run there
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    #[command(flatten)]
    how: How,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments, interrupt: Interrupt) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::read(&arguments.file)?;
    let driver = arguments.how.driver(&scenario)?;
    // The shell's own braces are none of ours: it is one word.
    let shell = || env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let command = if arguments.command.is_empty() { vec![shell()] } else { arguments.command.clone() };
    let options = arguments.how.options(interrupt);
    let mut about = |line: &str| eprintln!("{line}");
    let status = scenario.shell(driver, &options, &arguments.host, &command, &mut about)?;
    // A program that a signal ended has no code; shells add the signal's number to 128, and 1 is as true.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
