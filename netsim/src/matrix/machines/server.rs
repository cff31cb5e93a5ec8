//! The rendezvous' own decisions, with datagrams in the place of QUIC, and its own STUN service.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::datagram::{Kind, classify};
use common::identity::PeerId;
use common::introduction::{FromServer, MAX_CONTROL_FRAME, Role, StunEndpoints, ToServer};
use common::path::Strategy;
use common::wire::{self, FrameReader};
use rendezvous::limits::Limits;
use rendezvous::server::{ConnectionId, Output, Server};
use rendezvous::stun_service::{Layout, Place, StunService};

use crate::model::{Addresses, Random};
use crate::virtual_net::{Datagram, Endpoint};

/// Its ports: QUIC and STUN on the one, STUN alone on the other.
pub(super) const PORT: u16 = 3478;
const ALTERNATE_PORT: u16 = 3479;

/// A rendezvous on a host.
pub(super) struct Rendezvous {
    server: Server,
    /// One for each version of IP.
    stun: Vec<(Layout, StunService)>,
    /// Who is connected: from where, to which of our addresses.
    connections: BTreeMap<(SocketAddr, SocketAddr), ConnectionId>,
    /// How many there ever were.
    opened: u64,
    outbox: VecDeque<Datagram>,
    /// By so much the word to whoever is asked for comes late.
    late: Duration,
    belated: VecDeque<(Instant, Datagram)>,
    /// What it says has found paths for others: to who asked and to who was asked.
    hints: [Option<Strategy>; 2],
}

impl fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Rendezvous {
    /// With these addresses, and perhaps a second one of IPv4.
    pub(super) fn new(addresses: Addresses, second: Option<IpAddr>, mut random: Random, late: Duration) -> Self {
        let layout = |ip: IpAddr| {
            let second_ip = second.filter(|_| ip.is_ipv4());
            let layout = Layout { ip, second_ip, port: PORT, second_port: ALTERNATE_PORT };
            (layout, StunService::new(layout, 1))
        };
        let stun = addresses.iter().map(layout).collect();
        let server = Server::new(&Limits::default(), Box::new(move || random.bits()));
        let (outbox, belated) = (VecDeque::new(), VecDeque::new());
        let (connections, hints) = (BTreeMap::new(), [None; 2]);
        Rendezvous { server, stun, connections, opened: 0, outbox, late, belated, hints }
    }

    /// It says so, whether that is true or not.
    pub(super) fn with_hints(mut self, hints: [Option<Strategy>; 2]) -> Self {
        self.hints = hints;
        self
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

    fn hear(&mut self, datagram: &Datagram, now: Instant) -> Option<()> {
        let (peer, frame) = datagram.payload.split_first_chunk::<32>()?;
        let peer = PeerId::from_bytes(*peer).ok()?;
        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
        reader.push(frame);
        let message: ToServer = reader.poll().ok()??;
        let key = (datagram.source, datagram.destination);
        let known = self.connections.get(&key).copied();
        // A client that registers anew has a new connection.
        let anew = matches!(message, ToServer::Register(_));
        let connection = match known.filter(|_| !anew) {
            Some(connection) => connection,
            None => {
                if let Some(before) = known {
                    self.server.handle_closed(before, now);
                }
                let layout =
                    self.stun.iter().map(|(layout, _)| layout).find(|layout| layout.ip == datagram.destination.ip());
                let second = layout.and_then(|layout| layout.second_ip);
                let alternate = second.map(|second| SocketAddr::new(second, PORT));
                let stun = StunEndpoints { alternate_port: ALTERNATE_PORT, alternate };
                let connection = ConnectionId(self.opened);
                self.opened += 1;
                self.connections.insert(key, connection);
                self.server.handle_connected(connection, peer, datagram.source, stun, now);
                connection
            }
        };
        self.server.handle_message(connection, message, now);
        Some(())
    }

    fn say(&mut self, now: Instant) {
        while let Some(output) = self.server.poll_output() {
            let Output::Send(to, mut message) = output else { continue };
            if let FromServer::Introduction(introduction) = &mut message {
                let [to_requester, to_responder] = self.hints;
                let responds = introduction.role == Role::Responder;
                introduction.hint = if responds { to_responder } else { to_requester }.map(Into::into);
            }
            let place = self.connections.iter().find(|(_, id)| **id == to).map(|(place, _)| *place);
            if let (Some((destination, source)), Ok(payload)) = (place, wire::encode(&message, MAX_CONTROL_FRAME)) {
                let datagram = Datagram { source, destination, payload };
                // As on a QUIC stream, nothing overtakes what is late.
                let behind = self.belated.iter().rev().find(|(_, late)| late.destination == destination);
                match (message, behind) {
                    (FromServer::Introduction(introduction), _) if introduction.role == Role::Responder => {
                        self.belated.push_back((now + self.late, datagram));
                    }
                    (_, Some((at, _))) => self.belated.push_back((*at, datagram)),
                    _ => self.outbox.push_back(datagram),
                }
            }
        }
    }
}

impl Endpoint for Rendezvous {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        if classify(&datagram.payload) == Kind::Stun {
            self.ask_stun(&datagram, now);
        } else {
            self.hear(&datagram, now);
            self.say(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, datagram)) = self.belated.pop_front_if(|(at, _)| *at <= now) {
            self.outbox.push_back(datagram);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        self.outbox.pop_front()
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        self.belated.front().map(|(at, _)| *at)
    }
}
