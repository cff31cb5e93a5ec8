//! `netsim verify`: asks each kind of access what it does and holds the answer against how it was configured.

mod kinds;
mod lifetimes;
mod table;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use netsim::model::{Family, Survey};
use netsim::scenario::Interrupt;
use serde::Serialize;

use super::interrupt::STOPPED;
use kinds::Kind;

/// Measure what each kind of router does to UDP
///
/// Builds each kind of access with two hosts behind it and two on the
/// Internet, asks it with real sockets, and prints what it was configured to
/// do next to what it does. The words are those of RFC 4787:
///
///   mapping      how far one external port serves: for packets to everyone
///                (endpoint-independent), or a new one for each address, or
///                for each address and port sent to. Hole punching needs the
///                first on one side. None, where the outside sees the host's
///                own address; and where no UDP gets out, it says whether TCP
///                does.
///   filtering    whose packets come in through a mapping
///   ports        which external port a mapping gets: the internal one where
///                it is free (preserved), the next one, or a random one
///   hairpinning  two hosts on the LAN reach each other by their external
///                addresses
///   early probe  what a peer's packet does that arrives before ours to that
///                peer: where stray packets are taken in, it occupies the port,
///                our mapping moves, and the punch fails
///
/// The kinds are the nine cells of the table mapping x filtering, by their
/// initials (eim-eif is endpoint-independent in both, apdm-adf depends on
/// address and port in one and on the address in the other), and the presets
/// of `netsim matrix`: routers, routers in series, and none. What speaks IPv6
/// is asked over IPv6. The wire has all of them; the rules of a kernel make
/// some only, and the others are listed with the reason.
///
/// With --lifetimes it is asked instead how long a silent session is
/// remembered, without and with answers, and whose packets keep it: many
/// sockets are silent at once, each for another while. That takes a fifth
/// longer than the longest lifetime among the kinds: six minutes for all of
/// them, 40 seconds for `corporate`.
///
/// The exit status is 1 if a router does not do what it was configured to do,
/// 2 if the routers could not be built, and 130 if Ctrl-C stopped it.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// What the routers are
    #[arg(long, value_enum, default_value = "kernel")]
    driver: Driver,

    /// Only these kinds, in this order; all if not given
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,

    /// How long they remember silence, in place of what else they do
    #[arg(long)]
    lifetimes: bool,

    /// One JSON object per kind and line, in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Driver {
    /// Routers made of the kernel's own rules
    Kernel,
    /// The model, which carries the packets of real sockets
    Wire,
}

/// What is printed of a kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a, C, M> {
    Measured { kind: &'a str, family: Family, configured: C, measured: M, agrees: bool },
    NotMeasured { kind: &'a str, family: Family, because: String },
}

/// Measures every kind that was asked for and prints.
pub(crate) fn run(arguments: &Arguments, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    let kinds = chosen(&arguments.kinds, arguments.driver)?;
    let all_agree = if arguments.lifetimes {
        lifetimes::run(&kinds, arguments.driver, arguments.json, interrupt)?
    } else {
        surveys(&kinds, arguments.json, interrupt)?
    };
    let Some(all_agree) = all_agree else { return Ok(ExitCode::from(STOPPED)) };
    if !all_agree {
        eprintln!(
            "a router does not do what it was told: trust no test made with it, and report this kernel's version"
        );
    }
    Ok(if all_agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all agree; `None` if somebody did not want to wait for that.
fn surveys(kinds: &[Kind], json: bool, interrupt: &Interrupt) -> anyhow::Result<Option<bool>> {
    let mut out = io::stdout().lock();
    if !json {
        writeln!(out, "{}", table::HEAD)?;
    }
    let mut all_agree = true;
    for (number, kind) in kinds.iter().enumerate() {
        if interrupt.is_raised() {
            return Ok(None);
        }
        let progress = Progress::begin();
        progress.show(&format!("{}/{} {}", number + 1, kinds.len(), kind.name));
        let report = report(kind)?;
        drop(progress);
        all_agree &= !matches!(report, Report::Measured { agrees: false, .. });
        let text = if json { serde_json::to_string(&report)? } else { table::lines(&report) };
        writeln!(out, "{text}")?;
    }
    Ok(Some(all_agree))
}

fn chosen(names: &[String], driver: Driver) -> anyhow::Result<Vec<Kind>> {
    let kinds = kinds::all(driver);
    let mut chosen = vec![];
    for name in names {
        let named = kinds.iter().filter(|kind| kind.name == *name);
        let before = chosen.len();
        chosen.extend(named.cloned());
        if chosen.len() == before {
            let mut known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
            known.dedup();
            bail!("there is no kind `{name}`: choose from {}", known.join(", "))
        }
    }
    Ok(if names.is_empty() { kinds } else { chosen })
}

fn report(kind: &Kind) -> anyhow::Result<Report<'_, Survey, Survey>> {
    Ok(match &kind.subject {
        Ok(subject) => {
            let (configured, measured) = (subject.configured(), subject.measured()?);
            kind.measured(configured, measured, configured == measured)
        }
        Err(refusal) => kind.not_measured(refusal),
    })
}

/// A line on a terminal that is gone afterwards.
struct Progress {
    shown: bool,
}

impl Progress {
    fn begin() -> Progress {
        Progress { shown: io::stderr().is_terminal() }
    }

    fn show(&self, what: &str) {
        if self.shown {
            let mut screen = io::stderr();
            // Nobody misses the progress of a terminal that is gone.
            let _ = write!(screen, "\r\x1b[K{what} ...").and_then(|()| screen.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
