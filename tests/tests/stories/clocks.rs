//! A computer whose clock is wrong.

use anyhow::Result;
use e2e::World;
use netsim::netns::{Signal, in_namespaces};

use crate::absent::{states, write};
use crate::{SOON, exchange, in_two_homes, say_both};

/// They talk; they write to each other while the other is away; the clock is put right, and all is there.
fn a_life_with_a_wrong_clock(offset: &'static str) -> Result<()> {
    let world = World::new()?;
    let (alice, bob) = in_two_homes(&world)?;
    let alice = alice.whose_clock_is_off(Some(offset));

    // She is told, once, that her clock or the server's is wrong: which, only a person can know.
    let mut bobs = bob.chat(&alice)?;
    bobs.expect("registered", SOON);
    let mut alices = alice.chat(&bob)?;
    let told = alices.expect("clock", SOON).event;
    let year = |name: &str| told[name].as_str().unwrap_or_default()[..4].parse::<i32>();
    let ahead = if offset.starts_with('+') { 1 } else { -1 };
    assert_eq!(year("ours")? - year("server")?, ahead, "{told}");
    exchange(&mut alices, &mut bobs);
    say_both(&mut alices, &mut bobs);
    assert_eq!((alices.count("clock"), bobs.count("clock")), (1, 0));
    for mut chat in [alices, bobs] {
        chat.signal(Signal::SIGINT);
        chat.exit_code(SOON);
    }

    // Each writes while the other is away.
    let (code, sent) = write(&bob, &alice, "Your clock is wrong.")?;
    assert_eq!((code, &sent["state"]), (0, &"server".into()), "{sent}");
    let (code, sent) = write(&alice, &bob, "So I have heard.")?;
    assert_eq!((code, &sent["state"]), (0, &"server".into()), "{sent}");
    let mut bobs = bob.run()?;
    assert_eq!(bobs.expect_message(SOON)["text"], "So I have heard.");
    bobs.signal(Signal::SIGINT);
    assert_eq!(bobs.exit_code(SOON), 0);

    // She sets it.
    let alice = alice.whose_clock_is_off(None);
    let mut alices = alice.run()?;
    alices.expect("receipt", SOON);
    let mut bobs = bob.chat(&alice)?;
    bobs.say("Better?");
    let last = bobs.expect("message", SOON).event["id"].clone();
    bobs.expect_that("the last receipt", SOON, |event| event["state"] == "device" && event["id"] == last);
    assert_eq!(alices.count("clock"), 0, "{}", alices.transcript());
    // Each in the order of their own device: who wrote while the other's words were on their way wrote first.
    let (his, hers) = ("Your clock is wrong.", "So I have heard.");
    for (person, other, away) in [(&alice, &bob, [hers, his]), (&bob, &alice, [his, hers])] {
        let seen = states(person, other)?;
        let texts: Vec<&str> = seen.iter().map(|(text, _)| text.as_str()).collect();
        let talk = ["Is this line direct?", "As direct as it gets."];
        assert_eq!(texts, [&talk[..], &talk, &away, &["Better?"]].concat());
        assert!(seen.iter().all(|(_, state)| state == "device" || state == "read"), "{seen:?}");
    }
    Ok(())
}

#[test]
fn a_clock_a_year_ahead_is_named_and_costs_nothing() {
    in_namespaces(|| Ok(a_life_with_a_wrong_clock("+365d")?));
}

#[test]
fn a_clock_a_year_behind_is_named_and_costs_nothing() {
    in_namespaces(|| Ok(a_life_with_a_wrong_clock("-365d")?));
}
