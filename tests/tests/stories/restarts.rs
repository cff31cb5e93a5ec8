//! What stays when something goes.

use std::time::{Duration, Instant};

use e2e::talking::say;
use e2e::{Running, World, router_of};
use netsim::netns::{Router, in_namespaces};
use serde_json::Value;

use crate::{SOON, exchange, in_two_homes, say_both, talk};

#[test]
fn a_direct_chat_goes_on_while_the_rendezvous_is_killed_and_both_register_again_within_five_seconds() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let (mut alices, mut bobs) = talk(&alice, &bob)?;
        let paths = (alices.count("path"), bobs.count("path"));
        world.kill_rendezvous();
        say_both(&mut alices, &mut bobs);
        world.start_rendezvous()?;
        let back = Instant::now();
        for side in [&mut alices, &mut bobs] {
            side.expect("registered", Duration::from_secs(5).saturating_sub(back.elapsed()));
        }
        say_both(&mut alices, &mut bobs);
        assert_eq!((alices.count("path"), bobs.count("path")), paths, "the path of before");
        assert_eq!((alices.count("lost"), bobs.count("lost")), (0, 0), "nobody noticed");
        Ok(())
    });
}

#[test]
fn clients_that_were_there_before_the_rendezvous_register_when_it_comes() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let alice = world.alice(&router_of(&world, "a", Router::home())?.host("alice")?)?;
        world.kill_rendezvous();
        let mut alices = alice.run()?;
        alices.expect("rendezvous_lost", SOON);
        world.start_rendezvous()?;
        alices.expect("registered", Duration::from_secs(5));
        Ok(())
    });
}

#[test]
fn a_client_that_was_killed_and_restarted_is_reachable_again() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let (mut alices, bobs) = talk(&alice, &bob)?;
        bobs.kill();
        // She does not know yet. What she says now is not lost.
        alices.say("Are you still there?");
        let mut bobs = bob.chat(&alice)?;
        assert_eq!(bobs.expect_message(SOON)["text"], "Are you still there?");
        alices.expect("receipt", SOON);
        say_both(&mut alices, &mut bobs);
        assert_eq!(heard(&mut bobs, "Are you still there?"), 1, "a message is shown once");
        Ok(())
    });
}

#[test]
fn who_was_killed_is_reached_again_through_the_relay_whoever_dials() {
    in_namespaces(|| {
        let world = World::new()?;
        // Random ports on both sides: nothing but the relay carries.
        let alice = world.alice(&router_of(&world, "a", Router::corporate())?.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::corporate())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        for (one, other) in [(&alice, &bob), (&bob, &alice)] {
            let mut theirs = other.run()?;
            theirs.expect("registered", SOON);
            let mut ours = one.chat(other)?;
            ours.expect_that("the relay", SOON, |event| event["event"] == "path" && event["kind"] == "relayed");
            say(&mut ours, &mut theirs, "Before.");
            theirs.kill();
            // One dials, the other waits to be dialled; neither knows that its connection is dead.
            let mut theirs = other.run()?;
            theirs.expect("registered", SOON);
            say(&mut ours, &mut theirs, "After.");
        }
        Ok(())
    });
}

#[test]
fn a_client_that_stops_says_so_and_is_found_again_when_it_is_back() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let (mut alices, mut bobs) = talk(&alice, &bob)?;
        bobs.end_of_input();
        assert_eq!(bobs.exit_code(SOON), 0);
        assert_eq!(alices.expect("lost", SOON).event["by_peer"], true);
        // Bob merely stays online; it is Alice who wants to talk, and keeps trying.
        let mut bobs = bob.run()?;
        alices.expect_direct(SOON);
        alices.say("Welcome back.");
        assert_eq!(bobs.expect_message(SOON)["text"], "Welcome back.");
        Ok(())
    });
}

#[test]
fn two_chats_fed_by_scripts_end_together_and_nothing_is_missing() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let said: Vec<String> = (0..8).map(|round| format!("line {round}")).collect();
        let (mut alice_saw, mut bob_saw) = (Vec::new(), Vec::new());
        for line in &said {
            let (mut alices, mut bobs) = (alice.chat(&bob)?, bob.chat(&alice)?);
            for side in [&mut alices, &mut bobs] {
                side.say(line);
                side.end_of_input();
            }
            let codes = (alices.exit_code(SOON * 2), bobs.exit_code(SOON * 2));
            assert_eq!(codes, (0, 0), "{line}\n{}{}", alices.transcript(), bobs.transcript());
            alice_saw.extend(shown(&mut alices));
            bob_saw.extend(shown(&mut bobs));
        }
        // Each ended as soon as it had its own receipts. The other's line may have come in the moment in which its node said
        // goodbye, or have gone by mail: then the next chat begins with it.
        for (me, peer, saw) in [(&alice, &bob, &mut alice_saw), (&bob, &alice, &mut bob_saw)] {
            let mut last = me.chat(peer)?;
            if saw.len() < said.len() {
                last.expect_that("the last line", SOON, |event| {
                    event["dir"] == "in" && event["text"] == said[7].as_str()
                });
            }
            last.end_of_input();
            assert_eq!(last.exit_code(SOON), 0, "{}", last.transcript());
            saw.extend(shown(&mut last));
        }
        assert_eq!((&alice_saw, &bob_saw), (&said, &said), "each line once, in order");
        Ok(())
    });
}

#[test]
fn two_who_open_their_chats_at_the_same_instant_meet_all_the_same() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let (mut alices, mut bobs) = (alice.chat(&bob)?, bob.chat(&alice)?);
        exchange(&mut alices, &mut bobs);
        Ok(())
    });
}

fn heard(side: &mut Running, text: &str) -> usize {
    shown(side).filter(|shown| shown == text).count()
}

/// What the peer said, as this chat has shown it: at its beginning what was not read yet, and then what came.
fn shown(side: &mut Running) -> impl Iterator<Item = String> + use<'_> {
    let incoming = |event: &Value| matches!(event["event"].as_str(), Some("kept" | "message")) && event["dir"] == "in";
    let shown = side.said().iter().filter(move |said| incoming(&said.event));
    shown.filter_map(|said| Some(said.event["text"].as_str()?.to_owned()))
}
