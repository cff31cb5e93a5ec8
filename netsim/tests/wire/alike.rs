//! One model, two drivers: whatever the boxes and whatever is sent, real packets and virtual ones have the same fate.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Hairpinning, Mapping, PortAssignment};
use netsim::model::{Behaviour, Families, HostId, INTERNET, Line, Packet, Router, Topology};
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The public server, Alice and Bob; the second socket of each is another source for the same host.
const HOSTS: usize = 3;
const PORTS: [u16; 2] = [4000, 4001];
/// Where each host says that it has sent.
const WITNESS: u16 = 4999;
const PATIENCE: Duration = Duration::from_secs(5);

/// Who sends from which socket to which of the endpoints known by then.
#[derive(Debug, Clone, Copy)]
struct Step {
    host: usize,
    socket: usize,
    target: usize,
}

/// Who got it, on which socket, and from where it seemed to come.
type Fate = Option<(usize, usize, SocketAddr)>;

#[test]
fn the_virtual_network_and_the_wire_deliver_the_same() {
    in_namespaces(|| {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            max_shrink_iters: 16,
            ..ProptestConfig::default()
        });
        let scripts = proptest::collection::vec(step(), 1..25);
        runner.run(&(behaviour(), behaviour(), scripts), |(alice, bob, script)| {
            told_by_both(&alice, &bob, &script).map_err(|error| TestCaseError::fail(error.to_string()))
        })?;
        Ok(())
    });
}

fn step() -> impl Strategy<Value = Step> {
    (0..HOSTS, 0..PORTS.len(), 0usize..64).prop_map(|(host, socket, target)| Step { host, socket, target })
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let mapping = prop::sample::select(vec![
        Mapping::EndpointIndependent,
        Mapping::AddressDependent,
        Mapping::AddressAndPortDependent,
    ]);
    let filtering = prop::sample::select(vec![
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ]);
    let ports = prop::sample::select(vec![
        PortAssignment::Preserving,
        PortAssignment::Random,
        PortAssignment::Sequential { step: 1, noise: 0 },
    ]);
    // A packet that came back with one's own address for a source would be dropped by any kernel: no internal source.
    let hairpinning = prop::sample::select(vec![Hairpinning::Off, Hairpinning::ExternalSource]);
    (mapping, filtering, ports, hairpinning).prop_map(|(mapping, filtering, ports, hairpinning)| {
        Behaviour::nat(mapping, filtering).ports(ports).hairpinning(hairpinning)
    })
}

fn told_by_both(alice: &Behaviour, bob: &Behaviour, script: &[Step]) -> Result<(), Box<dyn std::error::Error>> {
    let mut paper = Paper::new(alice, bob);
    let real = Real::new(alice, bob)?;
    // Endpoints that somebody has seen; the two worlds may draw other random ports, but know them in the same order.
    let mut known: Vec<[SocketAddr; 2]> = PORTS
        .iter()
        .map(|port| [SocketAddr::new(paper.server(), *port), SocketAddr::new(real.server(), *port)])
        .collect();
    for (number, step) in script.iter().enumerate() {
        let [to_paper, to_real] = known[step.target % known.len()];
        // What a host sends to itself does not come out of it.
        if step.host == 0 && to_paper.ip() == paper.server() {
            continue;
        }
        let expected = paper.send(*step, to_paper);
        let fate = real.send(*step, to_real, expected.map(|(host, socket, _)| (host, socket)))?;
        match (expected, fate) {
            (None, None) => {}
            (Some((host, socket, from)), Some((real_host, real_socket, real_from)))
                if (host, socket) == (real_host, real_socket) =>
            {
                let seen = known.iter().position(|pair| pair[0] == from);
                if seen != known.iter().position(|pair| pair[1] == real_from) {
                    return Err(format!("step {number} of {script:?}: {from} on paper, {real_from} in reality").into());
                }
                if seen.is_none() {
                    known.push([from, real_from]);
                }
            }
            other => return Err(format!("step {number} of {script:?}: on paper and in reality: {other:?}").into()),
        }
    }
    Ok(())
}

/// The world of virtual time.
struct Paper {
    topology: Topology<usize>,
    hosts: Vec<HostId>,
    witness: HostId,
    now: Instant,
}

impl Paper {
    fn new(alice: &Behaviour, bob: &Behaviour) -> Self {
        let mut topology = Topology::new(1);
        let line = Line::default();
        let mut hosts = vec![topology.add_host(INTERNET, Families::Both, line)];
        let witness = topology.add_host(INTERNET, Families::Both, line);
        for behaviour in [alice, bob] {
            let router = topology.add_router(INTERNET, Router::ipv4(behaviour.clone()), line);
            let lan = topology.lan(router);
            hosts.push(topology.add_host(lan, Families::Ipv4, line));
        }
        Paper { topology, hosts, witness, now: Instant::now() }
    }

    fn address(&self, host: HostId) -> std::net::IpAddr {
        self.topology.addresses(host).ipv4.expect("all speak IPv4")
    }

    fn server(&self) -> std::net::IpAddr {
        self.address(self.hosts[0])
    }

    fn send(&mut self, step: Step, to: SocketAddr) -> Fate {
        let host = self.hosts[step.host];
        let from = SocketAddr::new(self.address(host), PORTS[step.socket]);
        self.topology.handle_packet(host, Packet::udp(from, to, 1), 0, self.now);
        let fate = self.topology.poll_delivery().and_then(|delivery| {
            let receiver = self.hosts.iter().position(|host| *host == delivery.host)?;
            let socket = PORTS.iter().position(|port| *port == delivery.packet.destination.port())?;
            Some((receiver, socket, delivery.packet.source))
        });
        // The witness of the real world is told here too: it makes mappings of its own.
        let from = SocketAddr::new(self.address(host), WITNESS);
        let witness = SocketAddr::new(self.address(self.witness), WITNESS);
        self.topology.handle_packet(host, Packet::udp(from, witness, 1), 0, self.now);
        while self.topology.poll_delivery().is_some() {}
        fate
    }
}

/// The world of real packets.
struct Real {
    _net: Internet,
    hosts: Vec<Host>,
    sockets: BTreeMap<(usize, u16), UdpSocket>,
    witness: UdpSocket,
    witness_at: SocketAddr,
}

impl Real {
    fn new(alice: &Behaviour, bob: &Behaviour) -> netsim::netns::Result<Self> {
        let net = Internet::new(1)?;
        let mut hosts = vec![net.public_host("server")?];
        let judge = net.public_host("witness")?;
        for (name, behaviour) in [("alice", alice), ("bob", bob)] {
            hosts.push(net.router(name, behaviour.clone()).host(name)?);
        }
        let mut sockets = BTreeMap::new();
        for (number, host) in hosts.iter().enumerate() {
            for port in PORTS.into_iter().chain([WITNESS]) {
                sockets.insert((number, port), host.udp(port)?);
            }
        }
        let witness = judge.udp(WITNESS)?;
        Ok(Real { _net: net, hosts, sockets, witness, witness_at: (judge.address(), WITNESS).into() })
    }

    fn server(&self) -> std::net::IpAddr {
        self.hosts[0].address()
    }

    fn send(&self, step: Step, to: SocketAddr, expected: Option<(usize, usize)>) -> std::io::Result<Fate> {
        self.sockets[&(step.host, PORTS[step.socket])].send_to(b"x", to)?;
        // What the witness hears was sent later by the same host: what came before has met its fate.
        self.sockets[&(step.host, WITNESS)].send_to(b"w", self.witness_at)?;
        self.witness.set_read_timeout(Some(PATIENCE))?;
        self.witness.recv_from(&mut [0; 8])?;
        if let Some((host, socket)) = expected {
            let receiver = &self.sockets[&(host, PORTS[socket])];
            receiver.set_nonblocking(false)?;
            receiver.set_read_timeout(Some(PATIENCE))?;
            let (_, from) = receiver.recv_from(&mut [0; 8])?;
            return Ok(Some((host, socket, from)));
        }
        for ((host, port), receiver) in &self.sockets {
            let Some(socket) = PORTS.iter().position(|known| known == port) else { continue };
            receiver.set_nonblocking(true)?;
            if let Ok((_, from)) = receiver.recv_from(&mut [0; 8]) {
                return Ok(Some((*host, socket, from)));
            }
        }
        Ok(None)
    }
}
