//! What shares the port: relay frames and strangers' first packets, which have sockets of their own there, and all the rest, which
//! they must not delay; and other programs, which must not get a share.
#![cfg(target_os = "linux")]

mod support;

use std::net::{SocketAddr, UdpSocket};

use common::relay::RelayChannel;
use common::stun::{self, Change, Message, TransactionId};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReusePort;
use rendezvous::{Config, Rendezvous};
use socket2::{Domain, Socket, Type};
use support::{Person, SOON, Server, frame};

/// More than any receive buffer of the server holds; short ones, so that no gap is left in it.
const FLOOD: usize = 20_000;

#[tokio::test]
async fn a_flood_of_relay_frames_or_first_packets_leaves_room_for_a_question() {
    // The beginning of an Initial of version 1, for an id of twenty bytes.
    let initial = [&[0xc3, 0, 0, 0, 1, 20][..], &[7; 20]].concat();
    for (ip, flood) in ["127.0.0.1", "::1"]
        .iter()
        .flat_map(|ip| [frame(RelayChannel(1), b"x"), initial.clone()].map(|flood| (ip, flood)))
    {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = SocketAddr::new(ip.parse().expect("an address"), 0);
        // Its sockets are open, and nobody reads them: this thread is the only one, and does not wait.
        let server = Rendezvous::open(&Config::new(listen, folder.path())).expect("a server");
        let address = server.addresses().next().expect("an address");
        let (flooder, asker) = (socket_near(address), socket_near(address));
        for _ in 0..FLOOD {
            flooder.send_to(&flood, address).expect("sent");
        }
        asker.send_to(&question(), address).expect("sent");
        asker.set_nonblocking(true).expect("possible");
        let asker = tokio::net::UdpSocket::from_std(asker).expect("a socket");
        let mut answer = [0; 200];
        tokio::select! {
            result = server.run(std::future::pending()) => panic!("it goes on, not {result:?}"),
            received = tokio::time::timeout(SOON, asker.recv_from(&mut answer)) => {
                let (length, from) = received.expect("the question was not lost").expect("received");
                assert_eq!(from, address);
                assert!(matches!(stun::decode(&answer[..length]), Ok(Message::Response(_))));
            }
        }
    }
}

#[tokio::test]
async fn quic_that_shares_a_buffer_with_relay_frames_arrives() {
    let server = Server::start();
    // The kernel may put a client's next packet behind its frames, if it is no longer than they are.
    let alice = Person { ahead: Some(frame(RelayChannel(1), &[0; 1400])), ..Person::new(1) };
    let (mut alice_there, registered) = alice.register_at(&server.place).await;
    assert_eq!(registered.observed, alice_there.address());
    alice_there.send(&alice.introduce(1, Person::new(2).id(), &server.place)).await;
    alice_there.next().await;
    server.stop().await;
}

#[tokio::test]
async fn a_question_behind_relay_frames_is_answered() {
    let server = Server::start();
    let (mut alice, _) = Person::new(1).register_at(&server.place).await;
    let frames = frame(RelayChannel(1), &[0; 91]);
    alice.send_datagrams(&[frames.clone(), frames.clone(), question()].concat(), frames.len());
    // Whatever is not QUIC.
    let answer = alice.next_frame().await;
    assert!(matches!(stun::decode(&answer), Ok(Message::Response(_))));
    server.stop().await;
}

/// Whoever is refused is told so; whoever is let in, because it asks to share, must get nothing.
#[tokio::test]
async fn a_program_that_asks_to_share_the_port_gets_no_datagram() {
    let server = Server::start();
    let address = server.addresses[0];
    let intruder = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    setsockopt(&intruder, ReusePort, &true).expect("possible");
    intruder.set_nonblocking(true).expect("possible");
    let let_in = intruder.bind(&address.into()).is_ok();
    let intruder = UdpSocket::from(intruder);
    for n in 0..20 {
        let (client, _) = Person::new(n).register_at(&server.place).await;
        client.send_frame(RelayChannel(1), b"to nobody");
        client.leave().await;
    }
    if let_in {
        let error = intruder.recv_from(&mut [0; 2000]).expect_err("nothing has come");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_is_refused_whichever_of_them_has_the_wildcard() {
    for (first, second) in
        [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")]
    {
        let listen = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
        let server = Server::start_with(|config| config.listen = vec![listen(first, 0)]);
        let folder = tempfile::tempdir().expect("a folder");
        let taken = listen(second, server.place.port);
        let error = Rendezvous::open(&Config::new(taken, folder.path())).expect_err("taken").to_string();
        assert!(error.contains(&format!("UDP {taken} is in use by another program")), "{error}");
        server.stop().await;
    }
}

fn socket_near(address: SocketAddr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(address.ip(), 0)).expect("a socket")
}

fn question() -> Vec<u8> {
    stun::encode_request(TransactionId([5; 12]), Change::default())
}
