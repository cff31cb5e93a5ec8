//! The node's machine: what comes in goes to the contact that it concerns, or to what all of them share.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::canonical;
use common::discovery::{Config as DiscoveryConfig, Event as DiscoveryEvent};
use common::identity::{Identity, PeerId};
use common::introduction::{
    FromServer, Introduction, IntroductionId, MAX_ADDRESSES, MAX_CAPABILITIES, Register, Role, StunEndpoints,
};
use common::nat::NatProfile;
use common::pairing::Pairing;
use common::path::purse::{Bucket, LOOKS};
use common::relay::is_synthetic;
use common::session::Route;

use super::api::{Entrance, NodeCommand, NodeEvent, Party, SessionId, SocketId};
use super::home::{Home, Random};
use super::lan::Lan;
use super::lines::End;
use super::mail::Mail;
use super::output::{Begin, Bye, ControlEvent, Output, SessionEvent};
use super::peer::Peer;

/// Introductions remembered, so that neither a server nor somebody on the LAN can repeat one.
const REMEMBERED: usize = 512;
/// An outage of the rendezvous is told this often.
const OUTAGE_REMINDER: Duration = Duration::from_secs(10);

/// What a machine needs to know before it starts.
#[derive(Debug)]
pub struct Config {
    /// Who we are.
    pub identity: Identity,
    /// The key of our rendezvous.
    pub rendezvous: PeerId,
    /// Grows with each start of the client: see [`Register::epoch`].
    pub epoch: u64,
    /// Whom we know; nobody else is answered.
    pub contacts: Vec<PeerId>,
    /// May hundreds of sockets be opened, for seconds, where no other strategy finds a path?
    pub birthday: bool,
    /// Do we talk through the relay alone, and show our address to nobody but the rendezvous?
    pub relay_only: bool,
    /// Where keys and nonces come from.
    pub random: Random,
}

/// The network side of one client.
#[derive(Debug)]
pub struct Machine {
    pub(super) home: Home,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) register: Register,
    pub(super) lan: Lan,
    pub(super) mail: Mail,
    pub(super) remembered: VecDeque<IntroductionId>,
    outage_told: Option<Instant>,
    /// The address at which the rendezvous was reached.
    server: Option<SocketAddr>,
    /// The observed address of the last look at the NAT: it is looked at again when that changes.
    discovered: Option<SocketAddr>,
    /// How often it may still be looked at.
    looks: Bucket,
}

impl Machine {
    /// A machine that knows its contacts, and nothing of any network.
    pub fn new(mut config: Config) -> Self {
        let contacts = std::mem::take(&mut config.contacts);
        let register = Register {
            epoch: config.epoch,
            capabilities: Vec::new(),
            reflexive: Vec::new(),
            profile: NatProfile::default(),
            relay_only: config.relay_only,
        };
        let mut machine = Machine {
            home: Home::new(config),
            peers: BTreeMap::new(),
            register,
            lan: Lan::default(),
            mail: Mail::default(),
            remembered: VecDeque::new(),
            outage_told: None,
            server: None,
            discovered: None,
            looks: Bucket::default(),
        };
        machine.set_contacts(&contacts);
        // Nothing is registered yet that this would change.
        while machine.poll_output().is_some() {}
        machine
    }

    /// What is to be registered now; each change comes as [`Output::Register`].
    pub fn registration(&self) -> &Register {
        &self.register
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.home.poll_output()
    }

    /// When [`Machine::handle_timeout`] has something to do.
    pub fn poll_wakeup(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(|peer| peer.wakeup(&self.home));
        peers.chain(self.lan_wakeup()).chain(self.mail_wakeup()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if peer.wakeup(&self.home).is_some_and(|at| at <= now) {
                peer.timeout(now, &mut self.home);
            }
        }
        self.lan_timeout(now);
        self.mail_timeout(now);
    }

    /// Acts on a command.
    pub fn handle_command(&mut self, command: NodeCommand, now: Instant) {
        match command {
            NodeCommand::Want(peer) => self.with(peer, |peer, home| peer.want(now, home)),
            NodeCommand::Unwant(peer) => self.with(peer, |peer, home| peer.unwant(Bye::Unwanted, home)),
            NodeCommand::Contacts(contacts) => self.set_contacts(&contacts),
            NodeCommand::Send { peer, session, frame } => {
                self.with(peer, |peer, home| peer.send(session, frame, home));
            }
            NodeCommand::Reply { peer, frames } => self.with(peer, |peer, home| peer.reply(&frames, now, home)),
            NodeCommand::Letter { peer, frames } => self.with(peer, |peer, _| peer.set_letter(frames)),
            NodeCommand::Prekeys(set) => self.set_prekeys(*set),
            NodeCommand::PeerPrekey { peer, prekey } => self.with(peer, |peer, _| peer.set_prekey(prekey)),
            NodeCommand::Deposit { peer, token, frames } => self.deposit(peer, token, frames, now),
            NodeCommand::Collected(mails) => self.collected(&mails, now),
            NodeCommand::Verify(peer, route) => self.with(peer, |peer, home| peer.verify(route, now, home)),
            NodeCommand::LookAround { lan } => self.home.output(Output::LookAround { lan }),
            NodeCommand::MeasureLifetime => self.home.output(Output::MeasureLifetime),
            NodeCommand::MeasureSpeed { peer, session, each_way } => {
                self.home.output(Output::MeasureSpeed { peer, session, each_way });
            }
        }
    }

    /// Ends all sessions, each after its last words.
    pub fn stop(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.unwant(Bye::Stopping, &mut self.home));
    }

    fn with(&mut self, id: PeerId, act: impl FnOnce(&mut Peer, &mut Home)) {
        match self.peers.get_mut(&id) {
            Some(peer) => act(peer, &mut self.home),
            None => tracing::warn!(peer = %id.short(), "not a contact"),
        }
    }

    fn set_contacts(&mut self, contacts: &[PeerId]) {
        if contacts.len() > MAX_CAPABILITIES {
            tracing::warn!("only the first {MAX_CAPABILITIES} contacts can be registered");
        }
        let contacts: Vec<_> = contacts.iter().take(MAX_CAPABILITIES).filter(|id| **id != self.home.own_id).collect();
        let before: Vec<_> = self.peers.keys().copied().collect();
        self.peers.retain(|id, peer| {
            let stays = contacts.contains(&id);
            if !stays {
                peer.unwant(Bye::Unwanted, &mut self.home);
            }
            stays
        });
        for id in contacts {
            if !self.peers.contains_key(id)
                && let Some(pairing) = Pairing::new(&self.home.identity, *id)
            {
                self.peers.insert(*id, Peer::new(pairing));
            }
        }
        if !self.peers.keys().eq(&before) {
            self.lan.contacts_changed();
            self.mail_contacts_changed();
        }
        let key = self.home.rendezvous;
        let capabilities = self.peers.values().map(|peer| peer.pairing().capability(key)).collect();
        self.registers(Register { capabilities, ..self.register.clone() });
    }

    pub(super) fn registers(&mut self, register: Register) {
        if self.register != register {
            self.register.clone_from(&register);
            self.home.output(Output::Register(register));
        }
    }

    /// Takes a STUN datagram that came to this socket; `false` if it is nobody's.
    pub fn handle_stun(&mut self, socket: SocketId, source: SocketAddr, payload: &[u8], now: Instant) -> bool {
        self.peers.values_mut().any(|peer| peer.stun(socket, source, payload, now, &mut self.home))
    }

    /// A socket that was asked for is there, at this local port.
    pub fn handle_opened(&mut self, socket: SocketId, port: u16, now: Instant) {
        self.peers.values_mut().any(|peer| peer.opened(socket, port, now, &mut self.home));
    }

    /// Takes note of what a look at the NAT has found.
    pub fn handle_discovery(&mut self, event: DiscoveryEvent) {
        let mut register = self.register.clone();
        match event {
            DiscoveryEvent::Reflexive(address) => {
                if register.reflexive.len() < MAX_ADDRESSES && !register.reflexive.contains(&address) {
                    register.reflexive.push(address);
                }
            }
            DiscoveryEvent::Finished(profile) => {
                (register.profile, self.home.profile) = (profile, profile);
                self.home.tell(NodeEvent::Profile(profile));
            }
        }
        self.registers(register);
    }

    /// Looks at the NAT, unless that has been done for this observed address.
    fn discover(&mut self, observed: SocketAddr, endpoints: StunEndpoints, now: Instant) {
        self.home.stun = self.server.map(|server| (server, endpoints));
        let Some(server) = self.server.filter(|_| self.discovered != Some(observed)) else { return };
        if !self.looks.take(LOOKS, now) {
            tracing::debug!("the rendezvous sees us elsewhere again and again");
            return;
        }
        let Some(seed) = self.home.seed("the NAT is not looked at") else { return };
        self.discovered = Some(observed);
        let reflexive = self.home.mapped.into_iter().collect();
        self.registers(Register { reflexive, ..self.register.clone() });
        // On one machine nothing is translated, though loopback is no candidate.
        let local = if observed.ip().is_loopback() { vec![observed] } else { self.home.hosts.clone() };
        let config = DiscoveryConfig { server, endpoints, local, fresh_port: 0, observed, seed };
        self.home.output(Output::Discover(config));
    }

    /// Through a tunnel the NAT cannot be looked at; what was seen before may be true of another network.
    fn forget_discovery(&mut self) {
        (self.discovered, self.home.stun, self.home.profile) = (None, None, NatProfile::default());
        self.home.output(Output::StopDiscovery);
        self.registers(Register { reflexive: Vec::new(), profile: NatProfile::default(), ..self.register.clone() });
    }

    /// Somebody dials from this address, and it came to this socket. `None`: a stranger, who gets no answer at all, not even
    /// that there is somebody.
    pub fn handle_incoming(&mut self, socket: SocketId, remote: SocketAddr) -> Option<Begin> {
        let remote = canonical(remote);
        let peer = self.peers.values_mut().find(|peer| peer.knows(remote))?;
        peer.incoming(socket, remote, &mut self.home)
    }

    /// What the computer's clock says, in seconds since 1970: at the start and when it may have been set.
    pub fn handle_clock(&mut self, now_s: u64, now: Instant) {
        self.home.clock.set_own(now_s, now);
    }

    /// Our host candidates, at the start and when they may have changed. What is not known cannot be shown.
    pub fn handle_hosts(&mut self, hosts: Vec<SocketAddr>) {
        if !self.home.relay_only {
            self.home.hosts = hosts;
        }
    }

    /// Our network has changed, or the machine has slept.
    pub fn handle_network_change(&mut self, what: String, now: Instant) {
        self.home.moved = true;
        self.lan_moved(now);
        self.home.tell(NodeEvent::NetworkChanged { what });
        self.home.output(Output::MoveOn);
        // It may be that nothing of ours has changed for the peer, or that its router lets us in all the same.
        self.peers.values_mut().for_each(|peer| peer.verify(Route::Direct, now, &mut self.home));
    }

    /// Acts on what happens to the connection to the rendezvous.
    pub fn handle_control(&mut self, event: ControlEvent, now: Instant) {
        match event {
            ControlEvent::Connected { server, remote, rtt } => {
                self.home.server_rtt = Some(rtt);
                let server = canonical(server);
                self.server = Some(server);
                self.home.output(Output::RelayVia(server));
                self.home.relay_remote = Some(canonical(remote));
                self.home.connected = true;
                self.mail_outage();
                // One round trip earlier than the answer to the registration, behind which the server reads them.
                self.peers.values_mut().for_each(|peer| peer.renew(now, &mut self.home));
                self.home.moved = false;
            }
            ControlEvent::Message(message) => self.message(message, now),
            ControlEvent::Lost { reason } => {
                self.outage(now);
                if self.outage_told.is_none_or(|told| now >= told + OUTAGE_REMINDER) {
                    self.outage_told = Some(now);
                    self.home.tell(NodeEvent::RendezvousLost { reason });
                }
            }
            ControlEvent::Untrusted { seen } => {
                self.outage(now);
                let expected = Party::Rendezvous(self.home.rendezvous);
                self.home.tell(NodeEvent::Untrusted { expected, seen });
            }
            ControlEvent::Replaced => {
                self.outage(now);
                self.home.tell(NodeEvent::Replaced);
            }
        }
    }

    fn outage(&mut self, now: Instant) {
        (self.home.connected, self.home.observed) = (false, None);
        self.mail_outage();
        self.peers.values_mut().for_each(|peer| peer.forget_request(now));
    }

    fn message(&mut self, message: FromServer, now: Instant) {
        match message {
            FromServer::Registered(registered) => {
                let observed = canonical(registered.observed);
                // What the server sees of a tunnel is a name for it.
                let entrance = match is_synthetic(observed.ip()) {
                    true => Entrance::Tunnel,
                    false => Entrance::Udp { observed },
                };
                self.home.observed = entrance.observed();
                self.outage_told = None;
                self.registered_at(registered.now_s, now);
                match entrance {
                    Entrance::Udp { .. } if self.home.relay_only => {}
                    Entrance::Udp { observed } => self.discover(observed, registered.stun, now),
                    Entrance::Tunnel => self.forget_discovery(),
                }
                let local = self.home.hosts.clone();
                self.home.tell(NodeEvent::Registered { entrance, local });
            }
            FromServer::Introduction(introduction) => self.introduction(introduction, now),
            FromServer::Trickle(trickle) => {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.acts_on(trickle.introduction)) {
                    peer.trickled(&trickle, now, &mut self.home);
                }
            }
            FromServer::Mailbox(terms) => self.mailbox(terms),
            FromServer::Prekeys { request, bundle } => self.fetched(request, bundle.as_deref(), now),
            FromServer::Deposited { request, outcome } => self.deposited(request, outcome, now),
            FromServer::Mail(mail) => self.mail(mail, now),
            FromServer::Letter(letter) => {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.acts_on(letter.introduction)) {
                    peer.letter(&letter, &mut self.home);
                }
            }
            FromServer::ChannelClosed(channel) => {
                self.peers.values_mut().for_each(|peer| peer.channel_closed(channel, &mut self.home));
            }
            FromServer::Refused { request } => match self.peers.values_mut().find(|peer| peer.is_request(request)) {
                Some(peer) => peer.refused(now, &mut self.home),
                None => self.mail_refused(request, now),
            },
            // The close of the connection says it again, and is acted on.
            FromServer::Replaced => {}
            FromServer::Draining => self.home.tell(NodeEvent::Draining),
            FromServer::Error { code, message } => {
                tracing::warn!(?code, message = %message.escape_debug(), "the rendezvous refuses us");
            }
        }
    }

    pub(super) fn remember(&mut self, introduction: IntroductionId) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(introduction);
    }

    fn introduction(&mut self, introduction: Introduction, now: Instant) {
        if self.remembered.contains(&introduction.id) {
            tracing::warn!("the rendezvous repeats an introduction");
            return;
        }
        self.remember(introduction.id);
        match self.peers.get_mut(&introduction.peer) {
            // An answer to a request that we do not remember asking: the peer is waiting for us all the same.
            Some(peer) => peer.introduced(introduction, now, &mut self.home),
            None => {
                tracing::warn!(asked = ?matches!(introduction.role, Role::Requester { .. }), "introduced to a stranger")
            }
        }
    }

    /// Acts on what happens to a session.
    pub fn handle_session(&mut self, peer: PeerId, id: SessionId, event: SessionEvent, now: Instant) {
        let home = &mut self.home;
        let peer = self.peers.get_mut(&peer);
        match (event, peer) {
            (SessionEvent::Up { remote, rtt, hello }, Some(peer)) => {
                peer.up(id, End { remote: canonical(remote), rtt }, hello, home);
            }
            (SessionEvent::Up { remote, .. }, None) => {
                tracing::debug!(%remote, "a session with somebody who is no contact any more");
                home.output(Output::Close(id, Bye::Unwanted));
            }
            (SessionEvent::Frame { rtt, frame }, Some(peer)) => peer.frame(id, frame, rtt, home),
            (SessionEvent::Down { reason, by_peer }, Some(peer)) => peer.down(id, reason, by_peer, now, home),
            (SessionEvent::Untrusted { seen }, Some(peer)) => peer.untrusted(id, seen, now, home),
            (_, None) => {}
        }
    }
}
