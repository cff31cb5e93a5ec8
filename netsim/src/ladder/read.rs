//! From the bytes of a capture to IP packets.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Packets of one capture that are looked at.
const MOST: usize = 100_000;
/// What the reader holds at a time: larger than any packet.
const BUFFER: usize = 1 << 18;
/// The option of a pcapng packet in whose two lowest bits the direction stands: 1 in, 2 out.
const EPB_FLAGS: u16 = 2;

/// Why a file is no capture.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither pcap nor pcapng, or broken.
    #[error("no pcap or pcapng file, or a broken one: {0}")]
    Format(String),
    /// Frames of a network that is not known here.
    #[error("packets of link type {0}: raw IP and Ethernet can be read")]
    LinkType(i32),
}

/// Which way a packet went, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// What makes two packets the same, wherever they are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity(u64);

/// One packet at one host.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) direction: Option<Direction>,
    pub(super) identity: Identity,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) ttl: u8,
    /// What it is, for people.
    pub(super) label: String,
}

/// What one host has sent and received.
#[derive(Debug, Clone)]
pub struct Capture {
    pub(super) host: String,
    pub(super) packets: Vec<Seen>,
}

impl Capture {
    /// Reads a capture from the bytes of a file.
    pub fn read(host: &str, bytes: &[u8]) -> Result<Capture, ReadError> {
        let broken = |error: PcapError<&[u8]>| ReadError::Format(error.to_string());
        let mut reader = create_reader(BUFFER, bytes).map_err(broken)?;
        let (mut packets, mut clock) = (vec![], Clock::default());
        while packets.len() < MOST {
            let exhausted = reader.reader_exhausted();
            match reader.next() {
                Ok((length, block)) => {
                    packets.extend(clock.packet(&block)?);
                    drop(block);
                    reader.consume(length);
                }
                Err(PcapError::Eof) => break,
                // A capture that was cut off is one up to there.
                Err(PcapError::UnexpectedEof) => break,
                Err(PcapError::Incomplete(_)) if exhausted => break,
                Err(PcapError::Incomplete(_)) => {
                    reader.refill().map_err(|error| ReadError::Format(error.to_string()))?
                }
                Err(error) => return Err(ReadError::Format(error.to_string())),
            }
        }
        guess_directions(&mut packets);
        Ok(Capture { host: host.to_owned(), packets })
    }
}

/// How times and frames are to be read: what the blocks before a packet have said.
#[derive(Default)]
struct Clock {
    /// Of pcap: link type, and whether its times are in nanoseconds.
    legacy: Option<(Linktype, bool)>,
    /// Of pcapng: link type and ticks a second of each interface.
    interfaces: Vec<(Linktype, u64)>,
}

impl Clock {
    fn packet(&mut self, block: &PcapBlockOwned<'_>) -> Result<Option<Seen>, ReadError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.legacy = Some((header.network, header.is_nanosecond_precision()));
                Ok(None)
            }
            PcapBlockOwned::Legacy(packet) => {
                let (link, nanoseconds) = self.legacy.unwrap_or((Linktype::RAW, false));
                let fraction = u64::from(packet.ts_usec) * if nanoseconds { 1 } else { 1000 };
                let at = Duration::from_secs(packet.ts_sec.into()) + Duration::from_nanos(fraction);
                dissect(link, packet.data, at, None)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                Ok(None)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let ticks = interface.ts_resolution().filter(|ticks| *ticks > 0).unwrap_or(1_000_000);
                self.interfaces.push((interface.linktype, ticks));
                Ok(None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some((link, ticks)) = self.interfaces.get(packet.if_id as usize) else { return Ok(None) };
                let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let rest = u128::from(time % ticks) * 1_000_000_000 / u128::from(*ticks);
                let at = Duration::from_secs(time / ticks) + Duration::from_nanos(rest as u64);
                let flags = packet.options.iter().find(|option| option.code.0 == EPB_FLAGS);
                let direction = flags.and_then(|flags| flags.value.first()).and_then(|flags| match flags & 3 {
                    1 => Some(Direction::In),
                    2 => Some(Direction::Out),
                    _ => None,
                });
                dissect(*link, packet.packet_data(), at, direction)
            }
            PcapBlockOwned::NG(_) => Ok(None),
        }
    }
}

fn dissect(
    link: Linktype,
    bytes: &[u8],
    at: Duration,
    direction: Option<Direction>,
) -> Result<Option<Seen>, ReadError> {
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        // 12: as some systems number it.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12) => LaxSlicedPacket::from_ip(bytes).ok(),
        Linktype(other) => return Err(ReadError::LinkType(other)),
    };
    let Some(sliced) = sliced else { return Ok(None) };
    let (from, to, ttl): (IpAddr, IpAddr, u8) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.ttl())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
        }
        _ => return Ok(None),
    };
    if to.is_multicast() {
        return Ok(None);
    }
    let mut hasher = DefaultHasher::new();
    let label = match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => {
            ("udp", udp.payload()).hash(&mut hasher);
            format!("UDP {}", udp_words(udp.payload(), udp.source_port(), udp.destination_port()))
        }
        Some(TransportSlice::Tcp(tcp)) => {
            let flags = [(tcp.syn(), "SYN"), (tcp.fin(), "FIN"), (tcp.rst(), "RST"), (tcp.ack(), "ACK")];
            let set: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
            let numbers = (tcp.sequence_number(), tcp.acknowledgment_number());
            ("tcp", numbers, &set, tcp.payload()).hash(&mut hasher);
            let length = tcp.payload().len();
            format!("TCP {}→{} {} {length} B", tcp.source_port(), tcp.destination_port(), set.join(" "))
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            // What an error quotes is translated on the way, so only its kind is the same at both ends.
            ("icmp", icmp.type_u8(), icmp.code_u8()).hash(&mut hasher);
            format!("ICMP type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            ("icmpv6", icmp.type_u8(), icmp.code_u8()).hash(&mut hasher);
            format!("ICMPv6 type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        _ => {
            let payload = sliced.net.as_ref().and_then(|net| net.ip_payload_ref()).map(|payload| payload.payload);
            payload.hash(&mut hasher);
            "IP".to_owned()
        }
    };
    Ok(Some(Seen { at, direction, identity: Identity(hasher.finish()), from, to, ttl, label }))
}

/// STUN is told apart (RFC 8489, section 5): it is what NATs are asked and pierced with.
fn udp_words(payload: &[u8], from: u16, to: u16) -> String {
    let kind = match payload {
        [0x00, 0x01, _, _, 0x21, 0x12, 0xA4, 0x42, ..] => " STUN request",
        [0x01, 0x01, _, _, 0x21, 0x12, 0xA4, 0x42, ..] => " STUN response",
        [0x00, 0x11, _, _, 0x21, 0x12, 0xA4, 0x42, ..] => " STUN indication",
        _ => "",
    };
    format!("{from}→{to}{kind} {} B", payload.len())
}

/// The address that most packets have is the host's: what comes from it went out. Of two that have as many it is the one
/// whose packets have passed no router.
fn guess_directions(packets: &mut [Seen]) {
    let mut counts: BTreeMap<IpAddr, (usize, u8)> = BTreeMap::new();
    for packet in packets.iter() {
        let passed_none = INITIAL_TTLS.contains(&packet.ttl);
        let from = counts.entry(packet.from).or_insert((0, SENT_NOTHING));
        *from = (from.0 + 1, if passed_none { PASSED_NO_ROUTER } else { PASSED_A_ROUTER });
        counts.entry(packet.to).or_insert((0, SENT_NOTHING)).0 += 1;
    }
    let Some((own, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
    for packet in packets.iter_mut().filter(|packet| packet.direction.is_none()) {
        packet.direction = Some(if packet.from == own { Direction::Out } else { Direction::In });
    }
}

/// What systems begin with.
const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// How likely an address is the host's own.
const PASSED_A_ROUTER: u8 = 0;
const SENT_NOTHING: u8 = 1;
const PASSED_NO_ROUTER: u8 = 2;
