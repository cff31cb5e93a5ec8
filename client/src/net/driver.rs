//! The node's one loop: commands, datagrams, the rendezvous, sessions and time come in; the peers act on them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use common::discovery::{Config as DiscoveryConfig, Event as DiscoveryEvent};
use common::identity::PeerId;
use common::introduction::{
    FromServer, Introduction, IntroductionId, MAX_ADDRESSES, MAX_CAPABILITIES, Register, Role, StunEndpoints,
};
use common::nat::NatProfile;
use common::pairing::Pairing;
use common::path::Received;
use common::relay::is_synthetic;
use common::session::Route;
use quinn::Incoming;
use tokio::sync::{mpsc, watch};

use super::api::{Entrance, NodeCommand, NodeEvent, Party};
use super::control::ControlEvent;
use super::discovering::Discovering;
use super::interfaces;
use super::peer::Peer;
use super::quic_socket::Stun;
use super::resources::Resources;
use super::session::{Bye, SessionEvent, remote_of};
use common::candidate::canonical;

/// Events waiting for the application; beyond this the sessions are not read, and QUIC's flow control holds the peers.
const OUTBOX: usize = 1024;
/// Introductions remembered, so that a server cannot repeat one.
const REMEMBERED: usize = 512;
/// An outage of the rendezvous is told this often.
const OUTAGE_REMINDER: Duration = Duration::from_secs(10);
/// How long a node that shuts down waits for its goodbyes to be sent.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the loop's inputs come from.
pub(super) struct Inputs {
    pub(super) commands: mpsc::UnboundedReceiver<NodeCommand>,
    pub(super) stun: mpsc::Receiver<Stun>,
    pub(super) control: mpsc::Receiver<ControlEvent>,
    pub(super) sessions: mpsc::Receiver<SessionEvent>,
    pub(super) network: mpsc::Receiver<String>,
    pub(super) events: mpsc::Sender<NodeEvent>,
}

pub(super) struct Driver {
    node: Resources,
    peers: BTreeMap<PeerId, Peer>,
    register: watch::Sender<Register>,
    /// Makes the connection to the rendezvous anew.
    move_on: watch::Sender<u64>,
    remembered: VecDeque<IntroductionId>,
    outage_told: Option<Instant>,
    /// The address at which the rendezvous was reached.
    server: Option<SocketAddr>,
    discovering: Option<Discovering>,
    /// A run that should be started.
    to_discover: Option<DiscoveryConfig>,
    /// The observed address of the last run: the NAT is looked at again when it changes.
    discovered: Option<SocketAddr>,
}

/// What the node registers at its start: before anything is known of its NAT.
pub(super) fn first_registration() -> Register {
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Register { epoch, capabilities: Vec::new(), reflexive: Vec::new(), profile: NatProfile::default() }
}

async fn fresh_answer(run: &mut Option<Discovering>) -> Option<Stun> {
    match run {
        Some(run) => Some(run.answer().await),
        None => None,
    }
}

impl Driver {
    pub(super) fn new(node: Resources, register: watch::Sender<Register>, move_on: watch::Sender<u64>) -> Self {
        let contacts = node.config.contacts.clone();
        let mut driver = Driver {
            node,
            peers: BTreeMap::new(),
            register,
            move_on,
            remembered: VecDeque::new(),
            outage_told: None,
            server: None,
            discovering: None,
            to_discover: None,
            discovered: None,
        };
        driver.set_contacts(&contacts);
        driver
    }

    /// Runs until the application has dropped its side; then says goodbye.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        loop {
            if let Some(config) = self.to_discover.take() {
                self.discovering = Discovering::start(config, &self.node.socket, Instant::now()).await;
            }
            let run = self.discovering.as_ref().and_then(Discovering::wakeup);
            let wakeup = self.peers.values().filter_map(Peer::wakeup).chain(run).min();
            let sleep = wakeup.map(|at| tokio::time::sleep_until(at.into()));
            let room = self.node.outbox.len() < OUTBOX;
            tokio::select! {
                command = inputs.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                permit = inputs.events.reserve(), if !self.node.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.node.outbox.pop_front() { permit.send(event) },
                    // Nobody listens any more, but there may be a last command.
                    Err(_) => self.node.outbox.clear(),
                },
                Some((source, payload)) = inputs.stun.recv() => self.stun(source, &payload),
                Some(answer) = fresh_answer(&mut self.discovering) => self.fresh(&answer),
                Some(event) = inputs.control.recv() => self.control(event),
                Some(what) = inputs.network.recv() => self.network_changed(what),
                Some(event) = inputs.sessions.recv(), if room => self.session(event),
                Some(incoming) = self.node.endpoint.accept() => {
                    // The peer's probe came before its first QUIC packet, and makes it known to us; it took another way
                    // through this program.
                    while let Ok((source, payload)) = inputs.stun.try_recv() {
                        self.stun(source, &payload);
                    }
                    self.incoming(incoming);
                }
                () = async { sleep.expect("guarded").await }, if wakeup.is_some() => {}
            }
            let now = Instant::now();
            for peer in self.peers.values_mut().filter(|peer| peer.wakeup().is_some_and(|at| at <= now)) {
                peer.timeout(now, &mut self.node);
            }
            if let Some(run) = &mut self.discovering {
                run.timeout(&self.node.socket, now);
            }
            self.after_discovery();
        }
        self.goodbye(inputs).await;
    }

    /// Lets each session say its last words, and the connection to the rendezvous end; then closes what is left.
    async fn goodbye(mut self, mut inputs: Inputs) {
        let mut sessions: usize = self.peers.values().map(Peer::sessions).sum();
        self.peers.values_mut().for_each(|peer| peer.unwant(Bye::Stopping));
        let (endpoint, connected, requests) =
            (self.node.endpoint.clone(), self.node.connected, self.node.requests.clone());
        drop(self);
        let farewell = async {
            while sessions > 0 {
                match inputs.sessions.recv().await {
                    Some(SessionEvent::Down { .. } | SessionEvent::Untrusted { .. }) => sessions -= 1,
                    Some(_) => {}
                    None => break,
                }
            }
            // The rendezvous comes last: while it knows us, it relays what we say. With the last end of the channel of
            // requests, the task that holds the connection ends and closes it.
            drop(requests);
            while connected && inputs.control.recv().await.is_some() {}
        };
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
        endpoint.close((Bye::Stopping as u32).into(), b"");
        let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    }

    fn command(&mut self, command: NodeCommand) {
        let now = Instant::now();
        match command {
            NodeCommand::Want(peer) => self.with(peer, |peer, node| peer.want(now, node)),
            NodeCommand::Unwant(peer) => self.with(peer, |peer, _| peer.unwant(Bye::Unwanted)),
            NodeCommand::Contacts(contacts) => self.set_contacts(&contacts),
            NodeCommand::Send { peer, session, frame } => self.with(peer, |peer, _| peer.send(session, frame)),
            NodeCommand::Reply { peer, frames } => self.with(peer, |peer, node| peer.reply(&frames, node)),
            NodeCommand::Letter { peer, frames } => self.with(peer, |peer, _| peer.set_letter(frames)),
            NodeCommand::Verify(peer, route) => self.with(peer, |peer, node| peer.verify(route, now, node)),
        }
    }

    fn with(&mut self, id: PeerId, act: impl FnOnce(&mut Peer, &mut Resources)) {
        match self.peers.get_mut(&id) {
            Some(peer) => act(peer, &mut self.node),
            None => tracing::warn!(peer = %id.short(), "not a contact"),
        }
    }

    fn set_contacts(&mut self, contacts: &[PeerId]) {
        if contacts.len() > MAX_CAPABILITIES {
            tracing::warn!("only the first {MAX_CAPABILITIES} contacts can be registered");
        }
        let contacts: Vec<_> = contacts.iter().take(MAX_CAPABILITIES).filter(|id| **id != self.node.own_id).collect();
        self.peers.retain(|id, peer| {
            let stays = contacts.contains(&id);
            if !stays {
                peer.unwant(Bye::Unwanted);
            }
            stays
        });
        for id in contacts {
            if !self.peers.contains_key(id)
                && let Some(pairing) = Pairing::new(&self.node.config.identity, *id)
            {
                self.peers.insert(*id, Peer::new(pairing));
            }
        }
        let key = self.node.config.rendezvous.key;
        let capabilities: Vec<_> = self.peers.values().map(|peer| peer.pairing().capability(key)).collect();
        self.register.send_if_modified(|register| {
            let changed = register.capabilities != capabilities;
            register.capabilities = capabilities;
            changed
        });
    }

    fn stun(&mut self, source: SocketAddr, payload: &[u8]) {
        let now = Instant::now();
        let received = Received { source, payload };
        if let Some(run) = &mut self.discovering
            && run.main(source, payload, &self.node.socket, now)
        {
            return;
        }
        if !self.peers.values_mut().any(|peer| peer.stun(received, now, &mut self.node)) {
            tracing::trace!("a STUN datagram for nobody");
        }
    }

    fn fresh(&mut self, answer: &Stun) {
        if let Some(run) = &mut self.discovering {
            run.fresh(answer, &self.node.socket, Instant::now());
        }
    }

    /// Passes on what the run has found out.
    fn after_discovery(&mut self) {
        while let Some(event) = self.discovering.as_mut().and_then(Discovering::poll_event) {
            match event {
                DiscoveryEvent::Reflexive(address) => drop(self.register.send_if_modified(|register| {
                    let room = register.reflexive.len() < MAX_ADDRESSES;
                    if room {
                        register.reflexive.push(address);
                    }
                    room
                })),
                DiscoveryEvent::Finished(profile) => {
                    self.discovering = None;
                    self.register.send_if_modified(|register| {
                        let changed = register.profile != profile;
                        register.profile = profile;
                        changed
                    });
                    self.node.emit(NodeEvent::Profile(profile));
                }
            }
        }
    }

    /// Looks at the NAT, unless that has been done for this observed address.
    fn discover(&mut self, observed: SocketAddr, endpoints: StunEndpoints, local: Vec<SocketAddr>) {
        let Some(server) = self.server.filter(|_| self.discovered != Some(observed)) else { return };
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            return tracing::error!(%error, "the system has no randomness; the NAT is not looked at");
        }
        self.discovered = Some(observed);
        self.register.send_if_modified(|register| !std::mem::take(&mut register.reflexive).is_empty());
        // On one machine nothing is translated, though loopback is no candidate.
        let local = if observed.ip().is_loopback() { vec![observed] } else { local };
        self.to_discover = Some(DiscoveryConfig { server, endpoints, local, fresh_port: 0, observed, seed });
    }

    /// Through a tunnel the NAT cannot be looked at; what was seen before may be true of another network.
    fn forget_discovery(&mut self) {
        (self.discovering, self.to_discover, self.discovered) = (None, None, None);
        self.register.send_if_modified(|register| {
            let nothing = Register { reflexive: Vec::new(), profile: NatProfile::default(), ..register.clone() };
            let changed = *register != nothing;
            *register = nothing;
            changed
        });
    }

    fn incoming(&mut self, incoming: Incoming) {
        let remote = canonical(incoming.remote_address());
        match self.peers.values_mut().find(|peer| peer.knows(remote)) {
            Some(peer) => peer.incoming(incoming, &mut self.node),
            // A stranger gets no answer at all, not even that there is somebody.
            None => incoming.ignore(),
        }
    }

    fn control(&mut self, event: ControlEvent) {
        let now = Instant::now();
        match event {
            ControlEvent::Connected { server, remote, rtt } => {
                self.node.server_rtt = Some(rtt);
                let server = canonical(server);
                self.server = Some(server);
                self.node.socket.set_relay(Some(server));
                self.node.relay_remote = Some(canonical(remote));
                self.node.connected = true;
                // One round trip earlier than the answer to the registration, behind which the server reads them.
                self.peers.values_mut().for_each(|peer| peer.renew(now, &mut self.node));
            }
            ControlEvent::Message(message) => self.message(message, now),
            ControlEvent::Lost { reason } => {
                self.outage();
                if self.outage_told.is_none_or(|told| now >= told + OUTAGE_REMINDER) {
                    self.outage_told = Some(now);
                    self.node.emit(NodeEvent::RendezvousLost { reason });
                }
            }
            ControlEvent::Untrusted { seen } => {
                self.outage();
                let expected = Party::Rendezvous(self.node.config.rendezvous.key);
                self.node.emit(NodeEvent::Untrusted { expected, seen });
            }
            ControlEvent::Replaced => {
                self.outage();
                self.node.emit(NodeEvent::Replaced);
            }
        }
    }

    fn network_changed(&mut self, what: String) {
        self.node.emit(NodeEvent::NetworkChanged { what });
        self.move_on.send_modify(|generation| *generation += 1);
        let now = Instant::now();
        // It may be that nothing of ours has changed for the peer, or that its router lets us in all the same.
        self.peers.values_mut().for_each(|peer| peer.verify(Route::Direct, now, &mut self.node));
    }

    fn outage(&mut self) {
        (self.node.connected, self.node.observed) = (false, None);
        let now = Instant::now();
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
                self.node.observed = entrance.observed();
                self.outage_told = None;
                let local = interfaces::host_candidates(&self.node.socket);
                match entrance {
                    Entrance::Udp { observed } => self.discover(observed, registered.stun, local.clone()),
                    Entrance::Tunnel => self.forget_discovery(),
                }
                self.node.emit(NodeEvent::Registered { entrance, local });
            }
            FromServer::Introduction(introduction) => self.introduction(introduction, now),
            FromServer::Trickle(trickle) => {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.acts_on(trickle.introduction)) {
                    peer.trickled(&trickle, now, &mut self.node);
                }
            }
            FromServer::Letter(letter) => {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.acts_on(letter.introduction)) {
                    peer.letter(&letter, &mut self.node);
                }
            }
            FromServer::ChannelClosed(channel) => {
                self.peers.values_mut().for_each(|peer| peer.channel_closed(channel));
            }
            FromServer::Refused { request } => {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.is_request(request)) {
                    peer.refused(now, &mut self.node);
                }
            }
            // The close of the connection says it again, and is acted on.
            FromServer::Replaced => {}
            FromServer::Draining => self.node.emit(NodeEvent::Draining),
            FromServer::Error { code, message } => {
                tracing::warn!(?code, message = %message.escape_debug(), "the rendezvous refuses us");
            }
        }
    }

    fn introduction(&mut self, introduction: Introduction, now: Instant) {
        if self.remembered.contains(&introduction.id) {
            tracing::warn!("the rendezvous repeats an introduction");
            return;
        }
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(introduction.id);
        match self.peers.get_mut(&introduction.peer) {
            // An answer to a request that we do not remember asking: the peer is waiting for us all the same.
            Some(peer) => peer.introduced(introduction, now, &mut self.node),
            None => {
                tracing::warn!(asked = ?matches!(introduction.role, Role::Requester { .. }), "introduced to a stranger")
            }
        }
    }

    fn session(&mut self, event: SessionEvent) {
        let now = Instant::now();
        let node = &mut self.node;
        match event {
            SessionEvent::Up { peer, id, connection, hello } => match self.peers.get_mut(&peer) {
                Some(peer) => peer.up(id, &connection, hello, node),
                None => {
                    tracing::debug!(remote = %remote_of(&connection), "a session with somebody who is no contact any more");
                    Bye::Unwanted.close(&connection);
                }
            },
            SessionEvent::Frame { peer, id, frame } => {
                self.peers.get_mut(&peer).into_iter().for_each(|peer| peer.frame(id, frame.clone(), node));
            }
            SessionEvent::Down { peer, id, reason, by_peer } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.down(id, reason, by_peer, now, node);
                }
            }
            SessionEvent::Untrusted { peer, id, seen } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.untrusted(id, seen, now, node);
                }
            }
        }
    }
}
