//! Relay frames: how two peers send each other datagrams through the rendezvous, blindly.
//!
//! A frame is one UDP datagram: `8 (1 byte), channel (8 bytes, big endian), payload`. The channel was granted to exactly
//! two peers by an introduction; the server looks at the channel and at where the frame came from, and sends the same
//! bytes to the other one. It reads no payload, and no frame names an address, so nobody can have a stranger sent to.
//!
//! QUIC wants an address for everything it talks to. A channel has one ([`RelayChannel::address`]) in a prefix of the
//! private range that no host uses; it never appears in a packet's header.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::datagram::RELAY_FIRST_BYTE;

/// What stands in front of a payload.
pub const HEADER: usize = 9;
/// The longest payload: what fits into a frame of 1,452 bytes, the most that Ethernet carries over IPv6 and UDP.
pub const MAX_PAYLOAD: usize = 1452 - HEADER;

/// The prefixes of addresses that stand for something else than a host: `fd50:756e:6368::/48`, "Punch" in the range of
/// locally assigned unique local addresses (RFC 4193).
const PREFIX: [u16; 3] = [0xfd50, 0x756e, 0x6368];
/// The subnet of relay channels.
const CHANNELS: u16 = 1;
/// The subnet of tunnels: whoever reaches the rendezvous through TCP has no UDP address, and is given one of these.
const TUNNELS: u16 = 2;
/// A port is needed and means nothing.
const PORT: u16 = 1;

/// Names a relay channel: 64 random bits, drawn by the server. Who does not have them cannot guess them, and who has
/// them must also send from the right address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelayChannel(pub u64);

impl RelayChannel {
    /// The address that stands for it toward QUIC.
    pub fn address(self) -> SocketAddr {
        synthetic(CHANNELS, self.0)
    }

    /// The reverse; `None` for the address of a host.
    pub fn from_address(address: SocketAddr) -> Option<Self> {
        number_in(CHANNELS, address.ip()).map(RelayChannel)
    }

    /// A frame's first bytes.
    pub fn header(self) -> [u8; HEADER] {
        let mut header = [RELAY_FIRST_BYTE; HEADER];
        header[1..].copy_from_slice(&self.0.to_be_bytes());
        header
    }
}

impl fmt::Debug for RelayChannel {
    /// Not its number: in a log it would be a key for whoever also knows an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayChannel(secret)")
    }
}

/// The address that stands for the `number`th tunnel.
pub fn tunnel_address(number: u64) -> SocketAddr {
    synthetic(TUNNELS, number)
}

/// Is this the address of a tunnel? The number it was made with.
pub fn tunnel_number(address: SocketAddr) -> Option<u64> {
    number_in(TUNNELS, address.ip())
}

/// Does this address stand for a channel or a tunnel? Then no packet may be sent to it, and one that claims to come
/// from it is forged.
pub fn is_synthetic(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.segments()[..3] == PREFIX)
}

/// Channel and payload of a frame; `None` if it is no frame, is empty, or is longer than any frame.
pub fn parse(frame: &[u8]) -> Option<(RelayChannel, &[u8])> {
    let (header, payload) = frame.split_first_chunk::<HEADER>()?;
    let [RELAY_FIRST_BYTE, channel @ ..] = *header else { return None };
    let fits = (1..=MAX_PAYLOAD).contains(&payload.len());
    fits.then(|| (RelayChannel(u64::from_be_bytes(channel)), payload))
}

fn synthetic(subnet: u16, number: u64) -> SocketAddr {
    let [a, b, c] = PREFIX;
    let prefix = Ipv6Addr::new(a, b, c, subnet, 0, 0, 0, 0).to_bits();
    SocketAddr::new(Ipv6Addr::from_bits(prefix | u128::from(number)).into(), PORT)
}

fn number_in(subnet: u16, ip: IpAddr) -> Option<u64> {
    let IpAddr::V6(v6) = ip else { return None };
    let ours = is_synthetic(ip) && v6.segments()[3] == subnet;
    ours.then_some((v6.to_bits() & u128::from(u64::MAX)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The vectors of docs/protocol.md.
    #[test]
    fn a_frame_is_what_the_protocol_says() {
        let channel = RelayChannel(0x0102_0304_0506_0708);
        let frame = [channel.header().as_slice(), &[0x40, 0xff]].concat();
        assert_eq!(frame, [8, 1, 2, 3, 4, 5, 6, 7, 8, 0x40, 0xff]);
        assert_eq!(parse(&frame), Some((channel, [0x40, 0xff].as_slice())));
        assert_eq!(channel.address().to_string(), "[fd50:756e:6368:1:102:304:506:708]:1");
        assert_eq!(tunnel_address(5).to_string(), "[fd50:756e:6368:2::5]:1");
    }

    #[test]
    fn frames_without_a_payload_or_with_too_much_of_it_are_none() {
        let of = |payload: usize| [RelayChannel(1).header().as_slice(), &vec![0x40; payload]].concat();
        assert_eq!(parse(&of(0)), None);
        assert!(parse(&of(1)).is_some());
        assert!(parse(&of(MAX_PAYLOAD)).is_some());
        assert_eq!(parse(&of(MAX_PAYLOAD + 1)), None);
        assert_eq!(parse(&of(65_000)), None);
        assert_eq!(parse(&[9; 40]), None, "another first byte");
    }

    proptest! {
        #[test]
        fn a_channel_and_its_address_are_one_to_one(number: u64) {
            let address = RelayChannel(number).address();
            prop_assert!(is_synthetic(address.ip()));
            prop_assert_eq!(RelayChannel::from_address(address), Some(RelayChannel(number)));
            prop_assert_eq!(tunnel_number(address), None, "a channel is no tunnel");
            prop_assert_eq!(tunnel_number(tunnel_address(number)), Some(number));
        }

        #[test]
        fn a_host_is_no_channel(ip: Ipv6Addr, port: u16) {
            prop_assume!(ip.segments()[..3] != PREFIX);
            prop_assert_eq!(RelayChannel::from_address((ip, port).into()), None);
        }

        #[test]
        fn junk_is_no_frame_or_one_with_all_its_bytes(junk: Vec<u8>) {
            if let Some((channel, payload)) = parse(&junk) {
                prop_assert_eq!([channel.header().as_slice(), payload].concat(), junk);
            }
        }
    }
}
