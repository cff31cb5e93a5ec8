//! The introductions under way: into which candidates can still be trickled, by whom, and how many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use common::identity::PeerId;
use common::introduction::IntroductionId;

use crate::limits::{INTRODUCTION_LIFETIME, INTRODUCTIONS_OF_ONE_KEY, INTRODUCTIONS_REMEMBERED, LETTERS, TRICKLES};
use crate::memory::Classes;

#[derive(Debug, Clone, Copy)]
struct Party {
    peer: PeerId,
    trickles_left: u8,
    letters_left: u8,
    reports_left: u8,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    parties: [Party; 2],
    /// What kind of NATs they are behind, if it matters how this ends.
    classes: Option<Classes>,
    expires: Instant,
}

/// All introductions that are remembered, each for [`INTRODUCTION_LIFETIME`].
#[derive(Debug, Default)]
pub struct Introductions {
    live: BTreeMap<IntroductionId, Live>,
    /// In the order of expiry, which is the order of arrival.
    by_age: BTreeSet<(Instant, IntroductionId)>,
    /// The introductions that a key asked for, oldest first.
    by_requester: BTreeMap<PeerId, VecDeque<IntroductionId>>,
}

impl Introductions {
    /// Remembers an introduction. False if there is one of this id already: draw another.
    pub fn add(
        &mut self,
        id: IntroductionId,
        [requester, responder]: [PeerId; 2],
        classes: Option<Classes>,
        now: Instant,
    ) -> bool {
        if self.live.contains_key(&id) {
            return false;
        }
        let own = self.by_requester.entry(requester).or_default();
        let oldest_of_key = if own.len() >= INTRODUCTIONS_OF_ONE_KEY { own.front().copied() } else { None };
        own.push_back(id);
        if let Some(oldest) = oldest_of_key {
            self.forget(oldest);
        }
        if self.live.len() >= INTRODUCTIONS_REMEMBERED
            && let Some(&(_, oldest)) = self.by_age.first()
        {
            self.forget(oldest);
        }
        let expires = now + INTRODUCTION_LIFETIME;
        let party = |peer| Party { peer, trickles_left: TRICKLES, letters_left: LETTERS, reports_left: 1 };
        let parties = [requester, responder].map(party);
        self.live.insert(id, Live { parties, classes, expires });
        self.by_age.insert((expires, id));
        true
    }

    /// `from` sends candidates into this introduction: to whom they go, or `None` if they go nowhere.
    pub fn trickle(&mut self, id: IntroductionId, from: PeerId, now: Instant) -> Option<PeerId> {
        self.pass(id, from, now, |party| &mut party.trickles_left)
    }

    /// The same for an envelope.
    pub fn letter(&mut self, id: IntroductionId, from: PeerId, now: Instant) -> Option<PeerId> {
        self.pass(id, from, now, |party| &mut party.letters_left)
    }

    /// `from` says how it ended: between which kinds of NATs, if that is to be counted.
    pub fn outcome(&mut self, id: IntroductionId, from: PeerId, now: Instant) -> Option<Classes> {
        self.pass(id, from, now, |party| &mut party.reports_left)?;
        self.live.get(&id)?.classes
    }

    fn pass(
        &mut self,
        id: IntroductionId,
        from: PeerId,
        now: Instant,
        left: impl Fn(&mut Party) -> &mut u8,
    ) -> Option<PeerId> {
        let live = self.live.get_mut(&id).filter(|live| now < live.expires)?;
        let at = live.parties.iter().position(|party| party.peer == from)?;
        let left = left(&mut live.parties[at]);
        *left = left.checked_sub(1)?;
        Some(live.parties[1 - at].peer)
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(expires, id)) = self.by_age.first()
            && expires <= now
        {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: IntroductionId) {
        let Some(live) = self.live.remove(&id) else { return };
        self.by_age.remove(&(live.expires, id));
        let requester = live.parties[0].peer;
        if let Some(own) = self.by_requester.get_mut(&requester) {
            // Almost always the first: both lists are in the order of arrival.
            if let Some(at) = own.iter().position(|other| *other == id) {
                own.remove(at);
            }
            if own.is_empty() {
                self.by_requester.remove(&requester);
            }
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}
