//! One client with its two sockets, perhaps a NAT, and a server with one address or two, in virtual time. The real model
//! of NATs is netsim's; this one is here so that the core tests itself alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Config, Discovery, Event, MAX_PAYLOAD, Received, Socket, Transmit};
use crate::introduction::StunEndpoints;
use crate::nat::{Filtering, Mapping, NatProfile};
use crate::stun::{self, Message, Response};

/// One way to the server, all of whose addresses are in one place.
pub(super) const DELAY: Duration = Duration::from_millis(20);
/// Through the router and back.
const HAIRPIN_DELAY: Duration = Duration::from_millis(1);
pub(super) const MAIN_PORT: u16 = 4000;
pub(super) const FRESH_PORT: u16 = 50_123;

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The inside socket, and what of the destination the mapping depends on.
type MappingKey = (SocketAddr, Option<IpAddr>, Option<u16>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    Preserved,
    Step(i16),
    Random,
}

#[derive(Debug, Clone)]
pub(super) struct Nat {
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    pub(super) hairpinning: bool,
    ports: Ports,
    ip: IpAddr,
    last_port: u16,
    mappings: BTreeMap<MappingKey, u16>,
    /// (external port, remote).
    permissions: Vec<(u16, SocketAddr)>,
}

impl Nat {
    pub(super) fn new(mapping: Mapping, filtering: Filtering) -> Self {
        Nat {
            mapping,
            filtering,
            hairpinning: false,
            ports: Ports::Random,
            ip: IpAddr::V4(Ipv4Addr::new(11, 1, 1, 1)),
            last_port: 20_000,
            mappings: BTreeMap::new(),
            permissions: Vec::new(),
        }
    }

    pub(super) fn home() -> Self {
        Nat::new(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
    }

    pub(super) fn hairpinning(self, hairpinning: bool) -> Self {
        Nat { hairpinning, ..self }
    }

    pub(super) fn ports(self, ports: Ports) -> Self {
        Nat { ports, ..self }
    }

    fn outbound(&mut self, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let key = match self.mapping {
            Mapping::EndpointIndependent => (inside, None, None),
            Mapping::AddressDependent => (inside, Some(to.ip()), None),
            Mapping::AddressAndPortDependent => (inside, Some(to.ip()), Some(to.port())),
        };
        let port = *self.mappings.entry(key).or_insert_with(|| {
            self.last_port = match self.ports {
                Ports::Preserved => inside.port(),
                Ports::Step(step) => self.last_port.wrapping_add_signed(step),
                // Far enough from each other that nobody could guess.
                Ports::Random => self.last_port.wrapping_add(27_919) | 1024,
            };
            self.last_port
        });
        self.permissions.push((port, to));
        SocketAddr::new(self.ip, port)
    }

    fn inbound(&self, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let (&(inside, ..), _) = self.mappings.iter().find(|(_, mapped)| **mapped == port)?;
        let allowed =
            self.permissions.iter().filter(|(mapped, _)| *mapped == port).any(|(_, remote)| match self.filtering {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => remote.ip() == from.ip(),
                Filtering::AddressAndPortDependent => *remote == from,
            });
        allowed.then_some(inside)
    }
}

/// What a server makes of CHANGE-REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// Serves what it can, as ours does, and refuses the rest.
    Served,
    /// Error 420 to all.
    Refused,
    /// Never heard of it, and answers from where it was asked.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) second: bool,
    /// Do packets leave from the second address?
    pub(super) second_works: bool,
    pub(super) answers: bool,
    pub(super) changes: Changes,
    /// The OTHER-ADDRESS of all its answers.
    pub(super) other: Option<SocketAddr>,
}

pub(super) const ONE_ADDRESS: Server =
    Server { second: false, second_works: true, answers: true, changes: Changes::Served, other: None };
pub(super) const TWO_ADDRESSES: Server = Server { second: true, ..ONE_ADDRESS };

impl Server {
    pub(super) const IPS: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(11, 1, 1, 100)), IpAddr::V4(Ipv4Addr::new(11, 1, 1, 101))];

    fn answer(&self, at: SocketAddr, from: SocketAddr, payload: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let second = at.ip() == Self::IPS[1];
        if !self.answers || (second && !(self.second && self.second_works)) {
            return None;
        }
        let Ok(Message::Request(request)) = stun::decode(payload) else { panic!("not a request") };
        let change = request.change;
        let changed = change.ip || change.port;
        if changed && (self.changes == Changes::Refused || (change.ip && !self.second)) {
            return Some((at, stun::encode_unknown_attributes(request.transaction, &[3])));
        }
        let origin = match self.changes {
            Changes::Ignored => at,
            _ => SocketAddr::new(
                Self::IPS[usize::from(second ^ change.ip)],
                if change.port { 3478 + 3479 - at.port() } else { at.port() },
            ),
        };
        if origin.ip() == Self::IPS[1] && !self.second_works {
            return None;
        }
        let response =
            Response { transaction: request.transaction, mapped: from, origin: Some(origin), other: self.other };
        Some((origin, stun::encode_response(&response)))
    }
}

/// A datagram under way, on the public side.
#[derive(Debug, Clone)]
struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) discovery: Discovery,
    pub(super) sent: Vec<(Duration, Transmit)>,
    pub(super) events: Vec<Event>,
    pub(super) finished: Option<(Duration, NatProfile)>,
    nat: Option<Nat>,
    server: Server,
    /// The client's own IP.
    own: IpAddr,
    loss_percent: u64,
    random: u64,
    lose: fn(Duration, &Transmit) -> bool,
    flights: BTreeMap<(Instant, u64), Flight>,
    serial: u64,
}

impl World {
    /// A client behind this NAT (`None`: on a public address) that has registered with this server a moment ago.
    pub(super) fn new(nat: Option<Nat>, server: Server) -> Self {
        let own = if nat.is_some() { Ipv4Addr::new(192, 168, 1, 10) } else { Ipv4Addr::new(11, 1, 1, 1) };
        World::at(IpAddr::V4(own), nat, server)
    }

    /// A client on a public address behind a firewall.
    pub(super) fn behind_a_firewall(filtering: Filtering, server: Server) -> Self {
        let firewall = Nat { ports: Ports::Preserved, ..Nat::new(Mapping::EndpointIndependent, filtering) };
        World::at(firewall.ip, Some(firewall), server)
    }

    fn at(own: IpAddr, mut nat: Option<Nat>, server: Server) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(1000);
        let main = SocketAddr::new(own, MAIN_PORT);
        let [first, second] = Server::IPS.map(|ip| SocketAddr::new(ip, 3478));
        let config = Config {
            server: first,
            endpoints: StunEndpoints { alternate_port: 3479, alternate: server.second.then_some(second) },
            local: vec![main, address("10.9.8.7:4000")],
            fresh_port: FRESH_PORT,
            observed: nat.as_mut().map_or(main, |nat| nat.outbound(main, first)),
            seed: [7; 32],
        };
        World {
            now,
            start: now,
            discovery: Discovery::new(config, now),
            sent: Vec::new(),
            events: Vec::new(),
            finished: None,
            nat,
            server,
            own,
            loss_percent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            lose: |_, _| false,
            flights: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Loses so many of a hundred packets, each way.
    pub(super) fn losing(mut self, percent: u64, seed: u64) -> Self {
        self.loss_percent = percent;
        self.random ^= seed;
        self
    }

    /// Loses the packets that the client sends for which this holds, behind the NAT.
    pub(super) fn losing_when(mut self, lose: fn(Duration, &Transmit) -> bool) -> Self {
        self.lose = lose;
        self
    }

    /// Runs to the end and says when and with what it came.
    pub(super) fn finish(&mut self) -> (Duration, NatProfile) {
        self.run_for(Duration::from_secs(60));
        self.finished.expect("a run ends")
    }

    /// Moves virtual time on, through every arrival and every wake-up.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        for _ in 0..10_000 {
            let arrival = self.flights.keys().next().map(|(at, _)| *at);
            let wakeup = self.discovery.poll_wakeup().map(|wakeup| wakeup.at);
            let Some(next) = arrival.into_iter().chain(wakeup).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let flight = entry.remove();
                self.arrive(flight);
            }
            if self.discovery.poll_wakeup().is_some_and(|wakeup| wakeup.at <= self.now) {
                self.discovery.handle_timeout(self.now);
            }
            self.drain();
        }
        panic!("ten thousand steps without an end: somebody wakes up for nothing");
    }

    /// A datagram out of nowhere, straight to a socket.
    pub(super) fn inject(&mut self, socket: Socket, source: SocketAddr, payload: &[u8]) -> bool {
        let mine = self.discovery.handle_datagram(Received { socket, source, payload }, self.now);
        self.drain();
        mine
    }

    pub(super) fn drain(&mut self) {
        let elapsed = self.now - self.start;
        while let Some(transmit) = self.discovery.poll_transmit() {
            assert!(transmit.payload.len() <= MAX_PAYLOAD, "{} bytes", transmit.payload.len());
            let own = self.nat.as_ref().map_or(self.own, |nat| nat.ip);
            let server =
                Server::IPS.contains(&transmit.destination.ip()) && matches!(transmit.destination.port(), 3478 | 3479);
            assert!(server || transmit.destination.ip() == own, "to a third party: {transmit:?}");
            assert!(self.finished.is_none(), "a packet after the end: {transmit:?}");
            self.sent.push((elapsed, transmit.clone()));
            self.send(elapsed, transmit);
        }
        while let Some(event) = self.discovery.poll_event() {
            assert!(self.finished.is_none(), "an event after the end: {event:?}");
            self.events.push(event);
            if let Event::Finished(profile) = event {
                self.finished = Some((elapsed, profile));
            }
        }
    }

    fn send(&mut self, elapsed: Duration, transmit: Transmit) {
        let port = if transmit.socket == Socket::Main { MAIN_PORT } else { FRESH_PORT };
        let (inside, to) = (SocketAddr::new(self.own, port), transmit.destination);
        let from = self.nat.as_mut().map_or(inside, |nat| nat.outbound(inside, to));
        if (self.lose)(elapsed, &transmit) {
            return;
        }
        let hairpin = self.nat.as_ref().filter(|nat| nat.ip == to.ip()).map(|nat| nat.hairpinning);
        match hairpin {
            Some(false) => {}
            Some(true) => self.fly(from, to, transmit.payload, HAIRPIN_DELAY),
            None => self.fly(from, to, transmit.payload, DELAY),
        }
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, payload: Vec<u8>, delay: Duration) {
        if self.roll() >= self.loss_percent {
            self.serial += 1;
            self.flights.insert((self.now + delay, self.serial), Flight { from, to, payload });
        }
    }

    fn arrive(&mut self, Flight { from, to, payload }: Flight) {
        if Server::IPS.contains(&to.ip()) {
            if let Some((origin, answer)) = self.server.answer(to, from, &payload) {
                self.fly(origin, from, answer, DELAY);
            }
            return;
        }
        let inside = match &self.nat {
            Some(nat) => nat.inbound(from, to.port()),
            None => Some(to),
        };
        let socket = match inside.map(|inside| inside.port()) {
            Some(MAIN_PORT) => Socket::Main,
            Some(FRESH_PORT) => Socket::Fresh,
            _ => return,
        };
        let mine = self.discovery.handle_datagram(Received { socket, source: from, payload: &payload }, self.now);
        assert!(mine, "nobody else sends here");
    }

    fn roll(&mut self) -> u64 {
        // xorshift64*: any seed will do, nothing here is secret.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % 100
    }
}
