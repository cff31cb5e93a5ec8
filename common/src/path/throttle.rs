//! A token bucket for answers: an authentic probe can be recorded and sent again from forged addresses by somebody on
//! the way, and must not make us a source of traffic.

use std::time::{Duration, Instant};

/// Answers per second in the long run. A peer's attempt is 50 probes in ten seconds.
pub const ANSWERS_PER_SECOND: u32 = 10;
/// Answers at once: two attempts' worth.
pub const BURST: u32 = 100;

#[derive(Debug)]
pub(super) struct Throttle {
    tokens: u32,
    refilled: Instant,
}

impl Throttle {
    pub(super) fn new(now: Instant) -> Self {
        Throttle { tokens: BURST, refilled: now }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let per_token = Duration::from_secs(1) / ANSWERS_PER_SECOND;
        let elapsed = now.saturating_duration_since(self.refilled);
        let new = u32::try_from(elapsed.as_nanos() / per_token.as_nanos()).unwrap_or(BURST).min(BURST);
        if new > 0 {
            self.tokens = (self.tokens + new).min(BURST);
            self.refilled = if new == BURST { now } else { self.refilled + per_token * new };
        }
        let granted = self.tokens > 0;
        self.tokens -= u32::from(granted);
        granted
    }
}
