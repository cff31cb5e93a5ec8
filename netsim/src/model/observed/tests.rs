//! What is to be seen of boxes in series, and lifetimes in virtual time.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::*;
use crate::model::behaviour::{Lifetimes, Refresh};
use crate::model::{Families, INTERNET, Line, Packet, Router, Topology, presets};

#[test]
fn a_chain_is_seen_as_the_worst_of_its_boxes() {
    let seen = |chain: &[&Behaviour]| *Survey::of_chain(chain).observed().expect("UDP passes");
    let (cone, symmetric) = (presets::full_cone(), presets::symmetric_random());
    assert_eq!(seen(&[&symmetric, &cone]).mapping, Mapping::AddressAndPortDependent);
    assert_eq!(seen(&[&cone, &presets::home()]).filtering, Filtering::AddressAndPortDependent);
    assert_eq!(seen(&[&symmetric, &cone]).ports, SeenPorts::Random, "the outer one keeps what the inner one gives");
    assert_eq!(seen(&[&cone, &presets::symmetric_sequential()]).ports, SeenPorts::Sequential);
    assert_eq!(Survey::of_chain(&[&presets::home(), &presets::udp_blocked()]), Survey::TcpOnly);
}

#[test]
fn where_nobody_translates_everything_is_as_it_is_sent() {
    let open = *Survey::of_chain(&[]).observed().expect("UDP passes");
    assert!(!open.translated && open.port_preservation && open.hairpinning.is_none());
    assert_eq!((open.filtering, open.early_probe), (Filtering::EndpointIndependent, EarlyProbe::Harmless));
    let walled = *Survey::of_chain(&[&presets::ipv6_firewall()]).observed().expect("UDP passes");
    assert_eq!(walled, Observed { filtering: Filtering::AddressAndPortDependent, ..open });
}

#[test]
fn a_hairpin_counts_only_as_far_as_peers_can_use_it() {
    let hairpins = |mapping, filtering| {
        let nat = Behaviour::nat(mapping, filtering).hairpinning(Hairpinning::ExternalSource);
        Survey::from(&nat).observed().and_then(|seen| seen.hairpinning)
    };
    use Filtering::EndpointIndependent as Open;
    for filtering in Filtering::ALL {
        assert_eq!(hairpins(Mapping::EndpointIndependent, filtering), Some(true));
        assert_eq!(hairpins(Mapping::AddressDependent, filtering), Some(filtering == Open));
    }
}

#[test]
fn a_probe_moves_a_mapping_only_if_it_gets_as_far_as_the_box_that_takes_it_in() {
    let probe = |chain: &[&Behaviour]| Survey::of_chain(chain).observed().map(|seen| seen.early_probe);
    let (open, home, cone) = (presets::home_open(), presets::home(), presets::full_cone());
    assert_eq!(probe(&[&open]), Some(EarlyProbe::MovesMapping));
    assert_eq!(probe(&[&open, &cone]), Some(EarlyProbe::MovesMapping));
    assert_eq!(probe(&[&open, &home]), Some(EarlyProbe::Harmless));
    assert_eq!(probe(&[&home, &open]), Some(EarlyProbe::MovesMapping));
}

#[test]
fn every_presets_lifetimes_are_seen_as_configured() {
    for preset in presets::all() {
        for family in Family::ALL {
            let chain: Vec<&Behaviour> =
                preset.access.routers.iter().filter_map(|router| router.behaviour(family)).collect();
            if let Some(expected) = ObservedLifetimes::of_chain(&chain) {
                let seen = in_virtual_time(&preset.access, family, &plan(&expected));
                assert!(expected.agrees(&seen), "{}: {expected:?} was seen as {seen:?}", preset.name);
            }
        }
    }
}

#[test]
fn a_box_that_does_not_do_what_is_expected_is_found_out() {
    let lifetimes = |unreplied, replied, refresh| {
        let [unreplied, replied] = [unreplied, replied].map(Duration::from_secs);
        Lifetimes { unreplied, replied, settles_after: Duration::ZERO, refresh }
    };
    let configured = lifetimes(30, 120, Refresh::BothWays);
    let expected = ObservedLifetimes::of_chain(&[&presets::home().lifetimes(configured)]).expect("it forgets");
    for other in [
        lifetimes(29, 120, Refresh::BothWays),
        lifetimes(31, 120, Refresh::BothWays),
        lifetimes(30, 117, Refresh::BothWays),
        lifetimes(30, 300, Refresh::BothWays),
        lifetimes(30, 120, Refresh::OutboundOnly),
    ] {
        let routers = vec![Router::ipv4(presets::home().lifetimes(other))];
        let access = Access { families: Families::Ipv4, routers };
        let seen = in_virtual_time(&access, Family::Ipv4, &plan(&expected));
        assert!(!expected.agrees(&seen), "{other:?} was seen as {seen:?}");
    }
}

/// Plays the scripts, each in a network of its own.
fn in_virtual_time(access: &Access, family: Family, scripts: &[Script]) -> SeenLifetimes {
    judge(&scripts.iter().map(|script| play(access, family, script)).collect::<Vec<Answer>>())
}

fn play(access: &Access, family: Family, script: &Script) -> Answer {
    let mut topology: Topology<()> = Topology::new(1);
    let lan = access.build_on_the_internet(&mut topology, Line::default());
    let [alice, server] = [lan, INTERNET].map(|network| topology.add_host(network, Families::Both, Line::default()));
    let [hers, its]: [IpAddr; 2] = [alice, server].map(|host| {
        let addresses = topology.addresses(host);
        let of_family = if family == Family::Ipv4 { addresses.ipv4 } else { addresses.ipv6 };
        of_family.expect("an address")
    });
    let (hers, its) = (SocketAddr::new(hers, 4000), SocketAddr::new(its, 3478));
    let mut now = Instant::now();
    let (mut mapped, mut arrived, mut silence) = (hers, false, Duration::ZERO);
    for (after, act) in &script.steps {
        (now, silence) = (now + *after, *after);
        if matches!(act, Act::Out | Act::Exchange) {
            topology.handle_packet(alice, Packet::udp(hers, its, 1), (), now);
            mapped = topology.poll_delivery().expect("it gets out").packet.source;
        }
        if *act != Act::Out {
            topology.handle_packet(server, Packet::udp(its, mapped, 1), (), now);
            arrived = topology.poll_delivery().is_some();
        }
    }
    Answer { question: script.question, silence: silence..=silence, arrived }
}
