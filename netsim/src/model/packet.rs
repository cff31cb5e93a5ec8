//! What the model sees of a packet: its header. The payload is the driver's.

use std::fmt;
use std::net::SocketAddr;

/// The transports that a box can translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP echo, v4 or v6. Its identifier stands where the others have the port of the one who asks; the port of the
    /// one who is asked is 0.
    Echo,
}

/// The flags of a TCP segment that a box looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TcpFlags {
    /// Opens.
    pub syn: bool,
    /// Closes, one way.
    pub fin: bool,
    /// Closes, at once.
    pub rst: bool,
}

/// A packet quoted in an ICMP error: the one that could not be delivered, as it looked where the error was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quote {
    /// Its transport.
    pub protocol: Protocol,
    /// Who had sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp(TcpFlags),
    /// An echo request or reply.
    Echo,
    /// An ICMP error about this packet. Its own ports are 0.
    Error(Quote),
}

/// A packet's header, as far as boxes and links look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Address and port of the sender.
    pub source: SocketAddr,
    /// Address and port of the receiver.
    pub destination: SocketAddr,
    /// What it is.
    pub kind: Kind,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes on the wire, IP header included.
    pub length: usize,
    /// Bytes of the largest packet on the wire that this one stands for: `length`, unless offloading (GSO) has put many
    /// into one. The MTU looks at this.
    pub largest: usize,
}

/// As Linux sends it.
pub const DEFAULT_TTL: u8 = 64;

impl Packet {
    /// A UDP datagram with so much payload.
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: usize) -> Self {
        let header = if source.is_ipv4() { 20 } else { 40 };
        let length = header + 8 + payload;
        Packet { source, destination, kind: Kind::Udp, ttl: DEFAULT_TTL, length, largest: length }
    }

    /// The transport, if it is a packet of one and not an error about one.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.kind {
            Kind::Udp => Some(Protocol::Udp),
            Kind::Tcp(_) => Some(Protocol::Tcp),
            Kind::Echo => Some(Protocol::Echo),
            Kind::Error(_) => None,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Udp => "udp",
            Kind::Tcp(_) => "tcp",
            Kind::Echo => "echo",
            Kind::Error(_) => "icmp-error",
        };
        write!(f, "{kind} {} > {} {}", self.source, self.destination, self.length)
    }
}
