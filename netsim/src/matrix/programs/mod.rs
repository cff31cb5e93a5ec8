//! Meetings of real programs in real time; Linux only. What is asked of a program stands in `netsim/docs/matrix.md`.
//!
//! Every round is an Internet of its own with the server on a public host. Each pair has two houses there, and in each a host in
//! which `peer` runs ([`Programs`]); when both have ended, their lines are a story, and two stories have an ending. Pairs
//! meet side by side: waiting for those who will not meet costs no processor.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real programs have real time, and whoever is beside them has real sockets"
)]

mod command;
mod how;
mod meeting;
mod neighbour;
mod story;
mod town;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use regex_lite::Regex;

use super::{Cell, Expected, Figures, Percentiles, Plan, Table, Timing};
use crate::model::Preset;
use crate::netns;
use crate::oracle::{self, Relation, Verdict};
use crate::scenario::Driver;
pub use command::CommandLine;
pub use how::{How, LINGER};
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
                "{linger}",
            ])?,
            binaries,
            title: "Punchline".to_owned(),
        })
    }
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
    /// Packets take the shortest way.
    #[error("two houses cannot be farther from each other than by way of the server: at most twice the delay")]
    TooFar,
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
    let lines = how.lines()?;
    let pairs: Vec<Pair<'_>> = pairs(plan, how);
    let files = tempfile::Builder::new().prefix("netsim-matrix-").tempdir()?;
    let folder = how.keep.as_deref().unwrap_or(files.path());
    let able = || pairs.iter().enumerate().filter(|(_, pair)| pair.refusal.is_none());
    let all = able().count() * usize::try_from(plan.meetings).unwrap_or(usize::MAX);
    let (done, mut meetings) = (AtomicUsize::new(0), vec![vec![]; pairs.len()]);
    for seed in plan.seed..plan.seed.saturating_add(plan.meetings) {
        let town = Town::build(programs, how, lines, seed, folder)?;
        let waiting = Mutex::new(able());
        let over = Mutex::new(Ok(Vec::with_capacity(pairs.len())));
        let work = || {
            // A lock that is poisoned is somebody else's panic, and the scope passes that on.
            while let Some((index, pair)) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
                let met = town.meet(pair.a, pair.b, pair.linger(how), index);
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
    let mut kinds: Vec<&Preset> = vec![];
    match &how.pairs {
        None => kinds.extend(&plan.kinds),
        Some(pairs) => {
            let named = pairs.iter().flatten();
            named.for_each(|kind| {
                if !kinds.iter().any(|known| known.name == kind.name) {
                    kinds.push(kind)
                }
            });
        }
    }
    let cells = pairs.iter().zip(meetings).map(|(pair, meetings)| pair.cell(meetings)).collect();
    Ok(Table {
        title: format!("{} with real programs, {}", programs.title, how.in_words()),
        kinds: kinds.iter().map(|kind| kind.name.to_owned()).collect(),
        stands_for: kinds.iter().map(|kind| kind.stands_for.to_owned()).collect(),
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

fn pairs<'a>(plan: &'a Plan, how: &'a How) -> Vec<Pair<'a>> {
    let of_kinds = || plan.kinds.iter().enumerate().flat_map(|(n, a)| plan.kinds[n..].iter().map(move |b| (a, b)));
    let pairs: Vec<(&Preset, &Preset)> = match &how.pairs {
        None => of_kinds().collect(),
        Some(pairs) => pairs.iter().map(|[a, b]| (a, b)).collect(),
    };
    let refusal = |kind: &Preset| how.driver.refusal_of(&kind.access).map(|reason| format!("{}: {reason}", kind.name));
    let pair = |(a, b)| Pair { a, b, refusal: refusal(a).or_else(|| refusal(b)), expected: expected(a, b, how) };
    pairs.into_iter().map(pair).collect()
}

/// With a delay nobody's first probe comes before the other's own; without, that is a matter of luck. Where ports have to be
/// guessed it is a matter of what the program does.
fn expected(a: &Preset, b: &Preset, how: &How) -> Expected {
    let (a, b) = (&a.access, &b.access);
    let spoilt = || !oracle::plain_path_when_late(a, b) || !oracle::plain_path_when_late(b, a);
    match oracle::reachable(a, b, Relation::Separate) {
        Verdict::Relayed => Expected::NoPath,
        Verdict::DirectWithPrediction { .. } | Verdict::DirectByChance { .. } => Expected::Either,
        Verdict::Direct if !how.has_lines() && spoilt() => Expected::Either,
        Verdict::Direct => Expected::Direct,
    }
}

impl Pair<'_> {
    /// How long the two are to wait for a direct path.
    fn linger(&self, how: &How) -> Duration {
        let [possible, impossible] = how.linger;
        let (a, b) = (&self.a.access, &self.b.access);
        let hopeless = oracle::direct_path_possible(a, b, Relation::Separate).verdict == Verdict::Relayed;
        if hopeless { impossible } else { possible }
    }

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
            figures: (!meetings.is_empty()).then(|| Figures::of(meetings.iter().map(Meeting::figures).collect())),
            not_by_this_driver: self.refusal.clone(),
            trouble: meetings.into_iter().find_map(|meeting| meeting.trouble),
        }
    }
}
