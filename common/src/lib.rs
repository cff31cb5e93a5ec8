//! Punchline's pure core: everything that can be decided without a socket, a clock or a die.
//!
//! # The story
//!
//! A person is a key ([`identity`]): a [`PeerId`](identity::PeerId) is an Ed25519 public key, written with a checksum. People hand each other
//! [`link`]s, in which the key of their rendezvous stands too. Each connection, to a peer or to the rendezvous, is TLS 1.3 between
//! two keys ([`tls`]).
//!
//! Two who have each other's key share a secret without a word ([`pairing`]). From it come the capability that tells the
//! rendezvous "these two want each other", the keys of their probes, and the box in which they send each other the addresses
//! inside their homes ([`candidate`]) and what they have just seen of their NATs' ports ([`prediction`]).
//!
//! Alice asks for Bob ([`introduction`], in frames of [`wire`]); the rendezvous tells both at the same instant where the other
//! is. On one LAN they introduce themselves, without anybody ([`lan`]). Each makes a punching machine ([`path`]), which sends probes, STUN requests that only these two can make ([`stun`]), until
//! one of each side has come through. STUN shares its port with QUIC: [`datagram`] tells them apart. What kind of NAT is in
//! the way ([`nat`]) is found out beside all this ([`discovery`]); it orders what is tried and never forbids anything. What two such NATs
//! let through ([`reach`]), and for how long one remembers ([`lifetime`]), is for people who ask.
//!
//! Over the punched path the two open QUIC, and say [`session`] frames to each other, or measure the line ([`speed`]). Before that, and where there is no
//! such path, they do the same through the rendezvous ([`relay`]), which is reached over TCP where UDP is blocked ([`tunnel`]); and the very first words travel with the introduction,
//! sealed ([`seal`]). For who is away the same envelope waits in the mailbox of the rendezvous, sealed to a [`prekey`]. Whoever has
//! something says so in a signed [`receipt`].
//!
//! # The rules
//!
//! Time comes in as `now`, randomness as bytes, addresses as arguments. The machines have one surface:
//! `handle_…(input, now)`, after which the driver empties `poll_transmit` and `poll_event` and sets its timer to `poll_wakeup`.
//! `clippy.toml` bans the clock and hash maps; that no socket can be named, the crate's dependencies see to.
//!
//! # Limits
//!
//! One component. What punching does not try is said in [`path`].

pub mod candidate;
pub mod datagram;
pub mod discovery;
pub mod identity;
pub mod introduction;
pub mod lan;
pub mod lifetime;
pub mod link;
pub mod nat;
pub mod pairing;
pub mod path;
pub mod prediction;
pub mod prekey;
pub mod reach;
pub mod receipt;
pub mod relay;
pub mod seal;
pub mod session;
pub mod signature;
pub mod speed;
pub mod stun;
pub mod tls;
pub mod tunnel;
pub mod wire;
