//! `netsim matrix`: every kind of access meets every other.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use netsim::matrix::{Plan, Timing, run as run_all, trace};
use netsim::model::{Preset, presets};
use netsim::oracle::Relation;

/// Let every kind of access meet every other, and print who got a direct path
///
/// Two of Punchline's punching machines, introduced by the rendezvous' own
/// decisions, meet over simulated NATs. The row asks for the column. Every
/// cell is held against what the behaviours alone allow.
///
/// The same seed gives the same table, to the millisecond. The exit status is
/// 1 if a cell is not what it should be.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// What carries the packets
    #[arg(long, value_enum, default_value = "virtual")]
    driver: Driver,

    /// Only these kinds, in this order; all if not given
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,

    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Meetings of each cell, each with the next seed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    meetings: u64,

    /// How to print the table
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// Show every packet of one meeting of the first kind with the last, in place of the table
    #[arg(long)]
    trace: bool,

    /// In that meeting the one who is asked hears 200 ms late
    #[arg(long, requires = "trace")]
    late: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Driver {
    /// Virtual time: all of it in a second
    Virtual,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// As docs/nat-matrix.md
    Markdown,
    /// For programs
    Json,
    /// A heat map
    Svg,
    /// The heat map and all cells in words, on a page for a browser
    Html,
}

/// Runs it and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Driver::Virtual = arguments.driver;
    let kinds = kinds(&arguments.kinds)?;
    if arguments.trace {
        return one_meeting(&kinds, if arguments.late { Timing::Late } else { Timing::Together }, arguments.seed);
    }
    let plan = Plan { kinds, seed: arguments.seed, meetings: arguments.meetings };
    let shown = io::stderr().is_terminal();
    let table = run_all(&plan, Instant::now(), |done, all| {
        if shown && (done % 16 == 0 || done == all) {
            eprint!("\r{done} of {all} cells{}", if done == all { "\n" } else { "" });
        }
    });
    let printed = match arguments.format {
        Format::Text => table.text(),
        Format::Markdown => table.markdown(),
        Format::Json => table.json()? + "\n",
        Format::Svg => table.svg(),
        Format::Html => table.html(),
    };
    print(&printed)?;
    Ok(if table.disagreements().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn one_meeting(kinds: &[Preset], timing: Timing, seed: u64) -> anyhow::Result<ExitCode> {
    let ([row, .., column] | [row @ column]) = kinds else {
        bail!("--trace shows a meeting of two kinds: --kinds home,mobile --trace")
    };
    let packets = trace((row, column), Relation::Separate, timing, seed, Instant::now());
    print(&packets.context("these two have no keys")?)?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
