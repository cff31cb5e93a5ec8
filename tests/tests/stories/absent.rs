//! What is written to somebody who is away.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Person, World};
use netsim::netns::{Host, Signal, in_namespaces};

use serde_json::Value;

use crate::{SOON, in_two_homes};

/// Both were there once: the rendezvous keeps mail only from those whom the recipient has said that it wants.
pub(crate) fn who_were_here(world: &World) -> Result<(Person<Host>, Person<Host>)> {
    let (alice, bob) = in_two_homes(world)?;
    for person in [&alice, &bob] {
        let mut online = person.run()?;
        online.expect("registered", SOON);
        online.signal(Signal::SIGINT);
        assert_eq!(online.exit_code(SOON), 0);
    }
    Ok((alice, bob))
}

/// Says something, and what became of it.
pub(crate) fn write(from: &Person<Host>, to: &Person<Host>, text: &str) -> Result<(i32, Value)> {
    let mut msg = from.start(&["msg", to.name(), text])?;
    let code = msg.exit_code(SOON);
    let sent = msg.said().iter().find(|said| said.event["event"] == "sent").map(|said| said.event.clone());
    Ok((code, sent.unwrap_or_default()))
}

pub(crate) fn states(of: &Person<Host>, with: &Person<Host>) -> Result<Vec<(String, String)>> {
    let mut history = of.start(&["history", with.name(), "--all"])?;
    assert_eq!(history.exit_code(SOON), 0, "{}", history.transcript());
    let word = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    Ok(history.said().iter().map(|said| (word(&said.event, "text"), word(&said.event, "state"))).collect())
}

pub(crate) fn pair(text: &str, state: &str) -> (String, String) {
    (text.to_owned(), state.to_owned())
}

#[test]
fn what_is_written_to_somebody_away_is_there_within_a_second_of_their_coming_though_the_writer_has_gone() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let (alice, bob) = who_were_here(&world)?;
        let (code, sent) = write(&alice, &bob, "see you at noon")?;
        assert_eq!((code, &sent["state"]), (0, &"server".into()), "{sent}");
        assert_eq!(states(&alice, &bob)?, [pair("see you at noon", "server")]);
        // What is said to be stored outlives a power cut.
        world.kill_rendezvous();
        world.start_rendezvous()?;

        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let registered = Instant::now();
        assert_eq!(bobs.expect_message(SOON)["text"], "see you at noon");
        println!("the message was there {:?} after registering", registered.elapsed());
        assert!(registered.elapsed() < Duration::from_secs(1), "{:?}", registered.elapsed());
        bobs.signal(Signal::SIGINT);
        assert_eq!(bobs.exit_code(SOON), 0);

        // And she learns that he has it, while he is away in his turn.
        let mut alices = alice.run()?;
        assert_eq!(alices.expect("receipt", SOON).event["state"], "device");
        assert_eq!(states(&alice, &bob)?, [pair("see you at noon", "device")]);
        Ok(())
    });
}

#[test]
fn it_is_said_that_a_message_was_read_only_when_somebody_looks_at_it() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut alices = alice.chat(&bob)?;
        alices.say("did you see this?");
        assert_eq!(alices.expect("receipt", SOON).event["state"], "device");
        assert_eq!(states(&alice, &bob)?, [pair("did you see this?", "device")]);
        // Looking at the history is reading, and the client that is online says so.
        assert_eq!(states(&bob, &alice)?, [pair("did you see this?", "device")]);
        alices.expect_that("that it was read", SOON, |event| event["event"] == "receipt" && event["state"] == "read");
        assert_eq!(states(&alice, &bob)?, [pair("did you see this?", "read")]);
        drop(bobs);
        Ok(())
    });
}

#[test]
fn what_was_taken_back_before_anybody_was_there_is_never_shown() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        // He was never here, so nobody keeps anything for him.
        let (code, sent) = write(&alice, &bob, "a slip of the tongue")?;
        assert_eq!((code, &sent["state"]), (3, &"queued".into()), "{sent}");
        let id = sent["id"].as_str().unwrap_or_default().to_owned();
        let mut cancel = alice.start(&["outbox", "cancel", &id])?;
        assert_eq!(cancel.exit_code(SOON), 0, "{}", cancel.transcript());
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut alices = alice.chat(&bob)?;
        alices.say("good morning");
        assert_eq!(bobs.expect_message(SOON)["text"], "good morning");
        assert_eq!(alices.expect("receipt", SOON).event["state"], "device");
        assert_eq!(states(&bob, &alice)?, [pair("good morning", "device")], "and nothing is said to be missing");
        assert_eq!(states(&alice, &bob)?[0], pair("a slip of the tongue", "cancelled"));
        Ok(())
    });
}
