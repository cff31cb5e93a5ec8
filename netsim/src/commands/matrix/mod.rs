//! `netsim matrix`: every kind of access meets every other.

#[cfg(feature = "punchline")]
mod machines;
#[cfg(target_os = "linux")]
mod programs;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
#[cfg(not(feature = "punchline"))]
use anyhow::bail;
use netsim::matrix::Table;
use netsim::model::{Preset, presets};

#[cfg(target_os = "linux")]
pub(crate) use programs::run_programs;

/// Let every kind of access meet every other, and print who got a direct path
///
/// Two of Punchline's punching machines, introduced by the rendezvous' own
/// decisions, meet over simulated NATs in virtual time. Or, with --driver wire
/// or netns, two real programs meet in real time: Punchline, or with --peer any
/// others (netsim/docs/matrix.md). The row asks for the column. Every cell is
/// held against what the behaviours alone allow.
///
/// In virtual time the same seed gives the same table, to the millisecond. The
/// exit status is 1 if a cell is not what it should be.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// What carries the packets
    #[arg(long, value_enum, default_value_t = DriverName::DEFAULT)]
    driver: DriverName,

    /// Only these kinds, in this order; all if not given
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,

    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Meetings of each cell, each with the next seed; 5 in virtual time, else 1
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    meetings: Option<u64>,

    /// How to print the table
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[cfg(feature = "punchline")]
    #[command(flatten)]
    machines: machines::OfMachines,

    #[cfg(target_os = "linux")]
    #[command(flatten)]
    programs: programs::OfPrograms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DriverName {
    /// Virtual time, with Punchline's own machines: all of it in a second
    #[cfg(feature = "punchline")]
    Virtual,
    /// Real programs over the model: every kind of NAT
    #[cfg(target_os = "linux")]
    Wire,
    /// Real programs over the kernel's own routers
    #[cfg(target_os = "linux")]
    Netns,
}

impl DriverName {
    #[cfg(feature = "punchline")]
    const DEFAULT: DriverName = DriverName::Virtual;
    #[cfg(not(feature = "punchline"))]
    const DEFAULT: DriverName = DriverName::Wire;
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// As docs/nat-matrix.md; of real programs, a line for each pair
    Markdown,
    /// For programs
    Json,
    /// A heat map
    Svg,
    /// The heat map and all cells in words, on a page for a browser
    Html,
}

impl Arguments {
    #[cfg(target_os = "linux")]
    pub(crate) fn has_real_programs(&self) -> bool {
        matches!(self.driver, DriverName::Wire | DriverName::Netns)
    }
}

/// Runs it in virtual time and prints.
#[cfg(feature = "punchline")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    arguments.programs.refuse_in_virtual_time()?;
    machines::run(arguments)
}

/// There is nothing that could run in virtual time.
#[cfg(not(feature = "punchline"))]
pub(crate) fn run(_: &Arguments) -> anyhow::Result<ExitCode> {
    bail!("this netsim was built without Punchline's machines: use --driver wire with --peer")
}

fn kinds(names: &[String]) -> anyhow::Result<Vec<Preset>> {
    if names.is_empty() {
        return Ok(presets::all());
    }
    let known = || presets::all().iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        presets::named(name).with_context(|| format!("there is no kind `{name}`; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Prints it; the exit code says whether it is as it should be.
fn show(table: &Table, format: Format) -> anyhow::Result<ExitCode> {
    let printed = match format {
        Format::Text => table.text(),
        Format::Markdown => table.markdown(),
        Format::Json => table.json()? + "\n",
        Format::Svg => table.svg(),
        Format::Html => table.html(),
    };
    print(&printed)?;
    Ok(verdict(table))
}

/// Is it as it should be?
fn verdict(table: &Table) -> ExitCode {
    if table.disagreements().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How far it is, on a terminal.
fn progress(done: usize, all: usize, what: &str) {
    if io::stderr().is_terminal() && (done.is_multiple_of(16) || all < 1000 || done == all) {
        eprint!("\r{done} of {all} {what}{}", if done == all { "\n" } else { "" });
    }
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
