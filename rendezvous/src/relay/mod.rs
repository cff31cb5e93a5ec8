//! The relay: two clients that were introduced send each other datagrams through this server, which reads none of them.
//!
//! # The life of a channel
//!
//! With an introduction both parties are granted a channel, 64 random bits, the same again for the same two while it
//! lives ([`channels`]). A channel belongs to two keys, not to two connections: when one of them registers from another
//! address, frames are taken from there and sent there from then on. It ends when a party has been gone for 30 seconds, or
//! no longer has the other among its contacts, or for lack of room; whoever is still here is told.
//!
//! # The life of a frame
//!
//! The [`switch`] looks at two things: the channel, and where the frame came from. If that is where the server sees one of
//! the two parties, the frame goes, byte for byte, to where it sees the other, unless the sender has used up what it may
//! send ([`quota`]). Everything else is dropped and counted by its reason. No frame names an address, so nobody can have
//! a stranger sent to, and nothing is ever sent that is longer than what came.
//!
//! What the network does not take at once waits in short queues, each sender in its turn ([`scheduler`]).
//!
//! Nothing here has a socket, a clock or randomness; the driver is [`crate::forwarder`].

use std::net::{IpAddr, SocketAddr};

use common::identity::PeerId;
use common::relay::RelayChannel;

pub mod channels;
pub mod quota;
pub mod scheduler;
pub mod switch;

/// One of the sockets on which clients arrive, in the numbering of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SocketIndex(pub usize);

/// Where the server sees a client, and through which of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Our socket.
    pub socket: SocketIndex,
    /// Our address on it that the client dialled, if the socket has several and the system says which.
    pub local_ip: Option<IpAddr>,
    /// The client's address, canonical.
    pub address: SocketAddr,
}

impl From<SocketAddr> for Location {
    /// For a server with one socket.
    fn from(address: SocketAddr) -> Self {
        Location { socket: SocketIndex::default(), local_ip: None, address }
    }
}

/// What the server's decisions mean for the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// These two may talk.
    Open(RelayChannel, [(PeerId, Location); 2]),
    /// They may not any more.
    Close(RelayChannel),
    /// This one is here now, or nowhere.
    Move(PeerId, Option<Location>),
}

#[cfg(test)]
mod tests;
