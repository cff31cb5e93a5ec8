//! One meeting of Alice and Bob in a virtual network: she asks for him, and both punch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity;
use common::nat::NatProfile;
use common::pairing::Pairing;
use common::path::Report;
use common::path::Strategy;

use super::client::{Client, Identity, Outcome};
use super::neighbour::Neighbour;
use super::profile;
use super::server::{PORT, Rendezvous};
use crate::model::{Access, Addresses, Families, HostId, INTERNET, Line, NetworkId, Random, Topology};
#[cfg(test)]
use crate::model::{Place, RouterId};
use crate::oracle::Relation;
use crate::virtual_net::{Datagram, Endpoint, VirtualNet};

/// Both clients have the same: where two behind one NAT preserve ports, they clash.
const CLIENT_PORT: u16 = 4000;
/// Whoever is not registered by then is not able to.
const REGISTRATION: Duration = Duration::from_secs(3);
/// An attempt ends after sixteen seconds at the latest, and the introduction comes first.
const MEETING: Duration = Duration::from_secs(18);

/// What became of a meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meeting {
    pub(super) outcome: Ending,
    /// So long after Alice asked each had the other's first message.
    pub(super) exchanged: Option<Duration>,
    /// Datagrams of both punching machines.
    pub(super) packets: u32,
    /// The most sockets that one of them had open at a time, beyond its main one.
    pub(super) sockets: usize,
    /// What each tried.
    pub(super) reports: [Option<Report>; 2],
}

/// How a meeting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both have a validated path; so long after Alice asked.
    Direct(Duration),
    /// One has, the other has not, which should never be.
    OneSided,
    /// Introduced, and no path.
    NoPath,
    /// Not introduced: somebody does not reach the rendezvous.
    NotIntroduced,
}

impl Ending {
    /// How long it took, if it is a direct path.
    pub(super) fn time(self) -> Option<Duration> {
        match self {
            Ending::Direct(time) => Some(time),
            _ => None,
        }
    }
}

/// The two and their server, made once: keys take longer than a meeting.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    alice: Identity,
    bob: Identity,
}

impl Cast {
    pub(super) fn new() -> Option<Self> {
        let [alice, bob, server] = [1, 2, 3].map(|n| identity::Identity::from_seed(&[n; 32]));
        let person = |own: &identity::Identity, other: &identity::Identity| {
            let pairing = Arc::new(Pairing::new(own, other.peer_id())?);
            Some(Identity { own: own.peer_id(), pairing, rendezvous: server.peer_id() })
        };
        Some(Cast { alice: person(&alice, &bob)?, bob: person(&bob, &alice)? })
    }
}

/// Whoever is on a host.
enum Machine {
    Client(Box<Client>),
    Rendezvous(Box<Rendezvous>),
    Neighbour(Neighbour),
}

/// How far a client has come.
#[derive(Clone, Copy)]
struct Standing {
    registered: bool,
    outcome: Outcome,
    heard: Option<Instant>,
    packets: u32,
    sockets: usize,
    report: Option<Report>,
}

impl Standing {
    const NOBODY: Standing =
        Standing { registered: false, outcome: Outcome::Waiting, heard: None, packets: 0, sockets: 0, report: None };

    /// Can more come? A path is followed by a message.
    fn is_under_way(&self) -> bool {
        match self.outcome {
            Outcome::Waiting | Outcome::Punching => true,
            Outcome::Direct { .. } => self.heard.is_none(),
            Outcome::NoPath => false,
        }
    }
}

impl Machine {
    fn standing(&self) -> Standing {
        match self {
            Machine::Client(client) => {
                let Client { outcome, heard, packets, sockets, .. } = **client;
                let (registered, report) = (client.is_registered(), client.report());
                Standing { registered, outcome, heard, packets, sockets, report }
            }
            Machine::Rendezvous(_) | Machine::Neighbour(_) => Standing::NOBODY,
        }
    }
}

/// What a client has done.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Done {
    /// Datagrams of its punching machine.
    pub(super) packets: u32,
    pub(super) wakeups: u32,
    /// Of the other, heard.
    pub(super) messages: u32,
    /// Open now, beyond the main one.
    pub(super) sockets: usize,
    pub(super) direct: bool,
}

/// Who meets whom, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script<'a> {
    pub(super) access: [&'a Access; 2],
    pub(super) relation: Relation,
    /// By so much Bob hears later than the rendezvous meant him to.
    pub(super) late: Duration,
    /// What the two believe of their own NATs, if that is not the truth.
    pub(super) believed: Option<[NatProfile; 2]>,
    /// The lines, if they are not to be drawn: of the two, and of the server.
    pub(super) lines: Option<([Line; 2], Line)>,
    /// New flows a second on each of their NATs, of other people.
    pub(super) neighbours: u32,
    /// Does the rendezvous have a second address?
    pub(super) second_address: bool,
    /// What the rendezvous says has found paths for others: to Alice, who asks, and to Bob.
    pub(super) hints: [Option<Strategy>; 2],
}

impl<'a> Script<'a> {
    /// Everybody knows the truth, and nobody disturbs.
    pub(super) fn of(access: [&'a Access; 2], relation: Relation, late: Duration) -> Self {
        let (believed, lines, neighbours) = (None, None, 0);
        Script { access, relation, late, believed, lines, neighbours, second_address: true, hints: [None; 2] }
    }
}

/// A meeting that is about to be, in a network that is drawn from the seed: lines of 5 to 25 ms and up to 2 ms of jitter.
pub(super) struct Stage {
    net: VirtualNet<Machine>,
    alice: HostId,
    bob: HostId,
}

impl Stage {
    pub(super) fn new(cast: &Cast, script: Script<'_>, seed: u64, start: Instant) -> Self {
        let Script { access, relation, late, .. } = script;
        let mut luck = Random::new(seed);
        let mut line = || Line {
            jitter: Duration::from_millis(2),
            ..Line::delay(Duration::from_micros(5_000 + luck.below(20_000)))
        };
        let drawn = ([line(), line()], line());
        let (lines, server_line) = script.lines.unwrap_or(drawn);
        let mut topology = Topology::new(luck.bits());
        let server = topology.add_host(INTERNET, Families::Both, server_line);
        let networks = place(&mut topology, access, relation, lines);
        let wire = Line::delay(Duration::from_millis(1));
        let [alice, bob] = [0, 1].map(|n| {
            // Nobody's way to the Internet is shorter for having no router.
            let line = if networks[n] == INTERNET { lines[n] } else { wire };
            topology.add_host(networks[n], access[n].families, line)
        });
        let its = topology.addresses(server);
        let second = script.second_address.then(|| topology.add_address(server)).flatten();
        let disturbed = networks.into_iter().filter(|network| script.neighbours > 0 && *network != INTERNET);
        let neighbours: Vec<HostId> = disturbed.map(|lan| topology.add_host(lan, Families::Ipv4, wire)).collect();
        let profiles = script.believed.unwrap_or(access.map(profile::of));
        let clients = [(alice, &cast.alice, profiles[0]), (bob, &cast.bob, profiles[1])];
        let clients = clients.map(|(host, identity, profile)| {
            let own = topology.addresses(host);
            let server = own.iter().find_map(|ip| its.of_family(ip));
            let server = server.map(|ip| SocketAddr::new(ip, PORT));
            (host, server.map(|server| Client::new(identity.clone(), own, CLIENT_PORT, server, profile, start)))
        });
        let homes: Vec<Addresses> = neighbours.iter().map(|host| topology.addresses(*host)).collect();
        let mut net = VirtualNet::new(topology, start);
        let rendezvous = Rendezvous::new(its, second, luck.fork(1), late).with_hints(script.hints);
        net.place(server, Machine::Rendezvous(Box::new(rendezvous)));
        for (n, (host, own)) in neighbours.into_iter().zip(homes).enumerate() {
            let luck = luck.fork(10 + n as u64);
            if let (Some(own), Some(sink)) = (own.ipv4, its.ipv4) {
                net.place(host, Machine::Neighbour(Neighbour::new(own, sink, script.neighbours, luck, start)));
            }
        }
        for (host, client) in clients {
            if let Some(client) = client {
                net.place(host, Machine::Client(Box::new(client)));
            }
        }
        Stage { net, alice, bob }
    }

    /// Keep a trace of every packet.
    pub(super) fn record(&mut self) {
        self.net.record();
    }

    pub(super) fn trace(&self) -> &str {
        self.net.trace()
    }

    /// Both register, and she asks for him; to the end.
    pub(super) fn play(&mut self) -> Meeting {
        match self.ask() {
            Some(asked) => self.finish(asked),
            None => {
                let outcome = Ending::NotIntroduced;
                Meeting { outcome, exchanged: None, packets: 0, sockets: 0, reports: [None; 2] }
            }
        }
    }

    /// When she has asked; `None` if somebody does not reach the rendezvous.
    fn ask(&mut self) -> Option<Instant> {
        let both = [self.alice, self.bob];
        let client = |net: &VirtualNet<Machine>, host| net.endpoint(host).map_or(Standing::NOBODY, Machine::standing);
        let registered = |net: &VirtualNet<Machine>| both.iter().all(|host| client(net, *host).registered);
        self.net.run_while(REGISTRATION, |net| !registered(net));
        if !registered(&self.net) {
            return None;
        }
        self.net.act(self.alice, |machine, _| {
            if let Machine::Client(client) = machine {
                client.ask();
            }
        });
        Some(self.net.now())
    }

    /// She asks, and for so long things take their course; what comes of it does not matter.
    #[cfg(test)]
    pub(super) fn begin(&mut self, time: Duration) {
        self.ask();
        self.net.run_for(time);
    }

    /// For so long nobody does anything new.
    #[cfg(test)]
    pub(super) fn rest(&mut self, time: Duration) {
        self.net.run_for(time);
    }

    /// What each has done so far.
    #[cfg(test)]
    pub(super) fn done(&self) -> [Done; 2] {
        [self.alice, self.bob].map(|host| match self.net.endpoint(host) {
            Some(Machine::Client(client)) => Done {
                packets: client.packets,
                wakeups: client.wakeups,
                sockets: client.open_sockets(),
                messages: client.messages,
                direct: matches!(client.outcome, Outcome::Direct { .. }),
            },
            _ => Done::default(),
        })
    }

    /// Each says something over its path.
    #[cfg(test)]
    pub(super) fn speak(&mut self) {
        for host in [self.alice, self.bob] {
            self.net.act(host, |machine, _| {
                if let Machine::Client(client) = machine {
                    client.speak();
                }
            });
        }
    }

    /// The lines of routers, or of hosts that have none, become such ones.
    #[cfg(test)]
    pub(super) fn change_lines(&mut self, change: impl Fn(Line) -> Line) {
        let places: Vec<Place> = (0..).map_while(|n| Some(Place::Router(RouterId(n)))).take(8).collect();
        for place in places.into_iter().chain([Place::Host(self.alice), Place::Host(self.bob)]) {
            for link in self.net.topology().links(place).into_iter().flatten() {
                let line = change(link.line());
                link.change(line);
            }
        }
    }

    /// Something happens to the networks; both notice, and register anew.
    #[cfg(test)]
    pub(super) fn disturb(&mut self, disturb: impl FnOnce(&mut Topology<Vec<u8>>)) {
        disturb(self.net.topology());
        for host in [self.alice, self.bob] {
            self.net.act(host, |machine, now| {
                if let Machine::Client(client) = machine {
                    client.start_over(now);
                }
            });
        }
    }

    fn finish(&mut self, asked: Instant) -> Meeting {
        let both = [self.alice, self.bob];
        let client = |net: &VirtualNet<Machine>, host| net.endpoint(host).map_or(Standing::NOBODY, Machine::standing);
        self.net.run_while(MEETING, |net| both.iter().any(|host| client(net, *host).is_under_way()));
        let ends = both.map(|host| client(&self.net, host));
        let outcome = match (ends[0].outcome, ends[1].outcome) {
            (Outcome::Direct { at: one, .. }, Outcome::Direct { at: other, .. }) => {
                Ending::Direct(one.max(other) - asked)
            }
            (Outcome::Direct { .. }, _) | (_, Outcome::Direct { .. }) => Ending::OneSided,
            (Outcome::Waiting, _) | (_, Outcome::Waiting) => Ending::NotIntroduced,
            _ => Ending::NoPath,
        };
        let exchanged = ends[0].heard.zip(ends[1].heard).map(|(one, other)| one.max(other) - asked);
        let packets = ends.iter().map(|end| end.packets).sum();
        let sockets = ends.iter().map(|end| end.sockets).max().unwrap_or(0);
        Meeting { outcome, exchanged, packets, sockets, reports: ends.map(|end| end.report) }
    }
}

/// The networks on which the two are.
fn place(
    topology: &mut Topology<Vec<u8>>,
    access: [&Access; 2],
    relation: Relation,
    lines: [Line; 2],
) -> [NetworkId; 2] {
    match (relation, access[0].routers.split_last()) {
        (Relation::SameLan, _) => [access[0].build(topology, INTERNET, lines[0]).0; 2],
        (Relation::SameOuterNat, Some((outermost, inner))) => {
            let mut shared = outermost.clone();
            shared.isolates = true;
            let shared = topology.add_router(INTERNET, shared, lines[0]);
            let above = topology.lan(shared);
            let inner = Access { routers: inner.to_vec(), ..*access[0] };
            [(); 2].map(|()| inner.build(topology, above, lines[1]).0)
        }
        _ => [0, 1].map(|n| access[n].build(topology, INTERNET, lines[n]).0),
    }
}

impl Endpoint for Machine {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        match self {
            Machine::Client(client) => client.handle_datagram(datagram, now),
            Machine::Rendezvous(server) => server.handle_datagram(datagram, now),
            Machine::Neighbour(neighbour) => neighbour.handle_datagram(datagram, now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Machine::Client(client) => client.handle_timeout(now),
            Machine::Rendezvous(server) => server.handle_timeout(now),
            Machine::Neighbour(neighbour) => neighbour.handle_timeout(now),
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        match self {
            Machine::Client(client) => client.poll_transmit(),
            Machine::Rendezvous(server) => server.poll_transmit(),
            Machine::Neighbour(neighbour) => neighbour.poll_transmit(),
        }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self {
            Machine::Client(client) => client.poll_wakeup(),
            Machine::Rendezvous(server) => server.poll_wakeup(),
            Machine::Neighbour(neighbour) => neighbour.poll_wakeup(),
        }
    }
}
