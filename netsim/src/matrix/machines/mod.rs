//! Meetings in virtual time: Punchline's own machines, in networks whose lines are drawn from consecutive seeds.

mod client;
mod meeting;
mod neighbour;
mod profile;
mod server;
pub mod study;

#[cfg(test)]
mod discovery_tests;
#[cfg(test)]
mod lifetime_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod study_tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Cell, Expected, Percentiles, Plan, Table, Timing};
use crate::model::{Access, Preset};
use crate::oracle::{self, Relation, Verdict};
use meeting::{Cast, Ending, Meeting, Script, Stage};

/// How late a late word is. A lost packet of QUIC is sent again after a probe timeout, about three round trips of a short
/// line.
pub const LATE: Duration = Duration::from_millis(200);

/// Meetings of a cell with a late word. A stray packet occupies the endpoint or it does not; luck has no say in it.
const LATE_MEETINGS: u64 = 1;

impl Timing {
    fn late(self) -> Duration {
        match self {
            Timing::Together => Duration::ZERO,
            Timing::Late => LATE,
        }
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
        title: "Punchline's own machines in virtual time".to_owned(),
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
    let script = Script::of([&row.access, &column.access], relation, timing.late());
    let mut stage = Stage::new(&Cast::new()?, script, seed, start);
    stage.record();
    let Meeting { outcome, packets, sockets, reports, .. } = stage.play();
    let mut tried = String::new();
    for (who, report) in ["alice", "bob"].into_iter().zip(reports) {
        let report = report.map(|report| (report.tried().collect::<Vec<_>>(), report.ending));
        tried += &format!("{who}: {report:?}\n");
    }
    Some(format!("{}{tried}{outcome:?}, {sockets} sockets, {packets} packets\n", stage.trace()))
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
        let script = Script::of(access, self.relation, self.timing.late());
        let meetings = match self.timing {
            Timing::Together => plan.meetings,
            Timing::Late => plan.meetings.min(LATE_MEETINGS),
        };
        let meetings: Vec<Meeting> = (plan.seed..plan.seed.saturating_add(meetings))
            .map(|seed| Stage::new(cast, script, seed, start).play())
            .collect();
        let count = |wanted: Ending| meetings.iter().filter(|meeting| meeting.outcome == wanted).count();
        let times: Vec<Duration> = meetings.iter().filter_map(|meeting| meeting.outcome.time()).collect();
        // A word that comes late costs time, and no path.
        let expected = match oracle::reachable(access[0], access[1], self.relation) {
            Verdict::Direct => Expected::Direct,
            Verdict::DirectWithPrediction { .. } | Verdict::DirectByChance { .. } => Expected::Likely,
            Verdict::Relayed => Expected::NoPath,
        };
        Cell {
            row: self.row.name.to_owned(),
            column: self.column.name.to_owned(),
            relation: self.relation,
            timing: self.timing,
            possible: oracle::direct_path_possible(access[0], access[1], self.relation),
            expected,
            meetings: meetings.len(),
            direct: times.len(),
            relayed: 0,
            one_sided: count(Ending::OneSided),
            not_introduced: count(Ending::NotIntroduced),
            message_ms: Percentiles::of_times(meetings.iter().filter_map(|meeting| meeting.exchanged)),
            direct_ms: Percentiles::of_times(times.iter().copied()),
            packets: Percentiles::of(meetings.iter().map(|meeting| u64::from(meeting.packets)).collect()),
            figures: None,
            not_by_this_driver: None,
            trouble: None,
        }
    }
}
