//! Who meets whom: the pairs of networks that the plain and the peer-reflexive strategy get through.

use e2e::{World, router_of};
use netsim::netns::{Router, in_namespaces};

use crate::{SOON, in_two_homes, talk};

#[test]
fn two_homes_talk_directly() {
    in_namespaces(|| {
        let world = World::new()?;
        let (home_a, home_b) = (router_of(&world, "a", Router::home())?, router_of(&world, "b", Router::home())?);
        let (alice, bob) = (world.alice(&home_a.host("alice")?)?, world.bob(&home_b.host("bob")?)?);
        world.acquaint(&alice, &bob)?;
        let (mut alices, mut bobs) = talk(&alice, &bob)?;
        let remote = |said: &[e2e::Said]| {
            let path = said.iter().find(|said| is_direct(&said.event)).map(|said| said.event["remote"].clone());
            path.and_then(|remote| Some(remote.as_str()?.split(':').next()?.to_owned()))
        };
        assert_eq!(remote(alices.said()), Some(home_b.wan_address().to_string()), "through Bob's router");
        assert_eq!(remote(bobs.said()), Some(home_a.wan_address().to_string()), "through Alice's router");
        alices.end_of_input();
        assert_eq!(alices.exit_code(SOON), 0);
        bobs.end_of_input();
        assert_eq!(bobs.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn two_behind_one_router_without_loopback_talk_over_their_lan() {
    in_namespaces(|| {
        let world = World::new()?;
        let home = router_of(&world, "home", Router::home())?;
        let (alice, bob) = (world.alice(&home.host("alice")?)?, world.bob(&home.host("bob")?)?);
        world.acquaint(&alice, &bob)?;
        let (mut alices, _bobs) = talk(&alice, &bob)?;
        let path = alices.said().iter().find(|said| is_direct(&said.event)).map(|said| said.event.clone());
        let remote = path.unwrap_or_default()["remote"].as_str().unwrap_or_default().to_owned();
        assert!(remote.starts_with(&format!("{}:", bob.host().address())), "{remote} is not Bob's LAN address");
        Ok(())
    });
}

#[test]
fn two_homes_with_the_same_lan_prefix_talk_directly() {
    in_namespaces(|| {
        let world = World::new()?;
        let lan = Some("192.168.1.0/24".parse()?);
        let home_a = router_of(&world, "a", Router { lan, ..Router::home() })?;
        let home_b = router_of(&world, "b", Router { lan, ..Router::home() })?;
        // Somebody else in Alice's home has the address that Bob has in his.
        let (alice, neighbour) = (world.alice(&home_a.host("alice")?)?, home_a.host("neighbour")?);
        let bob = world.bob(&home_b.host_at("bob", neighbour.address())?)?;
        assert_eq!(neighbour.address(), bob.host().address());
        world.acquaint(&alice, &bob)?;
        talk(&alice, &bob)?;
        Ok(())
    });
}

#[test]
fn a_public_host_and_a_home_talk_directly_whoever_begins() {
    in_namespaces(|| {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        drop(talk(&alice, &bob)?);
        drop(talk(&bob, &alice)?);
        Ok(())
    });
}

#[test]
fn a_public_host_and_a_symmetric_nat_talk_by_the_peer_reflexive_address() {
    in_namespaces(|| {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::corporate())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        talk(&alice, &bob)?;
        Ok(())
    });
}

#[test]
fn somebody_without_a_contact_in_common_learns_nothing() {
    in_namespaces(|| {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let bob = world.bob(&world.net().public_host("bob")?)?;
        // Alice knows Bob's link, he does not know her.
        alice.add(&bob)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut alices = alice.start(&["ping", "bob", "-c", "2"])?;
        alices.expect("refused", SOON);
        assert_eq!(alices.exit_code(SOON * 2), 4);
        assert_eq!((alices.count("introduced"), bobs.count("introduced")), (0, 0));
        // Exactly what she would have heard, had he been offline.
        drop(bobs);
        let mut offline = alice.start(&["ping", "bob", "-c", "2"])?;
        offline.expect("refused", SOON);
        assert_eq!(offline.exit_code(SOON * 2), 4);
        Ok(())
    });
}

#[test]
fn a_ping_stops_at_the_first_direct_reply() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut ping = alice.start(&["ping", "bob"])?;
        // There may be one through the relay before.
        let direct = ping.expect_that("a direct reply", SOON, |e| e["event"] == "ping" && e["route"] == "direct").event;
        assert!(direct["seq"].as_u64().is_some_and(|seq| seq <= 2), "{direct}");
        let summary = ping.expect("summary", SOON).event;
        assert_eq!(summary["route"], "direct");
        assert!(summary["direct_ms"].as_f64() <= direct["since_start_ms"].as_f64(), "{summary} after {direct}");
        assert_eq!(ping.exit_code(SOON), 0);
        Ok(())
    });
}

fn is_direct(event: &serde_json::Value) -> bool {
    event["event"] == "path" && event["kind"] == "direct"
}
