//! A validated path, and when another one is better.

use std::net::SocketAddr;
use std::time::Duration;

use super::surface::Base;
use crate::candidate::Candidate;

/// How long after the first path one over the other version of IP may still show that it is faster: the responder's host
/// candidates reach the requester a round trip to the rendezvous later than all else, and RFC 8305 has 250 ms for less.
pub(super) const COMPARISON: Duration = Duration::from_secs(1);
/// What a path must be faster by to be worth another handshake, besides an eighth: the jitter of a home network.
const CLEARLY_FASTER: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Path {
    pub(super) base: Base,
    pub(super) remote: Candidate,
    pub(super) rtt: Duration,
    /// Where the peer sees us: if it changes, our mapping had expired.
    pub(super) mapped: SocketAddr,
}

impl Path {
    pub(super) fn is(&self, base: Base, remote: SocketAddr) -> bool {
        self.base == base && self.remote.address == remote
    }

    /// The measured time decides, not the version of IP (RFC 8305 has it so for TCP).
    pub(super) fn is_clearly_faster(&self, than: &Path) -> bool {
        self.rtt + (than.rtt / 8).max(CLEARLY_FASTER) <= than.rtt
    }
}
