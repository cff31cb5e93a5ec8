//! Who is connected to whom, and a packet's way from one host to another.

mod carry;
mod event;
mod notice;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use crate::model::addresses::{Addresses, Families, Family, Plan};
use crate::model::behaviour::{Behaviour, Translation};
use crate::model::dropped::DropReason;
use crate::model::link::{Line, Link};
use crate::model::nat::Nat;
use crate::model::packet::Packet;
use crate::model::random::Random;
pub use event::{Crossing, Delivery, Event, Happening, Place};
pub use notice::{Notice, Saying};

/// A host of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// A router of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub usize);

/// A network of a topology: the Internet, or a router's LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub usize);

/// The network that the others hang on.
pub const INTERNET: NetworkId = NetworkId(0);

/// How a router is: what it does to each version of IP. It speaks only those that stand here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// A NAT.
    pub ipv4: Option<Behaviour>,
    /// A firewall, as a rule.
    pub ipv6: Option<Behaviour>,
    /// Is its LAN a carrier's, on which customers' routers hang?
    pub carrier: bool,
    /// Are its hosts kept from each other, as in guest networks?
    pub isolates: bool,
}

impl Router {
    /// A home's box that speaks IPv4.
    pub fn ipv4(nat: Behaviour) -> Self {
        Router { ipv4: Some(nat), ipv6: None, carrier: false, isolates: false }
    }

    /// What it does to this version of IP; `None` if it does not speak it.
    pub fn behaviour(&self, family: Family) -> Option<&Behaviour> {
        match family {
            Family::Ipv4 => self.ipv4.as_ref(),
            Family::Ipv6 => self.ipv6.as_ref(),
        }
    }
}

#[derive(Debug)]
struct Network {
    plan: Plan,
    /// Who takes what is for elsewhere; nobody on the Internet.
    gateway: Option<Gateway>,
    isolates: bool,
    routes: BTreeMap<IpAddr, Node>,
}

/// Whose LAN it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gateway {
    Router(RouterId),
    /// A box that is not of the model: this is its inside.
    Host(HostId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Host(HostId),
    Router(RouterId),
}

#[derive(Debug)]
struct Host {
    network: NetworkId,
    families: Families,
    addresses: Vec<IpAddr>,
    /// The inside of a box: it takes what is for others and sends what is from others.
    forwards: bool,
    up: Link,
    down: Link,
}

/// A box that is not of the model, such as a kernel's router: what goes in at one leg comes out at the other if whoever
/// drives the topology hands it out there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Legs {
    /// A host like others, on the network above.
    pub outside: HostId,
    /// The gateway of its LAN.
    pub inside: HostId,
    /// The LAN.
    pub lan: NetworkId,
}

#[derive(Debug)]
struct RouterAtWork {
    wan: NetworkId,
    lan: NetworkId,
    ipv4: Option<Nat>,
    ipv6: Option<Nat>,
    tapped: bool,
    up: Link,
    down: Link,
}

impl RouterAtWork {
    fn nat(&mut self, address: SocketAddr) -> Result<&mut Nat, DropReason> {
        if address.is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 }.as_mut().ok_or(DropReason::NoSuchFamily)
    }
}

/// Where a packet under way will be next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// On a network; from a host of it, or from a router that lets it in.
    Network(NetworkId, Side),
    /// On a network, from this host to all others of it.
    Group(NetworkId, HostId),
    Host(HostId),
    /// At one of those others.
    Member(HostId, NetworkId),
    Outside(RouterId),
}

/// Where a packet on a network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Below,
    Above,
    /// From the network itself: what a router says.
    Here,
}

/// One direction of one line.
#[derive(Debug, Clone, Copy)]
enum Via {
    UpFrom(HostId),
    DownTo(HostId),
    OutOf(RouterId),
    Into(RouterId),
}

#[derive(Debug, Clone)]
struct Flight<P> {
    next: Next,
    packet: Packet,
    payload: P,
}

/// Hosts, LANs, routers in series and the Internet between them. `P` is what the driver wants carried beside a header.
///
/// As with all our machines: after each input drain [`poll_delivery`](Topology::poll_delivery) (and
/// [`poll_event`](Topology::poll_event), if watched), then come back at [`poll_wakeup`](Topology::poll_wakeup).
#[derive(Debug)]
pub struct Topology<P> {
    networks: Vec<Network>,
    hosts: Vec<Host>,
    routers: Vec<RouterAtWork>,
    flights: BTreeMap<(Instant, u64), Flight<P>>,
    serial: u64,
    deliveries: VecDeque<Delivery<P>>,
    events: VecDeque<Event>,
    watched: bool,
    notices: VecDeque<Notice<P>>,
    outspoken: bool,
    crossings: VecDeque<Crossing<P>>,
    random: Random,
    luck: u64,
}

impl<P: Clone> Topology<P> {
    /// An empty Internet, `11.1.0.0/16` and `2001:db8::/32`. All luck in it follows from the seed.
    pub fn new(seed: u64) -> Self {
        let internet = Network { plan: Plan::internet(), gateway: None, isolates: false, routes: BTreeMap::new() };
        Topology {
            networks: vec![internet],
            hosts: Vec::new(),
            routers: Vec::new(),
            flights: BTreeMap::new(),
            serial: 0,
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            watched: false,
            notices: VecDeque::new(),
            outspoken: false,
            crossings: VecDeque::new(),
            random: Random::new(seed),
            luck: 0,
        }
    }

    /// Record what happens to every packet; off at first. Whoever switches it on drains [`Topology::poll_event`].
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// Let routers tell senders what became of their packets; off at first. Whoever switches it on drains
    /// [`Topology::poll_notice`].
    pub fn speak(&mut self, outspoken: bool) {
        self.outspoken = outspoken;
    }

    /// Copy what a router's outer interface sends and receives; off at first. Whoever switches it on drains
    /// [`Topology::poll_crossing`].
    pub fn tap(&mut self, router: RouterId, tapped: bool) {
        self.routers[router.0].tapped = tapped;
    }

    /// A router on a network, with a LAN of its own. `line` is its way to the network, each direction.
    pub fn add_router(&mut self, wan: NetworkId, router: Router, line: Line) -> RouterId {
        let id = RouterId(self.routers.len());
        let lan = NetworkId(self.networks.len());
        let plan = Plan::lan(lan.0, router.carrier, router.ipv4.is_some(), router.ipv6.is_some());
        let luck = self.next_luck();
        let ipv4 = router.ipv4.map(|behaviour| {
            let count = match behaviour.translation {
                Translation::AddressAndPort => usize::from(behaviour.quirks.external_addresses.max(1)),
                Translation::None => 0,
            };
            let outside = (0..count).map_while(|_| self.networks[wan.0].plan.next_ipv4()).collect();
            Nat::new(behaviour, outside, luck.fork(4))
        });
        let ipv6 = router.ipv6.map(|behaviour| {
            let count = usize::from(behaviour.translation == Translation::AddressAndPort);
            let outside = (0..count).map_while(|_| self.networks[wan.0].plan.next_ipv6()).collect();
            Nat::new(behaviour, outside, luck.fork(6))
        });
        for address in [&ipv4, &ipv6].into_iter().flatten().flat_map(Nat::outside) {
            self.networks[wan.0].routes.insert(*address, Node::Router(id));
        }
        let isolates = router.isolates;
        self.networks.push(Network { plan, gateway: Some(Gateway::Router(id)), isolates, routes: BTreeMap::new() });
        let (up, down) = (Link::new(line, luck.fork(1)), Link::new(line, luck.fork(2)));
        self.routers.push(RouterAtWork { wan, lan, ipv4, ipv6, tapped: false, up, down });
        id
    }

    /// The LAN of a router.
    pub fn lan(&self, router: RouterId) -> NetworkId {
        self.routers[router.0].lan
    }

    /// A router's external addresses.
    pub fn wan_addresses(&self, router: RouterId) -> Vec<IpAddr> {
        let router = &self.routers[router.0];
        [&router.ipv4, &router.ipv6].into_iter().flatten().flat_map(|nat| nat.outside().iter().copied()).collect()
    }

    /// A host on a network, with an address of each version of IP that both speak. `line` is its way to the network,
    /// each direction.
    pub fn add_host(&mut self, network: NetworkId, families: Families, line: Line) -> HostId {
        let id = HostId(self.hosts.len());
        let luck = self.next_luck();
        let (up, down) = (Link::new(line, luck.fork(1)), Link::new(line, luck.fork(2)));
        self.hosts.push(Host { network, families, addresses: Vec::new(), forwards: false, up, down });
        self.plug(id, network);
        id
    }

    /// A box that is not of the model, with an IPv4 LAN behind it: this prefix, or the next free one. `line` is its way to
    /// the network above, each direction.
    pub fn add_box(&mut self, above: NetworkId, prefix: Option<(Ipv4Addr, u8)>, line: Line) -> Legs {
        let outside = self.add_host(above, Families::Ipv4, line);
        let (inside, lan) = (HostId(self.hosts.len()), NetworkId(self.networks.len()));
        let plan = prefix.map_or_else(|| Plan::lan(lan.0, false, true, false), Plan::of);
        let address = plan.first(Family::Ipv4);
        self.networks.push(Network {
            plan,
            gateway: Some(Gateway::Host(inside)),
            isolates: false,
            routes: BTreeMap::new(),
        });
        let luck = self.next_luck();
        let (up, down) = (Link::new(Line::default(), luck.fork(1)), Link::new(Line::default(), luck.fork(2)));
        let families = Families::Ipv4;
        self.hosts.push(Host { network: lan, families, addresses: Vec::new(), forwards: true, up, down });
        address.into_iter().for_each(|address| self.give(inside, address));
        Legs { outside, inside, lan }
    }

    /// The IPv4 address of a LAN's router inside; none on the Internet. A router of the model does not listen there.
    pub fn gateway(&self, network: NetworkId) -> Option<Ipv4Addr> {
        let network = &self.networks[network.0];
        match network.plan.first(Family::Ipv4) {
            Some(IpAddr::V4(first)) if network.gateway.is_some() => Some(first),
            _ => None,
        }
    }

    /// The network that a host is on.
    pub fn network_of(&self, host: HostId) -> NetworkId {
        self.hosts[host.0].network
    }

    /// The IPv4 prefix of a network, and its length.
    pub fn prefix(&self, network: NetworkId) -> Option<(Ipv4Addr, u8)> {
        self.networks[network.0].plan.ipv4()
    }

    /// Another IPv4 address for a host, as a server with two has.
    pub fn add_address(&mut self, host: HostId) -> Option<IpAddr> {
        let network = self.hosts[host.0].network;
        let address = self.networks[network.0].plan.next_ipv4()?;
        self.give(host, address);
        Some(address)
    }

    /// A host's addresses: the first of each version of IP.
    pub fn addresses(&self, host: HostId) -> Addresses {
        let addresses = &self.hosts[host.0].addresses;
        let first = |wanted: fn(&&IpAddr) -> bool| addresses.iter().find(wanted).copied();
        Addresses { ipv4: first(|ip| ip.is_ipv4()), ipv6: first(|ip| ip.is_ipv6()) }
    }

    /// Who has this address on this network?
    pub fn host_at(&self, network: NetworkId, address: IpAddr) -> Option<HostId> {
        match self.networks[network.0].routes.get(&address) {
            Some(Node::Host(host)) => Some(*host),
            _ => None,
        }
    }

    /// The host goes elsewhere, where it gets other addresses. What is under way to its old ones is lost.
    pub fn move_host(&mut self, host: HostId, network: NetworkId) {
        self.unroute(host);
        self.plug(host, network);
    }

    /// Forgets every mapping, as after a power cut; the addresses stay.
    pub fn reboot(&mut self, router: RouterId) {
        let router = &mut self.routers[router.0];
        router.ipv4.iter_mut().chain(&mut router.ipv6).for_each(Nat::reboot);
    }

    /// Gives a NAT other IPv4 addresses, as after the provider's nightly disconnection.
    pub fn renumber(&mut self, router: RouterId) {
        let wan = self.routers[router.0].wan;
        let Some(nat) = &mut self.routers[router.0].ipv4 else { return };
        let network = &mut self.networks[wan.0];
        network.routes.retain(|address, _| !nat.outside().contains(address));
        let outside: Vec<IpAddr> = (0..nat.outside().len()).map_while(|_| network.plan.next_ipv4()).collect();
        network.routes.extend(outside.iter().map(|new| (*new, Node::Router(router))));
        nat.change_addresses(outside);
    }

    /// The lines of a host or a router: `[up, down]`, for changes while the story runs.
    pub fn links(&mut self, place: Place) -> Option<[&mut Link; 2]> {
        match place {
            Place::Host(id) => self.hosts.get_mut(id.0).map(|host| [&mut host.up, &mut host.down]),
            Place::Router(id) => self.routers.get_mut(id.0).map(|router| [&mut router.up, &mut router.down]),
            Place::Network(_) => None,
        }
    }

    /// A host sends a packet.
    pub fn handle_packet(&mut self, from: HostId, packet: Packet, payload: P, now: Instant) {
        // What is due is due before: a packet that was earlier at a NAT comes first there.
        self.handle_timeout(now);
        self.note(Place::Host(from), Happening::Sent, packet, now);
        let Some(host) = self.hosts.get(from.0) else { return };
        if !host.forwards && !host.addresses.contains(&packet.source.ip()) {
            return self.lose(Place::Host(from), packet, DropReason::ForgedSource, now);
        }
        let next = self.first_step(from, &packet);
        self.fly(Via::UpFrom(from), Flight { next, packet, payload }, packet, now);
        self.handle_timeout(now);
    }

    /// Moves on what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= now) {
            // Each in its own time, so that a late call changes nothing.
            let ((at, _), flight) = entry.remove_entry();
            self.arrive(flight, at);
        }
    }

    /// The next packet that has arrived at a host.
    pub fn poll_delivery(&mut self) -> Option<Delivery<P>> {
        self.deliveries.pop_front()
    }

    /// The next line of the trace.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next thing that a router has to say. The driver makes an ICMP error of it, if it wants to, and hands that to
    /// [`Topology::handle_notice`].
    pub fn poll_notice(&mut self) -> Option<Notice<P>> {
        self.notices.pop_front()
    }

    /// What a router says, made into a packet, sets out on the network where it is said.
    pub fn handle_notice(&mut self, network: NetworkId, packet: Packet, payload: P, now: Instant) {
        self.handle_timeout(now);
        let flight = Flight { next: Next::Network(network, Side::Here), packet, payload };
        match self.networks[network.0].routes.get(&packet.source.ip()) {
            // What it says outside goes over its own line first.
            Some(Node::Router(router)) => self.send_out(*router, flight, packet, now),
            _ => self.route(network, Side::Here, flight, now),
        }
        self.handle_timeout(now);
    }

    /// The next packet at a tapped interface.
    pub fn poll_crossing(&mut self) -> Option<Crossing<P>> {
        self.crossings.pop_front()
    }

    /// When to call [`Topology::handle_timeout`].
    pub fn poll_wakeup(&self) -> Option<Instant> {
        self.flights.keys().next().map(|(at, _)| *at)
    }

    /// Packets under way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn plug(&mut self, id: HostId, network: NetworkId) {
        let host = &mut self.hosts[id.0];
        host.network = network;
        host.addresses.clear();
        let (plan, families) = (&mut self.networks[network.0].plan, host.families);
        let ipv4 = families.has_ipv4().then(|| plan.next_ipv4()).flatten();
        let given = [ipv4, families.has_ipv6().then(|| plan.next_ipv6()).flatten()];
        given.into_iter().flatten().for_each(|address| self.give(id, address));
    }

    fn give(&mut self, id: HostId, address: IpAddr) {
        let mut network = self.hosts[id.0].network;
        self.hosts[id.0].addresses.push(address);
        self.networks[network.0].routes.insert(address, Node::Host(id));
        // Where nobody translates, the networks above must know the way.
        while let Some(Gateway::Router(router)) = self.networks[network.0].gateway {
            let nat = if address.is_ipv4() { &self.routers[router.0].ipv4 } else { &self.routers[router.0].ipv6 };
            if nat.as_ref().is_none_or(|nat| nat.behaviour().translation != Translation::None) {
                break;
            }
            network = self.routers[router.0].wan;
            self.networks[network.0].routes.insert(address, Node::Router(router));
        }
    }

    fn unroute(&mut self, id: HostId) {
        let addresses = std::mem::take(&mut self.hosts[id.0].addresses);
        self.networks.iter_mut().for_each(|network| network.routes.retain(|at, _| !addresses.contains(at)));
    }

    fn next_luck(&mut self) -> Random {
        self.luck += 1;
        self.random.fork(self.luck)
    }
}
