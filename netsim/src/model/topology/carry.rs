//! What happens to a packet under way: on a network, at a router, on a line.

use std::time::Instant;

use super::{
    Crossing, Delivery, Event, Flight, Gateway, Happening, Host, HostId, NetworkId, Next, Node, Place, RouterAtWork,
    RouterId, Saying, Side, Topology, Via,
};
use crate::model::addresses::{is_for_this_link, is_group, is_private};
use crate::model::dropped::DropReason;
use crate::model::link::Link;
use crate::model::nat::Outbound;
use crate::model::packet::{Kind, Packet};

impl<P: Clone> Topology<P> {
    /// Where a packet of this host goes first.
    pub(super) fn first_step(&self, from: HostId, packet: &Packet) -> Next {
        let host = &self.hosts[from.0];
        if is_group(packet.destination.ip()) {
            return Next::Group(host.network, from);
        }
        // What a gateway lets in and nobody has must not come back to it.
        Next::Network(host.network, if host.forwards { Side::Above } else { Side::Below })
    }

    pub(super) fn arrive(&mut self, flight: Flight<P>, now: Instant) {
        match flight.next {
            Next::Host(host) => {
                let Host { addresses, forwards, .. } = &self.hosts[host.0];
                if *forwards || addresses.contains(&flight.packet.destination.ip()) {
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
            let host = &self.hosts[number];
            if host.network == id && host.addresses.iter().any(|address| address.is_ipv4() == is_ipv4) {
                let (host, flight) = (HostId(number), flight.clone());
                self.fly(Via::DownTo(host), Flight { next: Next::Member(host, id), ..flight }, packet, now);
            }
        }
    }

    pub(super) fn route(&mut self, id: NetworkId, from: Side, flight: Flight<P>, now: Instant) {
        let (network, packet) = (&self.networks[id.0], flight.packet);
        let (next, via) = match (network.routes.get(&packet.destination.ip()), network.gateway) {
            (Some(Node::Host(_)), _) if network.isolates && from == Side::Below => {
                return self.lose(Place::Network(id), packet, DropReason::Isolated, now);
            }
            (Some(Node::Host(host)), _) => (Next::Host(*host), Via::DownTo(*host)),
            (Some(Node::Router(router)), _) => (Next::Outside(*router), Via::Into(*router)),
            // A LAN's way to its own router takes no time, so the packet is there.
            (None, Some(Gateway::Router(router))) if from != Side::Above => return self.let_out(router, flight, now),
            (None, Some(Gateway::Host(host))) if from != Side::Above => (Next::Host(host), Via::DownTo(host)),
            (None, _) => {
                let nobodys_here = network.plan.contains(packet.destination.ip());
                let speaker = self.voice(id, &packet).filter(|_| nobodys_here);
                self.lose(Place::Network(id), packet, DropReason::NoSuchAddress, now);
                return self.say((id, speaker), Saying::HostUnreachable, packet, flight.payload);
            }
        };
        self.fly(via, Flight { next, ..flight }, packet, now);
    }

    fn let_out(&mut self, id: RouterId, flight: Flight<P>, now: Instant) {
        let (place, before) = (Place::Router(id), flight.packet);
        let RouterAtWork { wan, lan, .. } = self.routers[id.0];
        let Some(ttl) = before.ttl.checked_sub(1).filter(|left| *left > 0) else {
            let speaker = self.voice(lan, &before);
            self.lose(place, before, DropReason::TtlExceeded, now);
            return self.say((lan, speaker), Saying::TimeExceeded, before, flight.payload);
        };
        let to = before.destination.ip();
        if is_private(to) && !self.networks[wan.0].plan.contains(to) {
            return self.lose(place, before, DropReason::PrivateDestination, now);
        }
        let router = &mut self.routers[id.0];
        let passed = router.nat(before.destination).and_then(|nat| nat.outbound(&Packet { ttl, ..before }, now));
        match passed {
            Ok(Outbound::Forward(packet)) => {
                self.note(place, Happening::LetOut(before), packet, now);
                self.send_out(id, Flight { next: Next::Network(wan, Side::Below), packet, ..flight }, before, now);
            }
            Ok(Outbound::Hairpin(packet)) => {
                self.note(place, Happening::LetIn(before), packet, now);
                self.route(lan, Side::Above, Flight { packet, ..flight }, now);
            }
            Err(reason) => self.lose(place, before, reason, now),
        }
    }

    /// Into a router's outer line; `before` is as for [`Topology::fly`].
    pub(super) fn send_out(&mut self, id: RouterId, flight: Flight<P>, before: Packet, now: Instant) {
        self.copy_if_tapped(id, true, &flight);
        self.fly(Via::OutOf(id), flight, before, now);
    }

    fn copy_if_tapped(&mut self, router: RouterId, outwards: bool, Flight { packet, payload, .. }: &Flight<P>) {
        if self.routers[router.0].tapped {
            self.crossings.push_back(Crossing { router, outwards, packet: *packet, payload: payload.clone() });
        }
    }

    fn let_in(&mut self, id: RouterId, flight: Flight<P>, now: Instant) {
        self.copy_if_tapped(id, false, &flight);
        let (place, before) = (Place::Router(id), flight.packet);
        let RouterAtWork { wan, lan, .. } = self.routers[id.0];
        let Some(ttl) = before.ttl.checked_sub(1).filter(|left| *left > 0) else {
            let speaker = self.outer_voice(id, &before);
            self.lose(place, before, DropReason::TtlExceeded, now);
            return self.say((wan, speaker), Saying::TimeExceeded, before, flight.payload);
        };
        let router = &mut self.routers[id.0];
        match router.nat(before.destination).and_then(|nat| nat.inbound(&Packet { ttl, ..before }, now)) {
            Ok(packet) => {
                self.note(place, Happening::LetIn(before), packet, now);
                self.route(lan, Side::Above, Flight { packet, ..flight }, now);
            }
            Err(reason) => {
                self.lose(place, before, reason, now);
                if (reason, before.kind) == (DropReason::TakenIn, Kind::Udp) {
                    let speaker = self.outer_voice(id, &before);
                    self.say((wan, speaker), Saying::PortUnreachable, before, flight.payload);
                }
            }
        }
    }

    /// A packet enters a line. `before` is what it was when it came to whoever sends it into that.
    pub(super) fn fly(&mut self, via: Via, flight: Flight<P>, before: Packet, now: Instant) {
        let Packet { length, largest, .. } = flight.packet;
        let carried = match self.link(via).carry(length, largest, now) {
            Ok(carried) => carried,
            Err(reason) => return self.refused(via, flight, before, reason, now),
        };
        if let Some(again) = carried.again {
            let double = Flight { payload: flight.payload.clone(), ..flight };
            self.serial += 1;
            self.flights.insert((again, self.serial), double);
        }
        self.serial += 1;
        self.flights.insert((carried.at, self.serial), flight);
    }

    pub(super) fn link(&mut self, via: Via) -> &mut Link {
        match via {
            Via::UpFrom(host) => &mut self.hosts[host.0].up,
            Via::DownTo(host) => &mut self.hosts[host.0].down,
            Via::OutOf(router) => &mut self.routers[router.0].up,
            Via::Into(router) => &mut self.routers[router.0].down,
        }
    }

    /// Where one is before that line.
    pub(super) fn entrance(&self, via: Via) -> Place {
        match via {
            Via::UpFrom(host) => Place::Host(host),
            Via::DownTo(host) => Place::Network(self.hosts[host.0].network),
            Via::OutOf(router) => Place::Router(router),
            Via::Into(router) => Place::Network(self.routers[router.0].wan),
        }
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
