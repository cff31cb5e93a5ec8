//! The direct half of a peer: its agents, what they have found out, and what follows for its connections.

use std::time::{Duration, Instant};

use common::candidate::{Candidate, CandidateKind, unpack};
use common::introduction::{IntroductionId, Trickle};
use common::path::{self, Agent, Command, Received};
use common::session::Route;

use super::Peer;
use crate::node::api::NodeEvent;
use crate::node::home::{Home, trickle_context};
use crate::node::lines::Way;
use crate::node::output::Output;

/// The dialler's handshake timeout and one second.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// How often a silent relay makes us ask the rendezvous. Each time both sides punch anew, too.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(2);

/// An agent and the introduction it acts on.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) introduction: IntroductionId,
    pub(super) agent: Agent,
}

impl Live {
    pub(super) fn way(&self) -> Way {
        Way::Punched(self.introduction)
    }
}

impl Peer {
    /// More of the peer's candidates.
    pub(in crate::node) fn trickled(&mut self, trickle: &Trickle, now: Instant, home: &mut Home) {
        let hosts = self.open_candidates(&trickle_context(trickle.introduction), &trickle.sealed);
        if let Some(live) = self.agents_mut().find(|live| live.introduction == trickle.introduction) {
            live.agent.handle_command(Command::AddCandidates(hosts), now);
        }
        self.after_agents(now, home);
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &Live> {
        self.punching.iter().chain(&self.standing)
    }

    pub(super) fn agents_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.punching.iter_mut().chain(&mut self.standing)
    }

    pub(super) fn open_candidates(&self, context: &[u8], sealed: &[u8]) -> Vec<Candidate> {
        if sealed.is_empty() {
            return Vec::new();
        }
        let opened = self.pairing.open(context, sealed).ok().and_then(|plain| unpack(&plain).ok());
        let addresses = opened.unwrap_or_else(|| {
            tracing::debug!("host candidates that do not open: made for another introduction, or by the server");
            Vec::new()
        });
        addresses.into_iter().map(|address| Candidate { kind: CandidateKind::Host, address }).collect()
    }

    /// Takes a STUN datagram; `false` if it is not this peer's.
    pub(in crate::node) fn stun(&mut self, received: Received<'_>, now: Instant, home: &mut Home) -> bool {
        let mine = self.agents_mut().any(|live| live.agent.handle_datagram(received, now));
        if mine {
            self.after_agents(now, home);
        }
        mine
    }

    /// Is this route alive? The path machine finds out about the direct one. Of the relay only the rendezvous knows: if it
    /// was restarted it does not know our connection, and says so to whatever we ask; if it has ended the channel, it
    /// gives us another, or refuses.
    pub(in crate::node) fn verify(&mut self, route: Route, now: Instant, home: &mut Home) {
        match (route, &mut self.standing) {
            (Route::Direct, Some(live)) => live.agent.handle_command(Command::Verify, now),
            (Route::Direct, None) => {}
            (Route::Relayed, _) => {
                let lately = self.asked.is_some_and(|at| now < at + BETWEEN_DOUBTS);
                if self.request.is_none() && !lately {
                    self.introduce(now, home);
                }
            }
        }
        self.after_agents(now, home);
    }

    /// Sends what the agents want sent and acts on what they have found out.
    pub(super) fn after_agents(&mut self, now: Instant, home: &mut Home) {
        for live in self.agents_mut() {
            while let Some(transmit) = live.agent.poll_transmit() {
                home.output(Output::Transmit { destination: transmit.destination, payload: transmit.payload });
            }
        }
        while let Some(event) = self.punching.as_mut().and_then(|live| live.agent.poll_event()) {
            self.punching_event(event, now, home);
        }
        while let Some(event) = self.standing.as_mut().and_then(|live| live.agent.poll_event()) {
            self.standing_event(event, home);
        }
    }

    fn punching_event(&mut self, event: path::Event, now: Instant, home: &mut Home) {
        if let path::Event::Heard { remote } = event {
            // Nothing is measured yet; the handshake measures.
            if let Some(way) = self.punching.as_ref().map(Live::way).filter(|_| self.dials(home)) {
                self.dial(way, remote, self.expected_rtt(Route::Direct, home), home);
            }
            return;
        }
        let Some(live) = self.punching.take() else { return };
        match event {
            path::Event::Punched { remote, rtt, after } => {
                let way = live.way();
                self.measured = Some(rtt);
                self.standing = Some(live);
                home.tell(NodeEvent::Punched { peer: self.id, remote: remote.address, kind: remote.kind, rtt, after });
                if self.dials(home) && !self.lines.contains(way, remote.address) {
                    self.dial(way, remote.address, rtt, home);
                }
                if self.lines.way(Route::Direct) != Some(way) {
                    self.awaiting_session = Some(now + SESSION_TIMEOUT);
                }
            }
            path::Event::Failed => {
                home.tell(NodeEvent::NoPath { peer: self.id, tried: live.agent.candidates().collect() });
                self.failed(now);
            }
            path::Event::Heard { .. } | path::Event::Moved { .. } | path::Event::Lost => {}
        }
    }

    fn standing_event(&mut self, event: path::Event, home: &mut Home) {
        match event {
            path::Event::Moved { remote, rtt } if self.dials(home) => {
                if let Some(way) = self.standing.as_ref().map(Live::way) {
                    self.dial(way, remote.address, rtt, home);
                }
            }
            path::Event::Lost => {
                if let Some(live) = self.standing.take() {
                    self.keepalive = live.agent.keepalive();
                    self.lines.close(live.way(), "the path fell silent", home);
                }
            }
            _ => {}
        }
    }

    /// What a handshake should expect of a round trip.
    pub(super) fn expected_rtt(&self, route: Route, home: &Home) -> Duration {
        self.measured.filter(|_| route == Route::Direct).unwrap_or_else(|| home.expected_rtt(route))
    }

    /// A path, but nobody at its end who speaks QUIC with us.
    pub(super) fn no_session(&mut self, now: Instant, home: &mut Home) {
        if !self.lines.stands(Route::Direct)
            && let Some(live) = self.standing.take()
        {
            self.awaiting_session = None;
            home.tell(NodeEvent::NoPath { peer: self.id, tried: live.agent.candidates().collect() });
            self.failed(now);
        }
    }

    pub(super) fn drop_standing(&mut self, introduction: IntroductionId) {
        if let Some(live) = self.standing.take_if(|live| live.introduction == introduction) {
            self.keepalive = live.agent.keepalive();
            self.awaiting_session = None;
        }
    }
}
