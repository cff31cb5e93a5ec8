//! Clients who come over TCP, and what strangers try at that port; against a server in this process, over loopback.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::introduction::{CloseCode, FromServer};
use common::relay::{RelayChannel, is_synthetic};
use common::tunnel::MAX_DATAGRAM;
use futures_util::{SinkExt, StreamExt};
use rendezvous::Config;
use support::tunnel::{Bridge, Reads, open, tcp, tls};
use support::{Client, Person, Server, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

fn start() -> Server {
    Server::start_with(with_tunnel)
}

fn with_tunnel(config: &mut Config) {
    config.tunnel = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
}

/// Alice asks for Bob; the channel that both are granted.
async fn introduced(alice: &mut Client, bob: &mut Client, server: &Server) -> RelayChannel {
    let (a, b) = (Person::new(1), Person::new(2));
    alice.send(&a.introduce(1, b.id(), &server.place)).await;
    let (to_alice, to_bob) = (alice.next_introduction().await, bob.next_introduction().await);
    assert_eq!(to_alice.relay, to_bob.relay);
    to_alice.relay.expect("a channel")
}

fn two() -> (Person, Person) {
    (Person::new(1).knows(&Person::new(2)), Person::new(2).knows(&Person::new(1)))
}

#[tokio::test]
async fn who_comes_through_a_tunnel_is_introduced_and_relayed_and_has_no_address() {
    let server = start();
    let (a, b) = two();
    let bridge = Bridge::to(&server.place).await;
    let (mut alice, seen) = a.register_at(&bridge.place).await;
    assert!(is_synthetic(seen.observed.ip()) && seen.stun.alternate.is_none(), "{seen:?}");
    let (mut bob, seen) = b.register_at(&server.place).await;
    alice.send(&a.introduce(1, b.id(), &server.place)).await;
    let (to_alice, to_bob) = (alice.next_introduction().await, bob.next_introduction().await);
    assert_eq!((to_alice.addresses, to_bob.addresses), (vec![seen.observed], vec![]));
    let channel = to_alice.relay.expect("a channel");
    alice.send_frame(channel, &[0x40; 1200]);
    assert_eq!(bob.next_frame().await, frame(channel, &[0x40; 1200]));
    bob.send_frame(channel, &[0x41; MAX_DATAGRAM - 9]);
    assert_eq!(alice.next_frame().await, frame(channel, &[0x41; MAX_DATAGRAM - 9]));
    server.stop().await;
}

#[tokio::test]
async fn two_behind_tunnels_talk_and_nobody_else_can_use_their_channel() {
    let server = start();
    let (a, b) = two();
    let (one, other, third) =
        (Bridge::to(&server.place).await, Bridge::to(&server.place).await, Bridge::to(&server.place).await);
    let (mut alice, _) = a.register_at(&one.place).await;
    let (mut bob, _) = b.register_at(&other.place).await;
    let (stranger, _) = Person::new(3).register_at(&third.place).await;
    let channel = introduced(&mut alice, &mut bob, &server).await;
    stranger.send_frame(channel, b"not mine");
    alice.send_frame(channel, b"mine");
    assert_eq!(bob.next_frame().await, frame(channel, b"mine"));
    assert!(bob.relayed.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_over_udp_takes_its_own_place_and_its_channel_along() {
    let server = start();
    let (a, b) = two();
    let bridge = Bridge::to(&server.place).await;
    let (mut tunnelled, _) = a.register_at(&bridge.place).await;
    let (mut bob, _) = b.register_at(&server.place).await;
    let channel = introduced(&mut tunnelled, &mut bob, &server).await;
    let (mut alice, _) = a.register_at(&server.place).await;
    assert_eq!(tunnelled.next().await, FromServer::Replaced);
    assert_eq!(tunnelled.closed().await, u64::from(CloseCode::Replaced.code()));
    bob.send_frame(channel, b"over UDP?");
    assert_eq!(alice.next_frame().await, frame(channel, b"over UDP?"));
    alice.send_frame(channel, b"yes");
    assert_eq!(bob.next_frame().await, frame(channel, b"yes"));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_says_so_through_tunnels_too() {
    let server = start();
    let bridge = Bridge::to(&server.place).await;
    let (mut alice, _) = Person::new(1).register_at(&bridge.place).await;
    server.stop().await;
    assert_eq!(alice.next().await, FromServer::Draining);
    assert_eq!(alice.closed().await, u64::from(CloseCode::Draining.code()));
}

#[tokio::test]
async fn whoever_looks_in_with_a_browser_finds_no_page() {
    let server = start();
    for path in ["/", "/punchline", "/../etc/passwd"] {
        let mut stream = tls(&server.place).await.expect("TLS");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("written");
        let mut page = String::new();
        soon(stream.read_to_string(&mut page)).await.expect("a page");
        assert!(page.starts_with("HTTP/1.1 404 ") && page.ends_with("\r\n\r\nNot found\n"), "{page}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_tunnel_is_closed_and_others_notice_nothing() {
    let server = start();
    let bridge = Bridge::to(&server.place).await;
    let (_alice, _) = Person::new(1).register_at(&bridge.place).await;
    // No TLS.
    let mut stream = tcp(&server.place).await;
    stream.write_all(&[0x55; 4000]).await.expect("written");
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    // No HTTP, without end.
    let mut stream = tls(&server.place).await.expect("TLS");
    let _ = stream.write_all(&[b'x'; 20_000]).await;
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    // No frame of a WebSocket: a reserved opcode, and one that is not masked.
    for bytes in [[0x87, 0x80, 0, 0, 0, 0], [0x82, 0x02, 1, 2, 3, 4]] {
        let mut socket = open(&server.place).await.expect("a tunnel");
        socket.get_mut().write_all(&bytes).await.expect("written");
        assert_closes(socket).await;
    }
    // Frames that a tunnel does not carry.
    let too_long = Message::binary(vec![0x40; MAX_DATAGRAM + 1]);
    for message in [Message::text("hello"), too_long, Message::binary(vec![0x40; 1 << 20])] {
        let mut socket = open(&server.place).await.expect("a tunnel");
        let _ = socket.send(message).await;
        assert_closes(socket).await;
    }
    // More pings than anybody needs.
    let mut socket = open(&server.place).await.expect("a tunnel");
    for _ in 0..100 {
        let _ = socket.feed(Message::Ping(vec![1; 100].into())).await;
    }
    let _ = socket.flush().await;
    assert_closes(socket).await;
    assert!(bridge.is_open());
    server.stop().await;
}

/// Nothing but answers to pings comes until the end.
async fn assert_closes(mut socket: support::tunnel::Socket) {
    soon(async { while let Some(Ok(Message::Pong(_) | Message::Close(_))) = socket.next().await {} }).await;
}

#[tokio::test]
async fn datagrams_that_are_none_of_ours_end_nothing() {
    let server = start();
    let bridge = Bridge::to(&server.place).await;
    let (mut alice, _) = Person::new(1).knows(&Person::new(2)).register_at(&bridge.place).await;
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for datagram in [&stun[..], &[0x80; 100], &[8; 5], &frame(RelayChannel(7), &[0x40; 30]), &[0xc0; 1200]] {
        alice.send_datagrams(datagram, datagram.len());
    }
    alice.send(&Person::new(1).introduce(1, Person::new(2).id(), &server.place)).await;
    assert_eq!(alice.next().await, FromServer::Refused { request: 1 });
    assert!(alice.relayed.is_empty(), "STUN is not answered");
    server.stop().await;
}

#[tokio::test]
async fn one_source_has_so_many_tunnels_and_a_thousand_more_attempts_change_nothing() {
    let server = Server::start_with(|config| {
        with_tunnel(config);
        config.limits.connections_per_ipv4 = 20;
    });
    let mut bridges = Vec::new();
    for _ in 0..20 {
        bridges.push(Bridge::to(&server.place).await);
    }
    for _ in 0..1000 {
        // Closed before TLS begins.
        let _ = soon(tcp(&server.place).await.read_to_end(&mut Vec::new())).await;
    }
    assert!(bridges.iter().all(Bridge::is_open));
    let (alice, _) = Person::new(1).register_at(&bridges[0].place).await;
    alice.leave().await;
    bridges.clear();
    let since = Instant::now();
    while open(&server.place).await.is_err() {
        assert!(since.elapsed() < support::SOON, "there is room again");
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_in_time_at_every_step() {
    let server = start();
    let since = Instant::now();
    let (mut silent, mut half) = (tcp(&server.place).await, tls(&server.place).await.expect("TLS"));
    half.write_all(b"GET /punchline HTTP/1.1\r\n").await.expect("written");
    let _ = soon(silent.read_to_end(&mut Vec::new())).await;
    let _ = soon(half.read_to_end(&mut Vec::new())).await;
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody() {
    let server = start();
    let (a, b) = two();
    let c = Person::new(3).knows(&b);
    let b = b.knows(&c);
    let bridge = Bridge::to(&server.place).await;
    let (mut alice, _) = a.register_at(&bridge.place).await;
    let (mut bob, _) = b.register_at(&server.place).await;
    let channel = introduced(&mut alice, &mut bob, &server).await;
    // Carol reads until she is introduced, and a little more.
    let stalled = Bridge::that_reads(&server.place, Reads::Only(40)).await;
    let (mut carol, _) = c.register_at(&stalled.place).await;
    carol.send(&c.introduce(1, b.id(), &server.place)).await;
    let to_carol = carol.next_introduction().await.relay.expect("a channel");
    bob.next_introduction().await;
    let mut slowest = Duration::ZERO;
    for n in 0..1500u32 {
        bob.send_frame(to_carol, &[7; 1000]);
        if n % 100 == 0 {
            let since = Instant::now();
            bob.send_frame(channel, &n.to_be_bytes());
            assert_eq!(alice.next_frame().await, frame(channel, &n.to_be_bytes()));
            slowest = slowest.max(since.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    server.stop().await;
}
