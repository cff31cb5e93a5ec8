//! What a router tells the sender of a packet that goes no further (RFC 1812, section 5.2.7; RFC 4443).
//!
//! Most of what is dropped is dropped without a word: a filter is silent, so is a line that loses or is cut. A router
//! speaks where its sender could do something about it: a time to live that ran out, a packet too big for the next line, an
//! address on its own network that nobody has, and a port of its own at which nobody listens. A box that drops ICMP says
//! nothing at all.

use std::net::IpAddr;
use std::time::Instant;

use super::{Flight, Gateway, NetworkId, RouterAtWork, RouterId, Topology, Via};
use crate::model::addresses::{Family, is_group};
use crate::model::dropped::DropReason;
use crate::model::packet::{Kind, Packet};

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Saying {
    /// Its time to live ran out here.
    TimeExceeded,
    /// The next line takes only so much. For a packet of IPv4 only if it must not be taken apart: this one is lost either
    /// way, but about the others a real router has nothing to say.
    TooBig {
        /// Bytes.
        mtu: usize,
    },
    /// Nobody here has that address.
    HostUnreachable,
    /// It was for the router itself, and nobody listens there.
    PortUnreachable,
}

/// A router has something to say to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice<P> {
    /// Where it is said.
    pub network: NetworkId,
    /// The router's address there.
    pub speaker: IpAddr,
    /// What.
    pub saying: Saying,
    /// The packet that it is about, as it was there.
    pub about: Packet,
    /// What the driver gave along with that.
    pub payload: P,
}

impl<P: Clone> Topology<P> {
    /// Somebody at this address of this network says this about a packet.
    pub(super) fn say(
        &mut self,
        (network, speaker): (NetworkId, Option<IpAddr>),
        saying: Saying,
        about: Packet,
        payload: P,
    ) {
        let Some(speaker) = speaker.filter(|_| self.outspoken) else { return };
        // Nobody speaks about what was said, nor about what was for many (RFC 1122, section 3.2.2).
        if !matches!(about.kind, Kind::Error(_)) && !is_group(about.destination.ip()) {
            self.notices.push_back(Notice { network, speaker, saying, about, payload });
        }
    }

    /// A line does not take a packet, which was like this when it came to the router.
    pub(super) fn refused(&mut self, via: Via, flight: Flight<P>, before: Packet, reason: DropReason, now: Instant) {
        let place = self.entrance(via);
        self.lose(place, flight.packet, reason, now);
        let mtu = self.link(via).line().mtu;
        if let (DropReason::TooBig, Some(mtu)) = (reason, mtu) {
            let network = match via {
                Via::UpFrom(host) | Via::DownTo(host) => self.hosts[host.0].network,
                Via::OutOf(router) => self.routers[router.0].lan,
                Via::Into(router) => self.routers[router.0].wan,
            };
            let speaker = self.voice(network, &before);
            self.say((network, speaker), Saying::TooBig { mtu }, before, flight.payload);
        }
    }

    /// The address of whoever speaks for a network to the sender of this packet.
    pub(super) fn voice(&self, network: NetworkId, packet: &Packet) -> Option<IpAddr> {
        let family = if packet.destination.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let plan = &self.networks[network.0].plan;
        match self.networks[network.0].gateway {
            Some(Gateway::Router(router)) => self.speaks(router, family).then(|| plan.first(family)).flatten(),
            // The first address of such a LAN is the box's own, which would be astonished to hear from itself.
            Some(Gateway::Host(_)) | None => plan.last(family),
        }
    }

    /// The address at which a router was spoken to from outside, if it answers.
    pub(super) fn outer_voice(&self, router: RouterId, packet: &Packet) -> Option<IpAddr> {
        let family = if packet.destination.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let (wan, to) = (self.routers[router.0].wan, packet.destination.ip());
        if !self.speaks(router, family) {
            return None;
        }
        // A firewall has no address of its own there.
        if self.wan_addresses(router).contains(&to) { Some(to) } else { self.voice(wan, packet) }
    }

    fn speaks(&self, router: RouterId, family: Family) -> bool {
        let RouterAtWork { ipv4, ipv6, .. } = &self.routers[router.0];
        let nat = if family == Family::Ipv4 { ipv4 } else { ipv6 };
        nat.as_ref().is_some_and(|nat| !nat.behaviour().quirks.drops_icmp)
    }
}
