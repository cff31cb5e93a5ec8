//! What a run finds out of which NAT, with which server. Virtual time; no test waits.

use std::time::Duration;

use proptest::prelude::*;

use super::toy_world::{Changes, DELAY, FRESH_PORT, Nat, ONE_ADDRESS, Ports, Server, TWO_ADDRESSES, World, address};
use super::*;
use crate::nat::{Filtering, Mapping, PortAssignment};
use crate::stun::Response;

const MAPPINGS: [Mapping; 3] =
    [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
const FILTERS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];
const ROUND_TRIP: Duration = Duration::from_millis(2 * DELAY.as_millis() as u64);

/// Every kind of NAT that the toy knows, except for how it chooses ports.
fn all_nats() -> impl Iterator<Item = Nat> {
    MAPPINGS.into_iter().flat_map(|mapping| {
        FILTERS.into_iter().flat_map(move |filtering| {
            [false, true].map(|hairpinning| Nat::new(mapping, filtering).hairpinning(hairpinning))
        })
    })
}

/// Can two behind this NAT reach each other by their external endpoints?
fn usable_hairpin(nat: &Nat) -> bool {
    let predictable = nat.mapping == Mapping::EndpointIndependent;
    nat.hairpinning && (predictable || nat.filtering == Filtering::EndpointIndependent)
}

#[test]
fn a_server_with_two_addresses_shows_every_kind_of_nat() {
    for nat in all_nats() {
        let (_, profile) = World::new(Some(nat.clone()), TWO_ADDRESSES).finish();
        assert_eq!(profile.translated, Some(true), "{nat:?}");
        assert_eq!(profile.mapping, Some(nat.mapping), "{nat:?}");
        assert_eq!(profile.filtering, Some(nat.filtering), "{nat:?}");
        assert_eq!(profile.hairpinning, Some(usable_hairpin(&nat)), "{nat:?}");
        assert!(matches!(profile.ports, Some(PortAssignment::Random { .. })), "{nat:?}: {:?}", profile.ports);
    }
}

#[test]
fn a_server_with_one_address_shows_what_depends_on_ports_and_leaves_the_rest_open() {
    for nat in all_nats() {
        let (_, profile) = World::new(Some(nat.clone()), ONE_ADDRESS).finish();
        let on_ports = Some(nat.mapping).filter(|mapping| *mapping == Mapping::AddressAndPortDependent);
        assert_eq!(profile.mapping, on_ports, "{nat:?}");
        let on_ports = Some(nat.filtering).filter(|filter| *filter == Filtering::AddressAndPortDependent);
        assert_eq!(profile.filtering, on_ports, "{nat:?}");
        assert_eq!(profile.hairpinning, Some(usable_hairpin(&nat)), "{nat:?}");
    }
}

#[test]
fn a_host_on_a_public_address_has_no_nat_and_hears_itself_without_any_hairpin() {
    for server in [ONE_ADDRESS, TWO_ADDRESSES] {
        let mut world = World::new(None, server);
        let (after, profile) = world.finish();
        assert_eq!(profile.translated, Some(false));
        assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(profile.filtering, server.second.then_some(Filtering::EndpointIndependent));
        assert_eq!(profile.ports, Some(PortAssignment::Preserved));
        assert_eq!(profile.hairpinning, None, "its own packets never left it");
        assert_eq!(after, ROUND_TRIP * 2);
        assert_eq!(world.events.len(), 1, "no other address: {:?}", world.events);
    }
}

#[test]
fn a_firewall_without_translation_is_seen_by_its_filter() {
    for filtering in FILTERS {
        let (_, profile) = World::behind_a_firewall(filtering, TWO_ADDRESSES).finish();
        assert_eq!(profile.translated, Some(false));
        assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(profile.filtering, Some(filtering));
        assert_eq!(profile.hairpinning, None);
    }
}

#[test]
fn the_way_in_which_ports_are_chosen_is_recognised() {
    for mapping in MAPPINGS {
        let ports = |ports| {
            let nat = Nat::new(mapping, Filtering::AddressAndPortDependent).ports(ports);
            World::new(Some(nat), TWO_ADDRESSES).finish().1.ports
        };
        assert_eq!(ports(Ports::Preserved), Some(PortAssignment::Preserved));
        for step in [1, 2, -1] {
            assert_eq!(ports(Ports::Step(step)), Some(PortAssignment::Sequential { step }), "{mapping:?}");
        }
        assert!(matches!(ports(Ports::Random), Some(PortAssignment::Random { .. })));
    }
}

#[test]
fn a_nat_that_keeps_the_port_for_every_destination_is_as_good_as_endpoint_independent() {
    let symmetric = Nat::new(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent);
    let (_, profile) = World::new(Some(symmetric.ports(Ports::Preserved)), TWO_ADDRESSES).finish();
    assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
    assert_eq!(profile.ports, Some(PortAssignment::Preserved));
}

#[test]
fn an_open_nat_is_known_after_two_round_trips_and_a_filter_after_its_silence() {
    let open = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent).hairpinning(true);
    assert_eq!(World::new(Some(open), TWO_ADDRESSES).finish().0, ROUND_TRIP * 2);
    // Twice the round trip is the timeout, and the silence lasts for nine.
    let (after, _) = World::new(Some(Nat::home()), TWO_ADDRESSES).finish();
    assert_eq!(after, ROUND_TRIP + ROUND_TRIP * 2 * 9);
}

#[test]
fn what_is_decided_is_not_waited_for() {
    let open = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent).hairpinning(true);
    let mut world = World::new(Some(open), TWO_ADDRESSES).losing_when(|_, transmit| {
        let request = stun::decode(&transmit.payload);
        let port_only = matches!(request, Ok(Message::Request(request)) if request.change.port && !request.change.ip);
        port_only || transmit.socket == Socket::Main && transmit.destination.ip() == address("11.1.1.1:0").ip()
    });
    let (after, profile) = world.finish();
    assert_eq!((profile.filtering, profile.hairpinning), (Some(Filtering::EndpointIndependent), Some(true)));
    assert_eq!(after, ROUND_TRIP * 2, "neither for the other port nor for the second way through the hairpin");
}

#[test]
fn every_other_address_of_the_main_socket_is_reported_once() {
    let symmetric = Nat::new(Mapping::AddressAndPortDependent, Filtering::EndpointIndependent);
    let mut world = World::new(Some(symmetric), TWO_ADDRESSES);
    world.finish();
    let reported: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Reflexive(_))).collect();
    assert_eq!(reported.len(), 3, "alternate port, second address, its alternate port: {reported:?}");
    assert!(matches!(world.events.last(), Some(Event::Finished(_))));
    let mut world = World::new(Some(Nat::home()), TWO_ADDRESSES);
    world.finish();
    assert_eq!(world.events.len(), 1, "only the end: {:?}", world.events);
}

#[test]
fn a_silent_server_ends_the_run_in_two_seconds_with_nothing_claimed() {
    let mut world = World::new(Some(Nat::home()), Server { answers: false, ..TWO_ADDRESSES });
    let (after, profile) = world.finish();
    assert_eq!(after, Duration::from_millis(1800));
    assert_eq!(profile, NatProfile { translated: Some(true), ..NatProfile::default() });
    assert_eq!(world.sent.len(), 16, "nothing that depends on the first answer");
}

#[test]
fn a_server_that_refuses_change_requests_says_nothing_about_the_filter() {
    for changes in [Changes::Refused, Changes::Ignored] {
        for filtering in FILTERS {
            let nat = Nat::new(Mapping::EndpointIndependent, filtering).hairpinning(true);
            let (after, profile) = World::new(Some(nat), Server { changes, ..TWO_ADDRESSES }).finish();
            assert_eq!(profile.filtering, None, "{changes:?}");
            assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
            assert_eq!(after, ROUND_TRIP * 2, "a refusal is not waited out");
        }
    }
}

#[test]
fn a_dead_second_address_is_not_taken_for_a_filter() {
    let dead = Server { second_works: false, ..TWO_ADDRESSES };
    let open = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    let (_, profile) = World::new(Some(open), dead).finish();
    assert_eq!((profile.mapping, profile.filtering), (None, None));
    let (_, profile) = World::new(Some(Nat::home()), dead).finish();
    assert_eq!(profile.filtering, Some(Filtering::AddressAndPortDependent), "its alternate port is alive");
}

#[test]
fn the_silence_of_a_fresh_socket_that_is_never_answered_is_not_taken_for_a_filter() {
    let mut world =
        World::new(Some(Nat::home()), TWO_ADDRESSES).losing_when(|_, transmit| transmit.socket == Socket::Fresh);
    let (_, profile) = world.finish();
    assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
    assert_eq!((profile.filtering, profile.hairpinning), (None, None));
}

#[test]
fn an_answer_from_the_wrong_address_or_at_the_wrong_socket_is_ignored() {
    let honest = World::new(Some(Nat::home()), TWO_ADDRESSES).finish().1;
    let mut world = World::new(Some(Nat::home()), TWO_ADDRESSES);
    // Mallory reads our requests, those of the second round trip too, and is faster than the server.
    let (mallory, lie) = (address("66.6.6.6:3478"), address("66.6.6.6:666"));
    for round in 0..2 {
        world.run_for(ROUND_TRIP * round);
        for (_, transmit) in world.sent.clone() {
            let Ok(Message::Request(request)) = stun::decode(&transmit.payload) else { panic!("a request") };
            let response = Response { transaction: request.transaction, mapped: lie, origin: None, other: None };
            let answer = stun::encode_response(&response);
            let refusal = stun::encode_unknown_attributes(request.transaction, &[]);
            let other = if transmit.socket == Socket::Main { Socket::Fresh } else { Socket::Main };
            for forged in [&answer, &refusal] {
                assert!(world.inject(transmit.socket, mallory, forged), "it claims to be for this run");
                assert!(world.inject(other, transmit.destination, forged));
            }
            assert!(world.inject(transmit.socket, mallory, &transmit.payload), "our own request, back where it left");
        }
    }
    assert_eq!(world.sent.len(), 8, "both rounds of questions were attacked");
    assert_eq!(world.finish().1, honest);
    assert!(!world.events.contains(&Event::Reflexive(lie)));
}

#[test]
fn an_other_address_never_makes_us_send_to_a_third_party() {
    for server in [ONE_ADDRESS, TWO_ADDRESSES] {
        let honest = World::new(Some(Nat::home()), server).finish().1;
        // The world panics if a packet goes anywhere but to the server's addresses and ours.
        let lying = Server { other: Some(address("66.6.6.6:666")), ..server };
        assert_eq!(World::new(Some(Nat::home()), lying).finish().1, honest);
    }
}

#[test]
fn endpoints_that_nobody_should_be_sent_to_are_left_out() {
    let world = World::new(Some(Nat::home()), ONE_ADDRESS);
    let dialled = address("11.1.1.100:3478");
    let unfit =
        ["224.0.0.251:5353", "127.0.0.1:53", "11.1.1.101:65535", "[2001:db8::1]:3478", "11.1.1.100:9", "0.0.0.0:1"];
    for alternate in unfit {
        for alternate_port in [0, 3478] {
            let endpoints = StunEndpoints { alternate_port, alternate: Some(address(alternate)) };
            let config = Config {
                server: dialled,
                endpoints,
                local: vec![address("192.168.1.10:4000")],
                fresh_port: FRESH_PORT,
                observed: address("11.1.1.1:4000"),
                seed: [7; 32],
            };
            let mut discovery = Discovery::new(config, world.now);
            let first = discovery.poll_transmit().expect("the fresh socket asks the server");
            assert_eq!((first.socket, first.destination), (Socket::Fresh, dialled));
            assert_eq!(discovery.poll_transmit(), None, "{alternate}");
        }
    }
}

#[test]
fn no_run_sends_more_than_thirty_packets_or_lasts_longer_than_four_seconds() {
    // The worst: nothing is answered but the fresh socket's first question, at its last try.
    let mut world = World::new(Some(Nat::home()), TWO_ADDRESSES).losing_when(|elapsed, transmit| {
        transmit.socket == Socket::Main
            || elapsed < Duration::from_millis(1400)
            || elapsed > Duration::from_millis(1439)
    });
    let (after, profile) = world.finish();
    assert_eq!((world.sent.len(), MAX_PACKETS), (30, 30));
    assert_eq!(after, Duration::from_millis(1400 + 1800) + ROUND_TRIP);
    assert!(after < MAX_DURATION);
    assert_eq!((profile.mapping, profile.filtering), (None, None), "no place has shown that it is alive");
}

#[test]
fn a_machine_that_sleeps_through_a_run_claims_no_filter() {
    let nat = Nat::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    let mut world = World::new(Some(nat), TWO_ADDRESSES)
        .losing_when(|elapsed, transmit| transmit.socket == Socket::Fresh && elapsed >= ROUND_TRIP);
    world.run_for(ROUND_TRIP * 2);
    assert!(world.finished.is_none());
    world.now += Duration::from_secs(3600);
    let (_, profile) = world.finish();
    assert_eq!((profile.filtering, profile.hairpinning), (None, None));
    assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent), "that was known before");
}

#[test]
fn what_is_not_of_this_run_is_left_to_others() {
    let mut world = World::new(Some(Nat::home()), TWO_ADDRESSES);
    let server = address("11.1.1.100:3478");
    let transaction = TransactionId([9; 12]);
    let response = Response { transaction, mapped: server, origin: None, other: None };
    for payload in [
        stun::encode_request(transaction, Change::default()),
        stun::encode_response(&response),
        stun::encode_unknown_attributes(transaction, &[]),
        vec![0; 20],
    ] {
        assert!(!world.inject(Socket::Main, server, &payload));
    }
    // A late answer is still this run's, and changes nothing: the world panics on anything that comes after the end.
    world.finish();
    let (_, first) = world.sent[0].clone();
    let Ok(Message::Request(request)) = stun::decode(&first.payload) else { panic!("a request") };
    let late = Response { transaction: request.transaction, mapped: server, origin: None, other: None };
    assert!(world.inject(first.socket, first.destination, &stun::encode_response(&late)));
    assert_eq!(world.discovery.poll_wakeup(), None);
}

#[test]
fn transaction_ids_differ_within_a_run_and_repeat_with_the_seed() {
    let requests = || {
        let mut world = World::new(Some(Nat::home()), TWO_ADDRESSES);
        world.finish();
        world.sent
    };
    assert_eq!(requests(), requests());
    let ids: std::collections::BTreeSet<_> = requests().iter().map(|(_, sent)| sent.payload[8..20].to_vec()).collect();
    assert_eq!(ids.len(), 8, "one for each question, retransmissions included");
}

#[test]
fn one_packet_in_ten_lost_hardly_ever_spoils_a_run() {
    let right = (0..200).filter(|seed| {
        let nat = Nat::home().hairpinning(true);
        let profile = World::new(Some(nat), TWO_ADDRESSES).losing(10, seed * 7919).finish().1;
        profile.mapping == Some(Mapping::EndpointIndependent)
            && profile.filtering == Some(Filtering::AddressAndPortDependent)
            && profile.hairpinning == Some(true)
    });
    assert!(right.count() >= 195);
}

proptest! {
    #[test]
    fn lost_packets_never_make_a_nat_look_more_open_than_it_is(
        kind in 0usize..18, ports in 0usize..2, second: bool, loss in 0u64..70, seed: u64,
    ) {
        let mut nat = all_nats().nth(kind).expect("a kind of NAT");
        nat = nat.ports([Ports::Random, Ports::Step(1)][ports]);
        let server = if second { TWO_ADDRESSES } else { ONE_ADDRESS };
        let mut world = World::new(Some(nat.clone()), server).losing(loss, seed);
        let (after, profile) = world.finish();
        prop_assert!(after <= MAX_DURATION && world.sent.len() <= MAX_PACKETS);
        let independent = profile.mapping == Some(Mapping::EndpointIndependent);
        prop_assert!(!independent || nat.mapping == Mapping::EndpointIndependent);
        prop_assert!(profile.mapping.is_none_or(|mapping| mapping <= nat.mapping));
        prop_assert!(profile.filtering.is_none_or(|filtering| filtering >= nat.filtering));
        prop_assert!(profile.hairpinning != Some(true) || nat.hairpinning);
    }
}
