//! Candidates: addresses at which a peer may be reachable (RFC 8445, section 5.1), and the sealed box in which host
//! candidates travel, because a private address is nobody's business but a contact's.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::introduction::MAX_ADDRESSES;
use crate::relay::is_synthetic;

/// How an address became known, in the order in which we like them: a host candidate needs no NAT at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateKind {
    /// An address of one of the peer's own interfaces.
    Host,
    /// What the rendezvous saw.
    ServerReflexive,
    /// The source of an authenticated probe that no candidate foretold.
    PeerReflexive,
}

/// An address of the peer to send probes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// How it became known.
    pub kind: CandidateKind,
    /// Where to send.
    pub address: SocketAddr,
}

/// An IPv4 address inside an IPv6 one (`::ffff:1.2.3.4`) as the IPv4 address that it is. Dual-stack sockets report the
/// former; everything that compares or stores addresses uses this form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// May a probe be sent there at all? Whoever names the candidate (peer or server) must not be able to make us send to a
/// multicast group, to a broadcast address, or to services of our own machine. Loopback is fine only between two on the
/// same machine, which shows in that the rendezvous observed *us* on loopback.
pub fn may_probe(address: SocketAddr, own_reflexive: Option<IpAddr>) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    // A link-local IPv6 address means nothing without its interface.
    let scoped = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let loopback_ok = !ip.is_loopback() || own_reflexive.is_some_and(|own| own.to_canonical().is_loopback());
    let nowhere = ip.is_unspecified() || ip.is_multicast() || broadcast || scoped || is_synthetic(ip);
    address.port() != 0 && !nowhere && loopback_ok
}

/// The size of the plain box: eight IPv6 addresses with their ports and postcard's lengths, so that the server cannot
/// tell from the size how many networks somebody has.
const BOX: usize = 256;

/// Host candidates as a box of constant size, to be sealed (see [`crate::pairing::Pairing::seal`]). Takes the first
/// [`MAX_ADDRESSES`].
pub fn pack(addresses: &[SocketAddr]) -> Vec<u8> {
    let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
    let mut plain = postcard::to_stdvec(addresses).unwrap_or_default();
    plain.resize(BOX.max(plain.len()), 0);
    plain
}

/// Why an opened box is not a list of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sealed something that is not a list of at most {MAX_ADDRESSES} addresses")]
pub struct PackError;

/// The reverse of [`pack`].
pub fn unpack(plain: &[u8]) -> Result<Vec<SocketAddr>, PackError> {
    let (addresses, _padding) = postcard::take_from_bytes::<Vec<SocketAddr>>(plain).map_err(|_| PackError)?;
    if addresses.len() > MAX_ADDRESSES { Err(PackError) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_candidate_makes_us_probe_our_own_machine_or_a_group() {
        let outside = Some("11.1.1.10".parse().expect("ip"));
        for address in [
            "127.0.0.1:22",
            "[::1]:22",
            "[::ffff:127.0.0.1]:22",
            "0.0.0.0:9",
            "224.0.0.251:5353",
            "255.255.255.255:9",
            "[ff02::fb]:5353",
            "[fe80::1]:9",
            "240.0.0.1:9",
            "11.1.1.1:0",
        ] {
            assert!(!may_probe(address.parse().expect("address"), outside), "{address}");
        }
        for address in ["192.168.1.7:4000", "11.1.1.1:9", "[2001:db8::1]:9"] {
            assert!(may_probe(address.parse().expect("address"), outside), "{address}");
        }
        let loopback = Some("127.0.0.1".parse().expect("ip"));
        assert!(may_probe("127.0.0.1:4000".parse().expect("address"), loopback), "two on one machine");
    }

    #[test]
    fn every_box_has_the_same_size() {
        let six: SocketAddr = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("address");
        assert_eq!(pack(&[]).len(), BOX);
        assert_eq!(pack(&[six; 20]).len(), BOX);
        assert_eq!(unpack(&pack(&[six; 20])), Ok(vec![six; MAX_ADDRESSES]));
    }

    proptest! {
        #[test]
        fn junk_in_the_box_never_panics(junk: Vec<u8>) {
            if let Ok(addresses) = unpack(&junk) {
                prop_assert!(addresses.len() <= MAX_ADDRESSES);
            }
        }
    }
}
