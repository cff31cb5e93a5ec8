//! What happens to a packet under way: on a network, at a router, on a line.

use std::time::Instant;

use super::{Delivery, Event, Flight, Happening, HostId, NetworkId, Next, Node, Place, RouterId, Side, Topology};
use crate::model::addresses::{is_for_this_link, is_group, is_private};
use crate::model::dropped::DropReason;
use crate::model::link::Carried;
use crate::model::nat::Outbound;
use crate::model::packet::Packet;

impl<P: Clone> Topology<P> {
    /// Where a packet of this host goes first.
    pub(super) fn first_step(&self, from: HostId, packet: &Packet) -> Next {
        let network = self.hosts[from.0].network;
        if is_group(packet.destination.ip()) { Next::Group(network, from) } else { Next::Network(network, Side::Below) }
    }

    pub(super) fn arrive(&mut self, flight: Flight<P>, now: Instant) {
        match flight.next {
            Next::Host(host) => {
                if self.hosts[host.0].addresses.contains(&flight.packet.destination.ip()) {
                    self.hand_over(host, flight, now);
                } else {
                    self.lose(Place::Host(host), flight.packet, DropReason::NoSuchAddress, now);
                }
            }
            // Whoever has left the network meanwhile belongs to nobody's group there.
            Next::Member(host, network) => {
                if self.hosts[host.0].network == network {
                    self.hand_over(host, flight, now);
                }
            }
            Next::Network(network, from) => self.route(network, from, flight, now),
            Next::Group(network, from) => self.spread(network, from, &flight, now),
            Next::Outside(router) => self.let_in(router, flight, now),
        }
    }

    fn hand_over(&mut self, host: HostId, Flight { packet, payload, .. }: Flight<P>, now: Instant) {
        self.note(Place::Host(host), Happening::Arrived, packet, now);
        self.deliveries.push_back(Delivery { host, packet, payload });
    }

    /// To every other host of a LAN, over its own line. The Internet knows no such thing, and no router passes it on.
    fn spread(&mut self, id: NetworkId, from: HostId, flight: &Flight<P>, now: Instant) {
        let (network, packet) = (&self.networks[id.0], flight.packet);
        if network.gateway.is_none() || !is_for_this_link(packet.destination.ip()) {
            return self.lose(Place::Network(id), packet, DropReason::NotForThisLink, now);
        }
        if network.isolates {
            return self.lose(Place::Network(id), packet, DropReason::Isolated, now);
        }
        let is_ipv4 = packet.source.is_ipv4();
        for number in (0..self.hosts.len()).filter(|number| *number != from.0) {
            let host = &mut self.hosts[number];
            if host.network == id && host.addresses.iter().any(|address| address.is_ipv4() == is_ipv4) {
                let carried = host.down.carry(packet.length, packet.largest, now);
                let next = Next::Member(HostId(number), id);
                self.fly(carried, Place::Network(id), Flight { next, ..flight.clone() }, now);
            }
        }
    }

    fn route(&mut self, id: NetworkId, from: Side, flight: Flight<P>, now: Instant) {
        let (network, packet) = (&self.networks[id.0], flight.packet);
        let (next, carried) = match network.routes.get(&packet.destination.ip()) {
            Some(Node::Host(_)) if network.isolates && from == Side::Below => {
                return self.lose(Place::Network(id), packet, DropReason::Isolated, now);
            }
            Some(Node::Host(host)) => {
                (Next::Host(*host), self.hosts[host.0].down.carry(packet.length, packet.largest, now))
            }
            Some(Node::Router(router)) => {
                let down = &mut self.routers[router.0].down;
                (Next::Outside(*router), down.carry(packet.length, packet.largest, now))
            }
            None => match network.gateway.filter(|_| from == Side::Below) {
                // A LAN's way to its own router takes no time, so the packet is there.
                Some(gateway) => return self.let_out(gateway, flight, now),
                None => return self.lose(Place::Network(id), packet, DropReason::NoSuchAddress, now),
            },
        };
        self.fly(carried, Place::Network(id), Flight { next, ..flight }, now);
    }

    fn let_out(&mut self, id: RouterId, flight: Flight<P>, now: Instant) {
        let (place, before) = (Place::Router(id), flight.packet);
        let router = &mut self.routers[id.0];
        let Some(ttl) = before.ttl.checked_sub(1).filter(|left| *left > 0) else {
            return self.lose(place, before, DropReason::TtlExceeded, now);
        };
        let to = before.destination.ip();
        if is_private(to) && !self.networks[router.wan.0].plan.contains(to) {
            return self.lose(place, before, DropReason::PrivateDestination, now);
        }
        let (wan, lan) = (router.wan, router.lan);
        let passed = router.nat(before.destination).and_then(|nat| nat.outbound(&Packet { ttl, ..before }, now));
        match passed {
            Ok(Outbound::Forward(packet)) => {
                let carried = router.up.carry(packet.length, packet.largest, now);
                self.note(place, Happening::LetOut(before), packet, now);
                self.fly(carried, place, Flight { next: Next::Network(wan, Side::Below), packet, ..flight }, now);
            }
            Ok(Outbound::Hairpin(packet)) => {
                self.note(place, Happening::LetIn(before), packet, now);
                self.route(lan, Side::Above, Flight { packet, ..flight }, now);
            }
            Err(reason) => self.lose(place, before, reason, now),
        }
    }

    fn let_in(&mut self, id: RouterId, flight: Flight<P>, now: Instant) {
        let (place, before) = (Place::Router(id), flight.packet);
        let router = &mut self.routers[id.0];
        let Some(ttl) = before.ttl.checked_sub(1).filter(|left| *left > 0) else {
            return self.lose(place, before, DropReason::TtlExceeded, now);
        };
        let lan = router.lan;
        match router.nat(before.destination).and_then(|nat| nat.inbound(&Packet { ttl, ..before }, now)) {
            Ok(packet) => {
                self.note(place, Happening::LetIn(before), packet, now);
                self.route(lan, Side::Above, Flight { packet, ..flight }, now);
            }
            Err(reason) => self.lose(place, before, reason, now),
        }
    }

    pub(super) fn fly(&mut self, carried: Result<Carried, DropReason>, place: Place, flight: Flight<P>, now: Instant) {
        let carried = match carried {
            Ok(carried) => carried,
            Err(reason) => return self.lose(place, flight.packet, reason, now),
        };
        if let Some(again) = carried.again {
            let double = Flight { payload: flight.payload.clone(), ..flight };
            self.serial += 1;
            self.flights.insert((again, self.serial), double);
        }
        self.serial += 1;
        self.flights.insert((carried.at, self.serial), flight);
    }

    pub(super) fn lose(&mut self, place: Place, packet: Packet, reason: DropReason, now: Instant) {
        self.note(place, Happening::Dropped(reason), packet, now);
    }

    pub(super) fn note(&mut self, place: Place, what: Happening, packet: Packet, now: Instant) {
        if self.watched {
            self.events.push_back(Event { at: now, place, what, packet });
        }
    }
}
