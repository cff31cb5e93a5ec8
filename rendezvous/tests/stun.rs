//! STUN over loopback, on the port that it shares with QUIC and on the others.

mod support;

use std::net::SocketAddr;

use common::introduction::{FromServer, ToServer};
use common::stun::{self, Change, Message, Response, TransactionId};
use support::{Person, SOON, Server};
use tokio::net::UdpSocket;
use tokio::time::timeout;

#[tokio::test]
async fn one_address_answers_on_both_ports_and_only_from_where_it_can() {
    let server = Server::start();
    let main = server.addresses[0];
    let alternate = SocketAddr::new(main.ip(), main.port() + 1);
    let asker = Asker::new().await;
    for address in [main, alternate] {
        let (from, response) = asker.ask(address, Change::default()).await;
        assert_eq!(from, address);
        assert_eq!((response.mapped, response.origin, response.other), (asker.address(), Some(address), None));
    }
    let (from, _) = asker.ask(main, Change { ip: false, port: true }).await;
    assert_eq!(from, alternate);
    asker.send(main, Change { ip: true, port: false }).await;
    assert_eq!(asker.receive().await, (main, Message::Error { transaction: ID, code: 420 }));
    server.stop().await;
}

#[tokio::test]
async fn two_addresses_show_a_client_what_its_nat_does() {
    let second: SocketAddr = "127.0.0.2:0".parse().expect("an address");
    let server = Server::start_with(|config| config.listen.push(second));
    let [main, second] = server.addresses[..] else { panic!("two addresses") };
    assert_eq!((second.ip().to_string().as_str(), second.port()), ("127.0.0.2", main.port()));
    let (_, registered) = Person::new(1).register_at(&server.place).await;
    assert_eq!(registered.stun.alternate, Some(second));
    assert_eq!(registered.stun.alternate_port, main.port() + 1);

    let asker = Asker::new().await;
    let at =
        |ip: bool, port: bool| SocketAddr::new(if ip { second.ip() } else { main.ip() }, main.port() + u16::from(port));
    for (ip, port) in [(false, false), (false, true), (true, false), (true, true)] {
        for change in [(false, false), (false, true), (true, false), (true, true)] {
            let (from, response) = asker.ask(at(ip, port), Change { ip: change.0, port: change.1 }).await;
            assert_eq!(from, at(ip != change.0, port != change.1));
            assert_eq!(response.origin, Some(from));
            assert_eq!(response.other, Some(at(!ip, !port)));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wildcard_answers_from_the_address_that_was_asked() {
    let server = Server::start_with(|config| config.listen = vec!["0.0.0.0:0".parse().expect("an address")]);
    let asker = Asker::new().await;
    for port in [server.place.port, server.place.port + 1] {
        let address = SocketAddr::from(([127, 0, 0, 5], port));
        let (from, response) = asker.ask(address, Change::default()).await;
        assert_eq!((from, response.origin), (address, Some(address)));
    }
    server.stop().await;
}

#[tokio::test]
async fn ipv6_has_sockets_of_its_own() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let server = Server::start_with(|config| config.listen.push("[::1]:0".parse().expect("an address")));
    let six = server.addresses[1];
    let asker = Asker::at("[::1]:0").await;
    assert_eq!(asker.ask(six, Change::default()).await.1.mapped, asker.address());
    let mut place = server.place.clone();
    place.host = "::1".into();
    let (alice, registered) = Person::new(1).register_at(&place).await;
    assert_eq!(registered.observed, alice.address());
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_junk_beside_a_client_does_not_disturb_it() {
    let server = Server::start();
    let main = server.addresses[0];
    let (mut alice, _) = Person::new(1).register_at(&server.place).await;
    let flood = Asker::new().await;
    let mut request = stun::encode_request(ID, Change::default());
    for n in 0..20_000u32 {
        // Junk of each kind: no protocol, relay frames, broken STUN, short and long headers of QUIC, handshakes.
        let mut bytes = vec![[0x80, 8, 0, 0x40, 0xc0, 0xc3][n as usize % 6]; 21 + n as usize % 1300];
        bytes[1..5].copy_from_slice(&n.to_be_bytes());
        let _ = flood.socket.try_send_to(&bytes, main);
        request[19] = n as u8;
        let _ = flood.socket.try_send_to(&request, main);
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let unknown = Person::new(2).id();
    alice.send(&Person::new(1).introduce(1, unknown, &server.place)).await;
    assert_eq!(alice.next().await, FromServer::Refused { request: 1 });
    let _ = Person::new(3).register_at(&server.place).await;
    alice.send(&ToServer::Update(Person::new(1).register(&server.place))).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_silence() {
    let server = Server::start();
    let main = server.addresses[0];
    let asker = Asker::new().await;
    let response = Response { transaction: ID, mapped: main, origin: None, other: None };
    // Among them a short header of QUIC with a connection id that this server did not give out: not even a reset.
    let mut short_header = vec![0x47; 60];
    short_header[9..].fill(1);
    for bytes in
        [stun::encode_response(&response), vec![8; 100], vec![0x80; 100], short_header, vec![0; 0], vec![0xc3; 1300]]
    {
        asker.socket.send_to(&bytes, main).await.expect("sent");
    }
    // All that comes back are the answers to what was asked after it.
    for _ in 0..3 {
        let (_, answer) = asker.ask(main, Change::default()).await;
        assert_eq!(answer.mapped, asker.address());
    }
    assert!(asker.socket.try_recv(&mut [0; 1500]).is_err());
    server.stop().await;
}

const ID: TransactionId = TransactionId([5; 12]);

/// A STUN client.
struct Asker {
    socket: UdpSocket,
}

impl Asker {
    async fn new() -> Self {
        Self::at("127.0.0.1:0").await
    }

    async fn at(address: &str) -> Self {
        Asker { socket: UdpSocket::bind(address).await.expect("a socket") }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    async fn send(&self, to: SocketAddr, change: Change) {
        self.socket.send_to(&stun::encode_request(ID, change), to).await.expect("sent");
    }

    async fn receive(&self) -> (SocketAddr, Message) {
        let mut buffer = [0; 1500];
        let (length, from) =
            timeout(SOON, self.socket.recv_from(&mut buffer)).await.expect("an answer").expect("received");
        (from, stun::decode(&buffer[..length]).expect("STUN"))
    }

    async fn ask(&self, to: SocketAddr, change: Change) -> (SocketAddr, Response) {
        self.send(to, change).await;
        match self.receive().await {
            (from, Message::Response(response)) => (from, response),
            other => panic!("a response, not {other:?}"),
        }
    }
}
