//! Two agents, up to two NATs and a network between them, in virtual time: the smallest world in which the strategies
//! can be told apart. The real model of NATs is netsim's; this one is here so that the core tests itself alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Agent, Base, Command, Config, Event, Received};
use crate::candidate::{Candidate, CandidateKind};
use crate::identity::Identity;
use crate::introduction::IntroductionId;
use crate::nat::{Filtering, Mapping};
use crate::pairing::Pairing;

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The inside socket, and what of the destination the mapping depends on.
type MappingKey = (SocketAddr, Option<IpAddr>, Option<u16>);

/// A NAT in two words of RFC 4787, without hairpinning unless told.
#[derive(Debug, Clone)]
pub(super) struct Nat {
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    pub(super) hairpinning: bool,
    pub(super) lifetime: Duration,
    pub(super) ip: IpAddr,
    pub(super) next_port: u16,
    /// External port and last outbound use.
    pub(super) mappings: BTreeMap<MappingKey, (u16, Instant)>,
    /// (external port, remote) -> last packet.
    pub(super) permissions: BTreeMap<(u16, SocketAddr), Instant>,
}

impl Nat {
    pub(super) fn new(mapping: Mapping, filtering: Filtering) -> Self {
        Nat {
            mapping,
            filtering,
            hairpinning: false,
            lifetime: Duration::from_secs(120),
            ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            next_port: 20_000,
            mappings: BTreeMap::new(),
            permissions: BTreeMap::new(),
        }
    }

    pub(super) fn home() -> Self {
        Nat::new(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
    }

    pub(super) fn symmetric() -> Self {
        Nat::new(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent)
    }

    /// The same router after a power cut: it has forgotten everything, and chooses other ports.
    pub(super) fn reboot(&self) -> Self {
        let mut fresh = self.clone();
        fresh.mappings.clear();
        fresh.permissions.clear();
        fresh
    }

    fn outbound(&mut self, inside: SocketAddr, to: SocketAddr, now: Instant) -> SocketAddr {
        let key = match self.mapping {
            Mapping::EndpointIndependent => (inside, None, None),
            Mapping::AddressDependent => (inside, Some(to.ip()), None),
            Mapping::AddressAndPortDependent => (inside, Some(to.ip()), Some(to.port())),
        };
        let lifetime = self.lifetime;
        self.mappings.retain(|_, (_, used)| now < *used + lifetime);
        let (port, used) = self.mappings.entry(key).or_insert_with(|| {
            // Far enough from each other that nobody could guess.
            self.next_port = self.next_port.wrapping_add(7_919) | 1024;
            (self.next_port, now)
        });
        *used = now;
        let port = *port;
        self.permissions.insert((port, to), now);
        SocketAddr::new(self.ip, port)
    }

    fn inbound(&mut self, from: SocketAddr, port: u16, now: Instant) -> Option<SocketAddr> {
        let lifetime = self.lifetime;
        let mut mappings = self.mappings.iter();
        let (&(inside, ..), _) = mappings.find(|(_, (p, used))| *p == port && now < *used + lifetime)?;
        let mut live = self.permissions.iter().filter(|((p, _), used)| *p == port && now < **used + lifetime);
        let allowed = live.any(|((_, remote), _)| match self.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => remote.ip() == from.ip(),
            Filtering::AddressAndPortDependent => *remote == from,
        });
        allowed.then_some(inside)
    }
}

/// Where a host lives.
#[derive(Debug, Clone, Copy)]
struct Host {
    inside: SocketAddr,
    nat: Option<usize>,
}

/// Where a datagram under way will arrive.
#[derive(Debug, Clone, Copy)]
enum To {
    /// On the LAN, at this host.
    Host(usize),
    /// At this public address.
    Wire(SocketAddr),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) agents: [Option<Agent>; 2],
    pub(super) events: [Vec<(Duration, Event)>; 2],
    /// Datagrams that each agent has sent.
    pub(super) sent: [Vec<(Duration, SocketAddr)>; 2],
    pub(super) nats: Vec<Nat>,
    hosts: [Host; 2],
    /// One way between the two, over the Internet.
    pub(super) delay: Duration,
    pub(super) loss_percent: u64,
    random: u64,
    flights: BTreeMap<(Instant, u64), (To, SocketAddr, Vec<u8>)>,
    serial: u64,
    reflexive: [SocketAddr; 2],
}

impl World {
    /// Alice and Bob behind these NATs (`None`: on a public address); with `shared`, both behind Alice's.
    pub(super) fn new(alice: Option<Nat>, bob: Option<Nat>, shared: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        let now = Instant::now() + Duration::from_secs(1000);
        let mut nats = Vec::new();
        let mut place = |nat: Option<Nat>, lan: u8, public: u8| match nat {
            Some(mut nat) => {
                nat.ip = IpAddr::V4(Ipv4Addr::new(11, 1, 1, public));
                nats.push(nat);
                Host { inside: SocketAddr::from(([192, 168, lan, 10], 4000)), nat: Some(nats.len() - 1) }
            }
            None => Host { inside: SocketAddr::from(([11, 1, 1, public], 4000)), nat: None },
        };
        let first = place(alice, 1, 1);
        let second = match shared {
            true => Host { inside: SocketAddr::from(([192, 168, 1, 11], 4000)), ..first },
            false => place(bob, 2, 2),
        };
        let mut world = World {
            now,
            start: now,
            agents: [None, None],
            events: Default::default(),
            sent: Default::default(),
            nats,
            hosts: [first, second],
            delay: ms(20),
            loss_percent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            flights: BTreeMap::new(),
            serial: 0,
            reflexive: [first.inside; 2],
        };
        // Both have registered: the mapping toward the server stands, and the server knows it.
        world.reflexive = [ALICE, BOB].map(|who| world.map_toward(who, SocketAddr::from(([11, 1, 1, 100], 3478))));
        world
    }

    pub(super) fn seed(mut self, seed: u64) -> Self {
        self.random ^= seed;
        self
    }

    fn map_toward(&mut self, who: usize, to: SocketAddr) -> SocketAddr {
        let host = self.hosts[who];
        match host.nat {
            Some(nat) => self.nats[nat].outbound(host.inside, to, self.now),
            None => host.inside,
        }
    }

    /// Both register once more, from whatever mappings they have now, and are introduced again.
    pub(super) fn introduce_again(&mut self) {
        self.reflexive = [ALICE, BOB].map(|who| self.map_toward(who, SocketAddr::from(([11, 1, 1, 100], 3478))));
        self.introduce(BOB, true);
        self.introduce(ALICE, true);
    }

    /// The server tells `who` about the other one, now. `hosts`: with the sealed host candidates.
    pub(super) fn introduce(&mut self, who: usize, hosts: bool) {
        let identities = [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])];
        let other = 1 - who;
        let pairing = Pairing::new(&identities[who], identities[other].peer_id()).expect("a secret");
        let keepalive = self.agents[who].as_ref().map(Agent::keepalive).unwrap_or_default();
        let own_reflexive = Some(self.reflexive[who].ip());
        let config = Config { introduction: IntroductionId(7), own_reflexive, keepalive, guessing: None };
        let mut agent = Agent::new(config, &pairing, self.now);
        let mut candidates = vec![Candidate { kind: CandidateKind::ServerReflexive, address: self.reflexive[other] }];
        if hosts {
            candidates.push(Candidate { kind: CandidateKind::Host, address: self.hosts[other].inside });
        }
        agent.handle_command(Command::AddCandidates(candidates), self.now);
        self.agents[who] = Some(agent);
        self.drain(who);
    }

    /// Bob, who is asked, hears of it after `bob`, Alice after `alice`; then time runs until `until` after the start.
    pub(super) fn introduce_both(&mut self, alice: Duration, bob: Duration, until: Duration) {
        let start = self.now;
        let mut order = [(alice, ALICE), (bob, BOB)];
        order.sort();
        for (at, who) in order {
            self.run_until(start + at);
            self.introduce(who, true);
        }
        self.run_until(start + until);
    }

    pub(super) fn command(&mut self, who: usize, command: Command) {
        if let Some(agent) = &mut self.agents[who] {
            agent.handle_command(command, self.now);
        }
        self.drain(who);
    }

    /// A datagram out of nowhere, straight to the agent.
    pub(super) fn inject(&mut self, who: usize, source: SocketAddr, payload: &[u8]) -> bool {
        let agent = self.agents[who].as_mut().expect("an agent");
        let mine = agent.handle_datagram(Received { base: Base::MAIN, source, payload }, self.now);
        self.drain(who);
        mine
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Moves virtual time on, through every arrival and every wake-up.
    pub(super) fn run_until(&mut self, end: Instant) {
        for _ in 0..1_000_000 {
            let arrival = self.flights.keys().next().map(|(at, _)| *at);
            let wakeup = self.agents.iter().flatten().filter_map(|a| a.poll_wakeup()).map(|w| w.at).min();
            let Some(next) = arrival.into_iter().chain(wakeup).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, source, payload) = entry.remove();
                let who = match to {
                    To::Host(who) => who,
                    To::Wire(to) => match self.arrive(source, to) {
                        Some(who) => who,
                        None => continue,
                    },
                };
                if let Some(agent) = &mut self.agents[who] {
                    agent.handle_datagram(Received { base: Base::MAIN, source, payload: &payload }, self.now);
                }
                self.drain(who);
            }
            for who in [ALICE, BOB] {
                let due = |agent: &Agent| agent.poll_wakeup().is_some_and(|wakeup| wakeup.at <= self.now);
                if let Some(agent) = self.agents[who].as_mut().filter(|agent| due(agent)) {
                    agent.handle_timeout(self.now);
                }
                self.drain(who);
            }
        }
        panic!("a million steps without an end: somebody wakes up for nothing");
    }

    fn drain(&mut self, who: usize) {
        let Some(agent) = &mut self.agents[who] else { return };
        let elapsed = self.now - self.start;
        let mut out = Vec::new();
        while let Some(transmit) = agent.poll_transmit() {
            assert!(transmit.payload.len() <= 120, "a probe of {} bytes", transmit.payload.len());
            out.push(transmit);
        }
        while let Some(event) = agent.poll_event() {
            self.events[who].push((elapsed, event));
        }
        for transmit in out {
            self.sent[who].push((elapsed, transmit.destination));
            self.send(who, transmit.destination, transmit.payload);
        }
    }

    /// From an inside socket through its NAT, over the wire, to whoever is there.
    fn send(&mut self, who: usize, to: SocketAddr, payload: Vec<u8>) {
        let (host, other) = (self.hosts[who], self.hosts[1 - who]);
        let same_lan = host.nat == other.nat && host.nat.is_some();
        if same_lan && to == other.inside {
            return self.fly(To::Host(1 - who), host.inside, payload, ms(1));
        }
        if matches!(to.ip(), IpAddr::V4(v4) if v4.is_private()) {
            return;
        }
        let source = self.map_toward(who, to);
        if self.roll() < self.loss_percent {
            return;
        }
        match host.nat {
            Some(nat) if self.nats[nat].ip == to.ip() && !self.nats[nat].hairpinning => {}
            Some(nat) if self.nats[nat].ip == to.ip() => self.fly(To::Wire(to), source, payload, ms(1)),
            _ => self.fly(To::Wire(to), source, payload, self.delay),
        }
    }

    /// Who is behind a public address: the filter of a NAT looks when the packet arrives.
    fn arrive(&mut self, source: SocketAddr, to: SocketAddr) -> Option<usize> {
        if let Some(who) = self.hosts.iter().position(|host| host.nat.is_none() && host.inside == to) {
            return Some(who);
        }
        let nat = self.nats.iter_mut().find(|nat| nat.ip == to.ip())?;
        let inside = nat.inbound(source, to.port(), self.now)?;
        self.hosts.iter().position(|host| host.inside == inside)
    }

    fn fly(&mut self, to: To, source: SocketAddr, payload: Vec<u8>, delay: Duration) {
        self.serial += 1;
        self.flights.insert((self.now + delay, self.serial), (to, source, payload));
    }

    fn roll(&mut self) -> u64 {
        // xorshift64*: any seed will do, nothing here is secret.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % 100
    }
}
