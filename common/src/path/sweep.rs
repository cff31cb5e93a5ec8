//! Two sequential NATs, both filtering by port.
//!
//! A path is a pair of ports, (r, t): a mapping of one side at r toward t, and one of the other side at t toward r. Each mapping
//! is made by sending to the other's port, which must therefore be known before; one of the two ports has to be foretold.
//! Matching them one by one (the i-th probe of each side to the i-th port after the other's) works until another flow takes a
//! port on either NAT, and from then on not at all. So the two do different things.
//!
//! The side that leads **lays rows**. It chooses a few ports T that the other's counter will come by, and toward each of them
//! makes a row of mappings, from as many sockets. Before each row and behind the last it asks the rendezvous where its own
//! counter stands, so that it knows between which ports each row lies, and tells the other.
//!
//! The other side **sweeps**: it makes mapping after mapping, each toward a port of that row whose T its counter should just be
//! passing. The one that leaves from T itself goes to a port of T's row, and if that port is one of the row and not of
//! some other flow, this is a path. Before it begins, and after every few rows, it asks the rendezvous where its counter
//! stands.
//!
//! # Numbers
//!
//! Alone on their NATs, the two meet at the first row. If other flows take a share of the ports, such that only each s-th and
//! each u-th port is theirs, a row is hit with probability 1/(s u): 12 rows with half of the ports on both NATs 97 %, if the
//! estimate of where the sweep stands is right to within half a gap. A gap is 8 steps: five new flows a second are one in
//! the 200 ms between the look and the sweep. There are [`MAX_ROUNDS`](super::rounds::MAX_ROUNDS) rounds, with different ports.
//!
//! 8 sockets, 96 probes and 13 looks on the one side; at most 12 sockets, 160 probes and 9 looks on the other.

use std::collections::VecDeque;
use std::time::Duration;

use super::foretell::difference;
use super::shots::{Plan, Shot};
use super::surface::Base;

/// Rows, each toward one port.
pub const ROWS: u16 = 12;
/// Mappings in a row, hence sockets. As many as the sweep makes between two rows if nobody disturbs it.
pub const IN_ROW: u16 = 8;
/// From one row's port to the next one's, in steps.
const GAP: i16 = 8;
/// From the counter that was told to the first row's port, in steps: what other flows take until the sweep begins.
const LEAD: i16 = 16;
/// Between two rows.
pub(super) const ROW_PACE: Duration = Duration::from_millis(2);
/// Probes of a sweep.
pub const PROBES: usize = 160;
/// Sockets of a sweep besides those that only ask: two that aim, because a row has no more ports than mappings, and one
/// that makes the counter go on where there is nothing to aim at.
pub const SWEEPERS: usize = 3;
/// The counter is asked for again after so many steps: four rows, over which the estimate stays good.
const BURST: f32 = 32.0;
/// Ports of a row that are looked at, whatever the marks say.
const WIDEST_ROW: usize = 64;
/// Four a millisecond.
const PACE: Duration = Duration::from_micros(250);

/// The ports toward which rows are laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) first: u16,
    pub(super) gap: i16,
}

impl Targets {
    /// Ahead of a counter that stood there.
    pub(super) fn ahead(last: u16, step: i16) -> Self {
        Targets { first: last.wrapping_add_signed(step.wrapping_mul(LEAD)), gap: step.wrapping_mul(GAP) }
    }

    fn row(self, row: u16) -> u16 {
        self.first.wrapping_add_signed(self.gap.wrapping_mul(row as i16))
    }

    /// One row's probes, at once.
    pub(super) fn lay(self, row: u16, bases: &[Base]) -> Plan {
        let port = self.row(row);
        bases.iter().map(|base| (ROW_PACE * u32::from(row), Shot { base: *base, port })).collect()
    }
}

/// What the leading side has laid.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) targets: Targets,
    /// The ports between the marks of each row.
    ports: Vec<Vec<u16>>,
}

impl Rows {
    pub(super) fn new(targets: Targets, step: i16, marks: &[u16]) -> Self {
        let marks = filled(marks);
        let between = |pair: &[u16]| {
            let span = i32::from(difference(pair[0], pair[1])) / i32::from(step);
            let inner = 1..i16::try_from(span.clamp(1, WIDEST_ROW as i32)).unwrap_or(1);
            inner.map(|n| pair[0].wrapping_add_signed(step.wrapping_mul(n))).filter(|port| *port != 0).collect()
        };
        Rows { targets, ports: marks.windows(2).map(between).collect() }
    }
}

/// A mark whose answer was lost lies between its neighbours.
fn filled(marks: &[u16]) -> Vec<u16> {
    let mut filled = marks.to_vec();
    for n in 0..marks.len() {
        if marks[n] == 0 {
            let before = (0..n).rev().find(|m| filled[*m] != 0);
            let after = (n + 1..marks.len()).find(|m| marks[*m] != 0);
            filled[n] = match (before, after) {
                (Some(b), Some(a)) => {
                    let share = i32::from(difference(filled[b], marks[a])) * (n - b) as i32 / (a - b) as i32;
                    filled[b].wrapping_add_signed(share as i16)
                }
                (Some(one), None) | (None, Some(one)) => filled[one],
                (None, None) => 0,
            };
        }
    }
    filled
}

/// The sweeping side at work.
#[derive(Debug)]
pub(super) struct Sweep {
    rows: Rows,
    /// Our own step.
    step: i16,
    /// What is still to be aimed at in each row.
    aims: Vec<VecDeque<Shot>>,
    fillers: VecDeque<Shot>,
    /// Where the counter stood, and how many mappings were made since.
    stood: Option<(f32, u16)>,
    /// Steps and mappings since the beginning: how many steps one mapping takes.
    taken: (f32, f32),
    sent: usize,
}

impl Sweep {
    pub(super) fn new(rows: Rows, step: i16, stride: f32, bases: [Base; SWEEPERS]) -> Self {
        let [one, other, idle] = bases;
        let aim = |ports: &Vec<u16>| {
            let from = |base| ports.iter().map(move |port| Shot { base, port: *port });
            from(one).chain(from(other)).collect()
        };
        let aims = rows.ports.iter().map(aim).collect();
        let fillers = rows.ports.iter().rev().flatten().map(|port| Shot { base: idle, port: *port }).collect();
        Sweep { rows, step, aims, fillers, stood: None, taken: (stride * 4.0, 4.0), sent: 0 }
    }

    /// The counter stands here, and asking has made it so: what to send next. `None`: all rows are passed.
    pub(super) fn burst(&mut self, counter: u16) -> Option<Plan> {
        let Targets { first, gap } = self.rows.targets;
        let gap = f32::from(gap) / f32::from(self.step);
        let here = f32::from(difference(first, counter)) / f32::from(self.step);
        if let Some((before, made)) = self.stood {
            self.taken.0 += (here - before).max(0.0);
            self.taken.1 += f32::from(made);
        }
        let stride = (self.taken.0 / self.taken.1).clamp(1.0, 8.0);
        let (mut at, mut made, mut plan) = (here, 0, Plan::new());
        while at < here + BURST && self.sent < PROBES {
            at += stride;
            let row = (at / gap).round();
            if row >= self.aims.len() as f32 {
                break;
            }
            let aim = if row < 0.0 { None } else { self.aims[row as usize].pop_front() };
            let Some(shot) = aim.or_else(|| self.fillers.pop_front()) else { break };
            plan.push((PACE * u32::from(made), shot));
            made += 1;
            self.sent += 1;
        }
        // And the question that follows.
        self.stood = Some((here, made + 1));
        if plan.is_empty() { None } else { Some(plan) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASES: [Base; SWEEPERS] = [Base(1), Base(2), Base(3)];

    /// Two counters, each with a share of ports that go to others; does the sweep meet a row?
    fn meets(mut others: impl FnMut() -> u16, behind: i16) -> bool {
        let (mut layer, mut sweeper) = (20_000_u16, 40_000_u16);
        let targets = Targets::ahead(sweeper, 1);
        let (mut marks, mut laid) = (Vec::new(), Vec::new());
        for row in 0..ROWS {
            layer += 1 + others();
            marks.push(layer);
            for _ in 0..IN_ROW {
                layer += 1 + others();
                laid.push((layer, targets.row(row)));
            }
        }
        marks.push(layer + 1 + others());
        sweeper = sweeper.wrapping_add_signed(behind);
        let mut sweep = Sweep::new(Rows::new(targets, 1, &marks), 1, 1.0, BASES);
        for _ in 0..20 {
            sweeper += 1 + others();
            let Some(plan) = sweep.burst(sweeper) else { return false };
            for (_, shot) in plan {
                sweeper += 1 + others();
                if laid.contains(&(shot.port, sweeper)) {
                    return true;
                }
            }
        }
        panic!("a sweep that does not end");
    }

    #[test]
    fn alone_on_their_nats_they_meet_wherever_the_counter_stands_when_the_sweep_begins() {
        for behind in 0..80 {
            assert!(meets(|| 0, behind), "{behind}");
        }
        assert!(!meets(|| 0, 200), "all rows are passed");
    }

    #[test]
    fn with_half_of_the_ports_gone_to_others_they_meet_more_often_than_not() {
        let mut luck = super::super::seeded::Seeded::new([5; 32]);
        let met = (0..200).filter(|_| meets(|| luck.below(3) as u16, 5)).count();
        assert!(met > 120, "{met} of 200");
    }

    #[test]
    fn a_mark_that_was_lost_is_put_between_its_neighbours_and_lies_cost_nothing() {
        assert_eq!(filled(&[100, 0, 0, 130]), [100, 110, 120, 130]);
        assert_eq!(filled(&[0, 100, 0]), [100, 100, 100]);
        assert_eq!(filled(&[0, 0]), [0, 0]);
        for marks in [[0, 0, 0], [1, 40_000, 2], [5, 5, 5], [65_535, 1, 30_000]] {
            let rows = Rows::new(Targets { first: 7, gap: 1 }, -1, &marks);
            assert!(rows.ports.iter().all(|row| row.len() <= WIDEST_ROW));
            let mut sweep = Sweep::new(rows, 1, 1.0, BASES);
            let sent: usize = (0..100).map_while(|n| sweep.burst(n)).map(|plan| plan.len()).sum();
            assert!(sent <= PROBES);
        }
    }
}
