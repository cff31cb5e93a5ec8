//! What comes out of a topology: deliveries, and what happened on the way.

use std::time::Instant;

use super::{HostId, NetworkId, RouterId};
use crate::model::dropped::DropReason;
use crate::model::packet::Packet;

/// A packet has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<P> {
    /// Where.
    pub host: HostId,
    /// Its header, as it is now.
    pub packet: Packet,
    /// What the driver gave along.
    pub payload: P,
}

/// A packet at the outer interface of a router that is [tapped](super::Topology::tap).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing<P> {
    /// Which router.
    pub router: RouterId,
    /// Sent by it, and not received.
    pub outwards: bool,
    /// The header, as it is outside.
    pub packet: Packet,
    /// What the driver gave along.
    pub payload: P,
}

/// Where something happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At a host.
    Host(HostId),
    /// At a router.
    Router(RouterId),
    /// Between them.
    Network(NetworkId),
}

/// What happened to a packet, for traces and pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A host sent it.
    Sent,
    /// A router has let it out, and it was this before.
    LetOut(Packet),
    /// A router has let it in, and it was this before.
    LetIn(Packet),
    /// It is at its destination.
    Arrived,
    /// It went no further.
    Dropped(DropReason),
}

/// One line of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// Where.
    pub place: Place,
    /// What.
    pub what: Happening,
    /// The packet, as it is then.
    pub packet: Packet,
}
