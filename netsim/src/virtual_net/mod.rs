//! The driver of virtual time: machines talk over a [`Topology`], and hours pass in milliseconds.
//!
//! Whatever is an [`Endpoint`] (a machine without sockets and clock, in the manner of quinn-proto) is placed on a host
//! with [`VirtualNet::place`]. Time then jumps from one thing that is due to the next: an arrival, or a machine's wake-up.
//! Nothing runs beside anything else, and luck comes from the topology's seed, so the same seed gives the same trace, byte
//! for byte.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use netsim::model::{Families, INTERNET, Line, Topology, presets};
//! use netsim::virtual_net::{Datagram, Endpoint, VirtualNet};
//!
//! /// Sends back what it gets.
//! #[derive(Default)]
//! struct Echo(Vec<Datagram>);
//!
//! impl Endpoint for Echo {
//!     fn handle_datagram(&mut self, got: Datagram, _now: Instant) {
//!         self.0.push(Datagram { source: got.destination, destination: got.source, ..got });
//!     }
//!     fn handle_timeout(&mut self, _now: Instant) {}
//!     fn poll_transmit(&mut self) -> Option<Datagram> {
//!         self.0.pop()
//!     }
//!     fn poll_wakeup(&self) -> Option<Instant> {
//!         None
//!     }
//! }
//!
//! let mut topology = Topology::new(7);
//! let home = presets::named("home").expect("a preset").access;
//! let lan = home.build_on_the_internet(&mut topology, Line::delay(Duration::from_millis(10)));
//! let alice = topology.add_host(lan, Families::Ipv4, Line::default());
//! let server = topology.add_host(INTERNET, Families::Ipv4, Line::default());
//! let [hers, its] = [alice, server].map(|host| topology.addresses(host).ipv4.expect("an address"));
//!
//! let mut net = VirtualNet::new(topology, Instant::now());
//! net.record();
//! net.place(server, Echo::default());
//! net.send(alice, Datagram { source: (hers, 4000).into(), destination: (its, 7).into(), payload: vec![1] });
//! net.run_for(Duration::from_secs(1));
//! assert!(net.trace().contains("arrived"), "{}", net.trace());
//! ```

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod trace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::model::{HostId, Packet, Topology};
use trace::Trace;

/// A UDP datagram, as its sender or its receiver knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Of a datagram to send: the own address that it leaves from.
    pub source: SocketAddr,
    /// Of a datagram that arrived: the own address that it was for.
    pub destination: SocketAddr,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A machine without sockets and clock. After each call of a `handle_…`, `poll_transmit` is drained, and the machine is
/// woken when `poll_wakeup` says.
pub trait Endpoint {
    /// A datagram arrived.
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant);
    /// What was to be done by now is to be done.
    fn handle_timeout(&mut self, now: Instant);
    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<Datagram>;
    /// When to call [`Endpoint::handle_timeout`].
    fn poll_wakeup(&self) -> Option<Instant>;
}

impl<E: Endpoint + ?Sized> Endpoint for Box<E> {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        (**self).handle_datagram(datagram, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        (**self).handle_timeout(now);
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        (**self).poll_transmit()
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        (**self).poll_wakeup()
    }
}

/// Steps at one instant after which a machine is taken for one that wakes up for nothing.
const TOO_OFTEN: u32 = 10_000;

/// A topology whose hosts are machines, and its virtual clock.
#[derive(Debug)]
pub struct VirtualNet<E> {
    topology: Topology<Vec<u8>>,
    endpoints: BTreeMap<HostId, E>,
    start: Instant,
    now: Instant,
    trace: Option<Trace>,
}

impl<E: Endpoint> VirtualNet<E> {
    /// A network whose clock stands at `start`. Which instant that is makes no difference to anything.
    pub fn new(topology: Topology<Vec<u8>>, start: Instant) -> Self {
        VirtualNet { topology, endpoints: BTreeMap::new(), start, now: start, trace: None }
    }

    /// Keep a trace of every packet from now on.
    pub fn record(&mut self) {
        self.topology.watch(true);
        self.trace.get_or_insert_default();
    }

    /// What was recorded, a line for each thing that happened to a packet.
    pub fn trace(&self) -> &str {
        self.trace.as_ref().map_or("", Trace::text)
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The network, to look at or to change. What happens to hosts and routers happens now.
    pub fn topology(&mut self) -> &mut Topology<Vec<u8>> {
        &mut self.topology
    }

    /// Puts a machine on a host, in the place of what was there.
    pub fn place(&mut self, host: HostId, endpoint: E) {
        self.endpoints.insert(host, endpoint);
        self.drain(host);
    }

    /// The machine on a host.
    pub fn endpoint(&self, host: HostId) -> Option<&E> {
        self.endpoints.get(&host)
    }

    /// Does something to the machine on a host, now; then sends what it wants to send.
    pub fn act<R>(&mut self, host: HostId, act: impl FnOnce(&mut E, Instant) -> R) -> Option<R> {
        let result = self.endpoints.get_mut(&host).map(|endpoint| act(endpoint, self.now));
        self.drain(host);
        result
    }

    /// Sends a datagram from a host that need not have a machine.
    pub fn send(&mut self, host: HostId, datagram: Datagram) {
        let packet = Packet::udp(datagram.source, datagram.destination, datagram.payload.len());
        self.topology.handle_packet(host, packet, datagram.payload, self.now);
        self.note();
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_while(time, |_| true);
    }

    /// Runs as long as the condition holds, looked at after each step, and no longer than this.
    ///
    /// # Panics
    ///
    /// If a machine wants to be woken at the same instant again and again.
    pub fn run_while(&mut self, at_most: Duration, mut condition: impl FnMut(&Self) -> bool) {
        let (end, mut steps) = (self.now + at_most, 0);
        // What was sent from outside a step over a line without delay is there already.
        self.deliver();
        while condition(self) {
            let Some(next) = self.next().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < TOO_OFTEN, "a machine wakes up for nothing, at {:?}", self.elapsed());
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn next(&self) -> Option<Instant> {
        let wakeups = self.endpoints.values().filter_map(Endpoint::poll_wakeup);
        self.topology.poll_wakeup().into_iter().chain(wakeups).min()
    }

    /// Arrivals before wake-ups, and hosts in their order: that is what makes a run the same every time.
    fn step(&mut self) {
        self.topology.handle_timeout(self.now);
        self.note();
        self.deliver();
        let is_due = |endpoint: &E| endpoint.poll_wakeup().is_some_and(|at| at <= self.now);
        let due: Vec<HostId> = self.endpoints.iter().filter(|(_, e)| is_due(e)).map(|(host, _)| *host).collect();
        for host in due {
            self.act(host, |endpoint, now| endpoint.handle_timeout(now));
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        while let Some(delivery) = self.topology.poll_delivery() {
            let Packet { source, destination, .. } = delivery.packet;
            if let Some(endpoint) = self.endpoints.get_mut(&delivery.host) {
                endpoint.handle_datagram(Datagram { source, destination, payload: delivery.payload }, self.now);
            }
            self.drain(delivery.host);
        }
    }

    fn drain(&mut self, host: HostId) {
        while let Some(datagram) = self.endpoints.get_mut(&host).and_then(Endpoint::poll_transmit) {
            self.send(host, datagram);
        }
    }

    fn note(&mut self) {
        while let Some(event) = self.topology.poll_event() {
            if let Some(trace) = &mut self.trace {
                trace.note(&event, self.start);
            }
        }
    }
}
