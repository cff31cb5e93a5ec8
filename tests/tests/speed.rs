//! The line between two people is measured, and nobody but the two pays for it.
//!
//! A program of its own: a line that is full keeps every processor busy, and the other stories have their times.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::talking::{SOON, in_public, say};
use e2e::{Computer, Person, Running, Town, World};
use netsim::model::presets;
use netsim::netns::{Signal, in_namespaces};

/// Both ways of the shortest run, its probes, and what a busy machine takes.
const A_RUN: Duration = Duration::from_secs(20);

/// Asks for the line to Bob.
fn speed(alice: &Person, seconds: &str) -> Result<Running> {
    alice.start(&["speed", "bob", "--seconds", seconds])
}

/// Bob is online.
fn online<C: Computer>(bob: &Person<C>) -> Result<Running> {
    let mut bobs = bob.run()?;
    bobs.expect("registered", SOON);
    Ok(bobs)
}

/// How it ended, and the words.
#[track_caller]
fn refused(running: &mut Running, code: i64, words: &str) {
    let error = running.expect("error", A_RUN).event;
    assert_eq!(error["code"], code, "{}", running.transcript());
    let said = error["message"].as_str().unwrap_or_default();
    assert!(said.contains(words), "{said}");
    assert_eq!(i64::from(running.exit_code(SOON)), code);
}

#[test]
fn the_line_to_somebody_who_is_online_is_measured_both_ways() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let _bobs = online(&bob)?;
        let mut alices = speed(&alice, "0.5")?;
        let measured = alices.expect("speed", A_RUN).event;
        assert_eq!((&measured["peer"], &measured["route"]), (&bob.id.as_str().into(), &"direct".into()));
        // A debug build in namespaces carries a hundred and more.
        for rate in ["up_mbps", "down_mbps"] {
            assert!(measured[rate].as_f64().is_some_and(|mbps| mbps > 1.0), "{rate} of {measured}");
        }
        for rtt in ["idle_rtt_ms", "loaded_rtt_ms"] {
            assert!(measured[rtt].as_f64().is_some_and(|ms| ms > 0.0), "{rtt} of {measured}");
        }
        assert_eq!(alices.exit_code(SOON), 0);
        assert_eq!(alices.log(), "", "a picture is for a terminal");
        Ok(())
    });
}

#[test]
fn messages_arrive_at_once_while_the_line_is_full() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let mut bobs = bob.chat(&alice)?;
        bobs.expect("registered", SOON);
        let mut alices = speed(&alice, "3")?;
        bobs.expect_direct(SOON);
        let (begun, mut worst) = (Instant::now(), Duration::ZERO);
        // A second of it is idle, three are up, and three down; when it is over Alice is gone.
        while begun.elapsed() < Duration::from_secs(5) {
            let said = Instant::now();
            say(&mut bobs, &mut alices, "Does this wait?");
            worst = worst.max(said.elapsed());
        }
        // Behind the bytes of one direction it would have waited for seconds.
        assert!(worst < Duration::from_secs(1), "{worst:?}\n{}{}", alices.transcript(), bobs.transcript());
        alices.expect("speed", A_RUN);
        assert_eq!(alices.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn nothing_is_measured_at_the_expense_of_the_relay() {
    in_namespaces(|| {
        let town = Town::new(1, [presets::corporate(), presets::corporate()], 0.0)?;
        let _bobs = online(&town.bob)?;
        let mut alices = town.alice.start(&["speed", "bob", "--timeout", "4"])?;
        refused(&mut alices, 4, "only through the relay");
        assert_eq!(alices.count("speed"), 0);
        Ok(())
    });
}

#[test]
fn whoever_is_interrupted_leaves_nothing_running_on_either_side() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let mut bobs = online(&bob)?;
        let mut alices = speed(&alice, "20")?;
        wait_for_bytes(&bobs);
        alices.signal(Signal::SIGINT);
        refused(&mut alices, 1, "stopped before");
        bobs.expect_that("her goodbye", SOON, |e| e["event"] == "lost" && e["by_peer"] == true);
        // The place is free again, and so is Bob.
        let mut again = speed(&alice, "20")?;
        wait_for_bytes(&bobs);
        bobs.signal(Signal::SIGINT);
        assert_eq!(bobs.exit_code(SOON), 0);
        refused(&mut again, 3, "stopped during the measurement");
        Ok(())
    });
}

/// Bytes flow when Bob works hard: idle, he does next to nothing.
#[track_caller]
fn wait_for_bytes(bobs: &Running) {
    let (begun, before) = (Instant::now(), bobs.processor_time());
    while bobs.processor_time() < before + Duration::from_millis(300) {
        assert!(begun.elapsed() < A_RUN, "no bytes flow");
        std::thread::yield_now();
    }
}

#[test]
fn a_third_who_measures_at_once_is_told_to_wait() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let [carol, dave] = ["carol", "dave"].map(|name| world.person(name, &world.net().public_host(name)?));
        let (carol, dave) = (carol?, dave?);
        let mut bobs = online(&bob)?;
        for other in [&carol, &dave] {
            world.acquaint(other, &bob)?;
        }
        let mut running = Vec::new();
        for person in [&alice, &carol] {
            let one = speed(person, "10")?;
            bobs.expect_direct(SOON);
            wait_for_bytes(&bobs);
            running.push(one);
        }
        let mut third = speed(&dave, "1")?;
        refused(&mut third, 1, "measuring with somebody already");
        for one in &mut running {
            one.signal(Signal::SIGINT);
            refused(one, 1, "stopped before");
        }
        Ok(())
    });
}

#[test]
fn somebody_who_is_not_there_or_no_contact_is_named() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, _bob) = in_public(&world)?;
        refused(&mut alice.start(&["speed", "zoe"])?, 2, "no contact called zoe");
        refused(&mut alice.start(&["speed", "bob", "--timeout", "2"])?, 3, "bob is offline");
        refused(&mut alice.start(&["speed", "bob", "--seconds", "26"])?, 2, "from 0.01 to 25");
        Ok(())
    });
}
