//! Punchline's pure core.
#![warn(missing_docs)]

pub mod candidate;
pub mod datagram;
pub mod discovery;
pub mod identity;
pub mod introduction;
pub mod link;
pub mod nat;
pub mod pairing;
pub mod path;
pub mod session;
pub mod stun;
pub mod tls;
pub mod wire;
