//! The driver of real packets: the [`model`](crate::model) carries what real programs send, in real time; Linux only.
//!
//! Each host is a network namespace with one TUN device, `eth0`, and netsim holds the other end of each: it *is* the
//! Internet. What a host's kernel sends comes out of its device as bytes; their header is read into a
//! [`Packet`](crate::model::Packet), and the [`Topology`](crate::model::Topology) says when it arrives, where, and as
//! what: through which NAT, over which lines, with what luck. Then the new addresses and ports are written into the bytes,
//! the checksums are adjusted for the difference, and the receiver's kernel gets them from its device.
//!
//! ```no_run
//! use netsim::model::presets;
//! use netsim::netns::in_namespaces;
//! use netsim::wire::Internet;
//!
//! in_namespaces(|| {
//!     let net = Internet::new(1)?;
//!     let server = net.public_host("server")?;
//!     let home = net.router("alice-home", presets::home());
//!     let alice = home.host("alice")?;
//!
//!     let (theirs, hers) = (server.udp(3478)?, alice.udp(4000)?);
//!     hers.send_to(b"who am I?", (server.address(), 3478))?;
//!     let (_, from) = theirs.recv_from(&mut [0; 64])?;
//!     assert_eq!(from, (home.public_address().ok_or("a NAT has one")?, 4000).into());
//!     Ok(())
//! });
//! ```
//!
//! # Limits
//!
//! - The model's own. Fragments, multicast, and protocols other than UDP, TCP and ICMP are dropped.
//! - All packets pass through one thread.

mod checksum;
mod engine;
mod frame;
mod header;
mod host;
mod internet;
mod lab;
mod offload;
mod site;
mod tun;

#[cfg(test)]
mod tests;

pub use frame::Frame;
pub use host::Host;
pub use internet::Internet;
pub use site::Site;
