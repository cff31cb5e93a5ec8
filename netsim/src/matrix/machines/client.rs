//! A client as far as meeting goes: it registers, is introduced, and punches with `common`'s own machine.
//!
//! What is left out of the real one is QUIC. Its frames to the rendezvous travel in datagrams of their own, which come
//! from the same socket and so make the same mapping. In place of a session there is one datagram, the first message: sent
//! as soon as the path is there.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::candidate::{Candidate, CandidateKind, Contents, pack, unpack};
use common::identity::PeerId;
use common::introduction::{
    FromServer, Introduce, Introduction, IntroductionId, MAX_CONTROL_FRAME, Register, Registered, Role, StrategyCode,
    ToServer, Trickle,
};
use common::nat::NatProfile;
use common::pairing::Pairing;
use common::path::keepalive::Keepalive;
use common::path::{Agent, Base, Command, Config, Event, Guessing, Received, Report, Request};
use common::wire::{self, FrameReader};

use crate::model::Addresses;
use crate::virtual_net::{Datagram, Endpoint};

/// The first frame is repeated until it is answered.
const REGISTER_AGAIN: Duration = Duration::from_millis(500);
/// What host candidates are sealed for; the client's real contexts name the introduction, which makes no difference to
/// a network.
const CONTEXT: &[u8] = b"matrix";
/// The first message. It begins as nothing of the punching machine's does: STUN's first two bits are zero.
const MESSAGE: &[u8] = b"\xffhello";

/// More than an agent opens, one after the other.
const PORTS_OF_AGENT: u16 = 2048;

/// Who a client is and whom it may meet.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) own: PeerId,
    pub(super) pairing: Arc<Pairing>,
    pub(super) rendezvous: PeerId,
}

/// What became of an introduction, for one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Waiting,
    Punching,
    Direct { at: Instant },
    NoPath,
}

/// A client on a host.
#[derive(Debug)]
pub(super) struct Client {
    identity: Identity,
    addresses: Addresses,
    port: u16,
    server: SocketAddr,
    profile: NatProfile,
    registered: Option<Registered>,
    register: Option<Instant>,
    introduction: Option<IntroductionId>,
    agent: Option<Agent>,
    /// Sockets of this agent besides the main one.
    open: BTreeSet<Base>,
    /// Agents so far: each has sockets, hence ports, of its own.
    agents: u16,
    outbox: VecDeque<Datagram>,
    pub(super) outcome: Outcome,
    /// When the other's first message was here.
    pub(super) heard: Option<Instant>,
    /// Datagrams of the punching machine.
    pub(super) packets: u32,
    /// The most sockets that were open at a time, the main one not counted.
    pub(super) sockets: usize,
    /// How often it was woken.
    pub(super) wakeups: u32,
    /// The path, and the messages that were heard.
    path: Option<(Base, SocketAddr)>,
    pub(super) messages: u32,
}

impl Client {
    pub(super) fn new(
        identity: Identity,
        addresses: Addresses,
        port: u16,
        server: SocketAddr,
        profile: NatProfile,
        now: Instant,
    ) -> Self {
        Client {
            identity,
            addresses,
            port,
            server,
            profile,
            registered: None,
            register: Some(now),
            introduction: None,
            agent: None,
            open: BTreeSet::new(),
            agents: 0,
            outbox: VecDeque::new(),
            outcome: Outcome::Waiting,
            heard: None,
            packets: 0,
            sockets: 0,
            wakeups: 0,
            path: None,
            messages: 0,
        }
    }

    /// Says one more thing over the path.
    #[cfg(test)]
    pub(super) fn speak(&mut self) {
        if let Some((base, remote)) = self.path {
            self.post(base, remote, MESSAGE.to_vec());
        }
    }

    /// Sockets that are open now, the main one not counted.
    #[cfg(test)]
    pub(super) fn open_sockets(&self) -> usize {
        self.open.len()
    }

    /// Its network has changed, or its last attempt came to nothing: it registers anew.
    #[cfg(test)]
    pub(super) fn start_over(&mut self, now: Instant) {
        self.registered = None;
        self.register = Some(now);
        self.agent = None;
        self.open.clear();
        (self.outcome, self.heard) = (Outcome::Waiting, None);
    }

    /// What was tried, and why it is over.
    pub(super) fn report(&self) -> Option<Report> {
        self.agent.as_ref().map(Agent::report)
    }

    pub(super) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Asks for the other one.
    pub(super) fn ask(&mut self) {
        let Identity { pairing, rendezvous, .. } = &self.identity;
        let (peer, capability) = (pairing.peer(), pairing.capability(*rendezvous));
        let (sealed, envelope) = (self.sealed(), Vec::new());
        self.tell(&ToServer::Introduce(Introduce { request: 1, peer, capability, sealed, envelope }));
    }

    fn sealed(&self) -> Vec<u8> {
        let own = self.addresses.iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        self.seal(Contents::hosts(own))
    }

    fn seal(&self, contents: Contents) -> Vec<u8> {
        // Nothing here is secret, so the nonce may be the same each time; a run must be.
        self.identity.pairing.seal(CONTEXT, &pack(contents), [0; 24])
    }

    fn open(&self, sealed: &[u8]) -> Contents {
        let opened = self.identity.pairing.open(CONTEXT, sealed).ok().and_then(|plain| unpack(&plain).ok());
        opened.unwrap_or_default()
    }

    fn tell(&mut self, message: &ToServer) {
        let mut payload = self.identity.own.as_bytes().to_vec();
        payload.extend(wire::encode(message, MAX_CONTROL_FRAME).unwrap_or_default());
        self.post(Base::MAIN, self.server, payload);
    }

    /// By the version of IP that the destination has.
    fn post(&mut self, base: Base, destination: SocketAddr, payload: Vec<u8>) {
        if let Some(own) = self.addresses.of_family(destination.ip()) {
            let source = SocketAddr::new(own, self.port_of(base));
            self.outbox.push_back(Datagram { source, destination, payload });
        }
    }

    fn port_of(&self, base: Base) -> u16 {
        if base == Base::MAIN { self.port } else { self.port.wrapping_add(self.agents * PORTS_OF_AGENT + base.0) }
    }

    /// The open socket of this port.
    fn base_at(&self, port: u16) -> Option<Base> {
        if port == self.port {
            return Some(Base::MAIN);
        }
        let base = Base(port.checked_sub(self.port)?.checked_sub(self.agents * PORTS_OF_AGENT)?);
        self.open.contains(&base).then_some(base)
    }

    fn heard_from_server(&mut self, payload: &[u8], now: Instant) {
        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
        reader.push(payload);
        match reader.poll() {
            Ok(Some(FromServer::Registered(registered))) => {
                self.registered = Some(registered);
                self.register = None;
            }
            Ok(Some(FromServer::Introduction(introduction))) => self.introduced(introduction, now),
            Ok(Some(FromServer::Trickle(trickle))) => {
                let Contents { addresses, prediction, .. } = self.open(&trickle.sealed);
                if let Some(agent) = &mut self.agent {
                    agent.handle_command(Command::AddCandidates(hosts(addresses)), now);
                    if let Some(prediction) = prediction {
                        agent.handle_command(Command::Predict(prediction), now);
                    }
                }
            }
            _ => {}
        }
    }

    /// As the client does: host candidates first, and the responder's own follow by trickling.
    fn introduced(&mut self, introduction: Introduction, now: Instant) {
        let seed = introduction.id.to_bytes().repeat(4).try_into().unwrap_or_default();
        let guessing =
            self.registered.as_ref().zip(introduction.addresses.first()).map(|(registered, peer)| Guessing {
                server: self.server,
                endpoints: registered.stun,
                observed: registered.observed,
                peer: *peer,
                profile: self.profile,
                peer_profile: introduction.profile,
                birthday: true,
                hint: introduction.hint.and_then(StrategyCode::known),
                seed,
            });
        let own_reflexive = self.registered.as_ref().map(|registered| registered.observed.ip());
        let keepalive = Keepalive::default();
        let config = Config { introduction: introduction.id, own_reflexive, keepalive, guessing };
        let mut agent = Agent::new(config, &self.identity.pairing, now);
        let reflexive = |address: &SocketAddr| Candidate { kind: CandidateKind::ServerReflexive, address: *address };
        let mut candidates = hosts(self.open(&introduction.sealed).addresses);
        candidates.extend(introduction.addresses.iter().map(reflexive));
        agent.handle_command(Command::AddCandidates(candidates), now);
        self.agent = Some(agent);
        self.agents += 1;
        self.introduction = Some(introduction.id);
        self.outcome = Outcome::Punching;
        if introduction.role == Role::Responder {
            self.tell(&ToServer::Trickle(Trickle { introduction: introduction.id, sealed: self.sealed() }));
        }
    }

    fn after_agent(&mut self, now: Instant) {
        let Some(mut agent) = self.agent.take() else { return };
        while let Some(request) = agent.poll_request() {
            match request {
                Request::Open(base) => {
                    self.open.insert(base);
                    self.sockets = self.sockets.max(self.open.len());
                    agent.handle_command(Command::Opened(base, self.port_of(base)), now);
                }
                Request::Close(base) => {
                    self.open.remove(&base);
                }
                Request::Trickle(prediction) => {
                    let sealed = self.seal(prediction.into());
                    if let Some(introduction) = self.introduction {
                        self.tell(&ToServer::Trickle(Trickle { introduction, sealed }));
                    }
                }
                Request::BirthdayWanted => agent.handle_command(Command::GrantBirthday, now),
                Request::BirthdayOver => {}
            }
        }
        while let Some(transmit) = agent.poll_transmit() {
            self.packets += 1;
            self.post(transmit.base, transmit.destination, transmit.payload);
        }
        while let Some(event) = agent.poll_event() {
            match event {
                Event::Punched { base, remote, .. } => {
                    self.outcome = Outcome::Direct { at: now };
                    self.path = Some((base, remote.address));
                    self.post(base, remote.address, MESSAGE.to_vec());
                }
                Event::Moved { base, remote, .. } => {
                    self.path = Some((base, remote.address));
                    self.post(base, remote.address, MESSAGE.to_vec());
                }
                Event::Failed(_) | Event::Lost => self.outcome = Outcome::NoPath,
                Event::Heard { .. } => {}
            }
        }
        self.agent = Some(agent);
    }
}

fn hosts(addresses: Vec<SocketAddr>) -> Vec<Candidate> {
    addresses.into_iter().map(|address| Candidate { kind: CandidateKind::Host, address }).collect()
}

impl Endpoint for Client {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        let Datagram { source, destination, payload } = datagram;
        let Some(base) = self.base_at(destination.port()) else { return };
        if payload == MESSAGE {
            self.heard.get_or_insert(now);
            self.messages += 1;
        } else if common::datagram::classify(&payload) == common::datagram::Kind::Stun {
            if let Some(agent) = &mut self.agent {
                agent.handle_datagram(Received { base, source, payload: &payload }, now);
            }
        } else if source == self.server {
            self.heard_from_server(&payload, now);
        }
        self.after_agent(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.wakeups += 1;
        if self.register.is_some_and(|at| at <= now) {
            self.register = Some(now + REGISTER_AGAIN);
            let capabilities = vec![self.identity.pairing.capability(self.identity.rendezvous)];
            let profile = self.profile;
            let register = Register { epoch: 1, capabilities, reflexive: vec![], profile, relay_only: false };
            self.tell(&ToServer::Register(register));
        }
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
        }
        self.after_agent(now);
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        let agent = self.agent.as_ref().and_then(Agent::poll_wakeup).map(|wakeup| wakeup.at);
        self.register.into_iter().chain(agent).min()
    }
}
