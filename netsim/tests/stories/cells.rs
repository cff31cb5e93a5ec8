//! What the routers do that the kernel has no NAT for: those of the nine cells, whose rules record their mappings.

use std::error::Error as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use netsim::model::behaviour::{Filtering, Hairpinning, Mapping, PortAssignment};
use netsim::netns::{Error, Network, Router, UdpTimeouts, WanInput, in_namespaces, survey};

use crate::voice::Voice;

#[test]
fn every_cell_keeps_its_promise_whatever_its_ports_and_with_hairpinning() {
    in_namespaces(|| {
        let ports =
            [PortAssignment::Preserving, PortAssignment::Random, PortAssignment::Sequential { step: 3, noise: 2 }];
        let mut routers = vec![];
        for mapping in Mapping::ALL {
            for filtering in Filtering::ALL {
                let hairpinning = Hairpinning::ExternalSource;
                routers.extend(ports.map(|ports| Router { ports, hairpinning, ..Router::cell(mapping, filtering) }));
            }
        }
        // Four at a time: most of a survey is waiting for what must not come.
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let work = || {
                while let Some(router) = routers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert_eq!(survey(*router).expect("a survey"), router.promised(), "{router:?}");
                }
            };
            let workers = [(); 4].map(|()| scope.spawn(work));
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a survey went wrong"))
        })?;
        Ok(())
    });
}

#[test]
fn two_hosts_with_one_source_port_never_share_an_external_one() {
    in_namespaces(|| {
        let net = Network::new()?;
        // Kept, not bound anew: until a program that another test starts runs, it holds a copy of a closed socket.
        let server = Voice::new(&net.public_host("server")?, 3478);
        let other = Voice::new(&net.public_host("other")?, 3478);
        let home = net.router("home", full_cone(PortAssignment::Preserving))?;
        let (alice, bob) = (Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4000));

        // To different servers: the kernel's own NAT would let them share.
        assert_eq!(alice.seen_by(&server), (home.wan_address(), 4000).into());
        let bobs = bob.seen_by(&other);
        assert_ne!(bobs.port(), 4000);
        assert_eq!(bob.seen_by(&server), bobs, "one mapping for everyone");
        Ok(())
    });
}

#[test]
fn sequential_ports_follow_each_other_in_steps_of_either_sign() {
    in_namespaces(|| {
        for step in [1, 5, -2] {
            let net = Network::new()?;
            let server = Voice::new(&net.public_host("server")?, 3478);
            let home = net.router("home", full_cone(PortAssignment::Sequential { step, noise: 0 }))?;
            let alice = home.host("alice")?;
            let ports = [4000, 6000, 5000, 7000].map(|port| Voice::new(&alice, port).seen_by(&server).port());
            for two in ports.windows(2) {
                assert_eq!(two[1], two[0].wrapping_add_signed(step), "{ports:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_port_that_is_taken_is_not_given_away() {
    in_namespaces(|| {
        let net = Network::new()?;
        let (server, other) = (net.public_host("server")?, net.public_host("other")?);
        let (server, other) = (Voice::new(&server, 3478), Voice::new(&other, 3478));
        // Half of all ports further, twice, is where it began: this box has two ports.
        let home = net.router("home", full_cone(PortAssignment::Sequential { step: 32_256, noise: 0 }))?;
        let alice = home.host("alice")?;
        let voices = [4000, 4001, 4002].map(|port| Voice::new(&alice, port));
        let mapped = [voices[0].seen_by(&server), voices[1].seen_by(&server)];
        assert_ne!(mapped[0], mapped[1]);

        voices[2].say("is there one for me?", other.address());
        assert!(other.hears_nothing());
        other.say("for the owner", mapped[0]);
        assert_eq!(voices[0].hear().0, "for the owner");
        assert!(voices[2].hears_nothing());
        Ok(())
    });
}

#[test]
fn a_packet_that_hairpins_comes_from_the_senders_external_endpoint() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", hairpin(Filtering::EndpointIndependent))?;
        let (alice, bob) = (Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4001));
        let alices = alice.seen_by(&server);

        // His first packet ever: the mapping is made on the way.
        bob.say("from inside", alices);
        let (text, bobs) = alice.hear();
        assert_eq!(text, "from inside");
        assert_eq!(bobs.ip(), home.wan_address());
        alice.say("and back", bobs);
        assert_eq!(bob.hear(), ("and back".to_owned(), alices));
        assert_eq!(bob.seen_by(&server), bobs, "it is the mapping that everyone sees");
        Ok(())
    });
}

#[test]
fn a_packet_that_hairpins_meets_the_filter_as_a_strangers_does() {
    in_namespaces(|| {
        for filtering in [Filtering::AddressDependent, Filtering::AddressAndPortDependent] {
            let net = Network::new()?;
            let server = Voice::new(&net.public_host("server")?, 3478);
            let home = net.router("home", hairpin(filtering))?;
            let (alice, bob) = (Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4001));
            let (alices, bobs) = (alice.seen_by(&server), bob.seen_by(&server));

            bob.say("uninvited", alices);
            assert!(alice.hears_nothing(), "{filtering:?}");
            alice.say("come in", bobs);
            assert_eq!(bob.hear(), ("come in".to_owned(), alices));
            bob.say("thanks", alices);
            assert_eq!(alice.hear(), ("thanks".to_owned(), bobs));
        }
        Ok(())
    });
}

#[test]
fn an_idle_mapping_is_forgotten_with_its_filter_and_a_used_one_is_kept() {
    in_namespaces(|| {
        let two_seconds = UdpTimeouts::fixed(Duration::from_secs(2));
        let net = Network::new()?;
        let (server, stranger) = (net.public_host("server")?, net.public_host("stranger")?);
        let (server, stranger) = (Voice::new(&server, 3478), Voice::new(&stranger, 5000));
        let impatient = Router { udp_timeouts: two_seconds, ..full_cone(PortAssignment::Random) };
        let host = net.router("home", impatient)?.host("alice")?;
        let (idle, busy) = (Voice::new(&host, 4000), Voice::new(&host, 4001));
        let (idle_at, busy_at) = (idle.seen_by(&server), busy.seen_by(&server));
        stranger.say("may I?", busy_at);
        assert_eq!(busy.hear().0, "may I?");

        // Longer than the lifetime, with packets to the stranger alone, who began.
        for _ in 0..5 {
            busy.say("I am still here", stranger.address());
            assert_eq!(stranger.hear(), ("I am still here".to_owned(), busy_at));
            assert!(idle.hears_nothing_for(Duration::from_millis(600)));
        }
        assert_eq!(busy.seen_by(&server), busy_at);
        stranger.say("and you?", idle_at);
        assert!(idle.hears_nothing());
        assert_ne!(idle.seen_by(&server), idle_at);
        Ok(())
    });
}

#[test]
fn after_a_reboot_nobody_gets_in_and_the_next_mapping_is_another() {
    in_namespaces(|| {
        let net = Network::new()?;
        let (server, stranger) = (net.public_host("server")?, net.public_host("stranger")?);
        let (server, stranger) = (Voice::new(&server, 3478), Voice::new(&stranger, 5000));
        let home = net.router("home", full_cone(PortAssignment::Random))?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        let mapped = alice.seen_by(&server);

        home.forget_mappings()?;
        for voice in [&server, &stranger] {
            voice.say("lost", mapped);
        }
        assert!(alice.hears_nothing());
        assert_ne!(alice.seen_by(&server), mapped);
        Ok(())
    });
}

#[test]
fn no_mapping_survives_a_reboot_because_packets_are_under_way() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let home = net.router("home", full_cone(PortAssignment::Random))?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        let (asked, flooded) = (Voice::new(&server, 3478), Voice::new(&server, 3479));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    alice.say("flood", flooded.address());
                }
            });
            let reboots = (0..10).map(|_| {
                alice.say("before", asked.address());
                let (_, before) = asked.hear();
                home.forget_mappings()?;
                alice.say("after", asked.address());
                let (_, after) = asked.hear();
                Ok((before, after))
            });
            let reboots: Result<Vec<(SocketAddr, SocketAddr)>, Error> = reboots.collect();
            stop.store(true, Ordering::Relaxed);
            for (before, after) in reboots? {
                assert_ne!(before, after);
            }
            Ok(())
        })
    });
}

#[test]
fn after_a_nightly_disconnection_the_rules_know_the_new_address() {
    in_namespaces(|| {
        let net = Network::new()?;
        let (server, stranger) = (net.public_host("server")?, net.public_host("stranger")?);
        let (server, stranger) = (Voice::new(&server, 3478), Voice::new(&stranger, 5000));
        let home = net.router("home", full_cone(PortAssignment::Preserving))?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        alice.seen_by(&server);

        let address = home.change_wan_address()?;
        let mapped = alice.seen_by(&server);
        assert_eq!(mapped, SocketAddr::from((address, 4000)));
        stranger.say("hello", mapped);
        assert_eq!(alice.hear().0, "hello");
        Ok(())
    });
}

#[test]
fn two_boxes_in_series_let_a_stranger_through_if_both_let_everyone_in() {
    in_namespaces(|| {
        for (outer, reached) in [(Filtering::EndpointIndependent, true), (Filtering::AddressDependent, false)] {
            let net = Network::new()?;
            let (server, stranger) = (net.public_host("server")?, net.public_host("stranger")?);
            let (server, stranger) = (Voice::new(&server, 3478), Voice::new(&stranger, 5000));
            let lan = Router::carrier().lan;
            let carrier = net.router("carrier", Router { lan, ..Router::cell(Mapping::EndpointIndependent, outer) })?;
            let home = carrier.router("home", full_cone(PortAssignment::Preserving))?;
            let alice = Voice::new(&home.host("alice")?, 4000);
            let mapped = alice.seen_by(&server);

            assert_eq!(mapped.ip(), carrier.wan_address());
            stranger.say("through both", mapped);
            assert_eq!(!alice.hears_nothing(), reached, "{outer:?}");
        }
        Ok(())
    });
}

#[test]
fn a_router_that_drops_icmp_keeps_a_refusal_to_itself() {
    in_namespaces(|| {
        for drops_icmp in [false, true] {
            for router in [Router::corporate(), full_cone(PortAssignment::Random)] {
                let net = Network::new()?;
                let server = net.public_host("server")?;
                let alice = net.router("office", Router { drops_icmp, ..router })?.host("alice")?.udp(4000)?;
                alice.connect((server.address(), 3478))?;
                alice.send(b"nobody listens there")?;
                alice.set_read_timeout(Some(Duration::from_millis(100)))?;
                let refused = alice.recv(&mut [0; 64]).expect_err("nobody answers").kind();
                let expected = if drops_icmp { ErrorKind::WouldBlock } else { ErrorKind::ConnectionRefused };
                assert_eq!(refused, expected);
            }
        }
        Ok(())
    });
}

#[test]
fn a_router_that_no_rules_can_make_is_refused_with_the_reason() {
    in_namespaces(|| {
        let cell = full_cone(PortAssignment::Random);
        let refused = [
            (Router { filtering: Filtering::EndpointIndependent, ..Router::home() }, "overloading"),
            (Router { ports: PortAssignment::Block { size: 512 }, ..cell }, "blocks"),
            (Router { ports: PortAssignment::Parity, ..cell }, "parity"),
            (Router { ports: PortAssignment::Sequential { step: 0, noise: 0 }, ..cell }, "steps of 0"),
            (Router { hairpinning: Hairpinning::InternalSource, ..cell }, "internal source"),
            (Router { wan_input: WanInput::Accept, ..cell }, "unsolicited input"),
            (Router { udp_timeouts: UdpTimeouts::default(), ..cell }, "two UDP timeouts"),
        ];
        for (router, reason) in refused {
            let Err(error @ Error::NotByKernel { .. }) = Network::new()?.router("home", router) else {
                return Err(format!("built: {router:?}").into());
            };
            let said = format!("{error}: {}", error.source().ok_or("no reason")?);
            assert!(said.contains("router home") && said.contains(reason), "{said}");
        }
        Ok(())
    });
}

/// A router that lets everyone in, with such ports.
fn full_cone(ports: PortAssignment) -> Router {
    Router { ports, ..Router::cell(Mapping::EndpointIndependent, Filtering::EndpointIndependent) }
}

/// A router that turns packets round, with such a filter.
fn hairpin(filtering: Filtering) -> Router {
    Router { hairpinning: Hairpinning::ExternalSource, ..Router::cell(Mapping::EndpointIndependent, filtering) }
}
