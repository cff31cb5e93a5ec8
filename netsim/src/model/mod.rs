//! One model of NATs and links, for virtual time and for real packets alike: pure, seeded, and moved by `now`.
//!
//! # The life of a packet
//!
//! A host hands a [`Packet`] to the [`Topology`]: a header, beside which the driver's payload travels unread. The host's own
//! [`Link`] takes it first. It may lose it, make it wait behind others, or say when it will arrive; until then it is a
//! flight in a queue ordered by time. Arrived on the LAN, the packet goes to whoever has its destination address there, and
//! if nobody has, to the LAN's router. The router asks its [`Nat`] for the mapping of the sender: found, or made with a port
//! as the box's [`Behaviour`] says. The header gets that external endpoint for a source, the filter opens a little for the
//! destination, and the packet enters the router's link to the next network. There may be another router above (a carrier's),
//! with a NAT of its own. On the Internet somebody has the address, or nobody, and then the packet is gone, as packets go.
//! A multicast or a broadcast goes to every other host of its LAN, and no further.
//!
//! If it is a router who has it, the packet comes down that router's link and meets the other side of a NAT: is there a
//! mapping with this external endpoint, and may this sender use it? The NAT looks *when the packet arrives there*, which is
//! all that hole punching is about. If yes, the internal endpoint becomes its destination, and the LAN's host has a
//! [`Delivery`]. If not, the packet is dropped, and the [`DropReason`] says what a silent network never would; or, in a box
//! with [`StrayInbound::OccupiesTuple`](behaviour::StrayInbound), it is dropped and spoils the mapping that its receiver
//! was about to need.
//!
//! # Who does what
//!
//! | | |
//! |---|---|
//! | [`behaviour`] | the vocabulary, and [`Behaviour`]: how a box is configured; [`Observed`] is what can be seen of one or of several in series |
//! | [`presets`] | the boxes that there are, and the real devices each stands for |
//! | [`Nat`] | one box at work: NAT or firewall |
//! | [`Link`] | one direction of a line at work; [`Line`] is how it is configured |
//! | [`Topology`] | who is connected to whom; takes packets in, gives deliveries out |
//! | [`Random`] | all luck, from one seed; each NAT and each link has its own share of it |
//!
//! # For drivers
//!
//! `P` in [`Topology<P>`] is the payload, or what stands for it. A driver of real packets parses a header into a
//! [`Packet`] and keeps the bytes as `P`; at a [`Delivery`] it writes the new addresses and ports into them (also into
//! what an ICMP error quotes), and adjusts the checksums for the difference. With lines of no delay a delivery is there as
//! soon as [`Topology::handle_packet`] returns. What a real network tells a sender (time exceeded, packet too big, host or port
//! unreachable) comes as a [`Notice`] with the payload of the packet that it is about, if the driver wants it
//! ([`Topology::speak`]).
//!
//! # Limits
//!
//! - Packets are never fragmented: what does not fit is dropped.
//! - Of TCP a box sees SYN, FIN and RST and keeps time by them (RFC 5382); it checks no sequence numbers.
//! - Routers have no address of their own on the inside, so they cannot be pinged or asked for a port mapping.
//! - Blocks of ports belong to a host until the box reboots.
//! - What hangs on a firewall for IPv4 (one that translates nothing) is reached from above if it is a host, not if it is a
//!   router.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod addresses;
pub mod behaviour;
mod dropped;
pub mod link;
pub mod nat;
pub mod observed;
mod packet;
pub mod presets;
mod random;
mod seconds;
pub mod topology;

pub use addresses::{Addresses, Families, Family};
pub use behaviour::Behaviour;
pub use dropped::DropReason;
pub use link::{Line, Link};
pub use nat::Nat;
pub use observed::{EarlyProbe, Observed, SeenPorts, Survey};
pub use packet::{DEFAULT_TTL, Kind, Packet, Protocol, Quote, TcpFlags};
pub use presets::{Access, Preset};
pub use random::Random;
pub use topology::{
    Crossing, Delivery, Event, Happening, HostId, INTERNET, Legs, NetworkId, Notice, Place, Router, RouterId, Saying,
    Topology,
};
