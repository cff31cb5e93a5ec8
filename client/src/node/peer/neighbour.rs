//! The contact as a neighbour on our LAN: when it is called, and what follows when the two have met there.

use std::time::{Duration, Instant};

use common::candidate::Contents;
use common::introduction::IntroductionId;
use common::path::purse::INTRODUCTIONS;
use common::path::{self, Agent};
use common::session::Route;

use super::Peer;
use super::live::Live;
use crate::node::api::Introducer;
use crate::node::attempt::{Circumstances, Side};
use crate::node::home::Home;

/// How long the rendezvous is not asked for somebody whom we have met on the LAN. A path there takes milliseconds; two that
/// are punched at once would only be one too many.
const HEAD_START: Duration = Duration::from_millis(500);
/// For so long the other one may not have heard that an introduction has begun.
const CROSSING: Duration = Duration::from_secs(1);

impl Peer {
    /// Would we call it, if it is on our LAN? Not if a path is punched, nor if one stands, unless that is to be replaced.
    pub(in crate::node) fn wants_neighbour(&self, anyway: bool) -> bool {
        let direct = self.standing.is_some() || self.lines.stands(Route::Direct);
        self.wanted && self.punching.is_none() && (anyway || !direct)
    }

    /// Is a path punched for which the rendezvous has introduced us?
    pub(in crate::node) fn punches_for_rendezvous(&self) -> bool {
        self.punching.as_ref().is_some_and(|live| live.by == Introducer::Rendezvous)
    }

    /// The introduction on the LAN that has just begun.
    pub(in crate::node) fn meets_neighbour(&self, now: Instant) -> Option<IntroductionId> {
        self.met_since(CROSSING, now).map(|live| live.introduction)
    }

    /// Until when the rendezvous is not asked, because the two are about to meet on the LAN.
    pub(super) fn neighbours_head_start(&self, now: Instant) -> Option<Instant> {
        self.met_since(HEAD_START, now).map(|live| live.born + HEAD_START)
    }

    fn met_since(&self, span: Duration, now: Instant) -> Option<&Live> {
        self.punching.as_ref().filter(|live| live.by == Introducer::Lan && now < live.born + span)
    }

    /// A path on the LAN needs no rendezvous, and is none the worse for an outage of it. If we have moved it may be gone.
    pub(super) fn stays_on_lan(&self, home: &Home) -> bool {
        let met_here = self.standing.as_ref().is_some_and(|live| live.by == Introducer::Lan);
        met_here && !home.moved
    }

    /// The two have each other's host candidates: punch, as after an introduction by the rendezvous. What else stands in the box
    /// would count only at an address at which the rendezvous sees the peer.
    pub(in crate::node) fn met_neighbour(
        &mut self,
        introduction: IntroductionId,
        contents: Contents,
        requested: bool,
        now: Instant,
        home: &mut Home,
    ) {
        if !self.introductions.take(INTRODUCTIONS, now) {
            tracing::debug!("met more often than anybody needs");
            return;
        }
        let config = path::Config {
            introduction,
            own_reflexive: home.own_reflexive(),
            keepalive: self.standing.as_ref().map_or(self.keepalive, |live| live.agent.keepalive()),
            guessing: None,
        };
        let own = Side { seen_at: home.observed, profile: home.profile };
        let circumstances = Circumstances { by: Introducer::Lan, requested, own, peer: Side::default() };
        let mut live = Live::new(introduction, circumstances, Agent::new(config, &self.pairing, now), now);
        live.learn(Contents::hosts(contents.addresses), &[], now);
        self.punch(live, requested, now, home);
    }
}
