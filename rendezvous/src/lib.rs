//! The rendezvous: the one public machine of a Punchline network. It registers clients, tells them where it sees them,
//! and introduces those to each other who both want it. It reads nothing that they say.
//!
//! # The life of a registration
//!
//! A datagram arrives on the one UDP port. [`socket`] looks at its first bytes: STUN is answered on the spot
//! ([`stun_service`]), junk is counted and dropped, QUIC goes to quinn. A first packet is judged by where it comes from
//! ([`admission`]); the handshake is TLS 1.3 with a key on each side, so that when it is done the client *is* its
//! [`PeerId`](common::identity::PeerId) and its address is proven. The client opens one stream ([`connection`]) and
//! sends `Register`: the epoch of its start, what it knows of its NAT, and a capability for each contact. From then on
//! it stands in the [`registry`] under its key, with the address that the server observes. A second registration of the
//! same key takes the place of the first, which is told so; one of an older epoch is turned away. When the address
//! changes, the client hears its new one; when twelve seconds pass without a word, it is forgotten. Of this nothing is
//! written to a disk but what the [`mailbox`] needs while the client is away, the capabilities above all; after a restart the
//! clients come back by themselves, at once, because the new process tells them by stateless resets that the old one is gone.
//!
//! # The life of an introduction
//!
//! Alice sends `Introduce`: Bob's key, the capability that only the two of them can derive, and her host candidates
//! sealed to him. If Alice registered that capability and Bob registered it too, both receive an `Introduction` in the
//! same batch, with the other's observed addresses and NAT profile, and a random id. What each of them still finds out
//! is trickled through the server for a minute, and goes to the other party of that introduction only. If anything is
//! missing (there is no Bob, he is not here, he does not know Alice, she asks too often), the answer is `Refused`: one
//! path through the code, one sequence of bytes.
//!
//! Both say how it ended, once. What has found a path for most pairs with such NATs goes with the next introduction of two like
//! them, as a hint ([`memory`]).
//!
//! # The life of a mail
//!
//! Whom the server refuses to introduce may be away. Alice asks for a prekey of Bob's and leaves a sealed envelope for him; when
//! it is on the disk, she has the server's signature on that. Bob gets it when he registers, and it is removed when he has
//! signed that he has it: see [`mailbox`].
//!
//! # The life of a relayed datagram
//!
//! The introduction also grants both a [channel](relay). Until their own path stands, or for good if none does, Alice puts
//! her datagrams for Bob into relay frames. They arrive at a socket of their own ([`lane`]), or where the system cannot tell
//! datagrams apart, [`socket`] sees them before quinn does; the [`forwarder`] asks the
//! [switch](relay::switch) whether this channel may be used from where the frame came and where Bob is at this moment,
//! and sends the same bytes there. What may not go on is dropped, and counted by its reason.
//!
//! Who can send no UDP at all comes through a [`tunnel`]: the same datagrams, over TCP, from an address that stands for it.
//!
//! # Pure and not
//!
//! [`server`] decides everything about clients and has neither sockets nor clock nor randomness; so do
//! [`connection_ids`], [`registry`], [`introductions`], [`memory`], [`budgets`], [`admission`], [`limits`], [`relay`],
//! [`stun_service`] and, but for its database, [`mailbox::Mailbox`]. [`hub`] puts one lock around them but for the relay's switch, which has its own, and for the ids;
//! [`connection`], [`socket`], [`lane`], [`forwarder`], [`tunnel`], [`mailbox::thread`] and [`run`](mod@run) are the driver.
//!
//! # Limits
//!
//! This server stands alone: there is no cluster, and the mail of one server is not that of another. One client may have one device. After a restart all
//! channels are new. A relayed client whose NAT gives it another port is heard again after a second, one whose address
//! changes after four, or as soon as it registers anew. Except on Linux, relayed data, first packets and all the
//! rest share the kernel's receive buffer, so an overloaded relay delays registrations by as much as fits into it. The server sees who asks for whom, when, and from
//! which addresses; it does not log that.

pub mod admission;
pub mod budgets;
pub mod config;
pub mod connection;
pub mod connection_ids;
pub mod data_folder;
pub mod forwarder;
pub mod hub;
pub mod introductions;
pub mod lane;
pub mod limits;
#[cfg(target_os = "linux")]
mod linux;
pub mod listen;
pub mod mailbox;
pub mod memory;
#[cfg(test)]
mod people;
pub mod registry;
pub mod relay;
pub mod run;
pub mod server;
pub mod socket;
pub mod stun_service;
pub mod tunnel;

pub use config::Config;
pub use run::{Rendezvous, StartError, run};
