//! What we announce on the LAN, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::lan::{Announcement, LanNonce, LanTag, MAX_TAGS, STEPS};
use common::pairing::Pairing;

use crate::node::home::Home;
use crate::node::output::Output;

/// After a start or a change of network, in milliseconds. Twice within a third of a second, because whoever has just come to
/// a network may lose the first packet there.
const AT_FIRST: [u64; 4] = [0, 300, 1_100, 3_000];
/// Later: whoever comes says so himself, and is answered. This is for those who lost that.
const PAUSE: Duration = Duration::from_secs(30);
/// And up to so much more, so that the clients of a network do not come in step.
const JITTER_MS: u16 = 30_000;
/// A record may not be multicast again within a second (RFC 6762, section 6).
const BETWEEN_MULTICASTS: Duration = Duration::from_secs(1);
/// Datagrams at a time, and the rest later: with 1,024 contacts it takes 43.
const AT_ONCE: usize = 4;
const LATER: Duration = Duration::from_millis(100);
/// How long a nonce is used: for so long an observer can tell that we are still there.
const LIFETIME: Duration = Duration::from_secs(900);
/// How long calls under the one before are heard: those that were on their way.
const OVERLAP: Duration = Duration::from_secs(10);

/// How an announcement goes to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// By mDNS and by broadcast.
    Both,
    /// By broadcast alone.
    Broadcast,
    /// By mDNS alone.
    Multicast,
}

#[derive(Debug)]
pub(super) struct Own {
    port: u16,
    pub(super) nonce: LanNonce,
    since: Instant,
    /// The one before, and until when it counts.
    before: Option<(LanNonce, Instant)>,
    parts: Vec<Announcement>,
    /// How many of [`AT_FIRST`] are done, and since when they count.
    done: usize,
    begun: Instant,
    next: Instant,
    /// Of this turn.
    left: VecDeque<(usize, Audience)>,
    multicast_at: Option<Instant>,
}

impl Own {
    /// `None`: no randomness.
    pub(super) fn new<'a>(
        port: u16,
        contacts: impl Iterator<Item = &'a Pairing>,
        now: Instant,
        home: &mut Home,
    ) -> Option<Own> {
        let mut own = Own {
            port,
            nonce: LanNonce([0; 16]),
            since: now,
            before: None,
            parts: Vec::new(),
            done: 0,
            begun: now,
            next: now,
            left: VecDeque::new(),
            multicast_at: None,
        };
        let announces = own.renew(contacts, now, home);
        own.before = None;
        announces.then_some(own)
    }

    /// Takes another nonce, and tells everybody. `false`: there is no randomness.
    pub(super) fn renew<'a>(
        &mut self,
        contacts: impl Iterator<Item = &'a Pairing>,
        now: Instant,
        home: &mut Home,
    ) -> bool {
        let mut random = std::iter::from_fn(|| home.seed("nothing is announced on the LAN"));
        let Some([nonce, _]) = random.next().as_ref().map(halves) else { return false };
        let before = std::mem::replace(&mut self.nonce, LanNonce(nonce));
        self.before = Some((before, now + OVERLAP));
        self.since = now;
        let tags: Vec<_> = contacts.map(|pairing| pairing.own_lan_tag(self.nonce, self.port)).collect();
        let mut padding = random.flat_map(|seed| seed.as_chunks().0.to_vec()).map(LanTag);
        self.parts = tags.chunks(MAX_TAGS).map(|tags| part(self.nonce, self.port, tags, &mut padding)).collect();
        self.begin(now);
        true
    }

    fn begin(&mut self, now: Instant) {
        (self.done, self.begun, self.next) = (0, now, now);
        self.left.clear();
    }

    /// Do we listen under this nonce?
    pub(super) fn answers_to(&self, nonce: LanNonce, now: Instant) -> bool {
        self.nonce == nonce || self.before.is_some_and(|(before, until)| before == nonce && now < until)
    }

    /// Is it time for another nonce?
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now >= self.since + LIFETIME
    }

    /// The announcement with the tag of this contact.
    pub(super) fn part_for(&self, pairing: &Pairing) -> Option<&Announcement> {
        let tag = pairing.own_lan_tag(self.nonce, self.port);
        self.parts.iter().find(|part| part.tags.contains(&tag))
    }

    pub(super) fn wakeup(&self) -> Instant {
        self.next
    }

    /// Somebody asks by mDNS who is there.
    pub(super) fn asked(&mut self, now: Instant) {
        if self.left.is_empty() && self.may_multicast(now) {
            self.multicast_at = Some(now);
            self.left.extend((0..self.parts.len()).map(|part| (part, Audience::Multicast)));
            self.next = now;
        }
    }

    fn may_multicast(&self, now: Instant) -> bool {
        self.multicast_at.is_none_or(|at| now >= at + BETWEEN_MULTICASTS)
    }

    /// Says what is due.
    pub(super) fn advance(&mut self, now: Instant, home: &mut Home) {
        if now < self.next {
            return;
        }
        if self.left.is_empty() {
            let audience = if self.may_multicast(now) { Audience::Both } else { Audience::Broadcast };
            if audience == Audience::Both {
                self.multicast_at = Some(now);
            }
            self.left.extend((0..self.parts.len()).map(|part| (part, audience)));
            self.done += 1;
        }
        for (part, audience) in self.left.drain(..self.left.len().min(AT_ONCE)) {
            home.output(Output::Announce(self.parts[part].clone(), audience));
        }
        self.next = match (self.left.is_empty(), AT_FIRST.get(self.done)) {
            (false, _) => now + LATER,
            (true, Some(ms)) => (self.begun + Duration::from_millis(*ms)).max(now),
            (true, None) => {
                let seed = home.seed("announcements come in step").unwrap_or_default();
                let jitter = u16::from_be_bytes([seed[0], seed[1]]) % JITTER_MS;
                now + PAUSE + Duration::from_millis(jitter.into())
            }
        };
    }
}

fn halves(seed: &[u8; 32]) -> [[u8; 16]; 2] {
    let halves = seed.as_chunks().0;
    [halves[0], halves[1]]
}

fn part(nonce: LanNonce, port: u16, tags: &[LanTag], padding: &mut impl Iterator<Item = LanTag>) -> Announcement {
    let step = STEPS.into_iter().find(|step| tags.len() <= *step).unwrap_or(MAX_TAGS);
    let mut tags = tags.to_vec();
    tags.extend(padding.take(step - tags.len()));
    // They look random, so this is a random order.
    tags.sort();
    Announcement { nonce, port, tags }
}
