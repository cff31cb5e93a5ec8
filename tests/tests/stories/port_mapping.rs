//! Routers that give a port to whoever asks: real clients ask a real miniupnpd.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Person, Running, World, router_of};
use netsim::netns::{Host, KernelRouter, PortMapping, Router, Signal, in_namespaces};
use serde_json::Value;

use crate::{SOON, talk};

/// Goodbyes and the port take a second each at most, side by side; the rest is the machine's.
const AT_MOST: Duration = Duration::from_secs(3);

const EACH: [(&str, PortMapping); 3] = [
    ("pcp", PortMapping { pcp: true, ..PortMapping::NONE }),
    ("nat_pmp", PortMapping { nat_pmp: true, ..PortMapping::NONE }),
    ("upnp", PortMapping { upnp: true, ..PortMapping::NONE }),
];

#[test]
fn each_protocol_gets_a_port_that_leads_home_and_is_given_back_at_the_end() {
    in_namespaces(|| {
        for (protocol, port_mapping) in EACH {
            let world = World::new()?;
            let home = router_of(&world, "a", Router { port_mapping, ..Router::corporate() })?;
            let alice = world.alice(&home.host("alice")?)?;
            for (killed, signal) in [(false, Signal::SIGTERM), (false, Signal::SIGINT), (true, Signal::SIGKILL)] {
                let mut alices = alice.run()?;
                let mapped = mapped(&mut alices);
                assert_eq!(mapped["protocol"], protocol, "{mapped}");
                let external: SocketAddr = mapped["external"].as_str().context("an address")?.parse()?;
                assert_eq!(external.ip(), home.wan_address(), "{mapped}");
                let status = alice.command(&["status"])?;
                assert_eq!(status["port_mapping"], mapped, "{status}");
                let took = took(&mut alices).context("both were said")?;
                println!("{protocol}: the port is there {took:?} after the registration");
                let own: SocketAddr = alices_socket(&mut alices)?;
                if killed {
                    alices.kill();
                } else {
                    alices.signal(signal);
                    assert_eq!(alices.exit_code(AT_MOST), 0);
                }
                // After a kill nobody could give it back: the port leads home, which shows that it did before, too.
                let reached = stranger_reaches(&world, alice.host(), own, external)?;
                assert_eq!(reached, killed, "{protocol}, after {signal:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn two_symmetric_nats_talk_directly_if_one_router_gives_a_port() {
    in_namespaces(|| {
        for (_, port_mapping) in EACH {
            let world = World::new()?;
            let (alice, bob) = behind_symmetric_nats(&world, port_mapping)?;
            // The port is there when they are introduced, whoever asks.
            let mut waiting = alice.run()?;
            mapped(&mut waiting);
            let mut ping = bob.start(&["ping", "alice"])?;
            ping.expect_that("a direct reply", SOON, |e| e["event"] == "ping" && e["route"] == "direct");
            assert_eq!(ping.exit_code(SOON), 0);
        }
        Ok(())
    });
}

#[test]
fn a_port_that_comes_after_the_introduction_is_trickled_into_it() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = behind_symmetric_nats(&world, PortMapping { upnp: true, ..PortMapping::NONE })?;
        // Alice asks for Bob as soon as she is registered; UPnP takes half a second more.
        let (mut alices, _bobs) = talk(&alice, &bob)?;
        let said = alices.said();
        let at = |fits: &dyn Fn(&Value) -> bool| said.iter().position(|said| fits(&said.event));
        let introduced = at(&|event| event["event"] == "introduced").context("introduced")?;
        let mapped = at(&|event| event["event"] == "port_mapping").context("mapped")?;
        assert!(introduced < mapped, "it was there before: {}", alices.transcript());
        assert_eq!(alices.count("introduced"), 1, "it took a second introduction: {}", alices.transcript());
        Ok(())
    });
}

#[test]
fn without_the_port_the_same_two_stay_with_the_relay() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = behind_symmetric_nats(&world, PortMapping::ALL)?;
        let mut waiting = alice.start(&["run", "--no-port-mapping"])?;
        let none = waiting.expect("port_mapping", SOON).event;
        assert_eq!((&none["port_mapping"], &none["reason"]), (&Value::Null, &"it is switched off".into()));
        let mut ping = bob.start(&["ping", "alice", "--timeout", "4"])?;
        assert_eq!(ping.exit_code(SOON), 4, "{}", ping.transcript());
        assert!(ping.count("ping") > 0, "they did not meet at all: {}", ping.transcript());
        Ok(())
    });
}

#[test]
fn a_router_behind_a_carriers_nat_gives_a_port_that_is_not_offered() {
    in_namespaces(|| {
        let world = World::new()?;
        let carrier = router_of(&world, "carrier", Router::carrier())?;
        let home = carrier.router("home", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let alice = world.alice(&home.host("alice")?)?;
        let mut alices = alice.run()?;
        let none = alices.expect("port_mapping", SOON).event;
        assert_eq!(none["port_mapping"], Value::Null, "{none}");
        Ok(())
    });
}

#[test]
fn netcheck_says_whether_the_router_gives_a_port() {
    in_namespaces(|| {
        let world = World::new()?;
        let generous = router_of(&world, "a", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let alice = world.alice(&generous.host("alice")?)?;
        let found = alice.command(&["netcheck"])?;
        assert_eq!(found["port_mapping"]["protocol"], "pcp", "{found}");
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        let found = bob.command(&["netcheck"])?;
        assert_eq!(found["port_mapping"], Value::Null, "{found}");
        assert!(found["no_port_mapping"].as_str().is_some_and(|reason| reason.contains("UPnP")), "{found}");
        let carol = world.person("carol", &world.net().public_host("carol")?)?;
        let found = carol.command(&["netcheck"])?;
        assert!(found["no_port_mapping"].as_str().is_some_and(|why| why.contains("nothing is translated")), "{found}");
        Ok(())
    });
}

#[test]
fn a_router_with_a_new_address_is_asked_anew() {
    in_namespaces(|| {
        let world = World::new()?;
        let home = router_of(&world, "a", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let alice = world.alice(&home.host("alice")?)?;
        let mut alices = alice.run()?;
        mapped(&mut alices);
        let address = home.change_wan_address()?;
        let again = alices.expect_that("a port of the new address", SOON * 2, |event| {
            let external = event["port_mapping"]["external"].as_str().unwrap_or_default();
            external.starts_with(&format!("{address}:"))
        });
        assert_eq!(again.event["event"], "port_mapping");
        Ok(())
    });
}

#[test]
fn a_router_that_has_restarted_is_asked_again() {
    in_namespaces(|| {
        for (protocol, port_mapping) in EACH {
            let world = World::new()?;
            let home = router_of(&world, "a", Router { port_mapping, ..Router::corporate() })?;
            let alice = world.alice(&home.host("alice")?)?;
            let bob = world.bob(&router_of(&world, "b", Router::corporate())?.host("bob")?)?;
            world.acquaint(&alice, &bob)?;
            let mut alices = alice.run()?;
            mapped(&mut alices);
            home.forget_mappings()?;
            // Her keepalive leaves from another port.
            alices.expect("registered", SOON);
            let mut ping = bob.start(&["ping", "alice"])?;
            assert_eq!(ping.exit_code(SOON * 2), 0, "{protocol}\n{}{}", ping.transcript(), alices.transcript());
        }
        Ok(())
    });
}

#[test]
fn two_homes_whose_routers_give_ports_talk_directly_as_others_do() {
    in_namespaces(|| {
        let world = World::new()?;
        let generous = || Router { port_mapping: PortMapping::ALL, ..Router::home() };
        let alice = world.alice(&router_of(&world, "a", generous())?.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", generous())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        talk(&alice, &bob)?;
        Ok(())
    });
}

/// Alice, whose router gives ports in this way, and Bob, whose router gives none; both NATs are symmetric, with random ports.
fn behind_symmetric_nats(world: &World, port_mapping: PortMapping) -> Result<(Person, Person)> {
    let alices: KernelRouter = router_of(world, "a", Router { port_mapping, ..Router::corporate() })?;
    let alice = world.alice(&alices.host("alice")?)?;
    let bob = world.bob(&router_of(world, "b", Router::corporate())?.host("bob")?)?;
    world.acquaint(&alice, &bob)?;
    Ok((alice, bob))
}

/// The port that the router gave.
#[track_caller]
fn mapped(running: &mut Running) -> Value {
    let said = running.expect_that("a port of the router's", SOON, |event| {
        event["event"] == "port_mapping" && event["port_mapping"].is_object()
    });
    said.event["port_mapping"].clone()
}

/// How long after the registration the port was there.
fn took(alices: &mut Running) -> Option<Duration> {
    let said = alices.said();
    let at = |kind: &str| said.iter().find(|said| said.event["event"] == kind).map(|said| said.at);
    Some(at("port_mapping")?.saturating_duration_since(at("registered")?))
}

/// Where Alice's client listens.
fn alices_socket(alices: &mut Running) -> Result<SocketAddr> {
    let registered =
        alices.said().iter().find(|said| said.event["event"] == "registered").map(|said| said.event.clone());
    let registered = registered.context("registered")?;
    Ok(registered["local"][0].as_str().context("an address")?.parse()?)
}

/// Does what a stranger sends to the router's port come to where the client was?
fn stranger_reaches(world: &World, host: &Host, own: SocketAddr, external: SocketAddr) -> Result<bool> {
    let inside = host.udp(own.port())?;
    let stranger = world.net().public_host(&format!("stranger-{}", external.port()))?;
    inside.set_read_timeout(Some(Duration::from_millis(500)))?;
    stranger.udp(0)?.send_to(b"is anybody there?", external)?;
    Ok(inside.recv_from(&mut [0; 64]).is_ok())
}
