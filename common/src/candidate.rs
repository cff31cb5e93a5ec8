//! Candidates: addresses at which a peer may be reachable (RFC 8445, section 5.1), and the sealed box in which host
//! candidates and predictions travel, because a private address is nobody's business but a contact's.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::introduction::MAX_ADDRESSES;
use crate::prediction::Prediction;
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

/// The size of the plain box: eight IPv6 addresses with their ports and postcard's lengths, the longest prediction and
/// a mapped port, so that the server cannot tell from the size how many networks somebody has, or what is in it at all.
const BOX: usize = 256;

/// What is in a sealed box.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contents {
    /// Host candidates, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// What the sender has just seen of its own ports.
    pub prediction: Option<Prediction>,
    /// A port that the sender's router has given it: it counts only at the IP at which the rendezvous sees the sender.
    pub mapped: Option<SocketAddr>,
    /// The sender talks through the relay alone: it sends no probe and answers none.
    pub relay_only: bool,
    /// The sender has no connection with the recipient through the relay, nor a handshake: if the recipient has one, it is dead.
    pub unconnected: bool,
}

impl Contents {
    /// Host candidates alone.
    pub fn hosts(addresses: Vec<SocketAddr>) -> Self {
        Contents { addresses, ..Contents::default() }
    }

    /// What somebody seals who shows no address.
    pub fn relay_only() -> Self {
        Contents { relay_only: true, ..Contents::default() }
    }
}

impl From<Prediction> for Contents {
    fn from(prediction: Prediction) -> Self {
        Contents { prediction: Some(prediction), ..Contents::default() }
    }
}

/// A box of constant size, to be sealed (see [`crate::pairing::Pairing::seal`]). Takes the first [`MAX_ADDRESSES`]
/// addresses.
pub fn pack(mut contents: Contents) -> Vec<u8> {
    contents.addresses.truncate(MAX_ADDRESSES);
    let mut plain = postcard::to_stdvec(&contents).unwrap_or_default();
    plain.resize(BOX.max(plain.len()), 0);
    plain
}

/// Why an opened box is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer sealed something that is not a list of at most {MAX_ADDRESSES} addresses, a prediction and a mapped port"
)]
pub struct PackError;

/// The reverse of [`pack`].
pub fn unpack(plain: &[u8]) -> Result<Contents, PackError> {
    let (contents, _padding) = postcard::take_from_bytes::<Contents>(plain).map_err(|_| PackError)?;
    let sane = contents.prediction.as_ref().is_none_or(Prediction::is_sane);
    if contents.addresses.len() > MAX_ADDRESSES || !sane { Err(PackError) } else { Ok(contents) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction::{Foretold, MAX_MARKS};
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
        let marks = vec![65_535; MAX_MARKS];
        let ports = Foretold::Laid { first: 65_535, gap: i16::MIN, step: i16::MIN, marks };
        let longest = Prediction { round: 255, rtt_ms: 65_535, ports };
        let full = Contents {
            addresses: vec![six; 20],
            prediction: Some(longest.clone()),
            mapped: Some(six),
            relay_only: true,
            unconnected: true,
        };
        assert_eq!(pack(Contents::default()).len(), BOX);
        assert_eq!(pack(full.clone()).len(), BOX);
        let kept = Contents { addresses: vec![six; MAX_ADDRESSES], ..full.clone() };
        assert_eq!(unpack(&pack(full)), Ok(kept));
        assert_eq!(unpack(&pack(longest.clone().into())), Ok(longest.into()));
        assert_eq!(pack(Contents::relay_only()).len(), BOX);
        assert_eq!(unpack(&pack(Contents::relay_only())), Ok(Contents::relay_only()));
    }

    #[test]
    fn a_prediction_that_makes_no_sense_spoils_the_box() {
        for ports in [
            Foretold::Stands { port: 0 },
            Foretold::Next { last: 7, step: 0 },
            Foretold::Among { low: 9, high: 8 },
            Foretold::Laid { first: 9, gap: 0, step: 1, marks: vec![1, 2] },
            Foretold::Laid { first: 9, gap: 1, step: 1, marks: vec![1; MAX_MARKS + 1] },
        ] {
            assert_eq!(unpack(&pack(Prediction { round: 0, rtt_ms: 1, ports }.into())), Err(PackError));
        }
    }

    proptest! {
        #[test]
        fn junk_in_the_box_never_panics(junk: Vec<u8>) {
            if let Ok(contents) = unpack(&junk) {
                prop_assert!(contents.addresses.len() <= MAX_ADDRESSES);
            }
        }
    }
}
