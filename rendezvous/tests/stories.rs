//! Alice and Bob at a rendezvous in this process, over loopback.

mod support;

use common::introduction::{CloseCode, FromServer, Letter, MAX_CONTROL_FRAME, Role, ToServer, Trickle};
use common::seal::MAX_ENVELOPE;
use common::wire;
use quinn::{ConnectionError, TransportErrorCode};
use rendezvous::limits::{OUTGOING_BYTES, OUTGOING_QUEUE};
use support::{Person, Server, close_code};

#[tokio::test]
async fn alice_and_bob_are_told_of_each_other() {
    let server = Server::start();
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (alice, bob) = (Person::new(1).knows(&bob), Person::new(2).knows(&alice));
    let (mut at_alice, registered) = alice.register_at(&server.place).await;
    assert_eq!(registered.observed, at_alice.address());
    assert_eq!(registered.stun.alternate_port, server.place.port + 1);
    assert_eq!(registered.stun.alternate, None);
    let (mut at_bob, _) = bob.register_at(&server.place).await;

    at_alice.send(&alice.introduce(17, bob.id(), &server.place)).await;
    let told_alice = at_alice.next_introduction().await;
    let told_bob = at_bob.next_introduction().await;
    assert_eq!(told_alice.id, told_bob.id);
    assert_eq!((told_alice.peer, told_bob.peer), (bob.id(), alice.id()));
    assert_eq!((told_alice.role, told_bob.role), (Role::Requester { request: 17 }, Role::Responder));
    assert_eq!(told_alice.addresses, [at_bob.address()]);
    assert_eq!(told_bob.addresses, [at_alice.address()]);
    assert_eq!((told_alice.sealed, told_bob.sealed), (vec![], vec![7; 40]));

    let answer = Trickle { introduction: told_bob.id, sealed: vec![9; 40] };
    at_bob.send(&ToServer::Trickle(answer.clone())).await;
    assert_eq!(at_alice.next().await, FromServer::Trickle(answer));
    server.stop().await;
}

#[tokio::test]
async fn the_unknown_the_absent_and_the_unwilling_look_alike_to_the_last_byte() {
    let server = Server::start();
    let (bob, carol, dave) = (Person::new(2), Person::new(3), Person::new(4));
    // Bob is here and does not know Alice. Carol knows her and has gone. Dave never was. All are Alice's contacts.
    let alice = Person::new(1).knows(&bob).knows(&carol).knows(&dave);
    let (_at_bob, _) = bob.register_at(&server.place).await;
    let (at_carol, _) = carol.knows(&alice).register_at(&server.place).await;
    at_carol.leave().await;
    let (mut at_alice, _) = alice.register_at(&server.place).await;
    at_alice.terms().await;
    let mut answers = Vec::new();
    for peer in [2, 3, 4] {
        let before = at_alice.raw.len();
        at_alice.send(&alice.introduce(5, Person::new(peer).id(), &server.place)).await;
        assert_eq!(at_alice.next().await, FromServer::Refused { request: 5 });
        answers.push(at_alice.raw[before..].to_vec());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_newer_of_two_clients_of_one_key_takes_the_place() {
    let server = Server::start();
    let mut alice = Person::new(1);
    let (mut older, _) = alice.register_at(&server.place).await;
    alice.epoch = 2;
    let (mut newer, _) = alice.register_at(&server.place).await;
    assert_eq!(older.next().await, FromServer::Replaced);
    assert_eq!(older.closed().await, u64::from(CloseCode::Replaced.code()));

    alice.epoch = 1;
    let mut back = alice.connect(&server.place).await;
    back.send(&ToServer::Register(alice.register(&server.place))).await;
    assert_eq!(back.next().await, FromServer::Replaced);
    assert_eq!(back.closed().await, u64::from(CloseCode::Replaced.code()));

    newer.send(&alice.introduce(1, Person::new(2).id(), &server.place)).await;
    assert_eq!(newer.next().await, FromServer::Refused { request: 1 });
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_changes_its_port_learns_its_new_address() {
    let server = Server::start();
    let (mut alice, before) = Person::new(1).register_at(&server.place).await;
    alice.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket")).expect("rebound");
    let FromServer::Registered(after) = alice.next().await else { panic!("registered again") };
    assert_ne!(before.observed, after.observed);
    assert_eq!(after.observed, alice.address());
    server.stop().await;
}

#[tokio::test]
async fn when_the_server_stops_everybody_is_told() {
    let server = Server::start();
    let (mut alice, _) = Person::new(1).register_at(&server.place).await;
    let silent = Person::new(2).connect(&server.place).await;
    let connection = alice.connection.clone();
    let ((), told, closed, closed_silent) =
        tokio::join!(server.stop(), alice.next(), close_code(&connection), silent.closed());
    assert_eq!(told, FromServer::Draining);
    assert_eq!([closed, closed_silent], [u64::from(CloseCode::Draining.code()); 2]);
}

#[tokio::test]
async fn an_oversized_frame_closes_its_own_connection_only() {
    let server = Server::start();
    let (mut alice, _) = Person::new(1).register_at(&server.place).await;
    let (mut mallory, _) = Person::new(2).register_at(&server.place).await;
    mallory.send_bytes(&[wire::VERSION, 0xff, 0xff]).await;
    assert!(matches!(mallory.next().await, FromServer::Error { .. }));
    assert_eq!(mallory.closed().await, u64::from(CloseCode::Protocol.code()));

    let (mut mallory, _) = Person::new(2).register_at(&server.place).await;
    mallory.send_bytes(&[wire::VERSION, 0, 9, 1]).await;
    mallory.send.finish().expect("open");
    assert!(matches!(mallory.next().await, FromServer::Error { .. }), "truncated");
    assert_eq!(mallory.closed().await, u64::from(CloseCode::Protocol.code()));

    alice.send(&Person::new(1).introduce(1, Person::new(2).id(), &server.place)).await;
    assert_eq!(alice.next().await, FromServer::Refused { request: 1 });
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_nobody_else() {
    let server = Server::start();
    let (alice, mut bob) = (Person::new(1), Person::new(2));
    bob.window = 1;
    let (mut at_alice, _) = alice.register_at(&server.place).await;
    let mut at_bob = bob.connect(&server.place).await;
    at_bob.send(&ToServer::Register(bob.register(&server.place))).await;
    // The server may send one byte, so it has to keep these answers, and will not keep them all.
    for request in 0..OUTGOING_QUEUE as u32 + 10 {
        let frame = wire::encode(&bob.introduce(request, alice.id(), &server.place), MAX_CONTROL_FRAME).expect("short");
        if at_bob.send.write_all(&frame).await.is_err() {
            break;
        }
    }
    assert_eq!(at_bob.closed().await, u64::from(CloseCode::Slow.code()));
    at_alice.send(&alice.introduce(1, bob.id(), &server.place)).await;
    assert_eq!(at_alice.next().await, FromServer::Refused { request: 1 });
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_long_words_is_closed_before_they_cost_much() {
    let server = Server::start();
    let (alice, mut bob) = (Person::new(1), Person::new(2).knows(&Person::new(1)));
    let alice = alice.knows(&bob);
    bob.window = 1;
    let (mut at_alice, _) = alice.register_at(&server.place).await;
    let mut at_bob = bob.connect(&server.place).await;
    at_bob.send(&ToServer::Register(bob.register(&server.place))).await;
    // Each of eight letters and one request brings 8 KiB; 256 KiB are passed at the fourth introduction.
    let long = vec![7; MAX_ENVELOPE];
    let most = OUTGOING_BYTES / MAX_ENVELOPE + 1;
    let mut sent = 0;
    for request in 0..=(most / 9) as u32 {
        let ToServer::Introduce(mut introduce) = alice.introduce(request, bob.id(), &server.place) else {
            panic!("a request")
        };
        introduce.envelope = long.clone();
        at_alice.send(&ToServer::Introduce(introduce)).await;
        let id = match at_alice.next().await {
            FromServer::Introduction(introduction) => introduction.id,
            FromServer::Refused { .. } => break,
            other => panic!("an introduction or none, not {other:?}"),
        };
        sent += 1;
        for _ in 0..8 {
            at_alice.send(&ToServer::Letter(Letter { introduction: id, envelope: long.clone() })).await;
            sent += 1;
        }
    }
    assert_eq!(at_bob.closed().await, u64::from(CloseCode::Slow.code()));
    assert!(sent < OUTGOING_QUEUE / 2, "long before the queue of frames is full: {sent}");
    server.stop().await;
}

#[tokio::test]
async fn a_crowded_source_must_prove_its_address_and_is_then_refused() {
    let server = Server::start_with(|config| config.limits.connections_per_ipv4 = 1);
    let (first, _) = Person::new(1).register_at(&server.place).await;
    // A Retry, of which the client shows nothing, and then the refusal.
    let refused = Person::new(2).try_connect(&server.place).await.err().expect("refused");
    let ConnectionError::ConnectionClosed(close) = refused else { panic!("refused, not {refused}") };
    assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
    first.leave().await;
    let (_second, _) = Person::new(2).register_at(&server.place).await;
    server.stop().await;
}

#[tokio::test]
async fn whoever_stops_a_server_can_start_the_next_one_on_its_port() {
    let server = Server::start();
    let (_alice, _) = Person::new(1).register_at(&server.place).await;
    let address = server.addresses[0];
    server.stop().await;
    let server = Server::start_with(|config| config.listen = vec![address]);
    assert_eq!(server.addresses, [address]);
    server.stop().await;
}

#[tokio::test]
async fn only_the_protocol_of_a_rendezvous_is_spoken() {
    let server = Server::start();
    let mut alice = Person::new(1);
    alice.protocol = b"punchline-rv/2";
    let refused = alice.try_connect(&server.place).await.err().expect("refused");
    assert!(refused.to_string().contains("doesn't support any known protocol"), "{refused}");
    server.stop().await;
}
