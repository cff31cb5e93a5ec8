//! How much is taken in from one address: what a flood is made of is dropped here, before it wakes anybody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// In a second. Somebody with 1,024 contacts who has just come sends half of that.
const FROM_ONE: u32 = 96;
/// Addresses that are counted; further ones wait for the next second.
const SOURCES: usize = 256;

pub(super) struct Intake {
    since: Instant,
    each: BTreeMap<IpAddr, u32>,
}

impl Intake {
    pub(super) fn new(now: Instant) -> Self {
        Intake { since: now, each: BTreeMap::new() }
    }

    /// Is one more from there taken in?
    pub(super) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        if now >= self.since + WINDOW {
            *self = Intake::new(now);
        }
        let full = self.each.len() >= SOURCES;
        match self.each.get_mut(&source) {
            Some(count) => {
                *count += 1;
                *count <= FROM_ONE
            }
            None if full => false,
            None => {
                self.each.insert(source, 1);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_floods_is_dropped_and_others_are_not() {
        let now = Instant::now();
        let mut intake = Intake::new(now);
        let (one, other) = (IpAddr::from([192, 168, 1, 2]), IpAddr::from([192, 168, 1, 3]));
        let taken = (0..10_000).filter(|_| intake.take(one, now)).count();
        assert_eq!(taken, FROM_ONE as usize);
        assert!(intake.take(other, now));
        assert!(intake.take(one, now + WINDOW), "in the next second");
        let taken =
            (0..=u16::MAX).filter(|n| intake.take(IpAddr::from([10, 0, (n >> 8) as u8, *n as u8]), now)).count();
        assert!(taken < SOURCES, "nor does it remember everybody");
    }
}
