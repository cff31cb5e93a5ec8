//! A client as far as meeting goes: it registers, is introduced, and punches with `common`'s own machine.
//!
//! What is left out of the real one is QUIC. Its frames to the rendezvous travel in datagrams of their own, which come
//! from the same socket and so make the same mapping. In place of a session there is one datagram, the first message: sent
//! as soon as the path is there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::candidate::{Candidate, CandidateKind, pack, unpack};
use common::identity::PeerId;
use common::introduction::{FromServer, Introduce, Introduction, MAX_CONTROL_FRAME, Register, Role, ToServer, Trickle};
use common::nat::NatProfile;
use common::pairing::Pairing;
use common::path::keepalive::Keepalive;
use common::path::{Agent, Command, Config, Event, Received};
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
    Direct { at: Instant, remote: Candidate },
    NoPath,
}

/// A client on a host.
#[derive(Debug)]
pub(super) struct Client {
    identity: Identity,
    addresses: Addresses,
    port: u16,
    server: SocketAddr,
    observed: Option<SocketAddr>,
    register: Option<Instant>,
    agent: Option<Agent>,
    outbox: VecDeque<Datagram>,
    pub(super) outcome: Outcome,
    /// When the other's first message was here.
    pub(super) heard: Option<Instant>,
    /// Datagrams of the punching machine.
    pub(super) packets: u32,
}

impl Client {
    pub(super) fn new(identity: Identity, addresses: Addresses, port: u16, server: SocketAddr, now: Instant) -> Self {
        Client {
            identity,
            addresses,
            port,
            server,
            observed: None,
            register: Some(now),
            agent: None,
            outbox: VecDeque::new(),
            outcome: Outcome::Waiting,
            heard: None,
            packets: 0,
        }
    }

    pub(super) fn is_registered(&self) -> bool {
        self.observed.is_some()
    }

    /// Asks for the other one.
    pub(super) fn ask(&mut self) {
        let Identity { pairing, rendezvous, .. } = &self.identity;
        let (peer, capability) = (pairing.peer(), pairing.capability(*rendezvous));
        let (sealed, envelope) = (self.sealed(), Vec::new());
        self.tell(&ToServer::Introduce(Introduce { request: 1, peer, capability, sealed, envelope }));
    }

    fn sealed(&self) -> Vec<u8> {
        let own: Vec<SocketAddr> = self.addresses.iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        // Nothing here is secret, so the nonce may be the same each time; a run must be.
        self.identity.pairing.seal(CONTEXT, &pack(&own), [0; 24])
    }

    fn open(&self, sealed: &[u8]) -> Vec<Candidate> {
        let opened = self.identity.pairing.open(CONTEXT, sealed).ok().and_then(|plain| unpack(&plain).ok());
        let host = |address| Candidate { kind: CandidateKind::Host, address };
        opened.unwrap_or_default().into_iter().map(host).collect()
    }

    fn tell(&mut self, message: &ToServer) {
        let mut payload = self.identity.own.as_bytes().to_vec();
        payload.extend(wire::encode(message, MAX_CONTROL_FRAME).unwrap_or_default());
        self.post(self.server, payload);
    }

    /// From the one socket, by the version of IP that the destination has.
    fn post(&mut self, destination: SocketAddr, payload: Vec<u8>) {
        if let Some(own) = self.addresses.of_family(destination.ip()) {
            self.outbox.push_back(Datagram { source: SocketAddr::new(own, self.port), destination, payload });
        }
    }

    fn heard_from_server(&mut self, payload: &[u8], now: Instant) {
        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
        reader.push(payload);
        match reader.poll() {
            Ok(Some(FromServer::Registered(registered))) => {
                self.observed = Some(registered.observed);
                self.register = None;
            }
            Ok(Some(FromServer::Introduction(introduction))) => self.introduced(introduction, now),
            Ok(Some(FromServer::Trickle(trickle))) => {
                let hosts = self.open(&trickle.sealed);
                if let Some(agent) = &mut self.agent {
                    agent.handle_command(Command::AddCandidates(hosts), now);
                }
            }
            _ => {}
        }
    }

    /// As the client does: host candidates first, and the responder's own follow by trickling.
    fn introduced(&mut self, introduction: Introduction, now: Instant) {
        let own_reflexive = self.observed.map(|observed| observed.ip());
        let config = Config { introduction: introduction.id, own_reflexive, keepalive: Keepalive::default() };
        let mut agent = Agent::new(config, &self.identity.pairing, now);
        let reflexive = |address: &SocketAddr| Candidate { kind: CandidateKind::ServerReflexive, address: *address };
        let mut candidates = self.open(&introduction.sealed);
        candidates.extend(introduction.addresses.iter().map(reflexive));
        agent.handle_command(Command::AddCandidates(candidates), now);
        self.agent = Some(agent);
        self.outcome = Outcome::Punching;
        if introduction.role == Role::Responder {
            self.tell(&ToServer::Trickle(Trickle { introduction: introduction.id, sealed: self.sealed() }));
        }
    }

    fn after_agent(&mut self, now: Instant) {
        let Some(mut agent) = self.agent.take() else { return };
        while let Some(transmit) = agent.poll_transmit() {
            self.packets += 1;
            self.post(transmit.destination, transmit.payload);
        }
        while let Some(event) = agent.poll_event() {
            match event {
                Event::Punched { remote, .. } => {
                    self.outcome = Outcome::Direct { at: now, remote };
                    self.post(remote.address, MESSAGE.to_vec());
                }
                Event::Failed | Event::Lost => self.outcome = Outcome::NoPath,
                Event::Heard { .. } | Event::Moved { .. } => {}
            }
        }
        self.agent = Some(agent);
    }
}

impl Endpoint for Client {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        if datagram.source == self.server {
            self.heard_from_server(&datagram.payload, now);
        } else if datagram.payload == MESSAGE {
            self.heard.get_or_insert(now);
        } else if let Some(agent) = &mut self.agent {
            agent.handle_datagram(Received { source: datagram.source, payload: &datagram.payload }, now);
        }
        self.after_agent(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.register.is_some_and(|at| at <= now) {
            self.register = Some(now + REGISTER_AGAIN);
            let capabilities = vec![self.identity.pairing.capability(self.identity.rendezvous)];
            let profile = NatProfile::default();
            self.tell(&ToServer::Register(Register { epoch: 1, capabilities, reflexive: vec![], profile }));
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
