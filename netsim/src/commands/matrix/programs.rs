//! The matrix with real programs.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "punchline")]
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "punchline")]
use anyhow::Context;
use anyhow::ensure;
use netsim::matrix::Plan;
use netsim::matrix::programs::{CommandLine, Error, How, Programs, run};
use netsim::scenario::{Driver, Interrupt};
use regex_lite::Regex;

use super::{DriverName, Format};
use crate::commands::interrupt::STOPPED;
use crate::commands::run::binary;

/// What only real programs have.
#[derive(clap::Args)]
#[command(next_help_heading = "With --driver wire or netns")]
pub(super) struct OfPrograms {
    /// What each of the two runs, in place of Punchline
    #[arg(long, value_name = "CMD")]
    peer: Option<String>,

    /// What runs on a public host
    #[arg(long, value_name = "CMD", requires = "peer")]
    server: Option<String>,

    /// The line by which the server says that it stands; its named groups
    /// become placeholders
    #[arg(long, value_name = "REGEX", requires = "server")]
    server_says: Option<Regex>,

    /// Where a program is that these call by this name
    #[arg(long = "bin", value_name = "NAME=PATH", value_parser = binary)]
    binaries: Vec<(String, PathBuf)>,

    /// Pairs at a time
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=100))]
    jobs: u16,

    /// One way from a house to the Internet, in milliseconds; on the driver
    /// wire
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    delay: u64,

    /// Seconds after which a meeting has failed
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
}

impl OfPrograms {
    /// Nothing of this is meant for machines.
    #[cfg(feature = "punchline")]
    pub(super) fn refuse_in_virtual_time(&self) -> anyhow::Result<()> {
        let programs = self.peer.is_some() || self.server.is_some() || !self.binaries.is_empty();
        ensure!(!programs, "no program can run in virtual time: add --driver wire");
        Ok(())
    }
}

/// Runs it and prints.
pub(crate) fn run_programs(arguments: &super::Arguments, interrupt: Interrupt) -> anyhow::Result<ExitCode> {
    let driver = match arguments.driver {
        DriverName::Netns => Driver::Netns,
        _ => Driver::Wire,
    };
    #[cfg(feature = "punchline")]
    ensure!(!arguments.machines.trace, "--trace is of virtual time; `netsim run --pcap` captures real packets");
    ensure!(
        !matches!(arguments.format, Format::Markdown),
        "--format markdown describes the matrix in virtual time: use text, json, svg or html"
    );
    let kinds = super::kinds(&arguments.kinds)?;
    let different: BTreeSet<&str> = kinds.iter().map(|kind| kind.name).collect();
    ensure!(different.len() == kinds.len(), "--kinds names a kind twice: each pair meets once");
    let given = &arguments.programs;
    let programs = programs(given, driver)?;
    let plan = Plan { kinds, seed: arguments.seed, meetings: arguments.meetings.unwrap_or(1) };
    let how = How {
        driver,
        delay: Duration::from_millis(given.delay),
        jobs: usize::from(given.jobs),
        patience: Duration::from_secs(given.patience),
        interrupt,
    };
    match run(&plan, &programs, &how, |done, all| super::progress(done, all, "meetings")) {
        Ok(table) => super::show(&table, arguments.format),
        Err(Error::Interrupted) => Ok(ExitCode::from(STOPPED)),
        Err(error) => Err(error.into()),
    }
}

fn programs(given: &OfPrograms, driver: Driver) -> anyhow::Result<Programs> {
    let binaries: BTreeMap<String, PathBuf> = given.binaries.iter().cloned().collect();
    let Some(peer) = &given.peer else { return punchline(driver, binaries) };
    Ok(Programs {
        server: given.server.as_deref().map(CommandLine::parse).transpose()?,
        server_says: given.server_says.clone(),
        peer: CommandLine::parse(peer)?,
        binaries,
        title: format!("`{peer}`"),
    })
}

#[cfg(not(feature = "punchline"))]
fn punchline(_: Driver, _: BTreeMap<String, PathBuf>) -> anyhow::Result<Programs> {
    anyhow::bail!("say what is to meet: --peer CMD")
}

#[cfg(feature = "punchline")]
fn punchline(driver: Driver, mut binaries: BTreeMap<String, PathBuf>) -> anyhow::Result<Programs> {
    for name in ["punchline", "rendezvous"] {
        if !binaries.contains_key(name) {
            binaries.insert(name.to_owned(), beside_us_or_in_path(name)?);
        }
    }
    Ok(Programs::punchline(driver, binaries)?)
}

/// A build puts all of its programs into one folder.
#[cfg(feature = "punchline")]
fn beside_us_or_in_path(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("our own program cannot be found")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = own.parent().map(PathBuf::from).into_iter().chain(env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| {
        format!("there is no `{name}`: cargo build --workspace, or say where it is with --bin {name}=PATH")
    })
}
