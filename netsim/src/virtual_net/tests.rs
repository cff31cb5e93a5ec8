//! Time jumps, luck is repeatable, machines are woken when they asked for it.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use super::*;
use crate::model::{Families, INTERNET, Line, presets};

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let trace = |seed| {
        let mut net = lossy_talk(seed);
        net.run_for(Duration::from_secs(20));
        net.trace().to_owned()
    };
    let first = trace(7);
    assert!(first.lines().count() > 300 && first.contains("lost") && first.contains("let-in"), "{first}");
    assert_eq!(first, trace(7));
    assert_ne!(first, trace(8));
}

#[test]
fn a_machine_is_woken_when_it_asked_for_it_and_time_jumps_there() {
    let mut net = lossy_talk(1);
    net.run_while(Duration::from_secs(3600), |net| net.elapsed() < Duration::from_secs(1000));
    // A word every 100 ms, for 1000 s.
    let talker = net.endpoint(HostId(0)).expect("a machine");
    assert_eq!(talker.said, 10_000);
    assert_eq!(net.elapsed(), Duration::from_secs(1000));
}

#[test]
fn over_a_line_without_delay_a_word_is_there_at_once() {
    /// Counts what it gets.
    struct Counter(u32);
    impl Endpoint for Counter {
        fn handle_datagram(&mut self, _datagram: Datagram, _now: Instant) {
            self.0 += 1;
        }
        fn handle_timeout(&mut self, _now: Instant) {}
        fn poll_transmit(&mut self) -> Option<Datagram> {
            None
        }
        fn poll_wakeup(&self) -> Option<Instant> {
            None
        }
    }
    let mut topology = Topology::new(1);
    let hosts = [(); 2].map(|()| topology.add_host(INTERNET, Families::Ipv4, Line::default()));
    let [one, other] = hosts.map(|host| SocketAddr::new(topology.addresses(host).ipv4.expect("an address"), 7));
    let mut net = VirtualNet::new(topology, Instant::now());
    net.place(hosts[1], Counter(0));
    net.send(hosts[0], Datagram { source: one, destination: other, payload: vec![1] });
    net.run_for(Duration::ZERO);
    assert_eq!(net.endpoint(hosts[1]).expect("a machine").0, 1);
}

#[test]
#[should_panic(expected = "wakes up for nothing")]
fn a_machine_that_never_sleeps_is_found_out() {
    struct Insomniac(Instant);
    impl Endpoint for Insomniac {
        fn handle_datagram(&mut self, _datagram: Datagram, _now: Instant) {}
        fn handle_timeout(&mut self, _now: Instant) {}
        fn poll_transmit(&mut self) -> Option<Datagram> {
            None
        }
        fn poll_wakeup(&self) -> Option<Instant> {
            Some(self.0)
        }
    }
    let mut topology = Topology::new(1);
    let host = topology.add_host(INTERNET, Families::Ipv4, Line::default());
    let start = Instant::now();
    let mut net = VirtualNet::new(topology, start);
    net.place(host, Insomniac(start));
    net.run_for(Duration::from_secs(1));
}

/// Says a word every tenth of a second.
struct Talker {
    from: SocketAddr,
    to: SocketAddr,
    said: u32,
    next: Instant,
    waiting: bool,
}

impl Endpoint for Talker {
    fn handle_datagram(&mut self, _datagram: Datagram, _now: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next {
            self.next += Duration::from_millis(100);
            self.said += 1;
            self.waiting = true;
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        std::mem::take(&mut self.waiting).then(|| Datagram {
            source: self.from,
            destination: self.to,
            payload: vec![0; 10],
        })
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// Two homes that talk to each other over lossy lines.
fn lossy_talk(seed: u64) -> VirtualNet<Talker> {
    let mut topology = Topology::new(seed);
    let line = Line { jitter: Duration::from_millis(5), loss: 0.05, ..Line::delay(Duration::from_millis(10)) };
    let home = presets::named("home").expect("a preset").access;
    let hosts = [(); 2].map(|()| {
        let lan = home.build_on_the_internet(&mut topology, line);
        topology.add_host(lan, Families::Ipv4, Line::default())
    });
    let inside = hosts.map(|host| SocketAddr::new(topology.addresses(host).ipv4.expect("an address"), 4000));
    let outside = [1, 2].map(|last| SocketAddr::from(([11, 1, 1, last], 4000)));
    let start = Instant::now();
    let mut net = VirtualNet::new(topology, start);
    net.record();
    for (n, host) in hosts.into_iter().enumerate() {
        let next = start + Duration::from_millis(100);
        net.place(host, Talker { from: inside[n], to: outside[1 - n], said: 0, next, waiting: false });
    }
    net
}
