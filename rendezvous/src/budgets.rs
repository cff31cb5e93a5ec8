//! How many introductions each key has left. Kept by key, not by connection, so that coming back does not refill.

use std::collections::BTreeMap;
use std::time::Instant;

use common::identity::PeerId;
use common::introduction::MAX_CAPABILITIES;
use common::pairing::Capability;

use crate::limits::{ABSENT_KEYS, Bucket, INTRODUCTIONS, INTRODUCTIONS_TO_ONE};

#[derive(Debug, Default)]
struct Budget {
    all: Bucket,
    to_one: BTreeMap<Capability, Bucket>,
}

impl Budget {
    fn expire(&mut self, now: Instant) {
        self.to_one.retain(|_, bucket| !bucket.is_full(now));
    }

    fn is_full(&self, now: Instant) -> bool {
        self.all.is_full(now) && self.to_one.is_empty()
    }
}

/// The budgets of all keys that have used some of theirs.
#[derive(Debug, Default)]
pub struct Budgets {
    keys: BTreeMap<PeerId, Budget>,
}

impl Budgets {
    /// May `peer` ask for one more introduction, whatever becomes of it?
    pub fn may_ask(&mut self, peer: PeerId, now: Instant) -> bool {
        self.keys.entry(peer).or_default().all.take(INTRODUCTIONS, now)
    }

    /// May `peer` meet this contact once more? Only for those who consented to it and are here: who is refused anyway
    /// must cost no memory, and a stranger never gets so far.
    pub fn may_meet(&mut self, peer: PeerId, capability: Capability, now: Instant) -> bool {
        let budget = self.keys.entry(peer).or_default();
        if budget.to_one.len() >= MAX_CAPABILITIES {
            // Other contacts than now, some of them: a registration has no more.
            budget.expire(now);
        }
        if budget.to_one.len() >= MAX_CAPABILITIES && !budget.to_one.contains_key(&capability) {
            return false;
        }
        budget.to_one.entry(capability).or_default().take(INTRODUCTIONS_TO_ONE, now)
    }

    /// Forgets the keys that have everything again; of those that are not here, at most so many are kept.
    pub fn expire(&mut self, now: Instant, here: impl Fn(&PeerId) -> bool) {
        let mut absent = 0;
        self.keys.retain(|peer, budget| {
            budget.expire(now);
            absent += usize::from(!here(peer));
            !budget.is_full(now) && (here(peer) || absent <= ABSENT_KEYS)
        });
    }

    /// How many keys have used some of theirs.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Has nobody?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
