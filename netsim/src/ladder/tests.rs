use etherparse::PacketBuilder;

use super::{Capture, Ladder};

/// A capture in the old format: raw IP, microseconds.
fn pcap(host: &str, packets: &[(u32, Vec<u8>)]) -> Capture {
    Capture::read(host, &pcap_bytes(packets)).unwrap()
}

fn pcap_bytes(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let header = [0xA1B2_C3D4_u32, 2 | 4 << 16, 0, 0, 65_535, 101];
    let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
    for (microseconds, packet) in packets {
        let length = packet.len() as u32;
        bytes.extend([1, *microseconds, length, length].iter().flat_map(|field| field.to_le_bytes()));
        bytes.extend(packet);
    }
    bytes
}

fn udp(from: [u8; 4], to: [u8; 4], text: &str) -> Vec<u8> {
    let mut bytes = vec![];
    // What has passed a router shows it.
    let ttl = if from == HOME || to == ALICE { 63 } else { 64 };
    PacketBuilder::ipv4(from, to, ttl).udp(4000, 3478).write(&mut bytes, text.as_bytes()).unwrap();
    bytes
}

const ALICE: [u8; 4] = [192, 168, 1, 2];
const HOME: [u8; 4] = [11, 1, 1, 2];
const SERVER: [u8; 4] = [11, 1, 1, 1];

/// Through a NAT there and back; what Alice says second is lost, and what the server says last.
fn conversation() -> Ladder {
    let alice = pcap(
        "alice",
        &[
            (0, udp(ALICE, SERVER, "hello")),
            (900, udp(SERVER, ALICE, "hello yourself")),
            (2000, udp(ALICE, SERVER, "are you there?")),
        ],
    );
    let server = pcap(
        "server",
        &[
            (400, udp(HOME, SERVER, "hello")),
            (500, udp(SERVER, HOME, "hello yourself")),
            (3000, udp(SERVER, HOME, "anybody?")),
        ],
    );
    Ladder::of(&[alice, server])
}

#[test]
fn a_packet_is_found_again_behind_a_nat_and_what_arrives_nowhere_is_lost() {
    let ladder = conversation();
    assert_eq!(ladder.summary(), "2 hosts, 4 packets sent, 2 of them seen nowhere else");
    let ways: Vec<_> =
        ladder.arrows.iter().map(|a| (a.sent.map(|s| s.0), a.arrived.map(|a| a.0), a.meant_for)).collect();
    // The last one was meant for Alice: the server knows her by her router's address.
    let lost = [(Some(0), None, Some(1)), (Some(1), None, Some(0))];
    assert_eq!(ways, [(Some(0), Some(1), Some(1)), (Some(1), Some(0), Some(0)), lost[0], lost[1]]);
}

#[test]
fn the_picture_has_a_column_for_each_host_and_what_is_lost_is_red() {
    insta::assert_snapshot!(conversation().svg());
}

#[test]
fn of_equal_packets_the_last_is_the_lost_one_and_nothing_arrives_long_before_it_was_sent() {
    let said = |at| (at, udp(ALICE, SERVER, "hello"));
    let alice = pcap("alice", &[said(600_000), said(700_000), said(800_000)]);
    let server =
        pcap("server", &[said(100_000), said(650_000), said(750_000)].map(|(at, _)| (at, udp(HOME, SERVER, "hello"))));
    let ladder = Ladder::of(&[alice, server]);
    assert_eq!(ladder.summary(), "2 hosts, 3 packets sent, 1 of them seen nowhere else, 1 came from elsewhere");
    let lost = ladder.arrows.iter().find(|arrow| arrow.arrived.is_none()).unwrap();
    assert_eq!(lost.begins().subsec_micros(), 800_000);
}

#[test]
fn what_is_no_capture_is_refused_and_one_that_was_cut_off_is_read_up_to_there() {
    assert!(Capture::read("x", b"title = \"no capture\", and long enough to be looked at").is_err());
    assert!(Capture::read("x", b"").is_err());
    let whole = pcap_bytes(&[(0, udp(ALICE, SERVER, "one")), (1, udp(ALICE, SERVER, "two"))]);
    for length in 24..whole.len() {
        let packets = Capture::read("x", &whole[..length]).unwrap().packets.len();
        assert_eq!(packets, (length - 24) / ((whole.len() - 24) / 2), "{length}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    proptest::proptest!(|(flips: Vec<(usize, u8)>)| {
        let mut bytes = pcap_bytes(&[(0, udp(ALICE, SERVER, "one")), (1, udp(ALICE, SERVER, "two"))]);
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(capture) = Capture::read("x", &bytes) {
            Ladder::of(&[capture]).svg();
        }
    });
}
