//! What strangers send to a rendezvous, and what a client sends to those who do not want it or do not answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::stun::{Change, Message, TransactionId, decode, encode_request};
use e2e::{Counter, Firewall, Person, World, router_of, start_rendezvous};
use netsim::model::presets;
use netsim::netns::{Router, in_namespaces};
use netsim::wire::Internet;

use crate::{SOON, in_two_homes, talk};

/// Datagrams a second, and how many: five seconds of them, or longer where the machine is too busy to send so fast.
const FLOOD: (f64, u32) = (10_000.0, 50_000);
/// Half a minute of such a flood kept as it came would be more.
const ROOM: u64 = 16 << 20;

#[test]
fn a_flood_of_junk_costs_the_rendezvous_no_memory_and_a_new_client_registers_within_a_second() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let alice = world.alice(&router_of(&world, "a", Router::home())?.host("alice")?)?;
        let server = SocketAddr::from((world.server().address(), 3478));
        let mallory = world.net().public_host("mallory")?.udp(0)?;
        let before = world.rendezvous().memory();
        // Everybody's favourites: random bytes, truncated STUN, STUN with lying lengths, QUIC's first packets of
        // unknown versions and of nonsense, and whatever is as large as a datagram can be.
        let flood = std::thread::spawn(move || {
            let started = Instant::now();
            let mut random = 0x2545_f491_4f6c_dd1du64;
            let mut sent = 0u32;
            while sent < FLOOD.1 {
                let due = (started.elapsed().as_secs_f64() * FLOOD.0) as u32;
                while sent < due.min(FLOOD.1) {
                    let _ = mallory.send_to(&junk(&mut random, sent), server);
                    sent += 1;
                }
                // The rate is the story's; this pause is not waited upon by anything.
                std::thread::yield_now();
            }
            started.elapsed()
        });
        let mut alices = alice.run()?;
        let registered = alices.expect("registered", SOON);
        let took = registered.at - alices.started;
        assert!(!flood.is_finished(), "the flood was over before anybody could suffer from it");
        let lasted = flood.join().map_err(|_| "the flood panicked")?;
        println!("registered after {took:?}, in a flood of {} datagrams in {lasted:?}", FLOOD.1);
        assert!(took < Duration::from_secs(1), "registering took {took:?}");
        let after = world.rendezvous().memory();
        assert!(after < before + ROOM, "from {before} to {after} bytes");
        Ok(())
    });
}

#[test]
fn after_every_kind_of_junk_two_people_still_meet() {
    in_namespaces(|| {
        let world = World::new()?;
        let server = SocketAddr::from((world.server().address(), 3478));
        let mallory = world.net().public_host("mallory")?.udp(0)?;
        // STUN's own first retransmission: what Mallory sent has used up what his address may ask for at once.
        mallory.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut random = 7u64;
        for number in 0..2000 {
            mallory.send_to(&junk(&mut random, number), server)?;
        }
        // An honest question is still answered, to whoever asks.
        let transaction = TransactionId([7; 12]);
        let mut buffer = [0; 1500];
        let deadline = Instant::now() + SOON;
        let mapped = loop {
            assert!(Instant::now() < deadline, "an honest question is not answered any more");
            mallory.send_to(&encode_request(transaction, Change::default()), server)?;
            let Ok((count, source)) = mallory.recv_from(&mut buffer) else { continue };
            assert_eq!(source, server);
            match decode(&buffer[..count]) {
                Ok(Message::Response(response)) if response.transaction == transaction => break response.mapped,
                _ => {}
            }
        };
        assert_eq!(mapped.port(), mallory.local_addr()?.port());
        let (alice, bob) = in_two_homes(&world)?;
        talk(&alice, &bob)?;
        Ok(())
    });
}

#[test]
fn who_has_not_consented_gets_not_one_packet_and_who_has_and_does_not_answer_fifty_probes_and_what_guessing_takes() {
    in_namespaces(|| {
        let net = Internet::new(5)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = start_rendezvous(&server, &[format!("{}:3478", server.address())], folder.path())?;
        let home = net.router("a", presets::home());
        let alice = Person::new("alice", &home.host("alice")?, folder.path(), &join)?;
        let bob = Person::new("bob", &net.public_host("bob")?, folder.path(), &join)?;
        let counter = Counter::of_udp_from_all_but(bob.host(), server.address())?;

        // She knows his link, and he does not know her.
        alice.add(&bob)?;
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let mut ping = alice.start(&["ping", "bob", "-c", "3", "--timeout", "5"])?;
        ping.expect("refused", SOON);
        assert_eq!(ping.exit_code(SOON * 2), 4);
        assert_eq!(counter.packets()?, 0, "to somebody who has not consented");
        drop(bobs);

        // He consents, and nothing goes between the two but by the rendezvous.
        bob.add(&alice)?;
        let wan = home.public_address().ok_or("an address")?;
        let (_deaf, _mute) = (Firewall::against(bob.host(), wan)?, Firewall::toward(bob.host(), wan)?);
        let mut bobs = bob.run()?;
        bobs.expect("registered", SOON);
        let before = counter.packets()?;
        let mut alices = alice.chat(&bob)?;
        let event = alices.expect("no_path", SOON * 3).event;
        let arrived = counter.packets()? - before;
        let empty = Vec::new();
        let strategies = event["strategies"].as_array().unwrap_or(&empty).iter();
        let probes = |wanted: fn(&str) -> bool| -> u64 {
            let of = strategies.clone().filter(|s| s["strategy"].as_str().is_some_and(wanted));
            of.filter_map(|s| s["packets"].as_u64()).sum()
        };
        println!("{arrived} packets arrived in an attempt: {}", event["strategies"]);
        assert!(arrived > 0, "{event}");
        assert!(probes(|strategy| strategy == "plain") <= 50, "{event}");
        // The next attempt may have begun.
        assert!(arrived <= 50 + probes(|strategy| strategy != "observation"), "{arrived}: {event}");
        Ok(())
    });
}

fn junk(random: &mut u64, number: u32) -> Vec<u8> {
    let mut next = || {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random
    };
    let mut bytes: Vec<u8> = (0..25).flat_map(|_| next().to_be_bytes()).collect();
    let request = encode_request(TransactionId([number as u8; 12]), Change { ip: true, port: true });
    match number % 8 {
        0 => {}
        1 => bytes = request[..usize::try_from(number / 8).unwrap_or(0) % request.len()].to_vec(),
        2 => {
            // An honest header, attributes from nowhere.
            bytes[..20].copy_from_slice(&request[..20]);
            bytes[2..4].copy_from_slice(&180u16.to_be_bytes());
        }
        // A length that lies.
        3 => bytes[..20].copy_from_slice(&request[..20]),
        // A QUIC Initial, of version 1 and of one that nobody knows.
        4 | 5 => {
            bytes.resize(1200, 0);
            bytes[0] = 0xc3;
            bytes[1..5].copy_from_slice(&[0, 0, 0, (number % 8 - 3) as u8]);
            bytes[5] = 8;
        }
        6 => bytes[0] = 0x40 | (number as u8 & 0x3f),
        // Whatever fits in a packet, and now and then whatever fits in a datagram.
        _ => bytes.resize(if number % 64 == 7 { 60_000 } else { 1_400 }, 0xff),
    }
    bytes
}
