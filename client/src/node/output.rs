//! What goes into the node's machine beside commands, and what comes out of it.

use std::net::SocketAddr;
use std::time::Duration;

use common::discovery;
use common::identity::PeerId;
use common::introduction::{FromServer, Register, ToServer};
use common::lan::Announcement;
use common::session::{PeerFrame, Route};

use super::api::{NodeEvent, SessionId, SocketId};
use super::lan::Audience;

/// What the driver hears of the one connection to the rendezvous.
#[derive(Debug, Clone)]
pub enum ControlEvent {
    /// A connection stands; what the server says comes next.
    Connected {
        /// Where relay frames go and come from: the server's address, or that of a tunnel to it.
        server: SocketAddr,
        /// The same for people.
        remote: SocketAddr,
        /// The round trip to it.
        rtt: Duration,
    },
    /// From the server.
    Message(FromServer),
    /// No connection (any more); another attempt follows.
    Lost {
        /// What was tried and what went wrong, for a person.
        reason: String,
    },
    /// Somebody with another key answered.
    Untrusted {
        /// That key.
        seen: PeerId,
    },
    /// Another client has taken our place; no attempt follows.
    Replaced,
}

/// What the driver hears of one session.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// The handshake is done and the peer has said hello.
    Up {
        /// Where the other end is.
        remote: SocketAddr,
        /// Its round-trip time.
        rtt: Duration,
        /// The greeting.
        hello: PeerFrame,
    },
    /// A frame.
    Frame {
        /// The round-trip time now.
        rtt: Duration,
        /// The frame.
        frame: PeerFrame,
    },
    /// It ended, or never began. Nothing follows.
    Down {
        /// Why, for a person.
        reason: String,
        /// The peer itself stopped.
        by_peer: bool,
    },
    /// The other side has the wrong key. Nothing follows.
    Untrusted {
        /// Its key.
        seen: PeerId,
    },
}

/// The application error code with which a peer closes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Bye {
    /// The client stops.
    Stopping = 0,
    /// A newer session has taken the place.
    Superseded = 1,
    /// The path fell silent.
    PathLost = 2,
    /// The peer does not keep to the protocol.
    Protocol = 3,
    /// The peer does not read.
    Slow = 4,
    /// No session is wanted any more.
    Unwanted = 5,
}

/// A session that is to be begun. Every one of them ends with [`SessionEvent::Down`] or [`SessionEvent::Untrusted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Its name.
    pub id: SessionId,
    /// With whom.
    pub peer: PeerId,
    /// Which way.
    pub route: Route,
    /// The round trip that its handshake should expect.
    pub rtt: Duration,
}

/// What the machine wants done.
#[derive(Debug)]
pub enum Output {
    /// Open an unconnected UDP socket of the main one's version of IP, on any port, and say so by
    /// [`Machine::handle_opened`](super::Machine::handle_opened). If there is none to be had, say nothing.
    Open(SocketId),
    /// Close it.
    CloseSocket(SocketId),
    /// QUIC packets to this address leave from this socket from now on, for as long as it is open.
    Leave(SocketAddr, SocketId),
    /// Look around, and say what there is by [`NodeEvent::Around`].
    LookAround {
        /// May anything be sent to the LAN?
        lan: bool,
    },
    /// Measure for how long the NAT remembers, and say so by [`NodeEvent::Lifetime`].
    MeasureLifetime,
    /// Send this datagram.
    Transmit {
        /// From which socket; if it is not open, not at all.
        socket: SocketId,
        /// Where to.
        destination: SocketAddr,
        /// A STUN message.
        payload: Vec<u8>,
    },
    /// Send this to everybody on each LAN that we are on.
    Announce(Announcement, Audience),
    /// Send this from the LAN socket.
    LanTransmit {
        /// Where to.
        destination: SocketAddr,
        /// A message of [`common::lan`].
        payload: Vec<u8>,
    },
    /// Say this to the rendezvous.
    Ask(ToServer),
    /// Register this, in place of what was registered before.
    Register(Register),
    /// Make the connection to the rendezvous anew: our network is another one.
    MoveOn,
    /// Relay frames go there from now on.
    RelayVia(SocketAddr),
    /// Dial a peer at a punched address, or at that of a relay channel.
    Dial(Begin, SocketAddr),
    /// Give a frame to a session. If its queue is full the peer does not read: it is to be closed as [`Bye::Slow`].
    Write(SessionId, PeerFrame),
    /// Send the peer of a session something that it has to acknowledge, so that what was lost is known now.
    Nudge(SessionId),
    /// Close a session after its last words.
    Finish(SessionId, Bye),
    /// Close a session at once, or end its handshake.
    Close(SessionId, Bye),
    /// Measure the line of a session.
    MeasureSpeed {
        /// With whom.
        peer: PeerId,
        /// Which one.
        session: SessionId,
        /// How long bytes shall flow each way.
        each_way: Duration,
    },
    /// Look at the NAT, from the main socket and a fresh one, whose port is still to be filled in; a run under way ends.
    Discover(discovery::Config),
    /// End a run under way.
    StopDiscovery,
    /// For the application.
    Tell(NodeEvent),
}
