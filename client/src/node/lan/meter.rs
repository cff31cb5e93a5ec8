//! How much of what comes on the LAN is looked at: each look costs a derivation for every contact.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::lan::Announcement;

const WINDOW: Duration = Duration::from_secs(1);
/// In a second, from all: with 1,024 contacts some 100,000 derivations of a microsecond each, a tenth of a processor.
pub(super) const LOOKS: u32 = 96;
/// In a second, from one address, so that one that floods leaves room for the others. Whoever has 1,024 contacts announces 40.
pub(super) const LOOKS_AT_ONE: u32 = 48;

#[derive(Debug, Default)]
pub(super) struct Meter {
    since: Option<Instant>,
    pub(super) all: u32,
    /// At most [`LOOKS`] of them, as of those below.
    each: BTreeMap<IpAddr, u32>,
    /// The same comes by mDNS and by two broadcasts, on each network that two have in common.
    seen: Vec<Announcement>,
}

impl Meter {
    /// May one more from there be looked at?
    pub(super) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        self.begin(now);
        if self.all >= LOOKS || self.each.get(&source).is_some_and(|looks| *looks >= LOOKS_AT_ONE) {
            return false;
        }
        self.all += 1;
        *self.each.entry(source).or_default() += 1;
        true
    }

    /// The same for an announcement, which is looked at once.
    pub(super) fn take_new(&mut self, announcement: &Announcement, source: IpAddr, now: Instant) -> bool {
        self.begin(now);
        let taken = !self.seen.contains(announcement) && self.take(source, now);
        if taken {
            self.seen.push(announcement.clone());
        }
        taken
    }

    fn begin(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now >= since + WINDOW) {
            *self = Meter { since: Some(now), ..Meter::default() };
        }
    }
}
