//! Bytes to headers and back; frames to packets.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::checksum;
use super::frame::{Frame, PREFIX};
use super::header::{ICMP, ICMP_HEADER, Ip, TCP, UDP, parse, pseudo_header_sum, rewrite, sum_icmp};
use super::offload::take_apart;
use crate::model::{HostId, Kind, Packet, Protocol, Quote, TcpFlags};

#[test]
fn a_datagram_is_read_and_written() {
    let [from, to] = ["192.168.1.2:4000", "11.1.1.1:3478"].map(endpoint);
    let mut frame = whole(&packet(UDP, from, to, b"hello"));
    let read = parse(&frame).expect("a datagram");
    assert_eq!(read, Packet::udp(from, to, 5));

    let external = Packet { source: endpoint("11.1.1.2:50000"), ttl: 63, ..read };
    rewrite(&mut frame, &external);
    assert_eq!(parse(&frame), Some(external));
    assert!(is_sound(frame.packet()));
}

#[test]
fn a_segment_tells_its_flags() {
    let [from, to] = ["192.168.1.2:4000", "11.1.1.1:443"].map(endpoint);
    let mut bytes = packet(TCP, from, to, b"");
    bytes[20 + 13] = 0x12;
    let read = parse(&whole(&bytes)).expect("a segment");
    assert_eq!(read.kind, Kind::Tcp(TcpFlags { syn: true, ..TcpFlags::default() }));
}

#[test]
fn an_error_is_translated_with_what_it_quotes() {
    let [router, server, external, internal] =
        ["11.1.1.9:0", "11.1.1.1:3478", "11.1.1.2:50000", "192.168.1.2:4000"].map(endpoint);
    let quoted = packet(UDP, external, server, b"lost");
    let mut bytes = ip(ICMP, router, external, &[&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..28]].concat());
    sum_icmp(&mut bytes);
    let mut frame = whole(&bytes);
    let read = parse(&frame).expect("an error");
    let quote = Quote { protocol: Protocol::Udp, source: external, destination: server };
    assert_eq!(read.kind, Kind::Error(quote));

    let quote = Quote { source: internal, ..quote };
    let inside = Packet { destination: SocketAddr::new(internal.ip(), 0), kind: Kind::Error(quote), ..read };
    rewrite(&mut frame, &inside);
    assert_eq!(parse(&frame), Some(inside));
    assert!(is_sound(frame.packet()));
    // The quoted datagram is now, checksum and all, the one that was sent inside.
    let as_sent = packet(UDP, internal, server, b"lost");
    assert_eq!(frame.packet()[20 + ICMP_HEADER..], as_sent[..28]);
}

#[test]
fn what_no_box_knows_is_not_read() {
    let [from, to] = ["192.168.1.2:4000", "11.1.1.1:3478"].map(endpoint);
    let mut fragment = packet(UDP, from, to, b"hello");
    fragment[6] = 0x20;
    assert_eq!(parse(&whole(&fragment)), None);
    assert_eq!(parse(&whole(&ip(132, from, to, b"a chunk of SCTP"))), None);
}

#[test]
fn a_burst_is_taken_apart_into_sound_packets() {
    for (protocol, headers) in [(UDP, 28), (TCP, 40)] {
        for [from, to] in [["192.168.1.2:4000", "11.1.1.1:443"], ["[2001:db8::2]:4000", "[2001:db8::1]:443"]] {
            let [from, to] = [from, to].map(endpoint);
            let headers = if from.is_ipv4() { headers } else { headers + 20 };
            let mut whole = packet(protocol, from, to, &[7; 2500]);
            let transport = headers - if protocol == UDP { 8 } else { 20 };
            if protocol == TCP {
                // ACK, PSH, FIN.
                whole[transport + 13] = 0x19;
            }
            let parts = take_apart(many(&whole, 1000));
            let sizes: Vec<usize> = parts.iter().map(|part| part.packet().len() - headers).collect();
            assert_eq!(sizes, [1000, 1000, 500]);
            for (number, part) in parts.into_iter().enumerate() {
                assert!(part.is_half_summed());
                let mut bytes = part.packet().to_vec();
                finish(&mut bytes, protocol);
                assert!(is_sound(&bytes));
                if protocol == TCP {
                    let sequence = u32::from_be_bytes(bytes[transport + 4..transport + 8].try_into().expect("four"));
                    let flags = if number == 2 { 0x19 } else { 0x10 };
                    assert_eq!((sequence, bytes[transport + 13]), (1000 * number as u32, flags));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn there_and_back_is_the_identity_and_sound_in_between(
        udp: bool, v6: bool, a in any::<[u16; 8]>(), b in any::<[u16; 8]>(), c in any::<[u16; 8]>(),
        ports in any::<[u16; 3]>(), ttl in 1_u8.., payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let pick = |bits: [u16; 8], port| {
            let [high, low] = bits[0].to_be_bytes();
            let ip = if v6 {
                IpAddr::from([0x2001, bits[1], bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]])
            } else {
                IpAddr::from([1 + high % 200, low, bits[1].to_be_bytes()[0], 1])
            };
            SocketAddr::new(ip, port)
        };
        let [from, to, external] = [pick(a, ports[0]), pick(b, ports[1]), pick(c, ports[2])];
        let before = whole(&packet(if udp { UDP } else { TCP }, from, to, &payload));
        let mut frame = before.clone();
        let read = parse(&frame).expect("a packet");
        rewrite(&mut frame, &Packet { source: external, ttl, ..read });
        prop_assert!(is_sound(frame.packet()));
        rewrite(&mut frame, &read);
        prop_assert_eq!(frame.bytes(), before.bytes());
    }
}

fn endpoint(text: &str) -> SocketAddr {
    text.parse().expect("an endpoint")
}

/// A UDP or TCP packet with all its checksums.
fn packet(protocol: u8, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut transport = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    if protocol == UDP {
        transport.extend((8 + payload.len() as u16).to_be_bytes());
        transport.extend([0; 2]);
    } else {
        transport.extend([0, 0, 0, 0, 0, 0, 0, 0, 5 << 4, 0x10, 1, 0, 0, 0, 0, 0]);
    }
    transport.extend(payload);
    let mut packet = ip(protocol, from, to, &transport);
    let ip = Ip::read(&packet).expect("its own header");
    let at = ip.transport + if protocol == UDP { 6 } else { 16 };
    let half = pseudo_header_sum(&ip, transport.len());
    packet[at..at + 2].copy_from_slice(&half.to_be_bytes());
    finish(&mut packet, protocol);
    packet
}

/// Completes a half-summed packet, as the receiver's kernel or its device would.
fn finish(packet: &mut [u8], protocol: u8) {
    let transport = Ip::read(packet).expect("a header").transport;
    let at = transport + if protocol == UDP { 6 } else { 16 };
    let sum = !checksum::sum(&packet[transport..]);
    let sum = if sum == 0 && protocol == UDP { 0xffff } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn ip(protocol: u8, from: SocketAddr, to: SocketAddr, transport: &[u8]) -> Vec<u8> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&(20 + transport.len() as u16).to_be_bytes());
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = !checksum::sum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, transport].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
            header.extend(from.octets());
            header.extend(to.octets());
            [&header, transport].concat()
        }
        _ => panic!("two versions of IP"),
    }
}

/// Are all checksums right?
fn is_sound(packet: &[u8]) -> bool {
    let ip = Ip::read(packet).expect("a header");
    let (header, transport) = packet.split_at(ip.transport);
    let header_is_sound = ip.source.is_ipv6() || checksum::sum(header) == 0xffff;
    let covered = checksum::sum(transport);
    let covered =
        if ip.protocol == ICMP { covered } else { checksum::add(covered, pseudo_header_sum(&ip, transport.len())) };
    header_is_sound && covered == 0xffff
}

fn whole(packet: &[u8]) -> Frame {
    let bytes = [&[0; PREFIX], packet].concat();
    Frame::read(&bytes, HostId(0)).expect("not empty")
}

/// As a kernel hands out many packets in one.
fn many(packet: &[u8], size: u16) -> Frame {
    let mut prefix = [0; PREFIX];
    prefix[..2].copy_from_slice(&[1, 1]);
    prefix[4..6].copy_from_slice(&size.to_ne_bytes());
    Frame::read(&[&prefix, packet].concat(), HostId(0)).expect("not empty")
}
