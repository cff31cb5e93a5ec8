//! How many introductions each key has left. Kept by key, not by connection, so that coming back does not refill.

use std::collections::BTreeMap;
use std::time::Instant;

use common::identity::PeerId;
use common::introduction::MAX_CAPABILITIES;
use common::pairing::Capability;

use crate::limits::{ABSENT_KEYS, Bucket, INTRODUCTIONS, INTRODUCTIONS_TO_ONE};

/// What a request for an introduction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Go on.
    Within,
    /// This contact was asked for too often: refuse.
    TooOftenToOne,
    /// This key asks too much at all.
    TooOften,
}

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
    /// `peer` asks for an introduction under this capability. Looks at nothing but what `peer` itself did: whether the
    /// other one exists must not show here.
    pub fn spend(&mut self, peer: PeerId, capability: Capability, now: Instant) -> Spent {
        let budget = self.keys.entry(peer).or_default();
        if !budget.all.take(INTRODUCTIONS, now) {
            return Spent::TooOften;
        }
        if budget.to_one.len() >= 2 * MAX_CAPABILITIES {
            budget.expire(now);
            if budget.to_one.len() >= 2 * MAX_CAPABILITIES {
                return Spent::TooOftenToOne;
            }
        }
        let bucket = budget.to_one.entry(capability).or_default();
        if bucket.take(INTRODUCTIONS_TO_ONE, now) { Spent::Within } else { Spent::TooOftenToOne }
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
