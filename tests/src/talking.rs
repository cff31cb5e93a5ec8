//! How most stories begin, and what two people say to each other.

use std::time::Duration;

use anyhow::Result;
use netsim::netns::Router;

use crate::{Person, Running, World, router_of};

/// What a person would call "at once", on a machine that is busy with other stories.
pub const SOON: Duration = Duration::from_secs(10);

/// Alice and Bob, who know each other, each behind a home router.
pub fn in_two_homes(world: &World) -> Result<(Person, Person)> {
    let alice = world.alice(&router_of(world, "a", Router::home())?.host("alice")?)?;
    let bob = world.bob(&router_of(world, "b", Router::home())?.host("bob")?)?;
    world.acquaint(&alice, &bob)?;
    Ok((alice, bob))
}

/// Alice and Bob, who know each other, each at a public address.
pub fn in_public(world: &World) -> Result<(Person, Person)> {
    let alice = world.alice(&world.net().public_host("alice")?)?;
    let bob = world.bob(&world.net().public_host("bob")?)?;
    world.acquaint(&alice, &bob)?;
    Ok((alice, bob))
}

/// Bob opens his chat, then Alice hers; both see a direct path, and a line of each reaches the other.
pub fn talk(alice: &Person, bob: &Person) -> Result<(Running, Running)> {
    let mut bobs = bob.chat(alice)?;
    bobs.expect("registered", SOON);
    let mut alices = alice.chat(bob)?;
    exchange(&mut alices, &mut bobs);
    Ok((alices, bobs))
}

/// Both see a direct path, and a line of each reaches the other and is acknowledged.
#[track_caller]
pub fn exchange(alices: &mut Running, bobs: &mut Running) {
    for side in [&mut *alices, &mut *bobs] {
        side.expect_direct(SOON);
    }
    say_both(alices, bobs);
}

/// A line of each reaches the other and is acknowledged.
#[track_caller]
pub fn say_both(alices: &mut Running, bobs: &mut Running) {
    say(alices, bobs, "Is this line direct?");
    say(bobs, alices, "As direct as it gets.");
}

/// A line reaches the other and is acknowledged.
#[track_caller]
pub fn say(from: &mut Running, to: &mut Running, line: &str) {
    from.say(line);
    let message = to.expect_message(SOON);
    let receipt = from.expect("receipt", SOON).event;
    let both = (&message["text"], &receipt["state"]);
    assert_eq!(both, (&line.into(), &"device".into()), "{}{}", from.transcript(), to.transcript());
}
