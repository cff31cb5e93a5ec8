//! The client's own measurement of a NAT's memory, through the rendezvous' own STUN service: it finds the lifetimes that were
//! configured, of minutes, in no time.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::lifetime::{Config, MAX_PACKETS, Measurement, SILENCES, Socket, Span, Trouble};
use common::stun::{self, Message};
use rendezvous::stun_service::{Layout, Place, StunService};

use crate::model::behaviour::{Behaviour, Filtering, Lifetimes, Mapping, Quirks};
use crate::model::{Access, Families, INTERNET, Line, Router, Topology, presets};
use crate::virtual_net::{Datagram, Endpoint, VirtualNet};

const FIRST_PORT: u16 = 6000;

#[test]
fn each_lifetime_is_found_between_its_neighbours_behind_every_cell() {
    for lifetime in [5, 12, 30, 60, 120, 180] {
        for mapping in Mapping::ALL {
            for filtering in Filtering::ALL {
                let nat = Behaviour::nat(mapping, filtering).lifetimes(Lifetimes::fixed(Duration::from_secs(lifetime)));
                let found = measure(&[nat], Line::default()).outcome;
                assert_eq!(found, Ok(around(lifetime)), "{mapping} x {filtering}");
            }
        }
    }
}

#[test]
fn a_session_with_answers_is_what_is_measured_and_of_two_nats_the_shorter() {
    // 30 s without answers, 120 with.
    assert_eq!(measure(&[presets::home()], Line::default()).outcome, Ok(around(120)));
    let carrier = presets::cgnat().lifetimes(Lifetimes::fixed(Duration::from_secs(40)));
    assert_eq!(measure(&[presets::home(), carrier], Line::default()).outcome, Ok(around(40)));
}

#[test]
fn a_nat_that_forgets_soon_is_known_soon() {
    let nat = presets::home_box().lifetimes(Lifetimes::fixed(Duration::from_secs(30)));
    let run = measure(&[nat], Line::default());
    assert_eq!(run.outcome, Ok(around(30)));
    // The silences of 35 and 45 seconds, the talk before and the wait for the last answer.
    assert!(run.took < Duration::from_secs(55), "{:?}", run.took);
}

#[test]
fn a_nat_that_remembers_for_longer_than_people_wait_is_said_to() {
    let nat = presets::home_box().lifetimes(Lifetimes::fixed(Duration::from_secs(600)));
    let run = measure(&[nat], Line::default());
    assert_eq!(run.outcome, Ok(Span { outlived: Some(Duration::from_secs(240)), gone_after: None }));
    assert!(run.took < Duration::from_secs(5 * 60), "{:?}", run.took);
}

#[test]
fn what_the_network_loses_is_not_taken_for_what_the_nat_forgets() {
    let mut right = 0;
    for seed in 0..20 {
        let line = Line { loss: 0.05, ..Line::delay(Duration::from_millis(10)) };
        let nat = presets::home_box().lifetimes(Lifetimes::fixed(Duration::from_secs(60)));
        let run = measure_with(&[nat], line, seed);
        assert!(run.packets <= MAX_PACKETS, "{} packets", run.packets);
        right += usize::from(run.outcome == Ok(around(60)));
    }
    assert!(right >= 19, "{right} of 20");
}

#[test]
fn a_server_that_does_not_do_it_and_one_that_is_not_there_are_told_apart() {
    let old = run_against(&[presets::home()], Line::default(), 1, Kind::Old);
    assert_eq!(old.outcome, Err(Trouble::Unsupported));
    assert!(old.took < Duration::from_secs(20), "{:?}", old.took);
    let absent = run_against(&[presets::home()], Line::default(), 1, Kind::Absent);
    assert_eq!(absent.outcome, Err(Trouble::Silence));
    assert!(absent.took < Duration::from_secs(5), "{:?}", absent.took);
}

#[test]
fn a_nat_of_several_addresses_shows_one_of_them_to_each_host_and_is_measured() {
    let quirks = Quirks { external_addresses: 4, ..Quirks::default() };
    let nat = Behaviour::nat(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent).quirks(quirks);
    let nat = nat.lifetimes(Lifetimes::fixed(Duration::from_secs(90)));
    assert_eq!(measure(&[nat], Line::default()).outcome, Ok(around(90)), "paired pooling (RFC 4787, REQ-2)");
}

/// The neighbours of this lifetime, in seconds.
fn around(lifetime: u64) -> Span {
    let secs = Duration::from_secs;
    let outlived = SILENCES.into_iter().filter(|silence| *silence < lifetime).max().map(secs);
    Span { outlived, gone_after: SILENCES.into_iter().find(|silence| *silence >= lifetime).map(secs) }
}

struct Run {
    outcome: Result<Span, Trouble>,
    took: Duration,
    packets: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    /// Knows no RESPONSE-PORT.
    Old,
    Absent,
}

fn measure(nats: &[Behaviour], line: Line) -> Run {
    measure_with(nats, line, 11)
}

fn measure_with(nats: &[Behaviour], line: Line, seed: u64) -> Run {
    run_against(nats, line, seed, Kind::Ours)
}

fn run_against(nats: &[Behaviour], line: Line, seed: u64, kind: Kind) -> Run {
    let mut topology = Topology::new(seed);
    let access = Access { families: Families::Ipv4, routers: nats.iter().cloned().map(Router::ipv4).collect() };
    let lan = access.build_on_the_internet(&mut topology, line);
    let client = topology.add_host(lan, Families::Ipv4, Line::default());
    let server = topology.add_host(INTERNET, Families::Ipv4, Line::default());
    let [own, ip] = [client, server].map(|host| topology.addresses(host).ipv4.expect("an address"));
    let start = Instant::now();
    let mut net = VirtualNet::new(topology, start);
    let layout = Layout { ip, second_ip: None, port: 3478, second_port: 3479 };
    if kind != Kind::Absent {
        let stun = StunService::new(layout, 1);
        net.place(
            server,
            Machine::Server { address: (ip, 3478).into(), stun, old: kind == Kind::Old, out: VecDeque::new() },
        );
    }
    let server = SocketAddr::new(ip, 3478);
    let silences = SILENCES.into_iter().map(Duration::from_secs).collect();
    let run = Measurement::new(Config { server, silences, seed: [seed as u8; 32] }, net.now());
    net.place(client, Machine::Client { own, server, run: Box::new(run), packets: 0 });
    loop {
        let took = net.now().saturating_duration_since(start);
        let Some(Machine::Client { run, packets, .. }) = net.endpoint(client) else { panic!("no client") };
        if let Some(outcome) = run.outcome() {
            return Run { outcome, took, packets: *packets };
        }
        assert!(took < Duration::from_secs(600), "it does not end");
        net.run_for(Duration::from_millis(500));
    }
}

enum Machine {
    Client { own: IpAddr, server: SocketAddr, run: Box<Measurement>, packets: usize },
    Server { address: SocketAddr, stun: StunService, old: bool, out: VecDeque<Datagram> },
}

impl Endpoint for Machine {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        let Datagram { source, destination, payload } = datagram;
        match self {
            Machine::Client { run, .. } => {
                let socket = Socket(u8::try_from(destination.port() - FIRST_PORT).expect("a socket"));
                run.handle_datagram(socket, source, &payload, now);
            }
            Machine::Server { address, stun, old, out } => {
                let Ok(Message::Request(request)) = stun::decode(&payload) else { return };
                if *old && request.response_port.is_some() {
                    let payload = stun::encode_unknown_attributes(request.transaction, &[0x27]);
                    out.push_back(Datagram { source: *address, destination: source, payload });
                    return;
                }
                let place = Place { second_ip: false, second_port: false };
                let answer = stun.handle_datagram(place, None, source, &payload, now);
                out.extend(answer.map(|answer| Datagram {
                    source: *address,
                    destination: answer.to,
                    payload: answer.bytes,
                }));
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Machine::Client { run, .. } = self {
            run.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        match self {
            Machine::Server { out, .. } => out.pop_front(),
            Machine::Client { own, server, run, packets } => {
                let transmit = run.poll_transmit()?;
                *packets += 1;
                let source = SocketAddr::new(*own, FIRST_PORT + u16::from(transmit.socket.0));
                Some(Datagram { source, destination: *server, payload: transmit.payload })
            }
        }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self {
            Machine::Client { run, .. } => run.poll_wakeup(),
            Machine::Server { .. } => None,
        }
    }
}
