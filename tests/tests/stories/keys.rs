//! Whoever shows the wrong key gets nothing, and is named.

use std::fs::File;
use std::process::{Command, Stdio};

use common::identity::{Identity, PeerId};
use e2e::{Person, Running, World, numbered};
use netsim::netns::in_namespaces;

use crate::{SOON, in_public};

#[test]
fn a_rendezvous_with_another_key_than_the_links_is_refused_and_named() {
    in_namespaces(|| {
        let world = World::new()?;
        let (address, real) = world.join_link().split_once('#').ok_or("a link has a key")?;
        let forged = format!("{address}#{}", Identity::from_seed(&[9; 32]).peer_id());
        let (alice, _bob) = in_public(&world)?;
        alice.command(&["join", &forged])?;
        for command in [["run"].as_slice(), &["chat", "bob"], &["ping", "bob"]] {
            let mut alices = alice.start(command)?;
            let error = alices.expect("error", SOON).event;
            assert!(error["message"].as_str().unwrap_or_default().contains(real), "whose key was seen: {error}");
            assert_eq!(alices.exit_code(SOON), 5, "{command:?}");
        }
        Ok(())
    });
}

#[test]
fn a_dialler_refuses_a_peer_with_another_key_and_names_it() {
    in_namespaces(|| refuses_the_impostor(|alice, bob| alice < bob));
}

#[test]
fn an_acceptor_refuses_a_peer_with_another_key_and_names_it() {
    in_namespaces(|| refuses_the_impostor(|alice, bob| alice > bob));
}

/// Alice wants Bob, whose identity an impostor uses, without his key.
fn refuses_the_impostor(roles: impl Fn(PeerId, PeerId) -> bool) -> netsim::netns::Story {
    let world = World::new()?;
    let alice = world.alice(&world.net().public_host("alice")?)?;
    let alices_id: PeerId = alice.id.parse()?;
    // Her key is drawn at random, so it takes a few to find one on the right side of it, and sometimes many.
    let (seed, bob) = (10..=u32::MAX)
        .map(|seed| (seed, numbered(seed).peer_id()))
        .find(|(_, bob)| roles(alices_id, *bob))
        .ok_or("of all keys one is on either side of hers")?;
    let mallory = numbered(3).peer_id();
    alice.command(&["add", &bob.to_string(), "--name", "bob"])?;
    let _impostor = impostor(&world, &alice, seed)?;
    let mut alices = alice.chat_with("bob")?;
    alices.say("For Bob alone.");
    let error = alices.expect("error", SOON * 2).event;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(&mallory.to_string()) && message.contains(&bob.to_string()), "{message}");
    assert_eq!(alices.exit_code(SOON), 5);
    assert_eq!(alices.count("path"), 0, "no session ever stood");
    Ok(())
}

fn impostor(world: &World, alice: &Person, seed: u32) -> anyhow::Result<Running> {
    let log = world.folder().join("impostor.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_impostor"));
    command.args([world.join_link(), &seed.to_string(), "3", &alice.id]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    Running::spawn("impostor", &world.net().public_host("impostor")?, command, log)
}
