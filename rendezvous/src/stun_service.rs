//! Which STUN requests are answered, from where, and with what (RFC 8489; RFC 5780, section 6).
//!
//! One request causes at most one answer, to the address of the source and to nobody else. Responses, indications and
//! errors are never answered, so two servers cannot be set upon each other. The answer carries no SOFTWARE attribute; at
//! its longest (IPv6, two addresses) it has 100 bytes for a request of 20, that is, with the headers of IP and UDP,
//! 2.2 times the bytes, under the three times that QUIC allows itself (RFC 9000, section 8.1).
//!
//! With one address there is no OTHER-ADDRESS, which would have to name a second IP (RFC 5780, section 7.4). A
//! CHANGE-REQUEST for the other address then gets error 420; one for the other *port* alone is served all the same,
//! because that port is there and it tells a port-restricted filter from the others. RFC 5780 neither asks for that nor
//! forbids it: a client learns of the port from the control protocol.
//!
//! RESPONSE-PORT (RFC 5780, section 7.5) moves the answer to another port of the very address that asked; only so can a client
//! find out how long its NAT remembers a silent socket. Whoever can write a false source could have that without it; whoever
//! cannot reaches those behind the same address, with one short packet for each of its own and as few of them as the limit per
//! address allows, and no port at which a service may listen.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use common::candidate::canonical;
use common::stun::{self, Message, Response};

use crate::limits::{STUN_OF_SOURCE, Source, SourceBuckets};

/// What RESPONSE-PORT may name: where services listen that everybody knows, no NAT sees a client's socket (RFC 4787, REQ-3).
const FIRST_RESPONSE_PORT: u16 = 1024;
/// The type of RESPONSE-PORT (RFC 5780, section 9.1).
const RESPONSE_PORT: u16 = 0x0027;
/// The type of CHANGE-REQUEST (RFC 5780, section 9.1), for the list in error 420.
const CHANGE_REQUEST: u16 = 0x0003;

/// One of the up to four sockets on which STUN arrives and from which it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The second address.
    pub second_ip: bool,
    /// The alternate port.
    pub second_port: bool,
}

/// The addresses and ports of a server in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The first address; may be the wildcard if there is no second.
    pub ip: IpAddr,
    /// The second one.
    pub second_ip: Option<IpAddr>,
    /// The port of QUIC and STUN.
    pub port: u16,
    /// The port of STUN alone.
    pub second_port: u16,
}

impl Layout {
    fn at(&self, place: Place) -> Option<SocketAddr> {
        let ip = if place.second_ip { self.second_ip? } else { self.ip };
        Some(SocketAddr::new(ip, if place.second_port { self.second_port } else { self.port }))
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// From this socket.
    pub from: Place,
    /// From this address of that socket, if it has several: the one that was asked.
    pub source_ip: Option<IpAddr>,
    /// To the source of the request, or another port of it.
    pub to: SocketAddr,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Answers the STUN of one family.
#[derive(Debug)]
pub struct StunService {
    layout: Layout,
    sources: SourceBuckets,
}

impl StunService {
    /// A service that has answered nobody yet. `key` is random.
    pub fn new(layout: Layout, key: u64) -> Self {
        StunService { layout, sources: SourceBuckets::new(STUN_OF_SOURCE, key) }
    }

    /// A datagram that looks like STUN arrived at `place`, where it was sent to `local_ip` (if the system says so).
    pub fn handle_datagram(
        &mut self,
        place: Place,
        local_ip: Option<IpAddr>,
        source: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<Answer> {
        let seen = canonical(source);
        if seen.port() == 0 || !self.sources.take(Source::of(seen.ip()), now) {
            return None;
        }
        let Ok(Message::Request(request)) = stun::decode(datagram) else { return None };
        if request.username.is_some() {
            // A peer's probe that strayed here: an answer could not carry its integrity.
            return None;
        }
        if !request.unknown.is_empty() {
            let bytes = stun::encode_unknown_attributes(request.transaction, &request.unknown);
            return Some(Answer { from: place, source_ip: local_ip, to: source, bytes });
        }
        let to = match request.response_port {
            None => source,
            Some(port) if port >= FIRST_RESPONSE_PORT => SocketAddr::new(source.ip(), port),
            Some(_) => {
                let bytes = stun::encode_unknown_attributes(request.transaction, &[RESPONSE_PORT]);
                return Some(Answer { from: place, source_ip: local_ip, to: source, bytes });
            }
        };
        let change = request.change;
        let from = Place { second_ip: place.second_ip ^ change.ip, second_port: place.second_port ^ change.port };
        let Some(origin) = self.layout.at(from) else {
            let bytes = stun::encode_unknown_attributes(request.transaction, &[CHANGE_REQUEST]);
            return Some(Answer { from: place, source_ip: local_ip, to: source, bytes });
        };
        let source_ip = if change.ip { None } else { local_ip };
        let origin = SocketAddr::new(source_ip.unwrap_or(origin.ip()).to_canonical(), origin.port());
        let other = Place { second_ip: !place.second_ip, second_port: !place.second_port };
        let bytes = stun::encode_response(&Response {
            transaction: request.transaction,
            mapped: seen,
            origin: Some(origin).filter(|origin| !origin.ip().is_unspecified()),
            other: self.layout.at(other),
        });
        Some(Answer { from, source_ip, to, bytes })
    }
}

#[cfg(test)]
mod tests;
