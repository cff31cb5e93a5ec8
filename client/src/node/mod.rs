//! What a client knows and decides about the network: pure, without sockets, clock or tokio.
//!
//! The walk of a wish. [`NodeCommand::Want`] makes the [`Machine`] ask the rendezvous for an introduction; the answer becomes a
//! punching agent ([`common::path`]) and a connection through the relay; the agent's first answered probe becomes another,
//! direct one. The side with the lower id dials both; the first frame of the peer on each becomes [`NodeEvent::Up`].
//!
//! When the network changes, the connection to the rendezvous is made anew at once, and everybody with whom we
//! talk or want to is met again. Relayed connections outlive that: the rendezvous knows the key, not the address.
//!
//! Contacts on our LAN are met without the rendezvous (`lan/`): the same agent, introduced by a call in place of a server.
//! Who shows an address to the rendezvous alone ([`Config::relay_only`]) has the relayed half of that, and nothing that would send a datagram
//! to anybody else.
//!
//! Mail for who is away, and for us, goes through `mail/`: fetched prekeys, sealed envelopes, what the rendezvous signs for, and
//! what is opened of what it has kept.
//!
//! # Surface
//!
//! Inputs: commands, STUN datagrams, what the connection to the rendezvous and the sessions report, who dials, and time, each
//! with `now`. After each of them the driver drains [`Machine::poll_output`] and sets its timer to [`Machine::poll_wakeup`].
//! The driver in [`crate::net`] has sockets and QUIC; the tests drive two machines, a server and a NAT in virtual time.
//!
//! # Limits
//!
//! One rendezvous. A frame for a session that is no longer the current one of its route is dropped.

mod api;
mod around;
mod attempt;
mod clock;
mod home;
mod lan;
mod lines;
mod machine;
mod mail;
mod output;
mod peer;
mod port_mapping;
#[cfg(test)]
mod relay_only;
mod speed;

pub use api::{Entrance, Introducer, NodeCommand, NodeEvent, Party, SessionId, SocketId};
pub use around::{Around, Ipv6Access, LanLink, LifetimeReport};
pub use attempt::{AttemptEnd, PathAttempt, Side};
pub use home::Random;
pub use lan::Audience;
pub use machine::{Config, Machine};
pub use mail::{Deposited, MAX_DEPOSITS, PrekeySet};
pub use output::{Begin, Bye, ControlEvent, Output, SessionEvent};
pub use port_mapping::{MappingProtocol, NAT_BEYOND, PortMapping};
pub use speed::{SpeedFailure, SpeedPhase, SpeedReport};
