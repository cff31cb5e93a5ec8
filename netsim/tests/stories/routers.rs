//! What a kernel router does to the datagrams of the hosts behind it.

use std::net::SocketAddr;
use std::time::Duration;

use netsim::netns::{Error, Network, Router, UdpTimeouts, WanInput, in_namespaces, survey};

use crate::voice::Voice;

#[test]
fn a_home_router_keeps_one_mapping_for_all_destinations() {
    in_namespaces(|| {
        let net = Network::new()?;
        let (server, other) = (net.public_host("server")?, net.public_host("other")?);
        let home = net.router("home", Router::home())?;
        let alice = Voice::new(&home.host("alice")?, 4000);

        for asked in [Voice::new(&server, 3478), Voice::new(&server, 3479), Voice::new(&other, 3478)] {
            assert_eq!(alice.seen_by(&asked), (home.wan_address(), 4000).into());
        }
        Ok(())
    });
}

#[test]
fn a_corporate_router_gives_each_destination_another_port() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let office = net.router("office", Router::corporate())?;
        let alice = Voice::new(&office.host("alice")?, 4000);

        let seen = [3478, 3479].map(|port| alice.seen_by(&Voice::new(&server, port)));
        assert_ne!(seen[0], seen[1]);
        assert!(seen.iter().all(|seen| seen.ip() == office.wan_address()));
        Ok(())
    });
}

#[test]
fn a_home_router_filters_by_address_and_port() {
    in_namespaces(|| {
        for router in [Router::home(), Router::plain_linux()] {
            let net = Network::new()?;
            let (server, other) = (net.public_host("server")?, net.public_host("other")?);
            let alice = Voice::new(&net.router("home", router)?.host("alice")?, 4000);
            let asked = Voice::new(&server, 3478);
            let mapped = alice.seen_by(&asked);

            Voice::new(&server, 3479).say("same address, other port", mapped);
            Voice::new(&other, 3478).say("other address", mapped);
            assert!(alice.hears_nothing());
            asked.say("the one she asked", mapped);
            assert_eq!(alice.hear().0, "the one she asked");
        }
        Ok(())
    });
}

#[test]
fn no_router_hairpins() {
    in_namespaces(|| {
        for router in [Router::home(), Router::plain_linux(), Router::corporate()] {
            let net = Network::new()?;
            let server = Voice::new(&net.public_host("server")?, 3478);
            let home = net.router("home", router)?;
            let (alice, bob) = (Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4001));
            let (alice_outside, bob_outside) = (alice.seen_by(&server), bob.seen_by(&server));

            alice.say("to your outside", bob_outside);
            bob.say("to your outside", alice_outside);
            assert!(alice.hears_nothing() && bob.hears_nothing(), "{router:?}");
        }
        Ok(())
    });
}

#[test]
fn an_early_probe_moves_the_mapping_only_where_input_is_accepted() {
    in_namespaces(|| {
        for (wan_input, moves) in [(WanInput::Drop, false), (WanInput::Accept, true)] {
            let net = Network::new()?;
            let (server, peer) = (net.public_host("server")?, net.public_host("peer")?);
            let home = net.router("home", Router { wan_input, ..Router::home() })?;
            let alice = Voice::new(&home.host("alice")?, 4000);
            let peer = Voice::new(&peer, 5000);
            let expected = alice.seen_by(&Voice::new(&server, 3478));

            peer.say("too early", expected);
            assert!(alice.hears_nothing());
            assert_eq!(alice.seen_by(&peer) != expected, moves, "{wan_input:?}");
        }
        Ok(())
    });
}

#[test]
fn two_homes_punch_through_to_each_other() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let (one, other) = (net.router("one", Router::home())?, net.router("other", Router::home())?);
        let (alice, bob) = (Voice::new(&one.host("alice")?, 4000), Voice::new(&other.host("bob")?, 4000));
        let (alice_outside, bob_outside) = (alice.seen_by(&server), bob.seen_by(&server));

        alice.say("opens her filter", bob_outside);
        assert!(bob.hears_nothing());
        bob.say("opens his, and gets in", alice_outside);
        assert_eq!(alice.hear(), ("opens his, and gets in".to_owned(), bob_outside));
        alice.say("hello", bob_outside);
        assert_eq!(bob.hear(), ("hello".to_owned(), alice_outside));
        Ok(())
    });
}

#[test]
fn behind_a_carrier_the_outside_sees_the_carriers_address() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let carrier = net.router("carrier", Router::carrier())?;
        let home = carrier.router("home", Router::home())?;
        let alice = Voice::new(&home.host("alice")?, 4000);

        assert_eq!(alice.seen_by(&server), (carrier.wan_address(), 4000).into());
        assert!(carrier.lan_prefix().contains(home.wan_address()));
        Ok(())
    });
}

#[test]
fn an_impatient_router_forgets_an_idle_mapping() {
    in_namespaces(|| {
        let second = Duration::from_secs(1);
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let impatient = Router { udp_timeouts: UdpTimeouts::fixed(second), ..Router::home() };
        let forgetful = Voice::new(&net.router("forgetful", impatient)?.host("alice")?, 4000);
        let faithful = Voice::new(&net.router("faithful", Router::home())?.host("bob")?, 4000);
        let (alice, bob) = (forgetful.seen_by(&server), faithful.seen_by(&server));

        assert!(forgetful.hears_nothing_for(2 * second));
        server.say("still there?", alice);
        server.say("still there?", bob);
        assert_eq!(faithful.hear().0, "still there?");
        assert!(forgetful.hears_nothing());
        Ok(())
    });
}

#[test]
fn a_router_that_forgets_its_mappings_lets_nobody_in_until_asked_again() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", Router::home())?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        let mapped = alice.seen_by(&server);

        home.forget_mappings()?;
        server.say("lost", mapped);
        assert!(alice.hears_nothing());
        alice.seen_by(&server);
        Ok(())
    });
}

#[test]
fn after_a_nightly_disconnection_the_outside_sees_another_address() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", Router::home())?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        let before = alice.seen_by(&server);

        let address = home.change_wan_address()?;
        let after = alice.seen_by(&server);
        assert_eq!(after, SocketAddr::from((address, 4000)));
        assert_ne!(after, before);
        Ok(())
    });
}

#[test]
fn the_kernels_own_nat_keeps_its_promise_with_input_dropped_and_accepted() {
    in_namespaces(|| {
        for wan_input in [WanInput::Drop, WanInput::Accept] {
            for router in [Router::home(), Router::corporate()] {
                let router = Router { wan_input, ..router };
                assert_eq!(survey(router)?, router.promised(), "{router:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_router_refuses_the_same_network_on_both_sides() {
    in_namespaces(|| {
        let home = Network::new()?.router("home", Router::home())?;
        let inner = home.router("inner", Router { lan: Some(home.lan_prefix()), ..Router::home() });
        assert!(matches!(inner, Err(Error::PrefixesOverlap { .. })), "{inner:?}");
        Ok(())
    });
}
