//! The rendezvous' own decisions and its relay's, on a host, behind [`Pipe`]s.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::datagram::{self, Kind};
use common::identity::Identity;
use common::introduction::{MAX_CONTROL_FRAME, StunEndpoints, ToServer};
use common::relay;
use common::wire::{self, FrameReader};
use netsim::model::{Addresses, Random};
use netsim::virtual_net::Datagram;
use rendezvous::limits::Limits;
use rendezvous::relay::SocketIndex;
use rendezvous::relay::channels::Channels;
use rendezvous::relay::quota::Quota;
use rendezvous::relay::switch::{Run, Switch};
use rendezvous::server::{ConnectionId, Output, Server};
use rendezvous::stun_service::{Layout, Place, StunService};

use crate::disk::Disk;
use crate::pipe::{self, Content, Event, Id, Patience, Pipe};

/// Where it listens for QUIC, STUN and relay frames.
pub(crate) const PORT: u16 = 3478;
/// And for STUN alone.
const ALTERNATE_PORT: u16 = 3479;
const TICK: Duration = Duration::from_secs(1);
const PATIENCE: Patience = Patience { keepalive: None, idle: Some(Duration::from_secs(12)), handshake: None };

pub(crate) struct Rendezvous {
    own: Addresses,
    second: IpAddr,
    /// One for each version of IP.
    stun: Vec<(Layout, StunService)>,
    random: Random,
    server: Server,
    switch: Switch,
    disk: Disk,
    pipes: BTreeMap<Id, Pipe>,
    /// Which pipe is which connection of the server.
    connections: BTreeMap<Id, ConnectionId>,
    next: u64,
    tick: Option<Instant>,
    outbox: VecDeque<Datagram>,
}

impl fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Rendezvous {
    /// With a second address of IPv4, for looks at NATs.
    pub(crate) fn new(own: Addresses, second: IpAddr, random: Random, now: Instant) -> Self {
        let disk = Disk::new(Identity::from_seed(&[3; 32]), now);
        let (server, switch) = fresh(own, &random, &disk, now);
        let (pipes, connections, outbox) = Default::default();
        let layout = |ip: IpAddr| {
            let second_ip = Some(second).filter(|_| ip.is_ipv4());
            let layout = Layout { ip, second_ip, port: PORT, second_port: ALTERNATE_PORT };
            (layout, StunService::new(layout, 1))
        };
        let stun = own.iter().map(layout).collect();
        Rendezvous { own, second, stun, random, server, switch, disk, pipes, connections, next: 0, tick: None, outbox }
    }

    /// Killed and started again: nothing is remembered but what is on the disk.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.random = self.random.fork(1);
        self.disk.killed();
        self.pipes.clear();
        self.connections.clear();
        (self.server, self.switch) = fresh(self.own, &self.random, &self.disk, now);
    }

    /// The mail that it has.
    pub(crate) fn mails(&mut self) -> u64 {
        self.disk.mails()
    }

    pub(crate) fn handle_datagram(&mut self, datagram: &Datagram, now: Instant) {
        let source = datagram.source;
        if datagram::classify(&datagram.payload) == Kind::Stun {
            return self.ask_stun(datagram, now);
        }
        if let Some((channel, _)) = relay::parse(&datagram.payload) {
            let run = Run { channel, count: 1, size: datagram.payload.len() };
            if let Some(passage) = self.switch.route(SocketIndex::default(), source, run, now) {
                self.switch.sent(1, run.size);
                self.post(passage.to.address, datagram.payload.clone());
            }
        } else if let Some((id, content)) = pipe::decode(&datagram.payload) {
            self.packet(id, content, source, now);
        }
        self.pump(now);
    }

    fn ask_stun(&mut self, datagram: &Datagram, now: Instant) {
        let Datagram { source, destination, payload } = datagram;
        let here = |layout: &Layout| layout.ip == destination.ip() || layout.second_ip == Some(destination.ip());
        let Some((layout, stun)) = self.stun.iter_mut().find(|(layout, _)| here(layout)) else { return };
        let second_ip = layout.ip != destination.ip();
        let place = Place { second_ip, second_port: destination.port() == layout.second_port };
        if let Some(answer) = stun.handle_datagram(place, None, *source, payload, now) {
            let ip = if answer.from.second_ip { layout.second_ip.unwrap_or(layout.ip) } else { layout.ip };
            let port = if answer.from.second_port { layout.second_port } else { layout.port };
            let source = SocketAddr::new(ip, port);
            self.outbox.push_back(Datagram { source, destination: answer.to, payload: answer.bytes });
        }
    }

    fn packet(&mut self, id: Id, content: Content, source: SocketAddr, now: Instant) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            return pipe.handle(content, source, now);
        }
        match content {
            Content::Open { from } => {
                self.pipes.insert(id, Pipe::accept(id, source, Duration::from_millis(100), PATIENCE, now));
                let connection = ConnectionId(self.next);
                self.next += 1;
                self.connections.insert(id, connection);
                let alternate = Some(SocketAddr::new(self.second, PORT)).filter(|_| source.is_ipv4());
                let stun = StunEndpoints { alternate_port: ALTERNATE_PORT, alternate };
                self.server.handle_connected(connection, from, source, stun, now);
                self.tick.get_or_insert(now + TICK);
            }
            Content::Close { .. } | Content::Forgotten => {}
            _ => self.post(source, pipe::encode(id, &Content::Forgotten)),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for pipe in self.pipes.values_mut().filter(|pipe| pipe.poll_wakeup().is_some_and(|at| at <= now)) {
            pipe.handle_timeout(now);
        }
        if self.tick.is_some_and(|at| at <= now) {
            self.tick = Some(now + TICK);
            self.server.handle_relayed(self.switch.take_used(), now);
            for (id, connection) in &self.connections {
                if let Some(pipe) = self.pipes.get(id) {
                    self.server.handle_moved(*connection, pipe.remote(), now);
                }
            }
            self.server.handle_timeout(now);
        }
        self.disk.handle_timeout(&mut self.server, now);
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        loop {
            self.hear(now);
            while let Some(change) = self.server.poll_change() {
                self.switch.apply(change, now);
            }
            while let Some(command) = self.server.poll_command() {
                self.disk.take(command, now);
            }
            let Some(output) = self.server.poll_output() else { break };
            let to = match &output {
                Output::Send(to, _) | Output::Close(to, _) => *to,
            };
            let id = self.connections.iter().find(|(_, connection)| **connection == to).map(|(id, _)| *id);
            let Some((id, pipe)) = id.and_then(|id| Some((id, self.pipes.get_mut(&id)?))) else { continue };
            match output {
                Output::Send(_, message) => {
                    pipe.send(wire::encode(&message, MAX_CONTROL_FRAME).expect("it fits"), now);
                }
                Output::Close(_, code) => {
                    self.connections.remove(&id);
                    pipe.finish(code.code(), now);
                }
            }
        }
        let packets: Vec<_> =
            self.pipes.values_mut().flat_map(|pipe| std::iter::from_fn(|| pipe.poll_packet())).collect();
        for (destination, payload) in packets {
            self.post(destination, payload);
        }
        self.pipes.retain(|_, pipe| !pipe.is_over());
    }

    fn hear(&mut self, now: Instant) {
        for (id, pipe) in &mut self.pipes {
            while let Some(event) = pipe.poll_event() {
                let Some(connection) = self.connections.get(id).copied() else { continue };
                match event {
                    Event::Opened => {}
                    Event::Frame(bytes) => {
                        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
                        reader.push(&bytes);
                        let message: ToServer = reader.poll().expect("a message").expect("a whole one");
                        self.server.handle_message(connection, message, now);
                    }
                    Event::Ended { .. } => {
                        self.connections.remove(id);
                        self.server.handle_closed(connection, now);
                    }
                }
            }
        }
    }

    fn post(&mut self, destination: SocketAddr, payload: Vec<u8>) {
        if let Some(own) = self.own.of_family(destination.ip()) {
            self.outbox.push_back(Datagram { source: SocketAddr::new(own, PORT), destination, payload });
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    pub(crate) fn poll_wakeup(&self) -> Option<Instant> {
        self.pipes.values().filter_map(Pipe::poll_wakeup).chain(self.tick).chain(self.disk.poll_wakeup()).min()
    }
}

fn fresh(own: Addresses, random: &Random, disk: &Disk, now: Instant) -> (Server, Switch) {
    let limits = Limits::default();
    let mut luck = random.fork(2);
    let server = Server::new(&limits, Box::new(move || luck.bits())).with_relay(Channels::new(1000));
    let server = server.with_calendar(now, disk.now_s(now)).with_mailbox(1);
    let (bytes, packets) = (limits.relay_bytes_per_second.get(), limits.relay_packets_per_second.get());
    (server, Switch::new(Quota { bytes, packets }, own.iter().map(|ip| SocketAddr::new(ip, PORT)).collect()))
}
