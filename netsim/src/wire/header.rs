//! Between bytes and the model's [`Packet`]: read a header, and write another's addresses and ports into it.
//!
//! Checksums are adjusted for the difference and not computed anew, so that what was damaged stays damaged; only an ICMP
//! error, small and changed in many places, gets a new one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum;
use super::frame::Frame;
use crate::model::{Kind, Packet, Protocol, Quote, TcpFlags};

/// IANA's protocol numbers.
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP_V6: u8 = 58;

/// ICMP's own header, in both versions; the packet that an error is about stands behind it.
pub(super) const ICMP_HEADER: usize = 8;

/// An IP header, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ip {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    /// Where the transport's header starts.
    pub(super) transport: usize,
}

impl Ip {
    /// `None` for what is no IP packet, for fragments, and for headers that are cut short.
    pub(super) fn read(packet: &[u8]) -> Option<Ip> {
        match packet.first()? >> 4 {
            4 => Ip::read_v4(packet),
            6 => Ip::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Ip> {
        let header = packet.get(..20)?;
        let transport = usize::from(header[0] & 0xf) * 4;
        // More fragments, or not the first one.
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
        if transport < 20 || fragment != 0 || packet.len() < transport {
            return None;
        }
        let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?)));
        Some(Ip { source: address(12)?, destination: address(16)?, ttl: header[8], protocol: header[9], transport })
    }

    fn read_v6(packet: &[u8]) -> Option<Ip> {
        let header = packet.get(..40)?;
        let address =
            |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?)));
        let (mut protocol, mut transport) = (header[6], 40);
        // Hop-by-hop, routing and destination options stand between; each says what follows and how long it is.
        while [0, 43, 60].contains(&protocol) {
            let options = packet.get(transport..transport + 8)?;
            protocol = options[0];
            transport += 8 + usize::from(options[1]) * 8;
        }
        (packet.len() >= transport).then_some(())?;
        Some(Ip { source: address(8)?, destination: address(24)?, ttl: header[7], protocol, transport })
    }
}

/// Where a transport has its ports, or what stands for them, and its checksum; from the transport's header on.
#[derive(Debug, Clone, Copy)]
struct Ends {
    protocol: Protocol,
    source: Option<usize>,
    destination: Option<usize>,
    checksum: usize,
    /// Does the checksum cover the addresses too?
    pseudo_header: bool,
}

impl Ends {
    fn of(protocol: u8, transport: &[u8]) -> Option<Ends> {
        let ends = |protocol, source, destination, checksum, pseudo_header| {
            Some(Ends { protocol, source, destination, checksum, pseudo_header })
        };
        match (protocol, *transport.first()?) {
            (UDP, _) => ends(Protocol::Udp, Some(0), Some(2), 6, true),
            (TCP, _) => ends(Protocol::Tcp, Some(0), Some(2), 16, true),
            // The identifier belongs to the one who asks.
            (ICMP, 8) => ends(Protocol::Echo, Some(4), None, 2, false),
            (ICMP, 0) => ends(Protocol::Echo, None, Some(4), 2, false),
            (ICMP_V6, 128) => ends(Protocol::Echo, Some(4), None, 2, true),
            (ICMP_V6, 129) => ends(Protocol::Echo, None, Some(4), 2, true),
            _ => None,
        }
        .filter(|_| transport.len() >= 8)
    }

    fn endpoints(&self, ip: &Ip, transport: &[u8]) -> (SocketAddr, SocketAddr) {
        let port = |at: Option<usize>| at.map_or(0, |at| u16::from_be_bytes([transport[at], transport[at + 1]]));
        (SocketAddr::new(ip.source, port(self.source)), SocketAddr::new(ip.destination, port(self.destination)))
    }
}

/// What the model sees of a frame; `None` for what no box of the model knows: fragments, other protocols.
pub(super) fn parse(frame: &Frame) -> Option<Packet> {
    let bytes = frame.packet();
    let ip = Ip::read(bytes)?;
    let transport = &bytes[ip.transport..];
    let (length, largest) = sizes(frame, &ip, transport);
    let packet = |source, destination, kind| Packet { source, destination, kind, ttl: ip.ttl, length, largest };
    if let Some(ends) = Ends::of(ip.protocol, transport) {
        let (source, destination) = ends.endpoints(&ip, transport);
        let kind = match ends.protocol {
            Protocol::Udp => Kind::Udp,
            Protocol::Tcp => Kind::Tcp(tcp_flags(*transport.get(13)?)),
            Protocol::Echo => Kind::Echo,
        };
        return Some(packet(source, destination, kind));
    }
    is_error(ip.protocol, transport).then_some(())?;
    let quoted = transport.get(ICMP_HEADER..)?;
    let inner = Ip::read(quoted)?;
    let ends = Ends::of(inner.protocol, &quoted[inner.transport..])?;
    let (source, destination) = ends.endpoints(&inner, &quoted[inner.transport..]);
    let quote = Quote { protocol: ends.protocol, source, destination };
    Some(packet(SocketAddr::new(ip.source, 0), SocketAddr::new(ip.destination, 0), Kind::Error(quote)))
}

/// Unreachable, too big, time exceeded, parameter problem (RFC 792, RFC 4443).
fn is_error(protocol: u8, transport: &[u8]) -> bool {
    match transport.first() {
        Some(kind) if protocol == ICMP => [3, 11, 12].contains(kind),
        Some(kind) if protocol == ICMP_V6 => (1..=4).contains(kind),
        _ => false,
    }
}

fn tcp_flags(flags: u8) -> TcpFlags {
    TcpFlags { fin: flags & 1 != 0, syn: flags & 2 != 0, rst: flags & 4 != 0 }
}

/// The bytes of all the packets that a frame stands for, and of the largest of them.
fn sizes(frame: &Frame, ip: &Ip, transport: &[u8]) -> (usize, usize) {
    let all = frame.packet().len();
    let Some((segment, headers)) = frame.segment().zip(headers_of_segments(ip, transport)) else { return (all, all) };
    let payload = all.saturating_sub(headers);
    let count = payload.div_ceil(segment).max(1);
    (payload + count * headers, (headers + segment).min(all))
}

/// The bytes in front of the payload, which each segment repeats.
pub(super) fn headers_of_segments(ip: &Ip, transport: &[u8]) -> Option<usize> {
    match ip.protocol {
        UDP => Some(ip.transport + 8),
        TCP => Some(ip.transport + usize::from(transport.get(12)? >> 4) * 4),
        _ => None,
    }
}

/// Writes a header's addresses, ports and time to live into a frame, and the endpoints that it quotes.
pub(super) fn rewrite(frame: &mut Frame, to: &Packet) {
    let half_summed = frame.is_half_summed();
    set_ttl(frame.packet_mut(), to.ttl);
    let Kind::Error(quote) = to.kind else {
        set_endpoints(frame.packet_mut(), to.source, to.destination, half_summed);
        return;
    };
    let bytes = frame.packet_mut();
    let Some(ip) = Ip::read(bytes) else { return };
    if let Some(quoted) = bytes.get_mut(ip.transport + ICMP_HEADER..) {
        set_endpoints(quoted, quote.source, quote.destination, false);
    }
    set_addresses(bytes, to.source.ip(), to.destination.ip());
    sum_icmp(bytes);
    frame.set_summed();
}

/// Gives a header of IPv4 its checksum.
pub(super) fn sum_ipv4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = !checksum::sum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Gives an ICMP message its checksum.
pub(super) fn sum_icmp(packet: &mut [u8]) {
    let Some(ip) = Ip::read(packet) else { return };
    let length = packet.len() - ip.transport;
    let Some(field) = packet.get_mut(ip.transport + 2..ip.transport + 4) else { return };
    field.fill(0);
    let mut sum = checksum::sum(&packet[ip.transport..]);
    if ip.protocol == ICMP_V6 {
        sum = checksum::add(sum, pseudo_header_sum(&ip, length));
    }
    packet[ip.transport + 2..ip.transport + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// The sum of what a transport's checksum covers beside the transport's own bytes.
pub(super) fn pseudo_header_sum(ip: &Ip, length: usize) -> u16 {
    // Both are 16-bit words in the sum; no transport is longer than a packet.
    let tail = checksum::add(u16::from(ip.protocol), u16::try_from(length).unwrap_or(u16::MAX));
    let addresses = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum::add(checksum::sum(&source.octets()), checksum::sum(&destination.octets()))
        }
        (source, destination) => checksum::add(checksum::sum(&octets(source)), checksum::sum(&octets(destination))),
    };
    checksum::add(addresses, tail)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn set_endpoints(packet: &mut [u8], source: SocketAddr, destination: SocketAddr, half_summed: bool) {
    let Some(ip) = Ip::read(packet) else { return };
    let transport = &mut packet[ip.transport..];
    if let Some(ends) = Ends::of(ip.protocol, transport) {
        for (at, port) in [(ends.source, source.port()), (ends.destination, destination.port())] {
            let Some(at) = at else { continue };
            let new = port.to_be_bytes();
            // A half-summed packet's checksum knows nothing of the ports yet.
            if !half_summed {
                adjust(transport, &ends, ip.protocol, false, |field| field.replace(at, new));
            }
            transport[at..at + 2].copy_from_slice(&new);
        }
        if ends.pseudo_header {
            for (old, new) in [(ip.source, source.ip()), (ip.destination, destination.ip())] {
                adjust(transport, &ends, ip.protocol, half_summed, |field| field.exchange(old, new));
            }
        }
    }
    set_addresses(packet, source.ip(), destination.ip());
}

/// A transport's checksum while it changes.
struct Field<'a> {
    checksum: u16,
    transport: &'a [u8],
}

impl Field<'_> {
    fn replace(&self, at: usize, new: [u8; 2]) -> u16 {
        checksum::adjust(self.checksum, &self.transport[at..at + 2], &new)
    }

    fn exchange(&self, old: IpAddr, new: IpAddr) -> u16 {
        match (old, new) {
            _ if old == new => self.checksum,
            (IpAddr::V4(old), IpAddr::V4(new)) => checksum::adjust(self.checksum, &old.octets(), &new.octets()),
            (old, new) => checksum::adjust(self.checksum, &octets(old), &octets(new)),
        }
    }
}

fn adjust(transport: &mut [u8], ends: &Ends, protocol: u8, half_summed: bool, change: impl FnOnce(&Field<'_>) -> u16) {
    // What is quoted may end before the checksum.
    let Some(bytes) = transport.get(ends.checksum..ends.checksum + 2) else { return };
    let checksum = u16::from_be_bytes([bytes[0], bytes[1]]);
    // UDP may have none (RFC 768), and says zero; a sum that comes out as zero is written the other way.
    if protocol == UDP && checksum == 0 && !half_summed {
        return;
    }
    // The half-summed one is a sum and no complement yet.
    let changed = if half_summed {
        !change(&Field { checksum: !checksum, transport })
    } else {
        change(&Field { checksum, transport })
    };
    let changed = if protocol == UDP && changed == 0 && !half_summed { 0xffff } else { changed };
    transport[ends.checksum..ends.checksum + 2].copy_from_slice(&changed.to_be_bytes());
}

fn set_addresses(packet: &mut [u8], source: IpAddr, destination: IpAddr) {
    match (packet.first().map(|first| first >> 4), source, destination) {
        (Some(4), IpAddr::V4(source), IpAddr::V4(destination)) if packet.len() >= 20 => {
            let new = [source.octets(), destination.octets()].concat();
            let sum = u16::from_be_bytes([packet[10], packet[11]]);
            let sum = checksum::adjust(sum, &packet[12..20], &new);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet[12..20].copy_from_slice(&new);
        }
        (Some(6), IpAddr::V6(source), IpAddr::V6(destination)) if packet.len() >= 40 => {
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
        }
        _ => {}
    }
}

fn set_ttl(packet: &mut [u8], ttl: u8) {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => {
            let sum = u16::from_be_bytes([packet[10], packet[11]]);
            let sum = checksum::adjust(sum, &[packet[8], packet[9]], &[ttl, packet[9]]);
            packet[8] = ttl;
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Some(6) if packet.len() >= 40 => packet[7] = ttl,
        _ => {}
    }
}
