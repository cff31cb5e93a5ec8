//! When something is wrong, it is said what, and nothing is lost.

use e2e::{World, router_of};
use netsim::netns::{Router, Signal, in_namespaces};

use crate::{SOON, in_public, say_both, talk};

#[test]
fn without_a_network_the_client_says_what_it_tried() {
    in_namespaces(|| {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        alice.host().link_down()?;
        let mut alices = alice.run()?;
        let reason = alices.expect("rendezvous_lost", SOON).event["reason"].to_string();
        assert!(reason.contains(&format!("{}:3478", world.server().address())), "{reason}");
        // Whoever plugs the cable back in need not start anything again.
        alice.host().link_up()?;
        alices.expect("registered", SOON);
        Ok(())
    });
}

#[test]
fn an_unreachable_rendezvous_ends_a_ping_in_time_with_what_was_tried() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let (alice, _bob) = in_public(&world)?;
        world.kill_rendezvous();
        let mut ping = alice.start(&["ping", "bob", "--timeout", "4"])?;
        assert_eq!(ping.exit_code(SOON), 4);
        let transcript = ping.transcript();
        assert!(transcript.contains(&format!("{}:3478", world.server().address())), "{transcript}");
        Ok(())
    });
}

#[test]
fn a_chat_without_a_rendezvous_waits_and_does_not_spin() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        world.kill_rendezvous();
        let mut alices = alice.chat(&bob)?;
        let lost = alices.expect("rendezvous_lost", SOON);
        let (waited, worked) = (lost.at - alices.started, alices.processor_time());
        assert!(worked < waited / 4, "{worked:?} of work in {waited:?} of waiting");
        Ok(())
    });
}

#[test]
fn a_second_process_on_one_data_folder_is_told_who_holds_it() {
    in_namespaces(|| {
        let world = World::new()?;
        let alice = world.alice(&world.net().public_host("alice")?)?;
        let mut first = alice.run()?;
        first.expect("registered", SOON);
        let mut second = alice.run()?;
        let error = second.expect("error", SOON).event["message"].to_string();
        assert!(error.contains(&first.id().to_string()), "{error}");
        assert_ne!(second.exit_code(SOON), 0);
        first.signal(Signal::SIGTERM);
        assert_eq!(first.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn a_router_that_forgets_its_mappings_costs_a_moment_and_no_message() {
    in_namespaces(|| {
        let world = World::new()?;
        let home = router_of(&world, "a", Router::home())?;
        let alice = world.alice(&home.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        let (mut alices, mut bobs) = talk(&alice, &bob)?;
        home.forget_mappings()?;
        say_both(&mut alices, &mut bobs);
        Ok(())
    });
}

#[test]
fn a_laptop_that_moves_to_another_network_loses_no_message() {
    in_namespaces(|| {
        let world = World::new()?;
        let (home, cafe) = (router_of(&world, "a", Router::home())?, router_of(&world, "cafe", Router::home())?);
        let alice = world.alice(&home.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        world.acquaint(&alice, &bob)?;
        let (mut alices, mut bobs) = talk(&alice, &bob)?;
        alice.host().move_behind(&cafe)?;
        alices.say("Now from the cafe.");
        bobs.say("I am where I was.");
        let moved = alices.expect("network_changed", SOON).at;
        // The relay knows Alice's new address as soon as she has registered from there; a direct path follows.
        assert_eq!(bobs.expect_message(SOON)["text"], "Now from the cafe.");
        assert_eq!(alices.expect_message(SOON)["text"], "I am where I was.");
        say_both(&mut alices, &mut bobs);
        assert_eq!(alices.count("lost") + bobs.count("lost"), 0, "{}", alices.transcript());
        let punched = alices.said().iter().rfind(|said| said.event["event"] == "punched");
        assert!(punched.is_some_and(|punched| punched.at > moved), "{}", alices.transcript());
        Ok(())
    });
}

#[test]
fn what_was_typed_while_the_peer_was_away_is_reported_as_not_delivered() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let mut alices = alice.chat(&bob)?;
        alices.expect("registered", SOON);
        alices.say("Into the void.");
        alices.expect("refused", SOON);
        alices.end_of_input();
        assert_eq!(alices.exit_code(SOON * 3), 3, "{}", alices.transcript());
        Ok(())
    });
}
