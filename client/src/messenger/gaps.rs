//! When a peer is asked to say again what is missing, and when we say something again because we are asked.
//!
//! Most gaps close by themselves: a sender repeats whatever has no receipt at the start of each session. What is still missing
//! a moment later was acknowledged once and is gone, because a backup was restored or a disk is new.

use std::time::{Duration, Instant};

use common::session::{MAX_RANGES, StreamId};

use super::heard::{Heard, Taken};

/// After a session began, or something filled a gap and another is left: what is on its way has come by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// After we asked and nothing came; doubled each time.
const ASKED: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);
/// How often we look for what a peer asks: each time it may cost us reading and sending [`MAX_FOUND`](super::MAX_FOUND)
/// messages.
const LOOKED_UP: Duration = Duration::from_secs(1);
/// How often everything that waits is deposited once more because a peer could not open something, and how often we say that of
/// ours: whoever carries the envelopes can damage all of them.
const REPEATED: Duration = Duration::from_secs(600);

/// What is missing of one peer's posts, and what it misses of ours.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    pub(super) heard: Heard,
    ask: Option<Instant>,
    asked: u32,
    looked_up: Option<Instant>,
    repeated: Option<Instant>,
    complained: Option<Instant>,
}

impl Gaps {
    pub(super) fn take(&mut self, stream: StreamId, seq: u64, connected: bool, now: Instant) -> Taken {
        let before = self.heard.missing();
        let taken = self.heard.take(stream, seq);
        let missing = self.heard.missing();
        if missing != before {
            self.asked = 0;
            self.ask = missing.filter(|_| connected).map(|_| now + PATIENCE);
        }
        taken
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.asked = 0;
        self.ask = self.heard.missing().map(|_| now + PATIENCE);
    }

    /// What to ask for now.
    pub(super) fn timeout(&mut self, now: Instant) -> Option<(StreamId, Vec<(u64, u64)>)> {
        self.ask.take_if(|at| *at <= now)?;
        let missing = self.heard.missing()?;
        self.ask = Some(now + (ASKED * 2u32.saturating_pow(self.asked)).min(LONGEST));
        self.asked = self.asked.saturating_add(1);
        Some(missing)
    }

    pub(super) fn wakeup(&self) -> Option<Instant> {
        self.ask
    }

    /// The peer asks for these. What is looked for, if it did not ask just now.
    pub(super) fn asked(&mut self, mut ranges: Vec<(u64, u64)>, now: Instant) -> Option<Vec<(u64, u64)>> {
        ranges.truncate(MAX_RANGES);
        once_in(LOOKED_UP, &mut self.looked_up, now).then_some(ranges)
    }

    pub(super) fn may_repeat(&mut self, now: Instant) -> bool {
        once_in(REPEATED, &mut self.repeated, now)
    }

    pub(super) fn may_complain(&mut self, now: Instant) -> bool {
        once_in(REPEATED, &mut self.complained, now)
    }
}

fn once_in(pause: Duration, last: &mut Option<Instant>, now: Instant) -> bool {
    let may = last.is_none_or(|last| now >= last + pause);
    if may {
        *last = Some(now);
    }
    may
}
