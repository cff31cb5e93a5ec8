//! The node's one loop: commands, datagrams, the rendezvous, sessions and time go into the machine; what it wants done is
//! done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::candidate::canonical;
use common::discovery::Config as DiscoveryConfig;
use common::identity::PeerId;
use common::introduction::{Register, ToServer};
use common::link::Rendezvous;
use common::session::PeerFrame;
use common::tls::{Certificate, SERVER_NAME, SeenPeer};
use quinn::{Connecting, Connection, Endpoint, Incoming};
use tokio::sync::{mpsc, watch};

use super::discovering::{Answer, Discovering};
use super::lan::{LanSockets, Overheard};
use super::port_mapping::{Mapped, PortMapper};
use super::quic_socket::{QuicSocket, Stun};
use super::session::{Outgoing, Report, Session, WRITE_QUEUE, close};
use super::transport::PEER_WINDOW;
use super::{interfaces, look_around, measure_lifetime, seconds_now, speed, transport};
use crate::node::{
    Begin, Bye, ControlEvent, Machine, NodeCommand, NodeEvent, Output, SessionEvent, SessionId, SocketId,
};

/// Events waiting for the application; beyond this the sessions are not read, and QUIC's flow control holds the peers.
const OUTBOX: usize = 1024;
/// How long the side that accepts leaves the end of a superseded connection to the dialler, who ends it when it has read our greeting
/// on the new one. If our end of the old one came before that, it would be told as a loss, and taken back a moment later.
const LEFT_TO_DIALLER: Duration = Duration::from_secs(1);
/// How long a node that shuts down waits for its goodbyes to be sent.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the loop's inputs come from.
pub(super) struct Inputs {
    pub(super) commands: mpsc::UnboundedReceiver<NodeCommand>,
    pub(super) stun: mpsc::Receiver<Stun>,
    pub(super) control: mpsc::Receiver<ControlEvent>,
    pub(super) sessions: mpsc::Receiver<Report>,
    pub(super) network: mpsc::Receiver<String>,
    pub(super) mapped: mpsc::Receiver<Mapped>,
    pub(super) overheard: mpsc::Receiver<Overheard>,
    pub(super) events: mpsc::Sender<NodeEvent>,
}

/// What the loop acts with.
pub(super) struct Means {
    /// Shown to peers.
    pub(super) certificate: Certificate,
    /// The name that we suggest for ourselves.
    pub(super) name: String,
    pub(super) socket: Arc<QuicSocket>,
    pub(super) endpoint: Endpoint,
    pub(super) requests: mpsc::Sender<ToServer>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) register: watch::Sender<Register>,
    /// Makes the connection to the rendezvous anew.
    pub(super) move_on: watch::Sender<u64>,
    /// Who measures the line with us.
    pub(super) desk: speed::Desk,
    /// Where we register, for whoever looks around.
    pub(super) rendezvous: Rendezvous,
    /// Where measurements are told of: they do not wait for what else is to be told.
    pub(super) events: mpsc::Sender<NodeEvent>,
}

/// The near end of a session.
struct Near {
    dialled: bool,
    outgoing: mpsc::Sender<Outgoing>,
    /// Once it stands.
    connection: Option<Connection>,
}

pub(super) struct Driver {
    machine: Machine,
    means: Means,
    port_mapper: PortMapper,
    lan: Option<LanSockets>,
    sessions: BTreeMap<SessionId, Near>,
    /// Events that the application has not taken yet.
    outbox: VecDeque<NodeEvent>,
    /// Is there a connection to the rendezvous?
    connected: bool,
    discovering: Option<Discovering>,
    /// A run that should be started.
    to_discover: Option<DiscoveryConfig>,
}

async fn fresh_answer(run: &mut Option<Discovering>) -> Option<Answer> {
    match run {
        Some(run) => Some(run.answer().await),
        None => None,
    }
}

impl Driver {
    pub(super) fn new(machine: Machine, means: Means, port_mapper: PortMapper, lan: Option<LanSockets>) -> Self {
        Driver {
            machine,
            means,
            port_mapper,
            lan,
            sessions: BTreeMap::new(),
            outbox: VecDeque::new(),
            connected: false,
            discovering: None,
            to_discover: None,
        }
    }

    /// Runs until the application has dropped its side; then says goodbye.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        self.machine.handle_clock(seconds_now(), Instant::now());
        self.look_at_interfaces();
        if let Some(lan) = &self.lan {
            self.machine.handle_lan_opened(lan.port(), Instant::now());
        }
        loop {
            if let Some(config) = self.to_discover.take() {
                self.discovering = Discovering::start(config, &self.means.socket, Instant::now()).await;
            }
            let run = self.discovering.as_ref().and_then(Discovering::wakeup);
            let wakeup = self.machine.poll_wakeup().into_iter().chain(run).min();
            let sleep = wakeup.map(|at| tokio::time::sleep_until(at.into()));
            let room = self.outbox.len() < OUTBOX;
            tokio::select! {
                command = inputs.commands.recv() => match command {
                    Some(command) => self.machine.handle_command(command, Instant::now()),
                    None => break,
                },
                permit = inputs.events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.outbox.pop_front() { permit.send(event) },
                    // Nobody listens any more, but there may be a last command.
                    Err(_) => self.outbox.clear(),
                },
                Some(datagram) = inputs.stun.recv() => self.stun(datagram),
                Some(answer) = fresh_answer(&mut self.discovering) => if let Some(run) = &mut self.discovering {
                    run.fresh(&answer, &self.means.socket, Instant::now());
                },
                Some(overheard) = inputs.overheard.recv() => self.overheard(overheard),
                Some(event) = inputs.control.recv() => self.control(event),
                Some(what) = inputs.network.recv() => {
                    self.look_at_interfaces();
                    self.machine.handle_network_change(what, Instant::now());
                }
                Some(mapped) = inputs.mapped.recv() => self.machine.handle_port_mapping(mapped, Instant::now()),
                Some(report) = inputs.sessions.recv(), if room => self.session(report),
                Some(incoming) = self.means.endpoint.accept() => {
                    // The peer's probe came before its first QUIC packet, and makes it known to us; it took another way
                    // through this program.
                    while let Ok(datagram) = inputs.stun.try_recv() {
                        self.stun(datagram);
                    }
                    self.incoming(incoming);
                }
                () = async { sleep.expect("guarded").await }, if wakeup.is_some() => {}
            }
            let now = Instant::now();
            self.machine.handle_timeout(now);
            if let Some(run) = &mut self.discovering {
                run.timeout(&self.means.socket, now);
            }
            self.after_discovery();
            self.act().await;
        }
        self.goodbye(inputs).await;
    }

    /// Lets each session say its last words, and the connection to the rendezvous end; then closes what is left.
    async fn goodbye(mut self, mut inputs: Inputs) {
        self.machine.stop();
        self.act().await;
        let mut standing = self.sessions.values().filter(|near| near.connection.is_some()).count();
        let (endpoint, connected, requests) =
            (self.means.endpoint.clone(), self.connected, self.means.requests.clone());
        drop(self);
        let farewell = async {
            while standing > 0 {
                match inputs.sessions.recv().await.map(|report| report.event) {
                    Some(SessionEvent::Down { .. } | SessionEvent::Untrusted { .. }) => standing -= 1,
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

    fn look_at_interfaces(&mut self) {
        self.machine.handle_hosts(interfaces::host_candidates(&self.means.socket));
        self.lan.iter().for_each(LanSockets::look_around);
    }

    fn overheard(&mut self, overheard: Overheard) {
        let now = Instant::now();
        match overheard {
            Overheard::Datagram { source, to_all, payload } => self.machine.handle_lan(source, to_all, &payload, now),
            Overheard::Question => self.machine.handle_lan_question(now),
        }
    }

    fn stun(&mut self, (socket, source, payload): Stun) {
        let now = Instant::now();
        if let Some(run) = &mut self.discovering
            && socket == SocketId::MAIN
            && run.main(source, &payload, &self.means.socket, now)
        {
            return;
        }
        if !self.machine.handle_stun(socket, source, &payload, now) {
            tracing::trace!("a STUN datagram for nobody");
        }
    }

    /// Passes on what the run has found out.
    fn after_discovery(&mut self) {
        while let Some(event) = self.discovering.as_mut().and_then(Discovering::poll_event) {
            self.machine.handle_discovery(event);
        }
        self.discovering.take_if(|run| run.finished());
    }

    fn control(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Connected { .. } => {
                self.connected = true;
                // It may have been set since.
                self.machine.handle_clock(seconds_now(), Instant::now());
                self.look_at_interfaces();
            }
            ControlEvent::Message(_) => {}
            ControlEvent::Lost { .. } | ControlEvent::Untrusted { .. } | ControlEvent::Replaced => {
                self.connected = false;
            }
        }
        self.machine.handle_control(event, Instant::now());
    }

    fn incoming(&mut self, incoming: Incoming) {
        let remote = incoming.remote_address();
        match self.machine.handle_incoming(self.means.socket.sockets().arrived(remote), remote) {
            Some(begin) => self.accept(begin, incoming),
            None => incoming.ignore(),
        }
    }

    fn session(&mut self, Report { peer, id, event, connection }: Report) {
        match event {
            SessionEvent::Up { .. } => {
                self.sessions.get_mut(&id).into_iter().for_each(|near| near.connection.clone_from(&connection));
            }
            SessionEvent::Frame { .. } => {}
            SessionEvent::Down { .. } | SessionEvent::Untrusted { .. } => drop(self.sessions.remove(&id)),
        }
        self.machine.handle_session(peer, id, event, Instant::now());
    }

    /// Does what the machine wants done.
    async fn act(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Open(id) => self.open_socket(id).await,
                Output::CloseSocket(id) => self.means.socket.sockets().remove(id),
                Output::Leave(remote, id) => self.means.socket.sockets().leave(remote, id),
                Output::Transmit { socket, destination, payload } => {
                    self.means.socket.send(socket, destination, &payload);
                }
                Output::Announce(announcement, audience) => {
                    self.lan.iter().for_each(|lan| lan.announce(&announcement, audience));
                }
                Output::LanTransmit { destination, payload } => {
                    self.lan.iter().for_each(|lan| lan.send(destination, &payload));
                }
                // If there is no room it is lost, like a request that the server lost.
                Output::Ask(message) => drop(self.means.requests.try_send(message)),
                Output::Register(register) => drop(self.means.register.send_replace(register)),
                Output::MoveOn => self.means.move_on.send_modify(|generation| *generation += 1),
                Output::RelayVia(server) => self.means.socket.set_relay(Some(server)),
                Output::Dial(begin, remote) => self.dial(begin, remote),
                Output::Write(id, frame) => {
                    let Some(near) = self.sessions.get(&id) else { continue };
                    if let Err(mpsc::error::TrySendError::Full(_)) = near.outgoing.try_send(Outgoing::Frame(frame)) {
                        self.close(id, Bye::Slow);
                    }
                }
                Output::Nudge(id) => {
                    let connection = self.sessions.get(&id).and_then(|near| near.connection.as_ref());
                    connection.into_iter().for_each(|connection| transport::nudge(connection, PEER_WINDOW));
                }
                Output::Finish(id, bye) => {
                    let Some(near) = self.sessions.get(&id) else { continue };
                    if near.outgoing.try_send(Outgoing::Close(bye)).is_err() {
                        self.close(id, bye);
                    }
                }
                Output::Close(id, bye) => self.close(id, bye),
                Output::MeasureSpeed { peer, session, each_way } => self.measure(peer, session, each_way),
                Output::LookAround { lan } => {
                    let (rendezvous, events) = (self.means.rendezvous.clone(), self.means.events.clone());
                    tokio::spawn(
                        async move { events.send(NodeEvent::Around(look_around(&rendezvous, lan).await)).await },
                    );
                }
                Output::MeasureLifetime => self.measure_lifetime(),
                Output::Discover(config) => (self.discovering, self.to_discover) = (None, Some(config)),
                Output::StopDiscovery => (self.discovering, self.to_discover) = (None, None),
                Output::Tell(event) => {
                    self.port_mapper.note(&event);
                    self.outbox.push_back(event);
                }
            }
        }
    }

    async fn open_socket(&mut self, id: SocketId) {
        // Of the version of IP by which the rendezvous sees us: it is that NAT's ports which are looked for.
        let ipv4 = self.means.socket.relay().is_none_or(|server| canonical(server).is_ipv4());
        match self.means.socket.sockets().add(id, ipv4).await {
            Ok(port) => self.machine.handle_opened(id, port, Instant::now()),
            Err(error) => tracing::debug!(%error, "no more sockets"),
        }
    }

    fn measure(&self, peer: PeerId, session: SessionId, each_way: Duration) {
        let (desk, events) = (self.means.desk.clone(), self.means.events.clone());
        match self.sessions.get(&session).and_then(|near| near.connection.clone()) {
            Some(connection) => {
                tokio::spawn(speed::Run { peer, session, connection, each_way, desk, events }.measure());
            }
            None => speed::refuse(peer, session, events),
        }
    }

    fn measure_lifetime(&self) {
        let (reports, mut told) = mpsc::channel(4);
        tokio::spawn(measure_lifetime(self.means.rendezvous.clone(), reports));
        let events = self.means.events.clone();
        tokio::spawn(async move {
            while let Some(report) = told.recv().await {
                if events.send(NodeEvent::Lifetime(report)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn close(&self, id: SessionId, bye: Bye) {
        let Some(near) = self.sessions.get(&id) else { return };
        match &near.connection {
            Some(connection) if bye == Bye::Superseded && !near.dialled => {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LEFT_TO_DIALLER, connection.closed()).await;
                    close(&connection, bye);
                });
            }
            Some(connection) => close(connection, bye),
            // Its queue is empty: nothing is given to a session that does not stand.
            None => drop(near.outgoing.try_send(Outgoing::Close(bye))),
        }
    }

    fn dial(&mut self, begin: Begin, remote: std::net::SocketAddr) {
        let configured = transport::peer_client(&self.means.certificate, begin.peer, begin.route, begin.rtt);
        let begun = configured.map_err(|error| error.to_string()).and_then(|(config, seen)| {
            let connecting = self.means.endpoint.connect_with(config, remote, SERVER_NAME);
            connecting.map(|connecting| (seen, connecting)).map_err(|error| error.to_string())
        });
        self.begin(begin, true, begun);
    }

    fn accept(&mut self, begin: Begin, incoming: Incoming) {
        let configured = transport::peer_server(&self.means.certificate, begin.peer, begin.route, begin.rtt);
        let begun = configured.map_err(|error| error.to_string()).and_then(|(config, seen)| {
            let connecting = incoming.accept_with(Arc::new(config));
            connecting.map(|connecting| (seen, connecting)).map_err(|error| error.to_string())
        });
        self.begin(begin, false, begun);
    }

    fn begin(&mut self, begin: Begin, dialled: bool, begun: Result<(SeenPeer, Connecting), String>) {
        let Begin { id, peer, route, .. } = begin;
        match begun {
            Ok((seen, connecting)) => {
                let (outgoing, waiting) = mpsc::channel(WRITE_QUEUE);
                self.sessions.insert(id, Near { dialled, outgoing, connection: None });
                let hello = PeerFrame::Hello { name: self.means.name.clone(), prekey: self.machine.prekey() };
                let events = self.means.reports.clone();
                let desk = self.means.desk.clone();
                let session = Session { id, peer, route, dialled, seen, hello, outgoing: waiting, desk, events };
                tokio::spawn(session.run(connecting));
            }
            Err(reason) => {
                tracing::warn!(%reason, %route, dialled, "no handshake");
                let event = SessionEvent::Down { reason, by_peer: false };
                self.machine.handle_session(peer, id, event, Instant::now());
            }
        }
    }
}
