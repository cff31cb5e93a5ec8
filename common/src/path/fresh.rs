//! Both start again from fresh sockets, at the same instant.
//!
//! A router that accepts input and keeps one mapping by keeping the port (Linux without a filter) is spoilt by a packet that
//! comes before the first one out: the stray occupies the pair of endpoints that the mapping was about to need, so that
//! the mapping moves to another port, which the peer does not know and its filter does not let in. It happens when one side
//! hears of the introduction late. Neither side can see it: nothing arrives.
//!
//! So when plain probing has met with silence, both take a fresh socket, look where the rendezvous sees it, tell each other,
//! and send at the instant when the later of both words has arrived ([`super::rounds`]): each first packet leaves before the
//! other's has crossed. Their clocks need not agree, only the time between them must be short of the one way from peer
//! to peer; it is the error of half the sum of two round trips, a few milliseconds. Eight packets.

use super::shots::{Plan, Shot, repeat};
use super::surface::Base;

/// From the fresh socket to the peer's.
pub(super) fn plan(base: Base, port: u16) -> Plan {
    repeat(Shot { base, port })
}
