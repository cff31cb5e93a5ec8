//! Stories in a file: a network, programs in its hosts, and steps with what is expected of them; Linux only.
//!
//! The format stands in `netsim/docs/scenarios.md`. The life of a file: `file` is its shape as serde reads it;
//! [`Scenario::parse`] resolves every name in it (`check`) and leaves a plan in which nothing can be misspelt any more, or
//! says in which line what is wrong ([`Problem`]). A [`Driver`] says whether it can do all of that. Then [`Scenario::tell`]
//! builds the network, starts programs, waits for what they should say, and gives a [`Report`].
//!
//! ```no_run
//! use netsim::netns::in_namespaces;
//! use netsim::scenario::{Driver, Options, Scenario};
//!
//! in_namespaces(|| {
//!     let scenario = Scenario::read("netsim/scenarios/tcp-through-a-home.toml".as_ref())?;
//!     let driver = Driver::for_scenario(&scenario)?;
//!     let report = scenario.tell(driver, &Options::default(), &mut |_| {})?;
//!     assert!(report.passed(), "{report}");
//!     Ok(())
//! });
//! ```
//!
//! # Limits
//!
//! - Real programs have real time: a seed repeats the network's luck, not the machine's timing. In virtual time
//!   ([`Driver::Virtual`]) it repeats everything, and the only program there is is [`udp`](crate::udp).
//! - Of each program the last 20,000 lines are kept, of each line 64 KiB.
//! - What programs start themselves is killed with them as long as it stays in their process group.

mod capture;
mod check;
mod file;
mod kernel_lab;
mod lab;
mod log;
mod names;
mod pcapng;
mod plan;
mod problem;
mod program;
mod report;
mod shell;
mod stage;
mod steps;
mod tell;
mod template;
mod virtual_host;
mod virtual_lab;
mod virtual_program;
mod waiting;
mod wire_lab;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use capture::Capture;
pub(crate) use file::Made;
pub use lab::Driver;
pub(crate) use lab::Lab;
pub(crate) use log::Found;
pub(crate) use plan::{HostPlan, RouterPlan};
pub use problem::Problem;
pub(crate) use program::{Running, in_words};
pub use report::{Outcome, Report, StepReport, junit};
pub use shell::ShellError;
pub use tell::{Error, Progress};
pub(crate) use template::Template;
pub use waiting::Interrupt;

/// A scenario that was read and checked.
#[derive(Debug)]
pub struct Scenario {
    file: String,
    title: String,
    about: String,
    plan: plan::Plan,
}

/// How to tell it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is random in the network follows from it.
    pub seed: u64,
    /// Programs by name whose paths are not to be looked for.
    pub binaries: BTreeMap<String, PathBuf>,
    /// Write what each host sends and receives to `HOST.pcapng` in this folder, and what each router's outer interface does
    /// to `ROUTER.pcapng`.
    pub pcap: Option<PathBuf>,
    /// Somebody may want to stop before the end.
    pub interrupt: Interrupt,
}

/// What a driver cannot do, and where the file asks for it.
struct Refusal {
    line: usize,
    field: String,
    message: String,
}

impl Scenario {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Scenario, Problem> {
        let file = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Scenario::parse(&file, &text),
            Err(error) => Err(Problem { file, line: None, field: None, message: format!("cannot be read: {error}") }),
        }
    }

    /// Checks the text of a file.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, Problem> {
        let source = problem::Source { file, text };
        let read: file::File = toml::from_str(text).map_err(|error| source.refused(&error))?;
        let (title, about) = (read.title.clone(), read.about.clone());
        Ok(Scenario { file: file.to_owned(), title, about, plan: check::check(read, source)? })
    }

    /// The file it came from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What it is called.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it is about.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The hosts' names.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.plan.hosts.keys().map(String::as_str)
    }

    fn here(&self) -> std::io::Result<String> {
        let folder = Path::new(&self.file).parent().filter(|folder| !folder.as_os_str().is_empty());
        let absolute = std::path::absolute(folder.unwrap_or(Path::new(".")))?;
        Ok(absolute.display().to_string())
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.plan.steps.len()
    }
}

#[cfg(test)]
mod tests;
