//! Alice and Bob talk through the relay of a rendezvous in this process, over loopback, and others try to.

mod support;

use std::net::UdpSocket;

use common::introduction::FromServer;
use common::relay::{MAX_PAYLOAD, RelayChannel};
use support::{Client, Person, Server, frame};

#[tokio::test]
async fn alice_and_bob_exchange_frames_and_nobody_reads_or_changes_them() {
    let server = Server::start();
    let Met { mut alice, mut bob, channel, .. } = Met::at(&server).await;
    alice.send_frame(channel, b"hello");
    assert_eq!(bob.next_frame().await, frame(channel, b"hello"));
    bob.send_frame(channel, &[7; MAX_PAYLOAD]);
    assert_eq!(alice.next_frame().await, frame(channel, &[7; MAX_PAYLOAD]));
    server.stop().await;
}

#[tokio::test]
async fn a_buffer_of_many_frames_arrives_whole_and_in_order() {
    let server = Server::start();
    let Met { alice, mut bob, channel, .. } = Met::at(&server).await;
    let frames: Vec<_> = (0..20u8).map(|n| frame(channel, &vec![n; if n == 19 { 300 } else { 1000 }])).collect();
    alice.send_datagrams(&frames.concat(), frames[0].len());
    for expected in frames {
        assert!(bob.next_frame().await == expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn frames_of_several_channels_and_what_is_none_share_a_buffer() {
    let server = Server::start();
    let Met { mut alice, mut bob, channel, person } = Met::at(&server).await;
    let carol = Person::new(3).knows(&person);
    let (mut at_carol, _) = carol.register_at(&server.place).await;
    let with_carol = introduced(&mut at_carol, &mut alice, &carol, &person, &server).await;
    let junk = vec![0x80; frame(channel, &[0; 100]).len()];
    let unknown = frame(RelayChannel(channel.0 ^ 1), &[9; 100]);
    let of = |channel, n: u8| frame(channel, &[n; 100]);
    let buffer = [of(channel, 1), junk, of(with_carol, 2), of(channel, 3), unknown, of(channel, 4)].concat();
    alice.send_datagrams(&buffer, of(channel, 1).len());
    for n in [1, 3, 4] {
        assert_eq!(bob.next_frame().await, of(channel, n));
    }
    assert_eq!(at_carol.next_frame().await, of(with_carol, 2));
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_who_knows_the_channel_is_heard_by_nobody() {
    let server = Server::start();
    let Met { alice, mut bob, channel, .. } = Met::at(&server).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for payload in [&[1; 100][..], &[], &[2; 65_000 - 9]] {
        stranger.send_to(&frame(channel, payload), server.addresses[0]).expect("sent");
    }
    alice.send_frame(channel, b"only this");
    assert_eq!(bob.next_frame().await, frame(channel, b"only this"));
    assert!(bob.relayed.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn frames_that_are_too_long_or_empty_are_dropped_from_a_party_too() {
    let server = Server::start();
    let Met { alice, mut bob, channel, .. } = Met::at(&server).await;
    for bad in [frame(channel, &[]), frame(channel, &[1; MAX_PAYLOAD + 1]), frame(channel, &[1; 65_000 - 9]), vec![8]] {
        alice.send_datagrams(&bad, bad.len());
    }
    alice.send_frame(channel, b"x");
    assert_eq!(bob.next_frame().await, frame(channel, b"x"));
    server.stop().await;
}

#[tokio::test]
async fn a_registration_from_another_address_moves_where_frames_go_and_come_from() {
    let server = Server::start();
    let Met { mut alice, mut bob, channel, person } = Met::at(&server).await;
    let (mut elsewhere, _) = person.register_at(&server.place).await;
    assert_eq!(alice.next().await, FromServer::Replaced);
    bob.send_frame(channel, b"to Alice");
    assert_eq!(elsewhere.next_frame().await, frame(channel, b"to Alice"));
    alice.send_frame(channel, b"from where she was");
    elsewhere.send_frame(channel, b"from where she is");
    assert_eq!(bob.next_frame().await, frame(channel, b"from where she is"));
    assert!(alice.relayed.is_empty() && bob.relayed.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn clients_at_two_addresses_of_a_server_talk_to_each_other() {
    let server = Server::start_with(|config| {
        config.listen = vec!["127.0.0.1:0".parse().expect("an address"), "[::1]:0".parse().expect("an address")];
    });
    let (alice, bob) = pair();
    let (mut at_alice, _) = alice.register_at(&server.place).await;
    let mut other = server.place.clone();
    other.host = "::1".into();
    let (mut at_bob, _) = bob.register_at(&other).await;
    let channel = introduced(&mut at_alice, &mut at_bob, &alice, &bob, &server).await;
    at_alice.send_frame(channel, b"to IPv6");
    assert_eq!(at_bob.next_frame().await, frame(channel, b"to IPv6"));
    at_bob.send_frame(channel, b"to IPv4");
    assert_eq!(at_alice.next_frame().await, frame(channel, b"to IPv4"));
    server.stop().await;
}

#[tokio::test]
async fn a_server_told_not_to_relay_grants_no_channel() {
    let server = Server::start_with(|config| config.relay = false);
    let (alice, bob) = pair();
    let (mut at_alice, _) = alice.register_at(&server.place).await;
    let (mut at_bob, _) = bob.register_at(&server.place).await;
    at_alice.send(&alice.introduce(1, bob.id(), &server.place)).await;
    assert_eq!(at_alice.next_introduction().await.relay, None);
    assert_eq!(at_bob.next_introduction().await.relay, None);
    server.stop().await;
}

/// Alice and Bob, registered and introduced.
struct Met {
    alice: Client,
    bob: Client,
    channel: RelayChannel,
    /// Alice.
    person: Person,
}

impl Met {
    async fn at(server: &Server) -> Self {
        let (person, friend) = pair();
        let person = person.knows(&Person::new(3));
        let (mut alice, _) = person.register_at(&server.place).await;
        let (mut bob, _) = friend.register_at(&server.place).await;
        let channel = introduced(&mut alice, &mut bob, &person, &friend, server).await;
        Met { alice, bob, channel, person }
    }
}

fn pair() -> (Person, Person) {
    (Person::new(1).knows(&Person::new(2)), Person::new(2).knows(&Person::new(1)))
}

/// `one` asks for `other`: the channel that both get.
async fn introduced(
    at_one: &mut Client,
    at_other: &mut Client,
    one: &Person,
    other: &Person,
    server: &Server,
) -> RelayChannel {
    at_one.send(&one.introduce(1, other.id(), &server.place)).await;
    let (told, heard) = (at_one.next_introduction().await, at_other.next_introduction().await);
    assert_eq!(told.relay, heard.relay);
    told.relay.expect("a channel")
}
