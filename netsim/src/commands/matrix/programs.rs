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
use netsim::matrix::programs::{CommandLine, Error, How, LINGER, Programs, run};
use netsim::matrix::{Plan, Table, kinds};
use netsim::model::{Preset, presets};
use netsim::scenario::{Driver, Interrupt};
use regex_lite::Regex;

use super::{DriverName, Format};
use crate::commands::interrupt::STOPPED;
use crate::commands::run::binary;

/// Programs that have waited for long enough say goodbye.
const ENDING: Duration = Duration::from_secs(30);

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

    /// Only these pairs, in this order; the first of each asks. Kinds as in
    /// --kinds, and further ones (netsim/docs/matrix.md)
    #[arg(long, value_delimiter = ',', value_name = "KIND:KIND,…", conflicts_with = "kinds", value_parser = pair)]
    pairs: Option<Vec<[Preset; 2]>>,

    /// Pairs at a time
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=100))]
    jobs: u16,

    /// One way from a house to the server, in milliseconds; 10 on the driver
    /// wire, none on netns
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    delay: Option<u64>,

    /// One way from house to house, in milliseconds; twice the delay if not
    /// given, and never more
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=20_000))]
    delay_between: Option<u64>,

    /// New flows a second of somebody else behind each NAT
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    flows: u32,

    /// Seconds after which a meeting has failed; half a minute more than
    /// --linger if not given
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: Option<u64>,

    /// Seconds for which Punchline's two wait for a direct path
    #[arg(long, value_name = "S", default_value_t = LINGER.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    linger: u64,

    /// The same where none is possible; as --linger if not given
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    linger_hopeless: Option<u64>,

    /// Keep what the programs said and wrote there: SEED/N-KIND-KIND
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Keep there, too, what hosts and routers sent and received
    #[arg(long, requires = "keep")]
    pcap: bool,
}

impl OfPrograms {
    /// Nothing of this is meant for machines.
    #[cfg(feature = "punchline")]
    pub(super) fn refuse_in_virtual_time(&self) -> anyhow::Result<()> {
        let programs = self.peer.is_some() || self.server.is_some() || !self.binaries.is_empty();
        ensure!(!programs, "no program can run in virtual time: add --driver wire");
        let lines = self.delay.is_some() || self.delay_between.is_some() || self.flows > 0 || self.keep.is_some();
        ensure!(self.pairs.is_none() && !lines, "this is for real programs: add --driver wire");
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
    let kinds = super::kinds(&arguments.kinds)?;
    let different: BTreeSet<&str> = kinds.iter().map(|kind| kind.name).collect();
    ensure!(different.len() == kinds.len(), "--kinds names a kind twice: each pair meets once");
    let given = &arguments.programs;
    let programs = programs(given, driver)?;
    let plan = Plan { kinds, seed: arguments.seed, meetings: arguments.meetings.unwrap_or(1) };
    let linger = [given.linger, given.linger_hopeless.unwrap_or(given.linger)].map(Duration::from_secs);
    let how = How {
        driver,
        pairs: given.pairs.clone(),
        delay: Duration::from_millis(given.delay.unwrap_or(if driver == Driver::Wire { 10 } else { 0 })),
        between: given.delay_between.map(Duration::from_millis),
        flows: given.flows,
        jobs: usize::from(given.jobs),
        patience: given.patience.map_or(linger[0].max(linger[1]) + ENDING, Duration::from_secs),
        linger,
        keep: given.keep.clone(),
        pcap: given.pcap,
        interrupt,
    };
    match run(&plan, &programs, &how, |done, all| super::progress(done, all, "meetings")) {
        Ok(table) => show(&table, arguments.format, given.pairs.is_some()),
        Err(Error::Interrupted) => Ok(ExitCode::from(STOPPED)),
        Err(error) => Err(error.into()),
    }
}

/// Meetings are few enough for a list of their figures; where pairs were named, that list is all.
fn show(table: &Table, format: Format, listed: bool) -> anyhow::Result<ExitCode> {
    match format {
        Format::Markdown => super::print(&table.figures_markdown())?,
        Format::Text if listed => super::print(&(table.figures_text() + &table.text_of_disagreements()))?,
        Format::Text if table.meetings > 1 => super::print(&format!("{}\n{}", table.text(), table.figures_text()))?,
        _ => return super::show(table, format),
    }
    Ok(super::verdict(table))
}

/// `KIND:KIND`.
fn pair(text: &str) -> Result<[Preset; 2], String> {
    let (a, b) = text.split_once(':').ok_or("a pair is two kinds with a colon between: home:mobile")?;
    let kind =
        |name: &str| kinds::named(name).ok_or_else(|| format!("there is no kind `{name}`; there are {}", known()));
    Ok([kind(a)?, kind(b)?])
}

fn known() -> String {
    let names = presets::all().into_iter().chain(kinds::further()).map(|kind| kind.name);
    names.collect::<Vec<_>>().join(", ")
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
