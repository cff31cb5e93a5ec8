//! Who and where, for the tests of this crate's pure parts.

use std::net::SocketAddr;

use common::identity::{Identity, PeerId};
use common::pairing::Capability;

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn key(peer: u8) -> PeerId {
    Identity::from_seed(&[peer; 32]).peer_id()
}

pub(crate) fn capability(n: u32) -> Capability {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Capability(bytes)
}
