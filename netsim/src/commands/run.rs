//! `netsim run`: tells scenarios and says what came of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use netsim::scenario::{self, Driver, Interrupt, Options, Progress, Report, Scenario, junit};

use super::interrupt::STOPPED;

/// Tell scenarios: build a network, start programs in it, expect what they say
///
/// A scenario is a TOML file; netsim/docs/scenarios.md describes it. All files
/// are checked before the first is told.
///
/// The exit status is 1 if a scenario failed, and 2 if a file is wrong or the
/// network could not be built.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    how: How,

    /// One JSON object a line for each step and scenario, in place of the table
    #[arg(long)]
    json: bool,

    /// Write what came of it for continuous integration
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write what each host sends and receives to HOST.pcapng in this folder,
    /// and what each router's outer interface does to ROUTER.pcapng; with
    /// several scenarios, in a folder for each
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
}

/// What `run` and `shell` share.
#[derive(clap::Args)]
pub(crate) struct How {
    /// What carries the packets; if not given, the first that can do all that
    /// the file asks for
    #[arg(long, value_enum)]
    driver: Option<DriverName>,

    /// What is random in the network follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where a program is that scenarios call by this name; others are looked
    /// for in PATH
    #[arg(long = "bin", value_name = "NAME=PATH", value_parser = binary)]
    binaries: Vec<(String, PathBuf)>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DriverName {
    /// The kernel's own routers: real NAT, perfect lines
    Netns,
    /// The model: every kind of NAT, lines with delay and loss
    Wire,
    /// The model in virtual time: `netsim udp` is the only program there is
    Virtual,
}

impl How {
    /// The driver for this scenario.
    pub(crate) fn driver(&self, scenario: &Scenario) -> anyhow::Result<Driver> {
        let driver = match self.driver {
            None => return Ok(Driver::for_scenario(scenario)?),
            Some(DriverName::Netns) => Driver::Netns,
            Some(DriverName::Wire) => Driver::Wire,
            Some(DriverName::Virtual) => Driver::Virtual,
        };
        driver.check(scenario)?;
        Ok(driver)
    }

    /// The rest of it.
    pub(crate) fn options(&self, interrupt: Interrupt) -> Options {
        let mut binaries: BTreeMap<String, PathBuf> = self.binaries.iter().cloned().collect();
        // Whoever has us has `netsim udp`.
        if let (false, Ok(own)) = (binaries.contains_key("netsim"), std::env::current_exe()) {
            binaries.insert("netsim".to_owned(), own);
        }
        Options { seed: self.seed, binaries, pcap: None, interrupt }
    }
}

/// Tells all of them, one after the other.
pub(crate) fn run(arguments: &Arguments, interrupt: Interrupt) -> anyhow::Result<ExitCode> {
    let mut scenarios = vec![];
    for file in &arguments.files {
        let scenario = Scenario::read(file)?;
        let driver = arguments.how.driver(&scenario)?;
        scenarios.push((scenario, driver));
    }
    if arguments.pcap.is_some() && scenarios.iter().any(|(_, driver)| *driver == Driver::Virtual) {
        bail!("the driver virtual has no packets to capture: use --driver wire");
    }
    let options = arguments.how.options(interrupt);
    let mut reports = vec![];
    for (scenario, driver) in &scenarios {
        let pcap =
            arguments.pcap.as_ref().map(|folder| match (&scenarios[..], Path::new(scenario.file()).file_stem()) {
                ([_, _, ..], Some(stem)) => folder.join(stem),
                _ => folder.clone(),
            });
        let report = tell(scenario, *driver, &Options { pcap, ..options.clone() }, arguments.json)?;
        if arguments.json {
            print(&format!("{}\n", report.json()))?;
        } else {
            print(&report.to_string())?;
        }
        reports.push(report);
        if options.interrupt.is_raised() {
            break;
        }
    }
    if let Some(file) = &arguments.junit {
        fs::write(file, junit(&reports)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let passed = reports.iter().filter(|report| report.passed()).count();
    if !arguments.json && scenarios.len() > 1 {
        print(&format!("{passed} of {} scenarios passed\n", scenarios.len()))?;
    }
    Ok(match (options.interrupt.is_raised(), passed == scenarios.len()) {
        (true, _) => ExitCode::from(STOPPED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

fn tell(scenario: &Scenario, driver: Driver, options: &Options, json: bool) -> Result<Report, scenario::Error> {
    let shown = io::stderr().is_terminal() && !json;
    let (title, all) = (scenario.title(), scenario.steps());
    let report = scenario.tell(driver, options, &mut |progress| match progress {
        // The line is cleared first: what stood there may have been longer.
        Progress::Begins { step, what } if shown => eprint!("\r\x1b[K{title}: {} of {all}: {what}", step + 1),
        Progress::Note(note) => eprintln!("{}{note}", if shown { "\r\x1b[K" } else { "" }),
        Progress::Over(report) if json => drop(print(&format!("{}\n", report.json()))),
        _ => {}
    });
    if shown {
        eprint!("\r\x1b[K");
    }
    report
}

/// A program's path as it is, also from another folder.
pub(crate) fn binary(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH")?;
    let path = fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    Ok((name.to_owned(), path))
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
