//! The tunnel: how a client whose network lets no UDP through reaches its rendezvous, and nobody else.
//!
//! The same datagrams travel as binary messages of a WebSocket (RFC 6455), one in each, inside TLS on a TCP port. To a
//! firewall it looks like a web page that stays open; the server's key is pinned as it is for QUIC, and the QUIC inside
//! proves the client's. The server gives each tunnel an address of its own ([`crate::relay::tunnel_address`]) and treats
//! what comes out of it like any datagram; to anything but a tunnel it sends nothing.
//!
//! TCP delivers everything in the end, which is not what QUIC wants: what has waited for long is better lost. So both
//! ends put a short [`Queue`] before TCP, and ask the system for short buffers ([`SEND_BUFFER`]).

use std::collections::VecDeque;

use crate::datagram::RELAY_FIRST_BYTE;
use crate::relay::{HEADER, MAX_PAYLOAD};

/// What a client asks for by HTTP.
pub const PATH: &str = "/punchline";
/// The port of a tunnel that a link says nothing of: HTTPS, which the most networks let through.
pub const DEFAULT_PORT: u16 = 443;
/// The longest datagram, a whole relay frame; a longer message ends the tunnel.
pub const MAX_DATAGRAM: usize = HEADER + MAX_PAYLOAD;
/// What the system should buffer of one tunnel: what a path of 100 ms and 10 Mb/s holds. More would only be delay.
pub const SEND_BUFFER: usize = 128 * 1024;

/// Datagrams in one lane of a queue: twice what one call of QUIC may bring.
const DATAGRAMS: usize = 128;
/// Bytes in one lane: 100 ms at 10 Mb/s.
const BYTES: usize = 128 * 1024;

/// Datagrams that wait for TCP, in two lanes: what concerns the rendezvous goes before what is relayed. Where there is no
/// room the *oldest* of a lane goes, because QUIC will have sent its contents again.
#[derive(Debug, Default)]
pub struct Queue {
    control: Lane,
    relayed: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Queue {
    /// Puts a datagram at the end of its lane. Returns how many had to go for it, perhaps itself.
    pub fn push(&mut self, datagram: Vec<u8>) -> usize {
        if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
            return 1;
        }
        let lane = if datagram[0] == RELAY_FIRST_BYTE { &mut self.relayed } else { &mut self.control };
        lane.push(datagram)
    }

    /// What goes next.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.control.pop().or_else(|| self.relayed.pop())
    }
}

impl Lane {
    fn push(&mut self, datagram: Vec<u8>) -> usize {
        self.bytes += datagram.len();
        self.waiting.push_back(datagram);
        let mut dropped = 0;
        while self.waiting.len() > DATAGRAMS || self.bytes > BYTES {
            dropped += usize::from(self.pop().is_some());
        }
        dropped
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= datagram.len();
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_concerns_the_rendezvous_overtakes_what_is_relayed() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(vec![RELAY_FIRST_BYTE; 20]), 0);
        assert_eq!(queue.push(vec![0x40, 1]), 0);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(vec![0x40, 1]), Some(vec![8; 20]), None]);
    }

    #[test]
    fn a_full_lane_loses_its_oldest_and_nothing_of_the_other() {
        let mut queue = Queue::default();
        queue.push(vec![0x40]);
        let dropped: usize = (0..DATAGRAMS + 3).map(|n| queue.push(vec![RELAY_FIRST_BYTE, n as u8])).sum();
        assert_eq!(dropped, 3);
        assert_eq!(queue.pop(), Some(vec![0x40]));
        assert_eq!(queue.pop(), Some(vec![RELAY_FIRST_BYTE, 3]));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_and_counts_what_goes(sizes in proptest::collection::vec(0usize..1600, 0..600)) {
            let mut queue = Queue::default();
            let dropped: usize = sizes.iter().map(|size| queue.push(vec![RELAY_FIRST_BYTE; *size])).sum();
            prop_assert!(queue.relayed.bytes <= BYTES && queue.relayed.waiting.len() <= DATAGRAMS);
            let left = std::iter::from_fn(|| queue.pop()).count();
            prop_assert_eq!(left + dropped, sizes.len());
            prop_assert_eq!(queue.relayed.bytes, 0);
        }
    }
}
