//! Networks to test in: a small Internet with routers that translate addresses, on one machine.
//!
//! There are two ways to have them. The [`model`] is a NAT and a network in pure Rust: seeded, moved by a `now` that comes
//! in, with every behaviour that RFC 4787 has a word for. Its module page tells the life of a packet. Machines without
//! sockets talk over it in virtual time ([`virtual_net`]), real programs in real time (`wire`). [`netns`] builds networks
//! out of Linux namespaces whose routers are the kernel's own, for real programs; most of this page is about them. Both
//! speak one vocabulary, [`model::behaviour`], and whoever wants to know what to expect of two hosts asks the [`oracle`],
//! which knows their behaviours and sends nothing. The [`matrix`] lets two real programs, or (with the feature `punchline`)
//! Punchline's own machines, meet across every pair of [presets](model::presets) and holds each cell against its word.
//!
//! A story of two people behind two routers needs two routers. The kernel has what they can be made of:
//! each computer of the story is a *network namespace*, a network stack of its own, and a cable between two of them is a
//! pair of virtual Ethernet devices. [`Network::new`](netns::Network::new) makes the Internet, a bridge with the
//! addresses `11.1.1.0/24` and no way to any real network. A server is plugged straight into it
//! ([`public_host`](netns::Network::public_host)). A home is a [`router`](netns::Network::router): a namespace with one
//! foot on that bridge and a LAN of its own, whose kernel forwards and rewrites packets by nftables rules as a home's
//! box does. Behind it stand hosts with private addresses, which reach the server and are reached by nobody they did not
//! speak to first.
//!
//! What then runs in a host is real: a program started with [`spawn`](netns::Host::spawn) does not know where it is, a
//! socket made inside [`enter`](netns::Host::enter) is an ordinary socket that happens to send from there, and stays
//! there when it is handed to other threads. Packets take microseconds, nothing is lost unless the story pulls a cable:
//! [`link_down`](netns::Host::link_down) (the host knows), [`wan_down`](netns::KernelRouter::wan_down) (nobody is told),
//! [`forget_mappings`](netns::KernelRouter::forget_mappings) (the router was rebooted),
//! [`change_wan_address`](netns::KernelRouter::change_wan_address) (the provider's nightly disconnection),
//! [`move_behind`](netns::Host::move_behind) (the laptop goes elsewhere).
//!
//! Nothing is left behind. A handle to any part of a network keeps all of it; with the last handle it is gone. The
//! namespaces have no names, they are held by file descriptors, and the kernel takes down everything in them when the
//! last descriptor, socket and program is gone: on drop, on panic, on Ctrl-C and on
//! `kill -9`, since programs that were started here die with whoever started them. The machine's own network is not
//! touched, so stories run side by side. An ordinary user can tell them too where the kernel permits user namespaces:
//! see [`in_namespaces`](netns::in_namespaces).
//!
//! # Limits
//!
//! Those of the model stand on [its page](model#limits), those of the model with real packets on [theirs](wire#limits). Of
//! the kernel's networks:
//!
//! - Linux only, version 5.3 or later. On other systems the crate is the model.
//! - IPv4 only: IPv6 is switched off in every namespace.
//! - The NAT is the kernel's: its own (Linux masquerade), or rules that record mappings and so make all of RFC 4787's
//!   cells. [`Router`](netns::Router) says which combinations there are; the others are refused when a router is built.
//! - With Linux masquerade two LAN hosts with one source port share the external port until they meet at one destination.
//!   With recorded mappings a new one that is given a taken port costs its first datagram.
//! - Mappings are recorded for UDP. TCP and pings always have the kernel's own NAT.
//! - A session that a stranger began through a lenient filter keeps its external port, whatever the mapping says.
//! - No delay, no loss, no rate limit: for that, the same routers stand [on the wire](wire::Site::kernel_router).
//! - Ports are mapped ([`PortMapping`](netns::PortMapping)) by miniupnpd, which refuses behind a carrier, where its own outer
//!   address is private.
//! - While a line is cut ([`wan_down`](netns::KernelRouter::wan_down)) for more than about half a minute, the router's ARP
//!   entries age, and it tells its LAN "host unreachable" where a real line would stay silent.
//! - A packet to a public address nobody has ends in an ARP failure, which a connected socket may hear of as "no route to
//!   host" after three seconds; a packet to any other prefix vanishes silently, as it should.
//! - The kernel sweeps its mappings lazily: an idle mapping may live a little longer than its timeout, never shorter.
//! - A program that is spawned here dies with us; its own children do so only if it sees to it. A program that changes
//!   its user (set-uid, `su`) loses that bond.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "namespaces have clocks and sockets; the modules that are pure deny both again"
)]

pub mod ladder;
pub mod matrix;
pub mod model;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod oracle;
#[cfg(target_os = "linux")]
pub mod scenario;
pub mod udp;
pub mod virtual_net;
#[cfg(target_os = "linux")]
pub mod wire;

/// The README's program compiles.
#[cfg(all(doctest, target_os = "linux"))]
#[doc = include_str!("../README.md")]
struct Readme;
