//! Other people behind the same NAT: they open flows, each to another place, and each takes a mapping.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::model::Random;
use crate::virtual_net::{Datagram, Endpoint};

/// The first port of the server that flows go to; nothing listens there.
const FIRST_PORT: u16 = 10_000;
/// Their own.
const OWN_PORT: u16 = 999;

/// A host that opens flows.
#[derive(Debug)]
pub(super) struct Neighbour {
    own: IpAddr,
    sink: IpAddr,
    /// Between two flows on average, twice.
    spread: Duration,
    luck: Random,
    next: Instant,
    opened: u16,
    due: bool,
}

impl Neighbour {
    /// So many flows a second, at random times.
    pub(super) fn new(own: IpAddr, sink: IpAddr, flows: u32, luck: Random, now: Instant) -> Self {
        let spread = Duration::from_secs(2) / flows.max(1);
        let mut neighbour = Neighbour { own, sink, spread, luck, next: now, opened: 0, due: false };
        neighbour.wait();
        neighbour
    }

    fn wait(&mut self) {
        let micros = u64::try_from(self.spread.as_micros()).unwrap_or(u64::MAX);
        self.next += Duration::from_micros(self.luck.below(micros));
    }
}

impl Endpoint for Neighbour {
    fn handle_datagram(&mut self, _: Datagram, _: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next {
            self.due = true;
            self.wait();
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.opened = self.opened.wrapping_add(1);
        let source = SocketAddr::new(self.own, OWN_PORT);
        let destination = SocketAddr::new(self.sink, FIRST_PORT.wrapping_add(self.opened));
        Some(Datagram { source, destination, payload: vec![0xff] })
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        Some(self.next)
    }
}
