//! One contact, as the network sees it: from "wanted" over an introduction and a punched path to a session, and back.
//!
//! Two agents may live side by side: the one of the *standing* path, and one that is *punching* after a newer
//! introduction. The newer one takes over when it has got through, not before, so that a failed attempt costs nothing.
//! The side with the lower [`PeerId`] dials. Of two sessions the dialler closes the older; the acceptor closes only
//! those of earlier introductions, because the two may see them come up in different orders.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::{Candidate, CandidateKind, canonical, unpack};
use common::identity::PeerId;
use common::introduction::{Introduce, Introduction, IntroductionId, Role, ToServer, Trickle};
use common::pairing::Pairing;
use common::path::keepalive::Keepalive;
use common::path::{self, Agent, Command, Received};
use common::session::PeerFrame;
use quinn::{Connection, Incoming};
use tokio::sync::mpsc;

use super::api::{NodeEvent, Party, SessionId};
use super::resources::{Resources, request_context, trickle_context};
use super::session::{Bye, Outgoing, remote_of};

/// An introduction takes one round trip to the server; a server that does not answer in this time has lost it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The dialler's handshake timeout and one second.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Handshakes at a time that may come from the addresses of one peer.
const MAX_SESSIONS: usize = 4;
/// Pauses between attempts to reach a wanted peer, in milliseconds; the last one repeats. Somebody who is offline is
/// asked for a few times a minute: the server allows it, and who comes online is met within five seconds.
const PAUSES: [u64; 6] = [500, 1000, 2000, 3000, 5000, 5000];
/// The round trip assumed for the first retransmission of a handshake that begins before a probe was answered.
const UNMEASURED: Duration = Duration::from_millis(100);
/// After a wrong key: nothing that a quick repetition would mend.
const UNTRUSTED_PAUSE: Duration = Duration::from_secs(30);

/// An agent and the introduction it acts on.
struct Live {
    introduction: IntroductionId,
    agent: Agent,
}

/// A session, in its handshake as long as it has no connection.
struct Line {
    introduction: IntroductionId,
    /// Where it was dialled, or came from.
    remote: SocketAddr,
    outgoing: mpsc::Sender<Outgoing>,
    connection: Option<Connection>,
    /// Why we have closed it ourselves.
    closed: Option<&'static str>,
}

pub(super) struct Peer {
    id: PeerId,
    pairing: Pairing,
    wanted: bool,
    request: Option<(u32, Instant)>,
    next_try: Option<Instant>,
    failures: usize,
    punching: Option<Live>,
    standing: Option<Live>,
    /// Until when the dialler must have dialled.
    awaiting_session: Option<Instant>,
    lines: BTreeMap<SessionId, Line>,
    current: Option<SessionId>,
    keepalive: Keepalive,
}

impl Peer {
    pub(super) fn new(pairing: Pairing) -> Self {
        Peer {
            id: pairing.peer(),
            pairing,
            wanted: false,
            request: None,
            next_try: None,
            failures: 0,
            punching: None,
            standing: None,
            awaiting_session: None,
            lines: BTreeMap::new(),
            current: None,
            keepalive: Keepalive::default(),
        }
    }

    pub(super) fn pairing(&self) -> &Pairing {
        &self.pairing
    }

    pub(super) fn want(&mut self, now: Instant, node: &mut Resources) {
        if !self.wanted {
            (self.wanted, self.failures, self.next_try) = (true, 0, Some(now));
        }
        self.pursue(now, node);
    }

    /// Closes everything, each session after its last words.
    pub(super) fn unwant(&mut self, bye: Bye) {
        self.wanted = false;
        (self.request, self.punching, self.standing) = (None, None, None);
        for line in self.lines.values() {
            if line.outgoing.try_send(Outgoing::Close(bye)).is_err() {
                line.connection.iter().for_each(|connection| bye.close(connection));
            }
        }
    }

    /// Sessions that stand.
    pub(super) fn sessions(&self) -> usize {
        self.lines.values().filter(|line| line.connection.is_some()).count()
    }

    /// Asks for an introduction if it is time and there is nothing under way.
    pub(super) fn pursue(&mut self, now: Instant, node: &mut Resources) {
        if !self.wanted || self.busy() || self.next_try.is_some_and(|at| now < at) {
            return;
        }
        // Without a rendezvous there is nothing to wait for but its return, which asks again.
        self.next_try = None;
        if !node.connected {
            return;
        }
        let request = node.number_request();
        let rendezvous = node.config.rendezvous.key;
        let introduce = Introduce {
            request,
            peer: self.id,
            capability: self.pairing.capability(rendezvous),
            sealed: node.sealed_candidates(&self.pairing, &request_context(rendezvous)),
            envelope: Vec::new(),
        };
        if node.ask(ToServer::Introduce(introduce)) {
            self.request = Some((request, now + REQUEST_TIMEOUT));
        } else {
            self.failed(now);
        }
    }

    /// The connection to the rendezvous is new: what was asked over the old one is not answered any more.
    pub(super) fn forget_request(&mut self, now: Instant) {
        if self.request.take().is_some() {
            self.next_try = Some(now);
        }
    }

    /// Is something on its way, or there?
    fn busy(&self) -> bool {
        self.request.is_some() || self.punching.is_some() || self.standing.is_some() || self.current.is_some()
    }

    fn failed(&mut self, now: Instant) {
        let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
        self.failures += 1;
        self.next_try = Some(now + Duration::from_millis(pause));
    }

    pub(super) fn is_request(&self, request: u32) -> bool {
        self.request.is_some_and(|(own, _)| own == request)
    }

    pub(super) fn refused(&mut self, now: Instant, node: &mut Resources) {
        self.request = None;
        self.failed(now);
        node.emit(NodeEvent::Refused { peer: self.id });
    }

    /// The rendezvous has introduced us: punch.
    pub(super) fn introduced(&mut self, introduction: Introduction, now: Instant, node: &mut Resources) {
        let requested = matches!(introduction.role, Role::Requester { request } if self.is_request(request));
        // An introduction that the peer asked for serves our own request as well.
        self.request = None;
        let config = path::Config {
            introduction: introduction.id,
            own_reflexive: node.own_reflexive(),
            keepalive: self.standing.as_ref().map_or(self.keepalive, |live| live.agent.keepalive()),
        };
        let mut agent = Agent::new(config, &self.pairing, now);
        let reflexive =
            introduction.addresses.iter().map(|a| Candidate { kind: CandidateKind::ServerReflexive, address: *a });
        let hosts = self.open_candidates(&request_context(node.config.rendezvous.key), &introduction.sealed);
        agent.handle_command(Command::AddCandidates(hosts.into_iter().chain(reflexive).collect()), now);
        node.emit(NodeEvent::Introduced { peer: self.id, requested, addresses: agent.candidates().collect() });
        self.punching = Some(Live { introduction: introduction.id, agent });
        if introduction.role == Role::Responder {
            let sealed = node.sealed_candidates(&self.pairing, &trickle_context(introduction.id));
            node.ask(ToServer::Trickle(Trickle { introduction: introduction.id, sealed }));
        }
        self.after_agents(now, node);
    }

    /// More of the peer's candidates.
    pub(super) fn trickled(&mut self, trickle: &Trickle, now: Instant, node: &mut Resources) {
        let hosts = self.open_candidates(&trickle_context(trickle.introduction), &trickle.sealed);
        if let Some(live) = self.agents_mut().find(|live| live.introduction == trickle.introduction) {
            live.agent.handle_command(Command::AddCandidates(hosts), now);
        }
        self.after_agents(now, node);
    }

    /// Is this introduction being acted on?
    pub(super) fn acts_on(&self, introduction: IntroductionId) -> bool {
        self.agents().any(|live| live.introduction == introduction)
    }

    fn agents(&self) -> impl Iterator<Item = &Live> {
        self.punching.iter().chain(&self.standing)
    }

    fn agents_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.punching.iter_mut().chain(&mut self.standing)
    }

    fn open_candidates(&self, context: &[u8], sealed: &[u8]) -> Vec<Candidate> {
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
    pub(super) fn stun(&mut self, received: Received<'_>, now: Instant, node: &mut Resources) -> bool {
        let mine = self.agents_mut().any(|live| live.agent.handle_datagram(received, now));
        if mine {
            self.after_agents(now, node);
        }
        mine
    }

    pub(super) fn verify(&mut self, now: Instant, node: &mut Resources) {
        if let Some(live) = &mut self.standing {
            live.agent.handle_command(Command::Verify, now);
        }
        self.after_agents(now, node);
    }

    /// When [`Peer::timeout`] has something to do.
    pub(super) fn wakeup(&self) -> Option<Instant> {
        let agents = self.agents().filter_map(|live| live.agent.poll_wakeup()).map(|wakeup| wakeup.at);
        let next_try = self.next_try.filter(|_| self.wanted && !self.busy());
        agents.chain(next_try).chain(self.request.map(|(_, until)| until)).chain(self.awaiting_session).min()
    }

    pub(super) fn timeout(&mut self, now: Instant, node: &mut Resources) {
        for live in self.agents_mut() {
            live.agent.handle_timeout(now);
        }
        if self.request.is_some_and(|(_, until)| now >= until) {
            self.request = None;
            self.failed(now);
        }
        if self.awaiting_session.is_some_and(|until| now >= until) {
            self.awaiting_session = None;
            self.no_session(now, node);
        }
        self.after_agents(now, node);
        self.pursue(now, node);
    }

    /// Sends what the agents want sent and acts on what they have found out.
    fn after_agents(&mut self, now: Instant, node: &mut Resources) {
        for live in self.agents_mut() {
            while let Some(transmit) = live.agent.poll_transmit() {
                node.socket.send(transmit.destination, &transmit.payload);
            }
        }
        while let Some(event) = self.punching.as_mut().and_then(|live| live.agent.poll_event()) {
            self.punching_event(event, now, node);
        }
        while let Some(event) = self.standing.as_mut().and_then(|live| live.agent.poll_event()) {
            self.standing_event(event, node);
        }
    }

    fn punching_event(&mut self, event: path::Event, now: Instant, node: &mut Resources) {
        if let path::Event::Heard { remote } = event {
            // Nothing is measured yet; the handshake measures.
            if let Some(introduction) =
                self.punching.as_ref().map(|live| live.introduction).filter(|_| self.dials(node))
            {
                self.dial(introduction, remote, UNMEASURED, node);
            }
            return;
        }
        let Some(live) = self.punching.take() else { return };
        match event {
            path::Event::Punched { remote, rtt, after } => {
                let introduction = live.introduction;
                self.standing = Some(live);
                node.emit(NodeEvent::Punched { peer: self.id, remote: remote.address, kind: remote.kind, rtt, after });
                let mut lines = self.lines.values().filter(|line| line.introduction == introduction);
                if self.dials(node) && !lines.any(|line| line.remote == remote.address) {
                    self.dial(introduction, remote.address, rtt, node);
                }
                if self
                    .current
                    .is_none_or(|id| self.lines.get(&id).is_none_or(|line| line.introduction != introduction))
                {
                    self.awaiting_session = Some(now + SESSION_TIMEOUT);
                }
            }
            path::Event::Failed => {
                node.emit(NodeEvent::NoPath { peer: self.id, tried: live.agent.candidates().collect() });
                self.failed(now);
            }
            path::Event::Heard { .. } | path::Event::Moved { .. } | path::Event::Lost => {}
        }
    }

    fn standing_event(&mut self, event: path::Event, node: &mut Resources) {
        match event {
            path::Event::Moved { remote, rtt } if self.dials(node) => {
                if let Some(introduction) = self.standing.as_ref().map(|live| live.introduction) {
                    self.dial(introduction, remote.address, rtt, node);
                }
            }
            path::Event::Lost => {
                if let Some(live) = self.standing.take() {
                    self.keepalive = live.agent.keepalive();
                    self.close_lost(live.introduction);
                }
            }
            _ => {}
        }
    }

    fn dials(&self, node: &Resources) -> bool {
        node.own_id < self.id
    }

    fn dial(&mut self, introduction: IntroductionId, remote: SocketAddr, rtt: Duration, node: &mut Resources) {
        if let Some((id, outgoing)) = node.dial(self.id, remote, rtt) {
            self.lines.insert(id, Line { introduction, remote, outgoing, connection: None, closed: None });
        }
    }

    /// Does this address belong to the peer, by its probes?
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.agents().any(|live| live.agent.knows(address))
    }

    /// Somebody dials from an address of this peer.
    pub(super) fn incoming(&mut self, incoming: Incoming, node: &mut Resources) {
        let handshakes = self.lines.values().filter(|line| line.connection.is_none()).count();
        let live = self.punching.as_ref().or(self.standing.as_ref());
        let Some(introduction) = live.map(|live| live.introduction).filter(|_| !self.dials(node)) else {
            return incoming.ignore();
        };
        if handshakes >= MAX_SESSIONS {
            return incoming.ignore();
        }
        let remote = canonical(incoming.remote_address());
        if let Some((id, outgoing)) = node.accept(self.id, incoming) {
            self.lines.insert(id, Line { introduction, remote, outgoing, connection: None, closed: None });
        }
    }

    /// A session stands.
    pub(super) fn up(&mut self, id: SessionId, connection: Connection, hello: PeerFrame, node: &mut Resources) {
        let Some(line) = self.lines.get_mut(&id) else { return Bye::Superseded.close(&connection) };
        line.connection = Some(connection.clone());
        let introduction = line.introduction;
        let dials = self.dials(node);
        (self.failures, self.awaiting_session, self.current) = (0, None, Some(id));
        for (other, line) in &self.lines {
            let older = if dials { *other < id } else { *other < id && line.introduction != introduction };
            if let Some(connection) = line.connection.as_ref().filter(|_| older) {
                Bye::Superseded.close(connection);
            }
        }
        let (remote, rtt) = (remote_of(&connection), connection.rtt());
        node.emit(NodeEvent::Direct { peer: self.id, session: id, remote, rtt });
        node.emit(NodeEvent::Frame { peer: self.id, frame: hello, rtt });
    }

    pub(super) fn frame(&mut self, id: SessionId, frame: PeerFrame, node: &mut Resources) {
        if let Some(connection) = self.lines.get(&id).and_then(|line| line.connection.as_ref()) {
            node.emit(NodeEvent::Frame { peer: self.id, frame, rtt: connection.rtt() });
        }
    }

    /// A session has ended, or its handshake has failed.
    pub(super) fn down(&mut self, id: SessionId, reason: String, by_peer: bool, now: Instant, node: &mut Resources) {
        let Some(line) = self.lines.remove(&id) else { return };
        if self.current == Some(id) {
            self.current = None;
            let other = self.lines.iter().rev().find_map(|(id, line)| Some((*id, line.connection.clone()?)));
            if let Some((other, connection)) = other.filter(|(_, connection)| connection.close_reason().is_none()) {
                self.current = Some(other);
                let (remote, rtt) = (remote_of(&connection), connection.rtt());
                node.emit(NodeEvent::Direct { peer: self.id, session: other, remote, rtt });
                return;
            }
            self.drop_standing(line.introduction);
            let reason = line.closed.map_or(reason, str::to_owned);
            node.emit(NodeEvent::Lost { peer: self.id, reason, by_peer });
            // A path that broke is mended at once; a peer that stopped is given time to come back.
            self.next_try = Some(now);
            if by_peer {
                self.failed(now);
            }
        } else if line.connection.is_none() && self.current.is_none() && self.dials(node) {
            tracing::debug!(%reason, "no session over the punched path");
            self.no_session(now, node);
        }
        self.pursue(now, node);
    }

    pub(super) fn untrusted(&mut self, id: SessionId, seen: PeerId, now: Instant, node: &mut Resources) {
        if let Some(line) = self.lines.remove(&id) {
            self.drop_standing(line.introduction);
            self.next_try = Some(now + UNTRUSTED_PAUSE);
            node.emit(NodeEvent::Untrusted { expected: Party::Peer(self.id), seen });
        }
    }

    /// A path, but nobody at its end who speaks QUIC with us.
    fn no_session(&mut self, now: Instant, node: &mut Resources) {
        if self.current.is_none()
            && let Some(live) = self.standing.take()
        {
            self.awaiting_session = None;
            node.emit(NodeEvent::NoPath { peer: self.id, tried: live.agent.candidates().collect() });
            self.failed(now);
        }
    }

    fn drop_standing(&mut self, introduction: IntroductionId) {
        if let Some(live) = self.standing.take_if(|live| live.introduction == introduction) {
            self.keepalive = live.agent.keepalive();
            self.awaiting_session = None;
        }
    }

    fn close_lost(&mut self, introduction: IntroductionId) {
        for line in self.lines.values_mut().filter(|line| line.introduction == introduction) {
            line.closed = Some("the path fell silent");
            line.connection.iter().for_each(|connection| Bye::PathLost.close(connection));
        }
    }

    /// Gives a frame to the session, if it is still the current one.
    pub(super) fn send(&mut self, session: SessionId, frame: PeerFrame) {
        let Some(line) = self.lines.get(&session).filter(|_| self.current == Some(session)) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = line.outgoing.try_send(Outgoing::Frame(frame)) {
            line.connection.iter().for_each(|connection| Bye::Slow.close(connection));
        }
    }
}
