//! Why a packet went no further.

use std::fmt;

use serde::Serialize;

/// Why a packet went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// From outside, to an external endpoint that no mapping has.
    NoMapping,
    /// From outside, from somebody whom the mapping's filter does not know.
    Filtered,
    /// From outside, to no mapping; the box took it for itself, remembers it, and tells the sender of a datagram "port
    /// unreachable".
    TakenIn,
    /// To the box's own external address, and it does not hairpin.
    NoHairpinning,
    /// The host has all the mappings that it may have.
    HostLimit,
    /// The box has all the mappings that it may have.
    TableFull,
    /// There is no external port left.
    PortsExhausted,
    /// The box lets no UDP through.
    UdpBlocked,
    /// The box lets no ICMP through.
    IcmpDropped,
    /// A private address, which nobody routes. As the kernel routers of this crate: without a mapping being made.
    PrivateDestination,
    /// Nobody has this address.
    NoSuchAddress,
    /// To a group or to everybody, on the Internet itself, or with a scope beyond the link: no router passes that on.
    NotForThisLink,
    /// Two hosts of one LAN that are kept from each other.
    Isolated,
    /// The box does not speak this version of IP.
    NoSuchFamily,
    /// The source is not the sender's.
    ForgedSource,
    /// Its time to live ran out.
    TtlExceeded,
    /// Lost on a link.
    Lost,
    /// The link's queue was full.
    QueueFull,
    /// Larger than the link's MTU.
    TooBig,
    /// The link is cut.
    LinkCut,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DropReason::NoMapping => "no mapping",
            DropReason::Filtered => "filtered",
            DropReason::TakenIn => "taken in by the router itself",
            DropReason::NoHairpinning => "no hairpinning",
            DropReason::HostLimit => "the host has too many mappings",
            DropReason::TableFull => "the router has too many mappings",
            DropReason::PortsExhausted => "no external port left",
            DropReason::UdpBlocked => "UDP is blocked",
            DropReason::IcmpDropped => "ICMP is dropped",
            DropReason::PrivateDestination => "private destination",
            DropReason::NoSuchAddress => "no such address",
            DropReason::NotForThisLink => "multicast is for a LAN",
            DropReason::Isolated => "hosts are isolated",
            DropReason::NoSuchFamily => "no such version of IP here",
            DropReason::ForgedSource => "forged source",
            DropReason::TtlExceeded => "time to live exceeded",
            DropReason::Lost => "lost",
            DropReason::QueueFull => "queue full",
            DropReason::TooBig => "too big",
            DropReason::LinkCut => "link cut",
        })
    }
}
