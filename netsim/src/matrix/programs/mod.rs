//! Meetings of real programs in real time; Linux only. What is asked of a program stands in `netsim/docs/matrix.md`.
//!
//! Every round is an Internet of its own with the server on a public host. Each pair has two houses there, and in each a host in
//! which `peer` runs ([`Programs`]); when both have ended, their lines are a story, and two stories have an ending. Pairs
//! meet side by side: waiting for those who will not meet costs no processor.

#![allow(clippy::disallowed_methods, reason = "real programs have real time")]

mod command;
mod meeting;
mod story;
mod town;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use regex_lite::Regex;

use super::{Cell, Expected, Percentiles, Plan, Table, Timing};
use crate::model::Preset;
use crate::netns;
use crate::oracle::{self, Relation, Verdict};
use crate::scenario::{Driver, Interrupt};
pub use command::CommandLine;
use meeting::Meeting;
use town::Town;

/// One side of a meeting of Punchline with itself.
#[cfg(feature = "punchline")]
const PUNCHLINE: &str = include_str!("../../../peers/punchline.sh");

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Runs once on the public host, and says on its standard output when it stands.
    pub server: Option<CommandLine>,
    /// The line by which the server says that it stands, with names for what is to be kept of it; else its first one is.
    pub server_says: Option<Regex>,
    /// Runs once on each side of a meeting.
    pub peer: CommandLine,
    /// What these call programs by names that are not to be looked for.
    pub binaries: BTreeMap<String, PathBuf>,
    /// As tables call them.
    pub title: String,
}

#[cfg(feature = "punchline")]
impl Programs {
    /// Punchline and its rendezvous, over a driver that has IPv6 or not.
    pub fn punchline(driver: Driver, binaries: BTreeMap<String, PathBuf>) -> Result<Programs, Error> {
        let mut server = vec!["rendezvous", "run", "--data", "rendezvous", "--listen", "{server.address}:3478"];
        if driver == Driver::Wire {
            server.extend(["--listen", "[{server.ipv6}]:3478"]);
        }
        // Its own braces are none of ours.
        let script = PUNCHLINE.replace('{', "{{").replace('}', "}}");
        Ok(Programs {
            server: Some(CommandLine::of_words(&server)?),
            server_says: Regex::new(r"^join (?<join>\S+)").ok(),
            peer: CommandLine::of_words(&[
                "bash",
                "-c",
                &script,
                "peer",
                "{side}",
                "{me}",
                "{peer}",
                "{join}",
                "{server.address}",
            ])?,
            binaries,
            title: "Punchline".to_owned(),
        })
    }
}

/// How they are to meet.
#[derive(Debug, Clone)]
pub struct How {
    /// Who carries the packets.
    pub driver: Driver,
    /// One way between a house and the Internet, if the driver has delay.
    pub delay: Duration,
    /// Pairs at a time.
    pub jobs: usize,
    /// Who is not done by then has failed.
    pub patience: Duration,
    /// Somebody may want to stop before the end.
    pub interrupt: Interrupt,
}

/// Why there is no matrix.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command cannot be read.
    #[error("`{line}`: {reason}")]
    Command {
        /// As it was given.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A command uses a name that nothing is known of.
    #[error("`{{{name}}}` has no value; there are: {known}")]
    NoValue {
        /// In the command.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The server did not say that it stands.
    #[error("the server {what}\n{transcript}")]
    Server {
        /// What it did instead.
        what: String,
        /// What it said.
        transcript: String,
    },
    /// A network could not be built, or a program not started in it.
    #[error("a meeting could not be set up")]
    Network(#[from] netns::Error),
    /// Files could not be made.
    #[error("files for the programs could not be made")]
    Files(#[from] io::Error),
    /// Somebody stopped it.
    #[error("stopped")]
    Interrupted,
}

/// Lets all pairs of the plan's kinds meet. `progress` hears how many meetings of how many are over.
pub fn run(
    plan: &Plan,
    programs: &Programs,
    how: &How,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Table, Error> {
    let pairs: Vec<Pair<'_>> = pairs(plan, how.driver);
    let files = tempfile::Builder::new().prefix("netsim-matrix-").tempdir()?;
    let able = || pairs.iter().enumerate().filter(|(_, pair)| pair.refusal.is_none());
    let all = able().count() * usize::try_from(plan.meetings).unwrap_or(usize::MAX);
    let (done, mut meetings) = (AtomicUsize::new(0), vec![vec![]; pairs.len()]);
    for seed in plan.seed..plan.seed.saturating_add(plan.meetings) {
        let town = Town::build(programs, how, seed, files.path())?;
        let waiting = Mutex::new(able());
        let over = Mutex::new(Ok(Vec::with_capacity(pairs.len())));
        let work = || {
            // A lock that is poisoned is somebody else's panic, and the scope passes that on.
            while let Some((index, pair)) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
                let met = town.meet(pair.a, pair.b, index);
                let Ok(mut over) = over.lock() else { return };
                match (met, &mut *over) {
                    (Ok(meeting), Ok(over)) => over.push((index, meeting)),
                    (Err(error), Ok(_)) => *over = Err(error),
                    (_, Err(_)) => {}
                }
                if over.is_err() {
                    return;
                }
                drop(over);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            }
        };
        std::thread::scope(|scope| (0..how.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
        for (index, meeting) in over.into_inner().unwrap_or(Err(Error::Interrupted))? {
            meetings[index].push(meeting);
        }
    }
    let cells = pairs.iter().zip(meetings).map(|(pair, meetings)| pair.cell(meetings)).collect();
    Ok(Table {
        title: format!("{} with real programs, on the driver {}", programs.title, how.driver),
        kinds: plan.kinds.iter().map(|kind| kind.name.to_owned()).collect(),
        stands_for: plan.kinds.iter().map(|kind| kind.stands_for.to_owned()).collect(),
        seed: plan.seed,
        meetings: plan.meetings,
        cells,
    })
}

/// Two kinds, once: who asks makes no difference to the oracle, and a program's two sides do the same.
struct Pair<'a> {
    a: &'a Preset,
    b: &'a Preset,
    /// Why the driver has no such network.
    refusal: Option<String>,
    expected: Expected,
}

fn pairs(plan: &Plan, driver: Driver) -> Vec<Pair<'_>> {
    let pairs = plan.kinds.iter().enumerate().flat_map(|(n, a)| plan.kinds[n..].iter().map(move |b| (a, b)));
    let refusal = |kind: &Preset| driver.refusal_of(&kind.access).map(|reason| format!("{}: {reason}", kind.name));
    let pair = |(a, b): (&'_ Preset, &'_ Preset)| (refusal(a).or_else(|| refusal(b)), expected(a, b, driver));
    pairs
        .map(|(a, b)| (a, b, pair((a, b))))
        .map(|(a, b, (refusal, expected))| Pair { a, b, refusal, expected })
        .collect()
}

/// With a delay nobody's first probe comes before the other's own; without, that is a matter of luck. Where ports have to be
/// guessed it is a matter of what the program does.
fn expected(a: &Preset, b: &Preset, driver: Driver) -> Expected {
    let (a, b) = (&a.access, &b.access);
    let spoilt = || !oracle::plain_path_when_late(a, b) || !oracle::plain_path_when_late(b, a);
    match oracle::reachable(a, b, Relation::Separate) {
        Verdict::Relayed => Expected::NoPath,
        Verdict::DirectWithPrediction { .. } | Verdict::DirectByChance { .. } => Expected::Either,
        Verdict::Direct if driver == Driver::Netns && spoilt() => Expected::Either,
        Verdict::Direct => Expected::Direct,
    }
}

impl Pair<'_> {
    fn cell(&self, meetings: Vec<Meeting>) -> Cell {
        let direct = || meetings.iter().filter_map(|meeting| meeting.ending.direct);
        let exchanged = || meetings.iter().filter_map(|meeting| meeting.ending.exchanged);
        Cell {
            row: self.a.name.to_owned(),
            column: self.b.name.to_owned(),
            relation: Relation::Separate,
            timing: Timing::Together,
            possible: oracle::direct_path_possible(&self.a.access, &self.b.access, Relation::Separate),
            expected: self.expected,
            meetings: meetings.len(),
            direct: direct().count(),
            relayed: exchanged().count() - direct().count(),
            one_sided: meetings.iter().filter(|meeting| meeting.ending.one_sided).count(),
            not_introduced: 0,
            message_ms: Percentiles::of_times(exchanged()),
            direct_ms: Percentiles::of_times(direct()),
            packets: Percentiles::of(meetings.iter().map(|meeting| meeting.packets).collect()),
            not_by_this_driver: self.refusal.clone(),
            trouble: meetings.into_iter().find_map(|meeting| meeting.trouble),
        }
    }
}
