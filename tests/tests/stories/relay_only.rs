//! `--relay-only`: every packet of whoever does not want to show an address goes to the rendezvous or comes from there.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Ear, Packet, Person, Running, World, router_of, start_rendezvous_with};
use netsim::netns::{Host, Network, PortMapping, Router, in_namespaces};

use crate::{SOON, exchange, say_both};

const ICMP: u8 = 1;
/// Long enough for a second attempt at punching, if there were one: the first pause is two seconds.
const A_WHILE: Duration = Duration::from_secs(4);

/// A router that would give ports to whoever asks.
fn generous_home() -> Router {
    let port_mapping = PortMapping { pcp: true, nat_pmp: true, upnp: true };
    Router { port_mapping, ..Router::home() }
}

/// Alice and Bob, who know each other, each behind a router; and the address of Alice's.
fn at_home(world: &World) -> Result<(Person, Person, IpAddr)> {
    let home = router_of(world, "a", generous_home())?;
    let alice = world.alice(&home.host("alice")?)?;
    let bob = world.bob(&router_of(world, "b", generous_home())?.host("bob")?)?;
    world.acquaint(&alice, &bob)?;
    Ok((alice, bob, home.wan_address().into()))
}

/// All of it is between this host and the rendezvous.
fn ensure_only_with(server: IpAddr, host: &Host, heard: &[Packet]) -> Result<()> {
    let own: IpAddr = host.address().into();
    // The router tells its LAN that it gives ports, asked or not.
    let announced = |packet: &Packet| packet.source != own && packet.destination.is_multicast();
    let fits = |packet: &&Packet| {
        [(own, server), (server, own)].contains(&(packet.source, packet.destination)) || announced(packet)
    };
    let others: Vec<String> = heard.iter().filter(|packet| !fits(packet)).map(Packet::to_string).collect();
    ensure!(others.is_empty(), "{} of {} packets: {}", others.len(), heard.len(), others.join(", "));
    ensure!(heard.len() > 10, "only {} packets were heard at all", heard.len());
    Ok(())
}

#[track_caller]
fn expect_no_path(running: &mut Running, because: &str) {
    let event = running.expect("no_path", SOON).event;
    let said = event["because"].as_str().unwrap_or_default();
    assert!(said.contains(because), "{event}");
    assert_eq!((&event["tried"], &event["strategies"]), (&serde_json::json!([]), &serde_json::json!([])), "{event}");
}

/// Both say a line, through the relay; and stay for a while.
fn talk_relayed(alices: &mut Running, bobs: &mut Running) {
    say_both(alices, bobs);
    let deadline = std::time::Instant::now() + A_WHILE;
    while let Some(left) = deadline.checked_duration_since(std::time::Instant::now()) {
        let _ = alices.next_line(left);
    }
    for side in [&mut *alices, &mut *bobs] {
        let direct = side.said().iter().find(|said| {
            ["punched", "direct"].iter().any(|word| said.event["event"] == *word || said.event["kind"] == *word)
        });
        assert!(direct.is_none(), "{direct:?}");
        assert_eq!(side.count("no_path"), 1, "told once");
        assert_eq!(side.count("introduced"), 1, "nobody asks again");
    }
}

fn leave(mut running: Running) {
    running.end_of_input();
    assert_eq!(running.exit_code(SOON), 0);
}

#[test]
fn who_shows_no_address_talks_with_one_at_home_and_all_goes_to_the_rendezvous() {
    in_namespaces(|| {
        for asks in [true, false] {
            let world = World::new()?;
            let (alice, bob, home) = at_home(&world)?;
            let (alices_ear, bobs_ear) = (Ear::at(alice.host())?, Ear::at(bob.host())?);
            let start_alice = || alice.start(&["chat", "bob", "--relay-only"]);
            let (mut alices, mut bobs) = if asks {
                let mut bobs = bob.chat(&alice)?;
                bobs.expect("registered", SOON);
                (start_alice()?, bobs)
            } else {
                let mut alices = start_alice()?;
                alices.expect("registered", SOON);
                let bobs = bob.chat(&alice)?;
                (alices, bobs)
            };
            expect_no_path(&mut alices, "you show your address to nobody (--relay-only)");
            expect_no_path(&mut bobs, "the other one shows no address (--relay-only)");
            talk_relayed(&mut alices, &mut bobs);
            leave(alices);
            leave(bobs);
            let server = world.server().address().into();
            ensure_only_with(server, alice.host(), &alices_ear.heard()?)?;
            let heard = bobs_ear.heard()?;
            assert!(heard.iter().all(|packet| ![packet.source, packet.destination].contains(&home)), "{heard:?}");
        }
        Ok(())
    });
}

#[test]
fn two_who_show_no_address_talk_and_all_of_both_goes_to_the_rendezvous() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob, _) = at_home(&world)?;
        let ears = [Ear::at(alice.host())?, Ear::at(bob.host())?];
        // One by the option and one by the environment.
        let mut bobs = bob.start_with(&["chat", "alice"], &[("PUNCHLINE_RELAY_ONLY", "1")])?;
        bobs.expect("registered", SOON);
        let mut alices = alice.start(&["--relay-only", "chat", "bob"])?;
        for side in [&mut alices, &mut bobs] {
            expect_no_path(side, "you show your address to nobody");
        }
        talk_relayed(&mut alices, &mut bobs);
        leave(alices);
        leave(bobs);
        for (ear, person) in ears.into_iter().zip([&alice, &bob]) {
            ensure_only_with(world.server().address().into(), person.host(), &ear.heard()?)?;
        }
        Ok(())
    });
}

#[test]
fn the_option_holds_for_one_start_and_the_next_one_may_be_another() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob, _) = at_home(&world)?;
        let mut bobs = bob.chat(&alice)?;
        bobs.expect("registered", SOON);
        for killed in [false, true] {
            let mut alices = alice.chat(&bob)?;
            exchange(&mut alices, &mut bobs);
            // After a kill Bob goes on asking at the old address for a while; she hears nothing of it at the new start.
            if killed {
                alices.kill();
            } else {
                leave(alices);
            }
            let ear = Ear::at(alice.host())?;
            let mut alices = alice.start(&["chat", "bob", "--relay-only"])?;
            expect_no_path(&mut bobs, "the other one shows no address");
            say_both(&mut alices, &mut bobs);
            leave(alices);
            // The machine itself says that there is nobody at the old port any more.
            let own = IpAddr::from(alice.host().address());
            let program = |packet: &Packet| packet.source == own && packet.protocol != ICMP;
            let sent: Vec<Packet> = ear.heard()?.into_iter().filter(program).collect();
            ensure_only_with(world.server().address().into(), alice.host(), &sent)?;
        }
        let mut alices = alice.chat(&bob)?;
        exchange(&mut alices, &mut bobs);
        Ok(())
    });
}

#[test]
fn one_who_shows_no_address_and_is_killed_is_back_after_the_next_start() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob, _) = at_home(&world)?;
        let run = || alice.start(&["run", "--relay-only"]);
        let mut alices = run()?;
        alices.expect("registered", SOON);
        let mut bobs = bob.chat(&alice)?;
        for turn in 0..3 {
            bobs.say(&format!("Are you there? {turn}"));
            assert_eq!(alices.expect_message(SOON)["text"], format!("Are you there? {turn}"));
            bobs.expect("receipt", SOON);
            alices.kill();
            alices = run()?;
            alices.expect("registered", SOON);
        }
        Ok(())
    });
}

#[test]
fn each_command_says_what_it_does_without_an_address_to_show() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob, _) = at_home(&world)?;
        let ear = Ear::at(alice.host())?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);

        let mut ping = alice.start(&["ping", "bob", "--relay-only"])?;
        assert_eq!(ping.exit_code(SOON), 0, "she has what she asked for");
        let replies: Vec<_> = ping.said().iter().filter(|said| said.event["event"] == "ping").cloned().collect();
        assert!(replies.len() == 1 && replies[0].event["route"] == "relayed", "{}", ping.transcript());

        let check = alice.command(&["netcheck", "--relay-only"])?;
        let verdict = check["verdict"].as_str().context("a verdict")?;
        assert!(verdict.contains("--relay-only") && check["profile"]["mapping"].is_null(), "{check}");

        let mut speed = alice.start(&["speed", "bob", "--relay-only"])?;
        assert_eq!(speed.exit_code(SOON), 2, "known before anything is sent");

        let mut alices = alice.start(&["run", "--relay-only"])?;
        alices.expect("registered", SOON);
        let status = alice.command(&["status"])?;
        assert_eq!((&status["relay_only"], &status["profile"]), (&true.into(), &serde_json::Value::Null), "{status}");
        let known = alice.command(&["netcheck"])?;
        assert_eq!(known["verdict"], verdict, "what the running client knows");

        // The other way round: Bob asks, and wants a direct path.
        drop(bobs);
        for (command, words) in
            [("ping", "shows no address for a direct path"), ("speed", "the other one shows no address")]
        {
            let mut asks = bob.start(&[command, "alice"])?;
            assert_eq!(asks.exit_code(SOON), 4, "{}", asks.transcript());
            let error = asks.said().last().context("an error")?.event.clone();
            assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{error}");
        }
        drop(alices);
        ensure_only_with(world.server().address().into(), alice.host(), &ear.heard()?).map_err(|error| error.into())
    });
}

#[test]
fn a_rendezvous_that_does_not_relay_is_told_of_and_ends_what_cannot_work() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let listen = [format!("{}:3478", server.address())];
        let (_rendezvous, join) = start_rendezvous_with(&server, &listen, &["--relay", "off"], folder.path())?;
        let person = |name: &str| -> Result<Person> {
            Person::new(name, &net.router(name, Router::home())?.host(name)?, folder.path(), &join)
        };
        let (alice, bob) = (person("alices")?, person("bobs")?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut ping = alice.start(&["ping", "bobs", "--relay-only"])?;
        assert_eq!(ping.exit_code(SOON), 4, "{}", ping.transcript());
        let error = ping.said().last().context("an error")?.event.clone();
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains("this rendezvous does not relay"), "{error}");
        let mut chat = alice.start(&["chat", "bobs", "--relay-only"])?;
        expect_no_path(&mut chat, "this rendezvous does not relay");
        expect_no_path(&mut bobs, "this rendezvous does not relay");
        Ok(())
    });
}
