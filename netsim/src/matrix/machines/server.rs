//! The rendezvous' own decisions, with datagrams in the place of QUIC.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::introduction::{FromServer, MAX_CONTROL_FRAME, Role, StunEndpoints, ToServer};
use common::wire::{self, FrameReader};
use rendezvous::limits::Limits;
use rendezvous::server::{ConnectionId, Output, Server};

use crate::model::Random;
use crate::virtual_net::{Datagram, Endpoint};

/// A rendezvous on a host.
pub(super) struct Rendezvous {
    server: Server,
    /// Who is connected: from where, to which of our addresses.
    connections: BTreeMap<(SocketAddr, SocketAddr), ConnectionId>,
    outbox: VecDeque<Datagram>,
    /// By so much the word to whoever is asked for comes late.
    late: Duration,
    belated: VecDeque<(Instant, Datagram)>,
}

impl fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Rendezvous {
    pub(super) fn new(mut random: Random, late: Duration) -> Self {
        let server = Server::new(&Limits::default(), Box::new(move || random.bits()));
        let (outbox, belated) = (VecDeque::new(), VecDeque::new());
        Rendezvous { server, connections: BTreeMap::new(), outbox, late, belated }
    }

    fn hear(&mut self, datagram: &Datagram, now: Instant) -> Option<()> {
        let (peer, frame) = datagram.payload.split_first_chunk::<32>()?;
        let peer = PeerId::from_bytes(*peer).ok()?;
        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
        reader.push(frame);
        let message: ToServer = reader.poll().ok()??;
        let key = (datagram.source, datagram.destination);
        let next = ConnectionId(self.connections.len() as u64);
        let connection = *self.connections.entry(key).or_insert_with(|| {
            let stun = StunEndpoints { alternate_port: 3479, alternate: None };
            self.server.handle_connected(next, peer, datagram.source, stun, now);
            next
        });
        self.server.handle_message(connection, message, now);
        Some(())
    }

    fn say(&mut self, now: Instant) {
        while let Some(output) = self.server.poll_output() {
            let Output::Send(to, message) = output else { continue };
            let place = self.connections.iter().find(|(_, id)| **id == to).map(|(place, _)| *place);
            if let (Some((destination, source)), Ok(payload)) = (place, wire::encode(&message, MAX_CONTROL_FRAME)) {
                let datagram = Datagram { source, destination, payload };
                match message {
                    FromServer::Introduction(introduction) if introduction.role == Role::Responder => {
                        self.belated.push_back((now + self.late, datagram));
                    }
                    _ => self.outbox.push_back(datagram),
                }
            }
        }
    }
}

impl Endpoint for Rendezvous {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        self.hear(&datagram, now);
        self.say(now);
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
