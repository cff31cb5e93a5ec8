//! The NAT machine: one box, its table, and what it does to a header that passes through it.
//!
//! It knows two directions. [`Nat::outbound`] finds or makes the mapping of a packet from inside and writes the external
//! endpoint into it; [`Nat::inbound`] finds the mapping that a packet from outside is for, asks its filter, and writes the
//! internal endpoint into it. The caller sends on what comes out, and nothing else happens: payloads, checksums and links
//! are other people's. UDP, TCP and pings are translated alike, and ICMP errors by the packet that they quote. A firewall
//! is a NAT whose external endpoints are the internal ones.

mod ports;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::behaviour::{Behaviour, Hairpinning, Mapping, Pooling, PortAssignment, StrayInbound, Translation};
use super::dropped::DropReason;
use super::packet::{Kind, Packet, Protocol, Quote, TcpFlags};
use super::random::Random;
use ports::Ports;
use table::{Key, Place, Scope, Table};

/// What became of a packet from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbound {
    /// It leaves, like this.
    Forward(Packet),
    /// It was to the box's own external address, and goes back inside, like this.
    Hairpin(Packet),
}

/// One box at work.
#[derive(Debug, Clone)]
pub struct Nat {
    behaviour: Behaviour,
    outside: Vec<IpAddr>,
    table: Table,
    ports: Ports,
    /// Which external address an internal host has.
    pairs: BTreeMap<IpAddr, IpAddr>,
    random: Random,
}

impl Nat {
    /// A box with these external addresses, none for a firewall, that has just been switched on.
    pub fn new(behaviour: Behaviour, outside: Vec<IpAddr>, random: Random) -> Self {
        let table = Table::new(behaviour.lifetimes, behaviour.filtering);
        Nat { behaviour, outside, table, ports: Ports::default(), pairs: BTreeMap::new(), random }
    }

    /// How it was configured.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Its external addresses.
    pub fn outside(&self) -> &[IpAddr] {
        &self.outside
    }

    /// Forgets everything, as after a power cut.
    pub fn reboot(&mut self) {
        self.table = Table::new(self.behaviour.lifetimes, self.behaviour.filtering);
        self.ports = Ports::default();
        self.pairs.clear();
    }

    /// Gets other external addresses, as after a provider's nightly disconnection, and forgets everything.
    pub fn change_addresses(&mut self, outside: Vec<IpAddr>) {
        self.outside = outside;
        self.reboot();
    }

    /// A packet from inside.
    pub fn outbound(&mut self, packet: &Packet, now: Instant) -> Result<Outbound, DropReason> {
        let Some(protocol) = self.admissible(packet)? else { return self.outbound_error(packet, now) };
        let hairpin = self.outside.contains(&packet.destination.ip());
        if hairpin && self.behaviour.hairpinning == Hairpinning::Off {
            return Err(DropReason::NoHairpinning);
        }
        let external = self.lease(protocol, packet, now)?;
        let left = Packet { source: external, ..*packet };
        if !hairpin {
            return Ok(Outbound::Forward(left));
        }
        let back = self.inbound(&left, now)?;
        Ok(Outbound::Hairpin(match self.behaviour.hairpinning {
            Hairpinning::InternalSource => Packet { source: packet.source, ..back },
            _ => back,
        }))
    }

    /// A packet from outside.
    pub fn inbound(&mut self, packet: &Packet, now: Instant) -> Result<Packet, DropReason> {
        let Some(protocol) = self.admissible(packet)? else { return self.inbound_error(packet, now) };
        match self.table.admitting(protocol, packet.destination, packet.source, now) {
            Ok(key) => {
                self.table.enter(&key, packet.source, flags(packet), now);
                Ok(Packet { destination: key.internal, ..*packet })
            }
            Err(_) if self.behaviour.quirks.stray_inbound == StrayInbound::OccupiesTuple => {
                let remote = Some(packet.source);
                self.table.occupy(Place { protocol, external: packet.destination, remote }, now);
                Err(DropReason::TakenIn)
            }
            Err(true) => Err(DropReason::Filtered),
            Err(false) => Err(DropReason::NoMapping),
        }
    }

    /// The transport; `None` for an ICMP error.
    fn admissible(&self, packet: &Packet) -> Result<Option<Protocol>, DropReason> {
        match packet.protocol() {
            Some(Protocol::Udp) if self.behaviour.quirks.blocks_udp => Err(DropReason::UdpBlocked),
            Some(Protocol::Echo) | None if self.behaviour.quirks.drops_icmp => Err(DropReason::IcmpDropped),
            protocol => Ok(protocol),
        }
    }

    fn overloads(&self) -> bool {
        self.behaviour.translation != Translation::None && self.behaviour.ports == PortAssignment::PreservingOverloading
    }

    /// Where ports are overloaded, every session is a mapping of its own, which tries to look like the others.
    fn key(&self, protocol: Protocol, internal: SocketAddr, remote: SocketAddr) -> Key {
        let mapping = if self.overloads() { Mapping::AddressAndPortDependent } else { self.behaviour.mapping };
        Key { internal, protocol, scope: Scope::of_mapping(mapping, remote) }
    }

    fn place(&self, protocol: Protocol, external: SocketAddr, remote: SocketAddr) -> Place {
        Place { protocol, external, remote: self.overloads().then_some(remote) }
    }

    /// The external endpoint for a packet from inside: that of its mapping, which is made if need be.
    fn lease(&mut self, protocol: Protocol, packet: &Packet, now: Instant) -> Result<SocketAddr, DropReason> {
        let (internal, remote) = (packet.source, packet.destination);
        let key = self.key(protocol, internal, remote);
        let external = match self.table.external(&key, now) {
            Some(external) => external,
            None => {
                let limits = &self.behaviour.limits;
                if limits.mappings_per_host.is_some_and(|most| self.table.count_of(internal.ip(), now) >= most) {
                    return Err(DropReason::HostLimit);
                }
                if self.table.count(limits.mappings, now) >= limits.mappings {
                    return Err(DropReason::TableFull);
                }
                let external = self.assign(protocol, internal, remote, now)?;
                self.table.insert(key, self.place(protocol, external, remote));
                external
            }
        };
        self.table.leave(&key, remote, flags(packet), now);
        Ok(external)
    }

    fn assign(
        &mut self,
        protocol: Protocol,
        internal: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<SocketAddr, DropReason> {
        if self.behaviour.translation == Translation::None {
            return Ok(internal);
        }
        // Linux looks first whether the port of the socket's youngest mapping will do, which keeps a mapping that once had
        // to move together.
        if self.overloads()
            && let Some(youngest) = self.table.youngest_of(internal, protocol, now)
            && self.table.is_free(&self.place(protocol, youngest, remote), now)
        {
            return Ok(youngest);
        }
        let outside = self.outside_for(internal.ip()).ok_or(DropReason::NoSuchFamily)?;
        let remote = self.overloads().then_some(remote);
        let Nat { ports, behaviour, random, table, .. } = self;
        let is_free = |port| table.is_free(&Place { protocol, external: SocketAddr::new(outside, port), remote }, now);
        let port = ports.choose(behaviour.ports, &behaviour.limits.ports, internal, outside, random, is_free);
        Ok(SocketAddr::new(outside, port.ok_or(DropReason::PortsExhausted)?))
    }

    fn outside_for(&mut self, internal: IpAddr) -> Option<IpAddr> {
        let draw = |random: &mut Random| usize::try_from(random.below(self.outside.len() as u64)).ok();
        match self.outside[..] {
            [] => None,
            [only] => Some(only),
            _ if self.behaviour.quirks.pooling == Pooling::Arbitrary => Some(self.outside[draw(&mut self.random)?]),
            _ => match self.pairs.get(&internal) {
                Some(outside) => Some(*outside),
                None => {
                    let outside = self.outside[draw(&mut self.random)?];
                    self.pairs.insert(internal, outside);
                    Some(outside)
                }
            },
        }
    }

    /// An error from inside about a packet that had come in: whoever sent that knows our external endpoint only.
    fn outbound_error(&mut self, packet: &Packet, now: Instant) -> Result<Outbound, DropReason> {
        let Kind::Error(quote) = packet.kind else { return Err(DropReason::NoMapping) };
        let key = self.key(quote.protocol, quote.destination, quote.source);
        let external = self.table.external(&key, now).ok_or(DropReason::NoMapping)?;
        let quote = Quote { destination: external, ..quote };
        // A router inside speaks for itself with the only address that it can have outside.
        let source = SocketAddr::new(external.ip(), 0);
        let source = if self.behaviour.translation == Translation::None { packet.source } else { source };
        Ok(Outbound::Forward(Packet { source, kind: Kind::Error(quote), ..*packet }))
    }

    /// An error from outside about a packet that had left. Anybody on the way may send it (RFC 5508, REQ-4): what counts
    /// is whether the packet that it quotes is of a living session.
    fn inbound_error(&mut self, packet: &Packet, now: Instant) -> Result<Packet, DropReason> {
        let Kind::Error(quote) = packet.kind else { return Err(DropReason::NoMapping) };
        let found = self.table.admitting(quote.protocol, quote.source, quote.destination, now);
        let key = found.map_err(|mapped| if mapped { DropReason::Filtered } else { DropReason::NoMapping })?;
        let quote = Quote { source: key.internal, ..quote };
        let destination = SocketAddr::new(key.internal.ip(), 0);
        Ok(Packet { destination, kind: Kind::Error(quote), ..*packet })
    }
}

fn flags(packet: &Packet) -> TcpFlags {
    match packet.kind {
        Kind::Tcp(flags) => flags,
        _ => TcpFlags::default(),
    }
}
