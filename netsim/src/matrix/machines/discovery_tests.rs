//! The client's own NAT discovery (RFC 5780) looks at every kind of NAT, through the rendezvous' own STUN service, and sees
//! what was configured: each judges the other.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::discovery::{Circumstances, Config, Discovery, Event, Received, Socket};
use common::introduction::StunEndpoints;
use common::nat::{self, NatProfile};
use common::reach::{AccessKind, Reach, reach};
use rendezvous::stun_service::{Layout, Place, StunService};

use crate::model::behaviour::{Behaviour, Filtering, Hairpinning, Mapping, PortAssignment};
use crate::model::{Access, Families, HostId, INTERNET, Line, Observed, Router, Survey, Topology, presets};
use crate::oracle::{Relation, Verdict, direct_path_possible};
use crate::virtual_net::{Datagram, Endpoint, VirtualNet};

#[test]
fn discovery_sees_each_of_the_nine_cells_as_it_was_configured() {
    for mapping in Mapping::ALL {
        for filtering in Filtering::ALL {
            for hairpinning in [Hairpinning::Off, Hairpinning::ExternalSource] {
                judge(&[Behaviour::nat(mapping, filtering).hairpinning(hairpinning)]);
            }
        }
    }
}

#[test]
fn discovery_sees_each_preset_as_it_was_configured() {
    for preset in presets::all().iter().filter(|preset| preset.access.families == Families::Ipv4) {
        let nats: Vec<Behaviour> = preset.access.routers.iter().filter_map(|router| router.ipv4.clone()).collect();
        if !nats.iter().any(|nat| nat.quirks.blocks_udp) {
            judge(&nats);
        }
    }
}

#[test]
fn discovery_tells_the_port_assignments_apart() {
    let ports = |assignment| look(&[presets::symmetric_random().ports(assignment)]).ports;
    assert_eq!(look(&[presets::home()]).ports, Some(nat::PortAssignment::Preserved));
    let sequential = ports(PortAssignment::Sequential { step: 2, noise: 0 });
    assert_eq!(sequential, Some(nat::PortAssignment::Sequential { step: 2 }));
    assert!(matches!(ports(PortAssignment::Random), Some(nat::PortAssignment::Random { .. })));
}

/// What a client is told to expect ([`common::reach`], from what discovery saw) is what the oracle knows, for every pair of presets.
#[test]
fn what_discovery_sees_foretells_who_reaches_whom_as_the_oracle_does() {
    let seen: Vec<(Access, AccessKind)> = presets::all()
        .into_iter()
        .filter(|preset| preset.access.families == Families::Ipv4)
        .map(|preset| {
            let kind = kind(&preset.access).unwrap_or_else(|| panic!("{} is known", preset.name));
            (preset.access, kind)
        })
        .collect();
    assert!(seen.len() >= 15, "{} presets", seen.len());
    for (one, own) in &seen {
        for (other, theirs) in &seen {
            let judgement = direct_path_possible(one, other, Relation::Separate);
            let told = reach(*own, *theirs);
            assert_eq!(told, expected(judgement.verdict), "{own:?} x {theirs:?}: {}", judgement.because);
        }
    }
}

/// A symmetric NAT that does not filter by port is met with more easily than is told; nobody is told too much.
#[test]
fn nobody_is_promised_more_than_the_oracle_does_behind_any_cell() {
    let cells = Mapping::ALL.into_iter().flat_map(|mapping| Filtering::ALL.map(|filtering| (mapping, filtering)));
    let cells: Vec<(Access, AccessKind)> = cells
        .map(|(mapping, filtering)| {
            let routers = vec![Router::ipv4(Behaviour::nat(mapping, filtering))];
            let access = Access { families: Families::Ipv4, routers };
            let kind = kind(&access).expect("known");
            (access, kind)
        })
        .collect();
    for (one, own) in &cells {
        for (other, theirs) in &cells {
            let possible = expected(direct_path_possible(one, other, Relation::Separate).verdict);
            assert!(reach(*own, *theirs) >= possible, "{own:?} x {theirs:?}");
        }
    }
}

/// What a client knows after looking.
fn kind(access: &Access) -> Option<AccessKind> {
    let nats: Vec<Behaviour> = access.routers.iter().filter_map(|router| router.ipv4.clone()).collect();
    let udp_blocked = nats.iter().any(|nat| nat.quirks.blocks_udp);
    let profile = if udp_blocked { NatProfile::default() } else { look(&nats) };
    Circumstances { udp_blocked, profile, ..Circumstances::default() }.kind()
}

fn expected(verdict: Verdict) -> Reach {
    match verdict {
        Verdict::Direct => Reach::Direct,
        Verdict::DirectWithPrediction { .. } => Reach::Foretold,
        Verdict::DirectByChance { .. } => Reach::Guessed,
        Verdict::Relayed => Reach::Relayed,
    }
}

/// Holds what is discovered against what was configured, of NATs in series from the inside.
fn judge(nats: &[Behaviour]) {
    let seen = look(nats);
    let survey = Survey::of_chain(&nats.iter().collect::<Vec<_>>());
    let Observed { mapping, filtering, translated, hairpinning, .. } = *survey.observed().expect("UDP passes");
    let theirs = match mapping {
        Mapping::EndpointIndependent => nat::Mapping::EndpointIndependent,
        Mapping::AddressDependent => nat::Mapping::AddressDependent,
        Mapping::AddressAndPortDependent => nat::Mapping::AddressAndPortDependent,
    };
    assert_eq!(seen.mapping, Some(theirs), "{nats:?}");
    let theirs = match filtering {
        Filtering::EndpointIndependent => nat::Filtering::EndpointIndependent,
        Filtering::AddressDependent => nat::Filtering::AddressDependent,
        Filtering::AddressAndPortDependent => nat::Filtering::AddressAndPortDependent,
    };
    assert_eq!(seen.filtering, Some(theirs), "{nats:?}");
    assert_eq!(seen.translated, Some(translated));
    assert_eq!(seen.hairpinning, hairpinning, "{nats:?}");
}

const MAIN: u16 = 4000;
const FRESH: u16 = 50_123;

/// Runs a discovery behind these NATs.
fn look(nats: &[Behaviour]) -> NatProfile {
    let mut topology = Topology::new(11);
    let line = Line::delay(Duration::from_millis(10));
    let access = Access { families: Families::Ipv4, routers: nats.iter().cloned().map(Router::ipv4).collect() };
    let lan = access.build_on_the_internet(&mut topology, line);
    let client = topology.add_host(lan, Families::Ipv4, Line::default());
    let server = topology.add_host(INTERNET, Families::Ipv4, line);
    let [own, first] = [client, server].map(|host| topology.addresses(host).ipv4.expect("an address"));
    let second = topology.add_address(server).expect("a second address");

    let start = Instant::now();
    let mut net = VirtualNet::new(topology, start);
    let layout = Layout { ip: first, second_ip: Some(second), port: 3478, second_port: 3479 };
    net.place(server, Machine::Server(Box::new(Server::new(layout))));
    // The registration: the first mapping, of which the server tells.
    let hello = Datagram { source: (own, MAIN).into(), destination: (first, 3478).into(), payload: b"hello".to_vec() };
    net.send(client, hello);
    net.run_for(Duration::from_secs(1));
    let Some(Machine::Server(seen)) = net.endpoint(server) else { panic!("no server") };
    let config = Config {
        server: (first, 3478).into(),
        endpoints: StunEndpoints { alternate_port: 3479, alternate: Some((second, 3478).into()) },
        local: vec![(own, MAIN).into()],
        fresh_port: FRESH,
        observed: seen.greeted_from.expect("a greeting"),
        seed: [7; 32],
    };
    let discovery = Discovery::new(config, net.now());
    net.place(client, Machine::Client(Box::new(Client { own, discovery, profile: None })));
    net.run_for(Duration::from_secs(10));
    finished(&net, client)
}

fn finished(net: &VirtualNet<Machine>, client: HostId) -> NatProfile {
    match net.endpoint(client) {
        Some(Machine::Client(client)) => client.profile.expect("a run ends"),
        _ => panic!("no client"),
    }
}

enum Machine {
    Client(Box<Client>),
    Server(Box<Server>),
}

struct Client {
    own: IpAddr,
    discovery: Discovery,
    profile: Option<NatProfile>,
}

struct Server {
    layout: Layout,
    stun: StunService,
    greeted_from: Option<SocketAddr>,
    outbox: VecDeque<Datagram>,
}

impl Server {
    fn new(layout: Layout) -> Self {
        Server { layout, stun: StunService::new(layout, 1), greeted_from: None, outbox: VecDeque::new() }
    }

    fn at(&self, place: Place) -> SocketAddr {
        let ip = if place.second_ip { self.layout.second_ip.expect("two addresses") } else { self.layout.ip };
        SocketAddr::new(ip, if place.second_port { self.layout.second_port } else { self.layout.port })
    }
}

impl Endpoint for Machine {
    fn handle_datagram(&mut self, datagram: Datagram, now: Instant) {
        let Datagram { source, destination, payload } = datagram;
        match self {
            Machine::Client(client) => {
                let socket = if destination.port() == MAIN { Socket::Main } else { Socket::Fresh };
                client.discovery.handle_datagram(Received { socket, source, payload: &payload }, now);
            }
            Machine::Server(server) if payload == b"hello" => server.greeted_from = Some(source),
            Machine::Server(server) => {
                let second_ip = Some(destination.ip()) == server.layout.second_ip;
                let place = Place { second_ip, second_port: destination.port() == server.layout.second_port };
                if let Some(answer) = server.stun.handle_datagram(place, None, source, &payload, now) {
                    let source = server.at(answer.from);
                    server.outbox.push_back(Datagram { source, destination: answer.to, payload: answer.bytes });
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Machine::Client(client) = self {
            client.discovery.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        let client = match self {
            Machine::Server(server) => return server.outbox.pop_front(),
            Machine::Client(client) => client,
        };
        while let Some(event) = client.discovery.poll_event() {
            if let Event::Finished(profile) = event {
                client.profile = Some(profile);
            }
        }
        let transmit = client.discovery.poll_transmit()?;
        let port = if transmit.socket == Socket::Main { MAIN } else { FRESH };
        let source = SocketAddr::new(client.own, port);
        Some(Datagram { source, destination: transmit.destination, payload: transmit.payload })
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self {
            Machine::Client(client) => client.discovery.poll_wakeup().map(|wakeup| wakeup.at),
            Machine::Server(_) => None,
        }
    }
}
