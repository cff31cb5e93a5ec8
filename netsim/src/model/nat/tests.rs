//! The box holds to its word: stories first, then properties over every kind of box.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::behaviour::{Filtering, Lifetimes, Limits, Quirks, Refresh};
use super::super::presets;
use super::*;

#[test]
fn the_nine_cells_do_what_they_are_called() {
    for mapping in Mapping::ALL {
        for filtering in Filtering::ALL {
            let mut lab = Lab::new(Behaviour::nat(mapping, filtering));
            let first = lab.out("192.168.1.2:4000", "11.9.9.1:3478");
            let other_port = lab.out("192.168.1.2:4000", "11.9.9.1:3479");
            let other_address = lab.out("192.168.1.2:4000", "11.9.9.2:3478");
            assert_eq!(first == other_port, mapping != Mapping::AddressAndPortDependent, "{mapping}");
            assert_eq!(first == other_address, mapping == Mapping::EndpointIndependent, "{mapping}");

            let external = lab.out("192.168.1.2:5000", "11.9.9.1:3478");
            assert!(lab.comes_in("11.9.9.1:3478", external));
            assert_eq!(lab.comes_in("11.9.9.1:9", external), filtering != Filtering::AddressAndPortDependent);
            assert_eq!(lab.comes_in("11.9.9.2:3478", external), filtering == Filtering::EndpointIndependent);
        }
    }
}

#[test]
fn linux_gives_two_hosts_one_port_until_they_meet() {
    let mut lab = Lab::new(presets::home());
    assert_eq!(lab.out("192.168.1.2:4000", "11.9.9.1:1"), at("11.1.1.1:4000"));
    assert_eq!(lab.out("192.168.1.3:4000", "11.9.9.2:1"), at("11.1.1.1:4000"));
    // Now the second speaks to the first's partner: it gets another port for it, which is all that it gets.
    let moved = lab.out("192.168.1.3:4000", "11.9.9.1:1");
    assert_ne!(moved, at("11.1.1.1:4000"));
    assert_eq!(lab.out("192.168.1.3:4000", "11.9.9.2:1"), at("11.1.1.1:4000"));
    assert!(lab.comes_in("11.9.9.1:1", moved));
}

#[test]
fn a_stray_packet_moves_the_mapping_only_where_input_is_accepted() {
    for (behaviour, moves) in [(presets::home(), false), (presets::home_open(), true)] {
        let mut lab = Lab::new(behaviour);
        let expected = lab.out("192.168.1.2:4000", "11.9.9.1:3478");
        assert!(!lab.comes_in("11.9.9.2:5000", expected));
        let toward_peer = lab.out("192.168.1.2:4000", "11.9.9.2:5000");
        assert_eq!(toward_peer != expected, moves);
        assert_eq!(lab.comes_in("11.9.9.2:5000", expected), !moves, "the peer knows the old port only");
        // The kernel's youngest mapping lends its port to the next.
        assert_eq!(lab.out("192.168.1.2:4000", "11.9.9.3:1"), toward_peer);
    }
}

#[test]
fn a_stray_packet_that_comes_late_does_no_harm() {
    let mut lab = Lab::new(presets::home_open());
    let expected = lab.out("192.168.1.2:4000", "11.9.9.1:3478");
    assert_eq!(lab.out("192.168.1.2:4000", "11.9.9.2:5000"), expected);
    assert!(lab.comes_in("11.9.9.2:5000", expected));
}

#[test]
fn a_stray_packet_is_forgotten_after_the_unreplied_lifetime() {
    let mut lab = Lab::new(presets::home_open());
    lab.comes_in("11.9.9.2:5000", at("11.1.1.1:4000"));
    lab.pass(30.0);
    assert_eq!(lab.out("192.168.1.2:4000", "11.9.9.2:5000"), at("11.1.1.1:4000"));
}

#[test]
fn linux_keeps_a_session_30_seconds_and_one_with_answers_120() {
    let mut lab = Lab::new(presets::home());
    let mapped = lab.out("192.168.1.2:4000", "11.9.9.1:1");
    lab.pass(29.9);
    assert!(lab.comes_in("11.9.9.1:1", mapped));
    lab.pass(119.9);
    assert!(lab.comes_in("11.9.9.1:1", mapped));
    lab.out("192.168.1.2:4000", "11.9.9.2:1");
    lab.pass(30.0);
    assert!(!lab.comes_in("11.9.9.2:1", mapped), "never answered");
    lab.pass(90.0);
    assert!(!lab.comes_in("11.9.9.1:1", mapped), "what leaves for another does not keep this filter open");
}

#[test]
fn with_outbound_refresh_a_peer_cannot_keep_a_mapping_alive() {
    for (refresh, alive) in [(Refresh::OutboundOnly, false), (Refresh::BothWays, true)] {
        let lifetimes = Lifetimes { refresh, ..Lifetimes::fixed(Duration::from_secs(60)) };
        let mut lab = Lab::new(presets::full_cone().lifetimes(lifetimes));
        let mapped = lab.out("192.168.1.2:4000", "11.9.9.1:1");
        lab.pass(40.0);
        assert!(lab.comes_in("11.9.9.1:1", mapped));
        lab.pass(40.0);
        assert_eq!(lab.comes_in("11.9.9.1:1", mapped), alive);
    }
}

#[test]
fn sequential_ports_go_up_by_the_step_and_at_most_the_noise() {
    let ports = PortAssignment::Sequential { step: 2, noise: 3 };
    let mut lab = Lab::new(presets::symmetric_random().ports(ports));
    let mut last = lab.out("192.168.1.2:4000", "11.9.9.1:1").port();
    for port in 2..200 {
        let next = lab.out("192.168.1.2:4000", &format!("11.9.9.1:{port}")).port();
        let delta = i32::from(next) - i32::from(last);
        assert!([2, 4, 6, 8].contains(&delta) || next < last, "{last} -> {next}");
        last = next;
    }
}

#[test]
fn a_host_stays_in_its_block_and_gets_no_port_beyond() {
    let mut lab = Lab::new(presets::symmetric_random().ports(PortAssignment::Block { size: 64 }));
    let ports: Vec<u16> = (1..=64).map(|to| lab.out("192.168.1.2:4000", &format!("11.9.9.1:{to}")).port()).collect();
    assert!(ports.iter().max().unwrap() - ports.iter().min().unwrap() < 64);
    assert_eq!(lab.try_out("192.168.1.2:4000", "11.9.9.1:65"), Err(DropReason::PortsExhausted));
    let other = lab.out("192.168.1.3:4000", "11.9.9.1:1").port();
    assert!(!ports.contains(&other), "another host has another block");
}

#[test]
fn parity_is_kept() {
    let mut lab = Lab::new(presets::symmetric_random().ports(PortAssignment::Parity));
    for port in 4000..4100 {
        assert_eq!(lab.out(&format!("192.168.1.2:{port}"), "11.9.9.1:1").port() % 2, port % 2);
    }
}

#[test]
fn limits_hold_and_what_is_forgotten_makes_room() {
    let limits = Limits { mappings_per_host: Some(2), mappings: 3, ..Limits::default() };
    let mut lab = Lab::new(presets::full_cone().limits(limits));
    lab.out("192.168.1.2:1001", "11.9.9.1:1");
    lab.out("192.168.1.2:1002", "11.9.9.1:1");
    assert_eq!(lab.try_out("192.168.1.2:1003", "11.9.9.1:1"), Err(DropReason::HostLimit));
    lab.out("192.168.1.3:1001", "11.9.9.1:1");
    assert_eq!(lab.try_out("192.168.1.4:1001", "11.9.9.1:1"), Err(DropReason::TableFull));
    lab.pass(300.0);
    lab.out("192.168.1.4:1001", "11.9.9.1:1");
}

#[test]
fn with_all_ports_in_use_new_mappings_fail() {
    let limits = Limits { ports: 5000..=5009, ..Limits::default() };
    let mut lab = Lab::new(presets::port_restricted().limits(limits));
    let mut ports: Vec<u16> = (1..=10).map(|n| lab.out(&format!("192.168.1.2:{n}"), "11.9.9.1:1").port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, (5000..=5009).collect::<Vec<_>>());
    assert_eq!(lab.try_out("192.168.1.2:11", "11.9.9.1:1"), Err(DropReason::PortsExhausted));
}

#[test]
fn paired_pooling_keeps_a_hosts_address_and_arbitrary_does_not() {
    for (pooling, several) in [(Pooling::Paired, false), (Pooling::Arbitrary, true)] {
        let mut lab = Lab::new(presets::symmetric_random().quirks(Quirks { pooling, ..Quirks::default() }));
        lab.nat.change_addresses((1..=4).map(|last| IpAddr::from([11, 1, 1, last])).collect());
        let seen: Vec<IpAddr> = (1..50).map(|to| lab.out("192.168.1.2:4000", &format!("11.9.9.1:{to}")).ip()).collect();
        assert_eq!(seen.iter().any(|ip| *ip != seen[0]), several);
    }
}

#[test]
fn hairpinning_shows_the_source_that_it_is_set_to() {
    let story = |hairpinning| {
        let mut lab = Lab::new(presets::port_restricted().hairpinning(hairpinning));
        let [alice, bob] = ["192.168.1.2:4000", "192.168.1.3:4000"].map(|inside| lab.out(inside, "11.9.9.1:1"));
        let opened = lab.outbound("192.168.1.3:4000", &alice.to_string());
        (opened, lab.outbound("192.168.1.2:4000", &bob.to_string()), alice)
    };
    assert_eq!(story(Hairpinning::Off).1, Err(DropReason::NoHairpinning));
    let (opened, back, alice) = story(Hairpinning::ExternalSource);
    assert_eq!(opened, Err(DropReason::Filtered), "what is turned round is filtered as what comes from outside");
    assert!(matches!(back, Ok(Outbound::Hairpin(p)) if p.source == alice && p.destination == at("192.168.1.3:4000")));
    let (_, back, _) = story(Hairpinning::InternalSource);
    assert!(matches!(back, Ok(Outbound::Hairpin(packet)) if packet.source == at("192.168.1.2:4000")));
}

#[test]
fn a_firewall_changes_no_address_and_lets_in_who_was_spoken_to() {
    let mut lab = Lab::new(presets::ipv6_firewall());
    lab.nat.change_addresses(vec![]);
    let (inside, remote) = ("[2001:db8:0:1::2]:4000", "[2001:db8::9]:1");
    assert!(!lab.comes_in(remote, at(inside)));
    assert_eq!(lab.out(inside, remote), at(inside));
    assert!(lab.comes_in(remote, at(inside)));
    assert!(!lab.comes_in("[2001:db8::9]:2", at(inside)));
}

#[test]
fn a_reboot_forgets_and_a_blocked_box_passes_no_udp() {
    let mut lab = Lab::new(presets::home());
    let mapped = lab.out("192.168.1.2:4000", "11.9.9.1:1");
    lab.nat.reboot();
    assert!(!lab.comes_in("11.9.9.1:1", mapped));
    let mut lab = Lab::new(presets::udp_blocked());
    assert_eq!(lab.try_out("192.168.1.2:4000", "11.9.9.1:1"), Err(DropReason::UdpBlocked));
}

#[test]
fn an_icmp_error_finds_its_way_by_what_it_quotes() {
    let mut lab = Lab::new(presets::port_restricted());
    let (inside, remote) = (at("192.168.1.2:4000"), at("11.9.9.1:1"));
    let external = lab.out("192.168.1.2:4000", "11.9.9.1:1");
    let error = |source: &str, destination, quote| Packet {
        kind: Kind::Error(quote),
        ..Packet::udp(at(source), SocketAddr::new(destination, 0), 28)
    };
    // A router on the way, to whom nobody has spoken.
    let quote = Quote { protocol: Protocol::Udp, source: external, destination: remote };
    let came = lab.nat.inbound(&error("11.5.5.5:0", external.ip(), quote), lab.now).expect("it belongs to a session");
    assert_eq!(came.destination, at("192.168.1.2:0"));
    assert_eq!(came.kind, Kind::Error(Quote { source: inside, ..quote }));
    let foreign = Quote { destination: at("11.9.9.7:7"), ..quote };
    assert!(lab.nat.inbound(&error("11.5.5.5:0", external.ip(), foreign), lab.now).is_err());
    // And from inside, about a packet that had come in.
    let quote = Quote { protocol: Protocol::Udp, source: remote, destination: inside };
    let left = lab.nat.outbound(&error("192.168.1.2:0", remote.ip(), quote), lab.now);
    let Ok(Outbound::Forward(left)) = left else { panic!("{left:?}") };
    assert_eq!((left.source.ip(), left.kind), (external.ip(), Kind::Error(Quote { destination: external, ..quote })));
}

#[test]
fn a_tcp_connection_is_kept_for_hours_and_a_closed_one_for_minutes() {
    let tcp = |source: &str, destination: SocketAddr, flags| Packet {
        kind: Kind::Tcp(flags),
        ..Packet::udp(at(source), destination, 0)
    };
    let syn = TcpFlags { syn: true, ..TcpFlags::default() };
    for (last, alive) in [(TcpFlags::default(), true), (TcpFlags { rst: true, ..TcpFlags::default() }, false)] {
        let mut lab = Lab::new(presets::home());
        let left = lab.nat.outbound(&tcp("192.168.1.2:4000", at("11.9.9.1:443"), syn), lab.now);
        let Ok(Outbound::Forward(left)) = left else { panic!("{left:?}") };
        lab.nat.inbound(&tcp("11.9.9.1:443", left.source, syn), lab.now).expect("the answer");
        lab.nat.inbound(&tcp("11.9.9.1:443", left.source, last), lab.now).expect("the last");
        lab.pass(7000.0);
        let again = lab.nat.inbound(&tcp("11.9.9.1:443", left.source, TcpFlags::default()), lab.now);
        assert_eq!(again.is_ok(), alive);
    }
}

/// Something that happens to a box.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    /// From one of a few hosts and ports to one of a few remote endpoints.
    Out(SocketAddr, SocketAddr),
    /// From a remote endpoint to an external one that was given out: the so-manieth.
    In(SocketAddr, usize),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_nat_never_delivers_what_its_filtering_forbids(behaviour in behaviours(), steps in steps()) {
        let filtering = behaviour.filtering;
        let mut lab = Lab::new(behaviour);
        // Who was ever spoken to from an internal endpoint, through which external one.
        let mut spoken: Vec<(SocketAddr, SocketAddr, SocketAddr)> = vec![];
        for step in steps {
            if let Some((inside, external, remote)) = lab.out_step(step) {
                spoken.push((inside, external, remote));
            } else if let Some((remote, external, Ok(came))) = lab.in_step(step) {
                let allowed = spoken.iter().any(|(inside, through, to)| {
                    *inside == came.destination && *through == external && match filtering {
                        Filtering::EndpointIndependent => true,
                        Filtering::AddressDependent => to.ip() == remote.ip(),
                        Filtering::AddressAndPortDependent => *to == remote,
                    }
                });
                prop_assert!(allowed, "{remote} came in through {external} to {}", came.destination);
                prop_assert_eq!(came.source, remote);
            }
        }
    }

    #[test]
    fn mappings_never_collide_when_overload_is_refused(behaviour in behaviours(), steps in steps()) {
        prop_assume!(behaviour.ports != PortAssignment::PreservingOverloading);
        let shortest = behaviour.lifetimes.unreplied.min(behaviour.lifetimes.replied);
        let mut lab = Lab::new(behaviour);
        let mut owners: BTreeMap<SocketAddr, (SocketAddr, Instant)> = BTreeMap::new();
        for step in steps {
            if let Some((inside, external, _)) = lab.out_step(step) {
                let owner = owners.insert(external, (inside, lab.now));
                if let Some((owner, used)) = owner && lab.now < used + shortest {
                    prop_assert_eq!(owner, inside, "two internal endpoints at {}", external);
                }
            } else {
                lab.in_step(step);
            }
        }
    }

    #[test]
    fn a_lifetime_never_ends_early(behaviour in behaviours(), steps in steps(), part in 0.0_f64..0.999) {
        let shortest = behaviour.lifetimes.unreplied.min(behaviour.lifetimes.replied);
        let mut lab = Lab::new(behaviour);
        steps.iter().for_each(|step| { lab.out_step(*step); lab.in_step(*step); });
        let (inside, remote) = ("192.168.1.9:4321", "11.9.9.9:99");
        if let Ok(external) = lab.try_out(inside, remote) {
            lab.pass(shortest.as_secs_f64() * part);
            prop_assert!(lab.comes_in(remote, external));
            prop_assert_eq!(lab.out(inside, remote), external);
        }
    }

    #[test]
    fn translation_there_and_back_is_the_identity(behaviour in behaviours(), steps in steps()) {
        let mut lab = Lab::new(behaviour);
        for step in steps {
            if let Some((inside, external, remote)) = lab.out_step(step) {
                let answer = Packet::udp(remote, external, 10);
                let came = lab.nat.inbound(&answer, lab.now);
                prop_assert_eq!(came, Ok(Packet { destination: inside, ..answer }));
            } else {
                lab.in_step(step);
            }
        }
    }
}

fn behaviours() -> impl Strategy<Value = Behaviour> {
    let ports = prop_oneof![
        Just(PortAssignment::Preserving),
        Just(PortAssignment::PreservingOverloading),
        (-3_i16..4, 0_u16..4)
            .prop_map(|(step, noise)| PortAssignment::Sequential { step: if step == 0 { 1 } else { step }, noise }),
        Just(PortAssignment::Random),
        (1_u16..20).prop_map(|size| PortAssignment::Block { size }),
        Just(PortAssignment::Parity),
    ];
    let lifetimes =
        (1_u64..100, 1_u64..100, 0_u64..3, any::<bool>()).prop_map(|(unreplied, replied, settles, both)| Lifetimes {
            unreplied: Duration::from_secs(unreplied),
            replied: Duration::from_secs(replied),
            settles_after: Duration::from_secs(settles),
            refresh: if both { Refresh::BothWays } else { Refresh::OutboundOnly },
        });
    let hairpinning =
        prop_oneof![Just(Hairpinning::Off), Just(Hairpinning::ExternalSource), Just(Hairpinning::InternalSource)];
    // Few ports, so that they run out.
    let cell = (0..3_usize, 0..3_usize, ports, any::<bool>(), 0_u16..60);
    (cell, lifetimes, hairpinning).prop_map(|((mapping, filtering, ports, strays, few), lifetimes, hairpinning)| {
        let stray_inbound = if strays { StrayInbound::OccupiesTuple } else { StrayInbound::Ignored };
        Behaviour::nat(Mapping::ALL[mapping], Filtering::ALL[filtering])
            .ports(ports)
            .lifetimes(lifetimes)
            .hairpinning(hairpinning)
            .limits(Limits { ports: 3990..=4010 + few, ..Limits::default() })
            .quirks(Quirks { stray_inbound, ..Quirks::default() })
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let inside = (2_u8..5, 4000_u16..4003).prop_map(|(host, port)| SocketAddr::from(([192, 168, 1, host], port)));
    let remote = || (1_u8..4, 1_u16..4).prop_map(|(host, port)| SocketAddr::from(([11, 9, 9, host], port)));
    let step = prop_oneof![
        1 => (0_u64..20_000).prop_map(Step::Pass),
        4 => (inside, remote()).prop_map(|(inside, remote)| Step::Out(inside, remote)),
        4 => (remote(), 0..30_usize).prop_map(|(remote, which)| Step::In(remote, which)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A box, its clock, and the external endpoints that it has given out.
struct Lab {
    nat: Nat,
    now: Instant,
    given: Vec<SocketAddr>,
}

impl Lab {
    fn new(behaviour: Behaviour) -> Lab {
        let nat = Nat::new(behaviour, vec![IpAddr::from([11, 1, 1, 1])], Random::new(5));
        Lab { nat, now: Instant::now(), given: vec![] }
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn outbound(&mut self, inside: &str, remote: &str) -> Result<Outbound, DropReason> {
        self.nat.outbound(&Packet::udp(at(inside), at(remote), 10), self.now)
    }

    fn try_out(&mut self, inside: &str, remote: &str) -> Result<SocketAddr, DropReason> {
        match self.outbound(inside, remote)? {
            Outbound::Forward(packet) => Ok(packet.source),
            Outbound::Hairpin(packet) => panic!("turned round: {packet}"),
        }
    }

    fn out(&mut self, inside: &str, remote: &str) -> SocketAddr {
        self.try_out(inside, remote).expect("it leaves")
    }

    fn comes_in(&mut self, remote: &str, external: SocketAddr) -> bool {
        self.nat.inbound(&Packet::udp(at(remote), external, 10), self.now).is_ok()
    }

    /// Inside, external and remote endpoint, if this step was a packet that left.
    fn out_step(&mut self, step: Step) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
        match step {
            Step::Pass(millis) => self.now += Duration::from_millis(millis),
            Step::Out(inside, remote) => {
                let external = self.try_out(&inside.to_string(), &remote.to_string()).ok()?;
                self.given.push(external);
                return Some((inside, external, remote));
            }
            Step::In(..) => {}
        }
        None
    }

    /// Remote and external endpoint and what became of it, if this step was a packet from outside.
    fn in_step(&mut self, step: Step) -> Option<(SocketAddr, SocketAddr, Result<Packet, DropReason>)> {
        let Step::In(remote, which) = step else { return None };
        let external = *self.given.get(which % self.given.len().max(1))?;
        Some((remote, external, self.nat.inbound(&Packet::udp(remote, external, 10), self.now)))
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
