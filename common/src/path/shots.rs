//! Probes that a strategy has planned, each at its time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::report::Strategy;
use super::surface::Base;

/// A probe to a port of the peer's one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shot {
    pub(super) base: Base,
    pub(super) port: u16,
}

/// A plan: shots, and how long after its beginning each is fired.
pub(super) type Plan = Vec<(Duration, Shot)>;

/// What is still to be fired.
#[derive(Debug, Default)]
pub(super) struct Shots {
    queue: BTreeMap<(Instant, u32), (Strategy, Shot)>,
    serial: u32,
}

impl Shots {
    pub(super) fn add(&mut self, strategy: Strategy, plan: Plan, begin: Instant) {
        for (after, shot) in plan.into_iter().filter(|(_, shot)| shot.port != 0) {
            self.serial += 1;
            self.queue.insert((begin + after, self.serial), (strategy, shot));
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<(Strategy, Shot)> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

/// The same probe again and again: against loss, and because the peer's side may open a little later.
pub(super) fn repeat(shot: Shot) -> Plan {
    const AT: [u64; 8] = [0, 10, 20, 40, 80, 160, 320, 480];
    AT.into_iter().map(|ms| (Duration::from_millis(ms), shot)).collect()
}
