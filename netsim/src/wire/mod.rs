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
//! A router may also be the kernel's own ([`Site::kernel_router`]): a namespace with two devices, `lan` and `wan`, whose rules
//! are those of [`netns`](crate::netns), so that real NAT has lines with delay and loss.
//!
//! # Who does what
//!
//! `engine` is the thread that carries, `header` reads and writes packets, `notice` makes ICMP errors of what routers have to
//! say to senders, `kernel_box` is a router of the kernel's, `tap` listens
//! at one of the model's, `offload` takes apart what a kernel hands out
//! as one, `lab` owns it all and takes it down. While every line treats all packets alike (delay, MTU), bursts travel as
//! the kernels made them, which is what makes gigabits; as soon as one line has luck or a rate, every packet travels alone.
//!
//! # Limits
//!
//! - The [model's own](crate::model#limits). Fragments, and protocols other than UDP, TCP and ICMP are dropped.
//!   A datagram that does not fit into 1500 bytes would be sent in fragments, so it is lost.
//! - Routers say "time exceeded", "packet too big" (of IPv4 only where DF is set), "host unreachable" for an address of their
//!   own network that nobody has, at once and not after three seconds of asking for it, and "port unreachable" if they take
//!   in a stray datagram; a thousand times a second, all together. They reset no connections and answer no pings.
//! - All packets pass through one thread, which needs a core of its own at full speed.
//! - Same seed, same luck, but real programs send when they please: a run is not the same twice.
//! - Of what is for everybody on a LAN, multicast and 255.255.255.255 are carried; a prefix's own broadcast address is not.
//!   Every host of the LAN gets all of it, as behind a switch that does not snoop.
//! - A kernel's box speaks IPv4 only. Boxes of the model map no ports for those who ask.
//! - A host that roams keeps the versions of IP that it was made with.
//! - An ordinary user needs a `/dev/net/tun` that is open to all (mode 0666).

mod checksum;
mod engine;
mod frame;
mod header;
mod host;
mod internet;
mod kernel_box;
mod lab;
mod notice;
mod offload;
mod site;
mod tap;
mod tun;

#[cfg(test)]
mod tests;

pub use frame::Frame;
pub use host::Host;
pub use internet::Internet;
pub use site::Site;
pub use tap::{Tap, Tapped};
