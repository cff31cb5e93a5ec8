//! The matrix: every kind of access meets every other, and each cell is held against the oracle's word.
//!
//! A cell is some meetings of Alice (the row, who asks) and Bob (the column) in virtual networks with lines drawn from
//! consecutive seeds. Both are `common`'s own punching machine, introduced by the rendezvous' own decisions, over the
//! model's NATs. It says how many of the meetings ended with a direct path that both sides have validated, how long after
//! Alice asked, and what it cost. [`Cell::agrees`] compares that with [`oracle::plain_path`], which knows the behaviours and
//! sends nothing.
//!
//! This is the one part of the crate that knows Punchline; it is behind the feature `punchline`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod client;
mod heat_map;
mod meeting;
mod render;
mod server;

#[cfg(test)]
mod discovery_tests;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::model::{Access, Preset, presets};
use crate::oracle::{self, Judgement, Relation};
use meeting::{Cast, Ending, Meeting, Script, Stage};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kinds, in the order of rows and columns.
    pub kinds: Vec<Preset>,
    /// The first seed.
    pub seed: u64,
    /// How many seeds, each a meeting of every cell.
    pub meetings: u64,
}

impl Default for Plan {
    /// All presets, five meetings each.
    fn default() -> Self {
        Plan { kinds: presets::all(), seed: 1, meetings: 5 }
    }
}

/// When the one who is asked hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// At the same instant as the one who asked, as far as their lines allow.
    Together,
    /// [`LATE`] after that: the packet was lost and sent again. So the first probes come before he has sent any.
    Late,
}

/// A lost packet of QUIC is sent again after a probe timeout, about three round trips of a short line.
pub const LATE: Duration = Duration::from_millis(200);

/// Meetings of a cell with a late word. A stray packet occupies the endpoint or it does not; luck has no say in it.
const LATE_MEETINGS: u64 = 1;

/// A cell: what came of all meetings of these two kinds in this relation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Who asks.
    pub row: String,
    /// Who is asked.
    pub column: String,
    /// How they stand to each other.
    pub relation: Relation,
    /// When the column hears of the row.
    pub timing: Timing,
    /// What anybody could reach.
    pub possible: Judgement,
    /// Should what is built today get a direct path?
    pub expected_direct: bool,
    /// All of them.
    pub meetings: usize,
    /// Those that ended with a direct path on both sides.
    pub direct: usize,
    /// Those of which only one side has a path: a bug.
    pub one_sided: usize,
    /// Those in which somebody did not reach the rendezvous.
    pub not_introduced: usize,
    /// From asking to a path that both have, of the direct ones, in milliseconds.
    pub direct_ms: Option<Percentiles>,
    /// Datagrams of both punching machines.
    pub packets: Percentiles,
}

/// Half of the values, and nineteen of twenty, are at most this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// The slow end.
    pub p95: u64,
}

impl Timing {
    fn late(self) -> Duration {
        match self {
            Timing::Together => Duration::ZERO,
            Timing::Late => LATE,
        }
    }
}

impl Percentiles {
    fn of(mut values: Vec<u64>) -> Option<Percentiles> {
        values.sort_unstable();
        let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Percentiles { p50: at(50)?, p95: at(95)? })
    }
}

/// What a cell shows, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Every meeting ended with a direct path.
    Direct,
    /// Some did.
    Sometimes,
    /// None did, and physics would allow it: work for later.
    NotYet,
    /// None did, and none can: relayed, once there is a relay.
    Relayed,
}

impl Cell {
    /// In one word.
    pub fn word(&self) -> Word {
        match self.direct {
            all if all == self.meetings => Word::Direct,
            0 if self.possible.verdict == oracle::Verdict::Relayed => Word::Relayed,
            0 => Word::NotYet,
            _ => Word::Sometimes,
        }
    }

    /// Is this what the oracle expects of what is built today?
    pub fn agrees(&self) -> bool {
        self.one_sided == 0 && self.direct == if self.expected_direct { self.meetings } else { 0 }
    }
}

/// The whole matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// The names of rows and columns.
    pub kinds: Vec<String>,
    /// What each stands for.
    pub stands_for: Vec<String>,
    /// The first seed.
    pub seed: u64,
    /// Meetings of each cell.
    pub meetings: u64,
    /// Row by row, each behind routers of its own; then two behind one router of each kind; then the first ones again,
    /// with a late word.
    pub cells: Vec<Cell>,
}

impl Table {
    /// The cell of two kinds that are behind routers of their own.
    pub fn cell(&self, row: &str, column: &str) -> Option<&Cell> {
        self.in_relation(Relation::Separate).find(|cell| cell.row == row && cell.column == column)
    }

    /// The cells of this relation in which both hear together.
    pub fn in_relation(&self, relation: Relation) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.relation == relation && cell.timing == Timing::Together)
    }

    /// The cells in which one hears late.
    pub fn late(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| cell.timing == Timing::Late)
    }

    /// Those in which what was seen is not what the oracle says.
    pub fn disagreements(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.agrees())
    }
}

/// Runs all of it, on as many threads as there are processors. `start` is any instant; `progress` hears how many cells of
/// how many are done.
pub fn run(plan: &Plan, start: Instant, progress: impl Fn(usize, usize) + Sync) -> Table {
    let jobs = jobs(plan);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cells: Mutex<Vec<Option<Cell>>> = Mutex::new(vec![None; jobs.len()]);
    let work = || {
        let Some(cast) = Cast::new() else { return };
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let index = job.index;
            let cell = job.run(plan, &cast, start);
            if let Ok(mut cells) = cells.lock() {
                cells[index] = Some(cell);
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (0..processors).for_each(|_| drop(scope.spawn(work)));
    });
    Table {
        kinds: plan.kinds.iter().map(|kind| kind.name.to_owned()).collect(),
        stands_for: plan.kinds.iter().map(|kind| kind.stands_for.to_owned()).collect(),
        seed: plan.seed,
        meetings: plan.meetings,
        cells: cells.into_inner().unwrap_or_default().into_iter().flatten().collect(),
    }
}

/// The trace of one meeting, every packet with its fate, and how it ended.
pub fn trace(
    (row, column): (&Preset, &Preset),
    relation: Relation,
    timing: Timing,
    seed: u64,
    start: Instant,
) -> Option<String> {
    let script = Script { access: [&row.access, &column.access], relation, late: timing.late() };
    let mut stage = Stage::new(&Cast::new()?, script, seed, start);
    stage.record();
    let Meeting { outcome, packets } = stage.play();
    Some(format!("{}{outcome:?}, {packets} packets\n", stage.trace()))
}

struct Job<'a> {
    index: usize,
    row: &'a Preset,
    column: &'a Preset,
    relation: Relation,
    timing: Timing,
}

fn jobs(plan: &Plan) -> Vec<Job<'_>> {
    let pairs = || plan.kinds.iter().flat_map(|row| plan.kinds.iter().map(move |column| (row, column)));
    let separate = |timing| pairs().map(move |(row, column)| (row, column, Relation::Separate, timing));
    let together = [Relation::SameLan, Relation::SameOuterNat].into_iter().flat_map(|relation| {
        let routed = plan.kinds.iter().filter(|kind| !kind.access.routers.is_empty());
        routed.map(move |kind| (kind, kind, relation, Timing::Together))
    });
    let jobs = separate(Timing::Together).chain(together).chain(separate(Timing::Late)).enumerate();
    jobs.map(|(index, (row, column, relation, timing))| Job { index, row, column, relation, timing }).collect()
}

impl Job<'_> {
    fn run(&self, plan: &Plan, cast: &Cast, start: Instant) -> Cell {
        let access: [&Access; 2] = [&self.row.access, &self.column.access];
        let script = Script { access, relation: self.relation, late: self.timing.late() };
        let meetings = match self.timing {
            Timing::Together => plan.meetings,
            Timing::Late => plan.meetings.min(LATE_MEETINGS),
        };
        let meetings: Vec<Meeting> = (plan.seed..plan.seed.saturating_add(meetings))
            .map(|seed| Stage::new(cast, script, seed, start).play())
            .collect();
        let count = |wanted: Ending| meetings.iter().filter(|meeting| meeting.outcome == wanted).count();
        let times: Vec<Duration> = meetings.iter().filter_map(|meeting| meeting.outcome.time()).collect();
        let millis = times.iter().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).collect();
        let packets = meetings.iter().map(|meeting| u64::from(meeting.packets)).collect();
        Cell {
            row: self.row.name.to_owned(),
            column: self.column.name.to_owned(),
            relation: self.relation,
            timing: self.timing,
            possible: oracle::direct_path_possible(access[0], access[1], self.relation),
            expected_direct: match self.timing {
                Timing::Together => oracle::plain_path(access[0], access[1], self.relation),
                Timing::Late => oracle::plain_path_when_late(access[0], access[1]),
            },
            meetings: meetings.len(),
            direct: times.len(),
            one_sided: count(Ending::OneSided),
            not_introduced: count(Ending::NotIntroduced),
            direct_ms: Percentiles::of(millis),
            packets: Percentiles::of(packets).unwrap_or(Percentiles { p50: 0, p95: 0 }),
        }
    }
}
