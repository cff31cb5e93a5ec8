//! What the time is, for clients who cannot know it by themselves and for what is signed.

use std::time::Instant;

use super::Server;

/// A moment, and what the calendar said then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calendar {
    seen: Option<(Instant, u64)>,
}

impl Calendar {
    /// In seconds since 1970.
    pub(super) fn now_s(self, now: Instant) -> u64 {
        self.seen.map_or(0, |(then, then_s)| then_s + now.saturating_duration_since(then).as_secs())
    }
}

impl Server {
    /// At this moment it is so many seconds since 1970.
    pub fn with_calendar(mut self, now: Instant, now_s: u64) -> Self {
        self.handle_calendar(now_s, now);
        self
    }

    /// The same, later: it may have been set.
    pub fn handle_calendar(&mut self, now_s: u64, now: Instant) {
        self.calendar.seen = Some((now, now_s));
    }
}
