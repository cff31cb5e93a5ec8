//! The server in virtual time: stories, abuse, and random steps beside a model that is too simple to be wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use common::introduction::{MAX_ADDRESSES, StrategyCode};
use common::nat::{Mapping, NatProfile};
use common::path::Strategy as Punching;
use proptest::prelude::*;

use super::*;
use crate::limits::{INTRODUCTIONS, INTRODUCTIONS_TO_ONE, TRICKLES};
use crate::people::{at, capability, key};

#[test]
fn both_are_told_in_the_same_batch_and_only_what_they_may_know() {
    let mut world = World::new();
    let alice = world.arrive(1);
    let bob = world.arrive(2);
    world.register(alice, 1, &[12]);
    let mut register = world.registration(1, &[12]);
    // Another port of his own, a stranger's address, no port, and the one that is known already.
    register.reflexive = vec![at("192.0.2.2:4002"), at("198.51.100.9:53"), at("192.0.2.2:0"), at("192.0.2.2:1002")];
    world.say(bob, ToServer::Register(register));
    let out = world.introduce(alice, 2, 12);
    let [
        Output::Send(first, FromServer::Introduction(to_alice)),
        Output::Send(second, FromServer::Introduction(to_bob)),
    ] = out.as_slice()
    else {
        panic!("two introductions, not {out:?}")
    };
    assert_eq!((*first, *second), (alice, bob));
    assert_eq!(to_alice.id, to_bob.id);
    assert_eq!(to_alice.addresses, [at("192.0.2.2:1002"), at("192.0.2.2:4002")]);
    assert_eq!(to_bob.addresses, [at("192.0.2.1:1001")]);
    assert_eq!((to_alice.role, to_bob.role), (Role::Requester { request: 7 }, Role::Responder));
    assert_eq!((to_alice.peer, to_bob.peer), (key(2), key(1)));
    assert_eq!((to_alice.sealed.len(), to_bob.sealed.len()), (0, 3));
}

#[test]
fn who_shows_no_address_has_none_in_any_introduction_and_nobody_is_shown_to_them() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.arrive(1), world.arrive(2), world.arrive(3));
    let shy = |world: &World, epoch, relay_only| {
        let profile = NatProfile { translated: Some(true), ..NatProfile::default() };
        let reflexive = vec![at("192.0.2.1:4002")];
        Register { relay_only, reflexive, profile, ..world.registration(epoch, &[12, 13]) }
    };
    world.say(alice, ToServer::Register(shy(&world, 1, true)));
    world.register(bob, 1, &[12]);
    world.register(carol, 1, &[13]);
    let told = |out: Vec<Output>| -> Vec<(Vec<SocketAddr>, NatProfile)> {
        let introductions = out.into_iter().map(|output| match output {
            Output::Send(_, FromServer::Introduction(introduction)) => (introduction.addresses, introduction.profile),
            other => panic!("no introduction: {other:?}"),
        });
        introductions.collect()
    };
    let nothing = (Vec::new(), NatProfile::default());
    assert_eq!(told(world.introduce(alice, 2, 12)), [nothing.clone(), nothing.clone()], "she asks");
    assert_eq!(told(world.introduce(bob, 1, 12)), [nothing.clone(), nothing.clone()], "he asks");
    assert_eq!(told(world.introduce(carol, 1, 13)), [nothing.clone(), nothing], "somebody else asks");
    // She changes her mind between two starts, and back.
    let alice = world.arrive(1);
    world.say(alice, ToServer::Register(shy(&world, 2, false)));
    assert!(told(world.introduce(bob, 1, 12)).iter().all(|(addresses, _)| !addresses.is_empty()));
    let alice = world.arrive(1);
    world.say(alice, ToServer::Register(shy(&world, 3, true)));
    assert!(told(world.introduce(bob, 1, 12)).iter().all(|(addresses, _)| addresses.is_empty()));
}

#[test]
fn what_found_paths_for_some_is_said_to_others_like_them_and_nobody_reports_twice() {
    let mut world = World::remembering();
    let profile = |mapping| NatProfile { mapping: Some(mapping), ..NatProfile::default() };
    let symmetric = profile(Mapping::AddressAndPortDependent);
    let standing = profile(Mapping::EndpointIndependent);
    let won = Some(Punching::Sequential.into());
    let hints = |out: &[Output]| -> Vec<Option<StrategyCode>> {
        let hints = out.iter().filter_map(|output| match output {
            Output::Send(_, FromServer::Introduction(introduction)) => Some(introduction.hint),
            _ => None,
        });
        hints.collect()
    };
    let mut told = Vec::new();
    for n in 0..20 {
        // Each pair in two networks of its own.
        let clients = [2 * n + 1, 2 * n + 2].map(|peer| {
            let id = ConnectionId(1000 + u64::from(peer));
            let observed = SocketAddr::from(([10, peer, 7, 1], 4000));
            world.server.handle_connected(id, key(peer), observed, stun_endpoints(), world.now);
            id
        });
        for (client, profile) in clients.into_iter().zip([symmetric, standing]) {
            let register = Register { profile, ..world.registration(1, &[u32::from(n)]) };
            world.say(client, ToServer::Register(register));
        }
        let out = world.introduce(clients[n as usize % 2], 2 * n + 1 + (n + 1) % 2, u32::from(n));
        told.extend(hints(&out));
        let Some(Output::Send(_, FromServer::Introduction(Introduction { id, .. }))) = out.first() else {
            panic!("no introduction: {out:?}")
        };
        let outcome = |introduction, won| ToServer::Outcome(Outcome { introduction, won });
        if n == 0 {
            // None of these counts, and none is a fault.
            let carol = world.arrive(99);
            world.register(carol, 1, &[]);
            assert_eq!(world.say(carol, outcome(*id, won)), [], "not hers");
            assert_eq!(world.say(clients[0], outcome(IntroductionId(404), won)), [], "never was");
            assert_eq!(world.say(clients[0], outcome(*id, Some(StrategyCode(200)))), [], "of a later version");
            assert_eq!(world.say(clients[0], outcome(*id, won)), [], "a second time");
            assert_eq!(world.server.memory().map(Memory::counts), Some((0, 0)));
            continue;
        }
        clients.iter().for_each(|client| assert_eq!(world.say(*client, outcome(*id, won)), []));
    }
    assert_eq!(told[..6], [None; 6], "five voices are needed, and the first pair's did not count");
    assert_eq!(told[30..], vec![won; 10], "both are told the same");
    assert_eq!(world.server.memory().map(|memory| memory.counts().0), Some(38));
    world.now += Duration::from_secs(5 * 24 * 3600);
    world.server.handle_timeout(world.now);
    assert!(world.server.memory().is_some_and(Memory::is_empty));
}

#[test]
fn two_behind_one_nat_and_those_who_show_no_address_teach_nobody() {
    for relay_only in [false, true] {
        let mut world = World::remembering();
        let places = if relay_only { [[10, 1, 1, 1], [10, 2, 2, 2]] } else { [[10, 1, 1, 1]; 2] };
        for (peer, place) in [1, 2].into_iter().zip(places) {
            let (id, observed) = (ConnectionId(peer.into()), SocketAddr::from((place, 4000 + u16::from(peer))));
            world.server.handle_connected(id, key(peer), observed, stun_endpoints(), world.now);
            let register = Register { relay_only: relay_only && peer == 1, ..world.registration(1, &[12]) };
            world.say(id, ToServer::Register(register));
        }
        let introduction = world.introduced(ConnectionId(1), 2, 12);
        world.say(ConnectionId(1), ToServer::Outcome(Outcome { introduction, won: Some(Punching::Block.into()) }));
        assert_eq!(world.server.memory().map(Memory::counts), Some((0, 0)));
    }
}

#[test]
fn whatever_is_missing_the_answer_is_the_same() {
    let mut world = World::new();
    let (mallory, bob, carol) = (world.arrive(1), world.arrive(2), world.arrive(3));
    world.register(bob, 1, &[23]);
    world.register(carol, 1, &[13, 23]);
    // Mallory claims to know everybody: a capability that he made up, one that Bob has with Carol, and one with her.
    world.register(mallory, 1, &[12, 13, 14]);
    let refused = [Output::Send(mallory, FromServer::Refused { request: 7 })];
    assert_eq!(world.introduce(mallory, 2, 12), refused, "Bob does not know him");
    assert_eq!(world.introduce(mallory, 2, 23), refused, "Bob's capability, which Mallory did not register");
    assert_eq!(world.introduce(mallory, 4, 14), refused, "nobody");
    assert_eq!(world.introduce(mallory, 1, 12), refused, "himself");
    assert_eq!(world.introduce(mallory, 2, 13), refused, "a capability of Carol's is none of Bob's");
    world.server.handle_closed(carol, world.now);
    assert_eq!(world.introduce(mallory, 3, 13), refused, "Carol has gone");
}

#[test]
fn a_stranger_who_asks_on_and_on_sees_no_difference_between_present_and_absent() {
    let ask = |bob_is_here: bool| {
        let mut world = World::new();
        let (alice, bob) = (world.arrive(1), world.arrive(2));
        world.register(alice, 1, &[12]);
        if bob_is_here {
            world.register(bob, 1, &[13]);
        }
        (0..2 * INTRODUCTIONS.burst).map(|_| world.introduce(alice, 2, 12)).collect::<Vec<_>>()
    };
    assert_eq!(ask(true), ask(false));
}

#[test]
fn a_contact_cannot_be_made_to_probe_without_end() {
    let mut world = World::new();
    let (alice, bob) = (world.arrive(1), world.arrive(2));
    world.register(alice, 1, &[12]);
    world.register(bob, 1, &[12]);
    let told = (0..100).filter(|_| world.introduce(alice, 2, 12).len() == 2).count();
    assert_eq!(told, INTRODUCTIONS_TO_ONE.burst as usize);
    // Coming back does not refill.
    world.server.handle_closed(alice, world.now);
    let alice = world.arrive(1);
    world.register(alice, 2, &[12]);
    assert_eq!(world.introduce(alice, 2, 12).len(), 1);
    world.now += INTRODUCTIONS_TO_ONE.interval;
    assert_eq!(world.introduce(alice, 2, 12).len(), 2);
}

#[test]
fn a_client_with_a_thousand_contacts_can_ask_for_all_of_them_at_once() {
    let mut world = World::new();
    let alice = world.arrive(1);
    let contacts: Vec<u32> = (0..MAX_CONTACTS).collect();
    world.register(alice, 1, &contacts);
    for contact in contacts {
        assert_eq!(world.introduce(alice, 2, contact), [Output::Send(alice, FromServer::Refused { request: 7 })]);
    }
    let out = world.introduce(alice, 2, 0);
    assert!(matches!(out[..], [Output::Send(..), Output::Close(_, CloseCode::RateLimited)]), "{out:?}");
    world.now += INTRODUCTIONS.interval * INTRODUCTIONS.burst;
    world.now += INTRODUCTIONS_TO_ONE.interval * INTRODUCTIONS_TO_ONE.burst;
    world.server.handle_timeout(world.now);
    assert!(world.server.budgets.is_empty(), "who has everything again is forgotten");
}

#[test]
fn candidates_trickle_between_the_two_parties_for_a_minute_and_eight_times() {
    let mut world = World::new();
    let (alice, bob, mallory) = (world.arrive(1), world.arrive(2), world.arrive(3));
    for client in [alice, bob, mallory] {
        world.register(client, 1, &[12]);
    }
    let id = world.introduced(alice, 2, 12);
    assert_eq!(world.trickle(mallory, id), [], "who is not part of it sends nothing into it");
    for _ in 0..TRICKLES {
        assert_eq!(world.trickle(alice, id).first().map(to), Some(bob));
        assert_eq!(world.trickle(bob, id).first().map(to), Some(alice));
    }
    assert_eq!(world.trickle(alice, id), []);
    world.now += INTRODUCTIONS_TO_ONE.interval;
    let id = world.introduced(alice, 2, 12);
    // Bob comes back on another connection: what is for him goes there.
    world.server.handle_closed(bob, world.now);
    assert_eq!(world.trickle(alice, id), []);
    let bob = world.arrive(2);
    world.register(bob, 1, &[12]);
    assert_eq!(world.trickle(alice, id).first().map(to), Some(bob));
    world.now += Duration::from_secs(60);
    assert_eq!(world.trickle(alice, id), []);
}

#[test]
fn a_box_that_is_too_long_is_a_fault_of_its_sender() {
    let mut world = World::new();
    let (alice, bob) = (world.arrive(1), world.arrive(2));
    world.register(alice, 1, &[12]);
    world.register(bob, 1, &[12]);
    let id = world.introduced(alice, 2, 12);
    let sealed = vec![0; MAX_SEALED + 1];
    let out = world.say(bob, ToServer::Trickle(Trickle { introduction: id, sealed: sealed.clone() }));
    assert!(matches!(out[..], [Output::Send(to, _), Output::Close(_, CloseCode::Protocol)] if to == bob), "{out:?}");
    let introduce = Introduce { request: 1, peer: key(2), capability: capability(12), sealed, envelope: Vec::new() };
    let out = world.say(alice, ToServer::Introduce(introduce));
    assert!(matches!(out[..], [Output::Send(to, _), Output::Close(_, CloseCode::Protocol)] if to == alice), "{out:?}");
    assert_eq!(world.server.registered(), 0);
}

#[test]
fn the_first_frame_must_register_and_no_other_one() {
    let mut world = World::new();
    let alice = world.arrive(1);
    let update = ToServer::Update(world.registration(1, &[]));
    let out = world.say(alice, update.clone());
    assert!(matches!(out[..], [_, Output::Close(_, CloseCode::Protocol)]), "{out:?}");
    assert_eq!(world.say(alice, update), [], "a closed connection says nothing any more");
    let alice = world.arrive(1);
    world.register(alice, 1, &[]);
    let again = ToServer::Register(world.registration(2, &[]));
    let out = world.say(alice, again);
    assert!(matches!(out[..], [_, Output::Close(_, CloseCode::Protocol)]), "{out:?}");
}

#[test]
fn a_registration_of_too_many_contacts_is_refused_and_of_many_addresses_the_first_count() {
    let mut world = World::new();
    let alice = world.arrive(1);
    let register = world.registration(1, &(0..=MAX_CONTACTS).collect::<Vec<_>>());
    let out = world.say(alice, ToServer::Register(register));
    assert!(matches!(out[..], [_, Output::Close(_, CloseCode::Protocol)]), "{out:?}");

    let (alice, bob) = (world.arrive(1), world.arrive(2));
    let mut register = world.registration(1, &[12]);
    register.reflexive = (1..1000).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
    world.say(alice, ToServer::Register(register));
    world.register(bob, 1, &[12]);
    match world.introduce(bob, 1, 12).first() {
        Some(Output::Send(_, FromServer::Introduction(told))) => assert_eq!(told.addresses.len(), MAX_ADDRESSES),
        other => panic!("an introduction, not {other:?}"),
    }
}

#[test]
fn an_update_replaces_contacts_and_keeps_the_epoch() {
    let mut world = World::new();
    let (alice, bob) = (world.arrive(1), world.arrive(2));
    world.register(alice, 5, &[12]);
    world.register(bob, 1, &[12]);
    let update = world.registration(9, &[13]);
    assert_eq!(world.say(alice, ToServer::Update(update)), []);
    assert_eq!(world.introduce(bob, 1, 12).len(), 1, "Alice has dropped Bob");
    let newer = world.arrive(1);
    let register = world.registration(6, &[]);
    assert_eq!(world.say(newer, ToServer::Register(register)).first().map(to), Some(alice), "6 is later than 5");
}

#[test]
fn who_registers_nothing_is_closed_after_five_seconds() {
    let mut world = World::new();
    let (silent, alice) = (world.arrive(1), world.arrive(2));
    world.register(alice, 1, &[]);
    world.now += PATIENCE;
    world.server.handle_timeout(world.now);
    assert_eq!(world.drain(), [Output::Close(silent, CloseCode::Silent)]);
}

#[test]
fn a_new_port_is_believed_at_once_and_a_new_address_when_it_holds() {
    let mut world = World::new();
    let alice = world.arrive(1);
    world.register(alice, 1, &[]);
    let stun = stun_endpoints();
    let told = |observed| [Output::Send(alice, FromServer::Registered(Registered { observed, stun, now_s: 0 }))];
    assert_eq!(world.moved(alice, "192.0.2.1:9"), told(at("192.0.2.1:9")));
    assert_eq!(world.moved(alice, "[::ffff:192.0.2.1]:9"), []);
    // A false source shows for the three seconds that QUIC needs to find out.
    for _ in 0..3 {
        assert_eq!(world.moved(alice, "198.51.100.9:53"), []);
        world.now += Duration::from_secs(1);
    }
    assert_eq!(world.moved(alice, "192.0.2.1:9"), []);
    for _ in 0..4 {
        assert_eq!(world.moved(alice, "198.51.100.9:53"), []);
        world.now += Duration::from_secs(1);
    }
    assert_eq!(world.moved(alice, "198.51.100.9:53"), told(at("198.51.100.9:53")));
}

#[test]
fn a_full_server_says_so_and_still_takes_back_whom_it_has() {
    let mut world = World::with(Limits { registrations: 1, ..Limits::default() });
    let (alice, bob) = (world.arrive(1), world.arrive(2));
    world.register(alice, 1, &[]);
    let register = ToServer::Register(world.registration(1, &[]));
    let out = world.say(bob, register.clone());
    assert!(matches!(out[..], [_, Output::Close(_, CloseCode::Full)]), "{out:?}");
    let again = world.arrive(1);
    let out = world.say(again, register);
    assert_eq!(out.iter().map(to).collect::<Vec<_>>(), [alice, alice, again]);
}

#[test]
fn a_flood_of_frames_ends_the_connection() {
    let mut world = World::new();
    let alice = world.arrive(1);
    world.register(alice, 1, &[]);
    let update = ToServer::Update(world.registration(1, &[]));
    let out = (0..2 * FRAMES.burst).map(|_| world.say(alice, update.clone())).find(|out| !out.is_empty());
    assert!(matches!(out.as_deref(), Some([_, Output::Close(_, CloseCode::RateLimited)])), "{out:?}");
}

#[test]
fn everybody_is_told_when_the_server_stops() {
    let mut world = World::new();
    let (alice, bob) = (world.arrive(1), world.arrive(2));
    world.register(alice, 1, &[]);
    world.server.handle_drain(world.now);
    let expected = [alice, bob]
        .map(|client| [Output::Send(client, FromServer::Draining), Output::Close(client, CloseCode::Draining)]);
    assert_eq!(world.drain(), expected.concat());
    assert_eq!(world.server.registered(), 0);
}

#[test]
fn nothing_grows_when_keys_come_and_go() {
    let mut world = World::new();
    let mut largest = 0;
    for n in 0..3000u32 {
        let client = world.arrive((n % 200) as u8 + 1);
        world.register(client, 1, &[n]);
        world.introduce(client, 250, n);
        world.server.handle_closed(client, world.now);
        world.now += Duration::from_secs(1);
        world.server.handle_timeout(world.now);
        largest = largest.max(world.footprint());
    }
    assert!(largest < 20, "{largest}");
}

/// What the model knows of a client.
#[derive(Debug, Clone)]
struct Modelled {
    peer: u8,
    registered: Option<(u64, Vec<u32>)>,
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(u8),
    Register(usize, u64, Vec<u32>),
    Update(usize, Vec<u32>),
    Introduce(usize, u8, u32),
    Trickle(usize, usize),
    Close(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let capabilities = || proptest::collection::vec(0..4u32, 0..4);
    prop_oneof![
        (1..4u8).prop_map(Step::Arrive),
        (0..8usize, 0..3u64, capabilities()).prop_map(|(c, e, k)| Step::Register(c, e, k)),
        (0..8usize, capabilities()).prop_map(|(c, k)| Step::Update(c, k)),
        (0..8usize, 1..4u8, 0..4u32).prop_map(|(c, p, k)| Step::Introduce(c, p, k)),
        (0..8usize, 0..8usize).prop_map(|(c, i)| Step::Trickle(c, i)),
        (0..8usize).prop_map(Step::Close),
        (1..90u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Random steps, and beside them a model with no limits and no clock but the minute of an introduction and the five
    /// seconds of silence: a map of connections, and what each of the steps must answer.
    #[test]
    fn random_steps_agree_with_a_simple_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut model: BTreeMap<ConnectionId, Modelled> = BTreeMap::new();
        let mut live: Vec<(IntroductionId, [u8; 2], Instant)> = Vec::new();
        let mut asked: BTreeMap<(u8, u32), u32> = BTreeMap::new();
        for step in steps {
            let nth = |model: &BTreeMap<ConnectionId, Modelled>, n: usize| model.keys().nth(n).copied();
            let here = |model: &BTreeMap<ConnectionId, Modelled>, peer: u8| {
                model.iter().find(|(_, m)| m.peer == peer && m.registered.is_some()).map(|(id, m)| (*id, m.clone()))
            };
            match step {
                Step::Arrive(peer) => {
                    let id = world.arrive(peer);
                    model.insert(id, Modelled { peer, registered: None });
                }
                Step::Register(n, epoch, contacts) => {
                    let Some(id) = nth(&model, n) else { continue };
                    let register = world.registration(epoch, &contacts);
                    let out = world.say(id, ToServer::Register(register));
                    let peer = model[&id].peer;
                    if model[&id].registered.is_some() {
                        prop_assert!(closes(&out, id, CloseCode::Protocol), "{out:?}");
                        model.remove(&id);
                        continue;
                    }
                    match here(&model, peer) {
                        Some((_, standing)) if standing.registered.as_ref().is_some_and(|(e, _)| *e > epoch) => {
                            prop_assert!(closes(&out, id, CloseCode::Replaced), "{out:?}");
                            model.remove(&id);
                            continue;
                        }
                        Some((older, _)) => {
                            prop_assert!(closes(&out[..2], older, CloseCode::Replaced), "{out:?}");
                            prop_assert_eq!(out.len(), 3);
                            model.remove(&older);
                        }
                        None => prop_assert_eq!(out.len(), 1),
                    }
                    prop_assert!(matches!(out.last(), Some(Output::Send(to, FromServer::Registered(_))) if *to == id));
                    model.get_mut(&id).expect("modelled").registered = Some((epoch, contacts));
                }
                Step::Update(n, contacts) => {
                    let Some(id) = nth(&model, n) else { continue };
                    let update = world.registration(77, &contacts);
                    let out = world.say(id, ToServer::Update(update));
                    match &mut model.get_mut(&id).expect("modelled").registered {
                        Some(registered) => {
                            registered.1 = contacts;
                            prop_assert_eq!(out, []);
                        }
                        None => {
                            prop_assert!(closes(&out, id, CloseCode::Protocol), "{out:?}");
                            model.remove(&id);
                        }
                    }
                }
                Step::Introduce(n, wanted, with) => {
                    let Some(id) = nth(&model, n) else { continue };
                    let requester = model[&id].clone();
                    let Some((_, own)) = &requester.registered else { continue };
                    let times = asked.entry((requester.peer, with)).or_default();
                    *times += 1;
                    prop_assume!(*times <= INTRODUCTIONS_TO_ONE.burst);
                    let out = world.introduce(id, wanted, with);
                    let other = here(&model, wanted).filter(|(_, m)| {
                        m.registered.as_ref().is_some_and(|(_, theirs)| theirs.contains(&with)) && wanted != requester.peer
                    });
                    match other.filter(|_| own.contains(&with)) {
                        None => prop_assert_eq!(out, [Output::Send(id, FromServer::Refused { request: 7 })]),
                        Some((responder, _)) => {
                            prop_assert_eq!(out.iter().map(to).collect::<Vec<_>>(), [id, responder]);
                            let Output::Send(_, FromServer::Introduction(told)) = &out[0] else { panic!("{out:?}") };
                            prop_assert!(live.iter().all(|(known, ..)| *known != told.id), "ids are not used twice");
                            live.push((told.id, [requester.peer, wanted], world.now));
                        }
                    }
                }
                Step::Trickle(n, which) => {
                    let (Some(id), Some((introduction, parties, since))) = (nth(&model, n), live.get(which)) else { continue };
                    if model[&id].registered.is_none() {
                        continue;
                    }
                    let out = world.trickle(id, *introduction);
                    let from = model[&id].peer;
                    let other = parties.iter().position(|party| *party == from).map(|at| parties[1 - at]);
                    let fresh = world.now < *since + Duration::from_secs(60);
                    let expected = other.filter(|_| fresh).and_then(|other| here(&model, other)).map(|(id, _)| id);
                    // The model does not count to eight.
                    prop_assert!(out.len() <= 1);
                    prop_assert!(out.is_empty() || out.first().map(to) == expected, "{out:?}");
                }
                Step::Close(n) => {
                    let Some(id) = nth(&model, n) else { continue };
                    world.server.handle_closed(id, world.now);
                    model.remove(&id);
                }
                Step::Wait(seconds) => {
                    world.now += Duration::from_secs(seconds);
                    world.server.handle_timeout(world.now);
                    for out in world.drain() {
                        let Output::Close(id, CloseCode::Silent) = out else { panic!("{out:?}") };
                        prop_assert_eq!(model.remove(&id).map(|m| m.registered), Some(None));
                    }
                }
            }
            let registered: Vec<_> = model.values().filter(|m| m.registered.is_some()).map(|m| m.peer).collect();
            prop_assert_eq!(world.server.registered(), registered.len(), "one registration a key: {:?}", registered);
        }
    }
}

const MAX_CONTACTS: u32 = common::introduction::MAX_CAPABILITIES as u32;

fn stun_endpoints() -> StunEndpoints {
    StunEndpoints { alternate_port: 3479, alternate: None }
}

fn to(output: &Output) -> ConnectionId {
    match output {
        Output::Send(to, _) | Output::Close(to, _) => *to,
    }
}

fn closes(out: &[Output], connection: ConnectionId, code: CloseCode) -> bool {
    matches!(out, [Output::Send(to, _), close] if *to == connection && *close == Output::Close(connection, code))
}

/// A server, a clock, and connections. Peer `n` comes from 192.0.2.n:1000+n.
struct World {
    server: Server,
    now: Instant,
    next: u64,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        // The worst generator that there is: always the same number.
        World { server: Server::new(&limits, Box::new(|| 5)), now: Instant::now(), next: 0 }
    }

    fn remembering() -> Self {
        let World { server, now, next } = World::new();
        World { server: server.with_memory(Memory::new(7)), now, next }
    }

    fn arrive(&mut self, peer: u8) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let observed = SocketAddr::from(([192, 0, 2, peer], 1000 + u16::from(peer)));
        self.server.handle_connected(id, key(peer), observed, stun_endpoints(), self.now);
        id
    }

    fn registration(&self, epoch: u64, contacts: &[u32]) -> Register {
        let capabilities = contacts.iter().copied().map(capability).collect();
        Register { epoch, capabilities, reflexive: Vec::new(), profile: NatProfile::default(), relay_only: false }
    }

    fn register(&mut self, client: ConnectionId, epoch: u64, contacts: &[u32]) {
        let register = self.registration(epoch, contacts);
        let out = self.say(client, ToServer::Register(register));
        assert!(matches!(out[..], [Output::Send(to, FromServer::Registered(_))] if to == client), "{out:?}");
    }

    fn say(&mut self, client: ConnectionId, message: ToServer) -> Vec<Output> {
        self.server.handle_message(client, message, self.now);
        self.drain()
    }

    fn introduce(&mut self, client: ConnectionId, peer: u8, with: u32) -> Vec<Output> {
        let sealed = vec![1, 2, 3];
        let introduce =
            Introduce { request: 7, peer: key(peer), capability: capability(with), sealed, envelope: vec![] };
        self.say(client, ToServer::Introduce(introduce))
    }

    fn introduced(&mut self, client: ConnectionId, peer: u8, with: u32) -> IntroductionId {
        match self.introduce(client, peer, with).first() {
            Some(Output::Send(_, FromServer::Introduction(introduction))) => introduction.id,
            other => panic!("an introduction, not {other:?}"),
        }
    }

    fn trickle(&mut self, client: ConnectionId, introduction: IntroductionId) -> Vec<Output> {
        self.say(client, ToServer::Trickle(Trickle { introduction, sealed: vec![4] }))
    }

    fn moved(&mut self, client: ConnectionId, observed: &str) -> Vec<Output> {
        self.server.handle_moved(client, at(observed), self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.server.poll_output()).collect()
    }

    /// Everything that grows with use.
    fn footprint(&self) -> usize {
        let Server { connections, registry, introductions, budgets, .. } = &self.server;
        connections.len() + registry.len() + introductions.len() + budgets.len()
    }
}
