//! Every decoder of bytes that come from outside, as one function each: it must not panic whatever it gets, what it reads it must
//! be able to write and to read again as the same, and it says whether it read anything.
//!
//! Two programs have this file: the fuzz targets, which look for bytes that break it, and the test `corpus` of the workspace, which
//! puts the bytes in `fuzz/corpus` through the same functions.
//!
//! # Limits
//!
//! What a router answers to PCP and NAT-PMP is read by `crab_nat`, QUIC and TLS by quinn and rustls, which are fuzzed at home.

use std::fmt::Debug;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Instant;

use client::control::{self, Request};
use client::net::decode;
use common::candidate;
use common::datagram::{self, Kind};
use common::identity::{Identity, PeerId};
use common::introduction::{Collected, FromServer, IntroductionId, MAX_CONTROL_FRAME, ToServer};
use common::lan::LanMessage;
use common::link::Link;
use common::pairing::Pairing;
use common::prekey::{Bundle, Keyring, PrekeySecret};
use common::receipt::{Receipt, StoredReceipt};
use common::relay;
use common::seal::{self, MAX_ENVELOPE, Opened};
use common::session::{MAX_PEER_FRAME, MessageId, PeerFrame};
use common::speed::{MAX_SPEED_FRAME, SpeedFrame};
use common::stun::{self, Credential, Message};
use common::tunnel::MAX_DATAGRAM;
use common::wire::{self, FrameReader, VERSION};
use futures_util::StreamExt;
use rendezvous::stun_service::{Layout, Place, StunService};
use rendezvous::tunnel::{request, websocket};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Reads bytes; whether they were anything.
pub type Decoder = fn(&[u8]) -> bool;

/// All of them, by the names of their targets and of their folders in the corpus.
pub const DECODERS: [(&str, Decoder); 18] = [
    ("to_server", to_server),
    ("from_server", from_server),
    ("peer_frame", peer_frame),
    ("speed_frame", speed_frame),
    ("envelope", envelope),
    ("signed", signed),
    ("sealed_box", sealed_box),
    ("datagrams", datagrams),
    ("relay_frame", relay_frame),
    ("stun_message", stun_message),
    ("lan_message", lan_message),
    ("mdns", mdns),
    ("link", link),
    ("tunnel_request", tunnel_request),
    ("web_socket", web_socket),
    ("upnp", upnp),
    ("proxy", proxy),
    ("control", control),
];

/// The body of a frame from a client to its rendezvous.
pub fn to_server(bytes: &[u8]) -> bool {
    frame::<ToServer>(bytes, MAX_CONTROL_FRAME)
}

/// The body of a frame from a rendezvous to a client.
pub fn from_server(bytes: &[u8]) -> bool {
    frame::<FromServer>(bytes, MAX_CONTROL_FRAME)
}

/// The body of a frame of a conversation.
pub fn peer_frame(bytes: &[u8]) -> bool {
    frame::<PeerFrame>(bytes, MAX_PEER_FRAME)
}

/// The body of a frame of a measurement.
pub fn speed_frame(bytes: &[u8]) -> bool {
    frame::<SpeedFrame>(bytes, MAX_SPEED_FRAME)
}

/// The bytes as a stream, and as the body of one frame of this version, in two pieces.
fn frame<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8], limit: usize) -> bool {
    let mut raw = FrameReader::new(limit);
    raw.push(bytes);
    while let Ok(Some(message)) = raw.poll::<T>() {
        black_box(message);
    }
    let Ok(length) = u16::try_from(bytes.len()) else { return false };
    let [high, low] = length.to_be_bytes();
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let mut reader = FrameReader::new(limit);
    reader.push(&[VERSION, high, low]);
    reader.push(one);
    if !other.is_empty() {
        assert!(!matches!(reader.poll::<T>(), Ok(Some(_))), "half a frame is none");
    }
    reader.push(other);
    let Ok(Some(message)) = reader.poll::<T>() else { return false };
    // Numbers and lengths can be written in several ways; ours is never longer.
    let again = wire::encode(&message, limit).expect("what came as a frame goes as one");
    let mut reader = FrameReader::new(limit);
    reader.push(&again);
    assert_eq!(reader.poll::<T>(), Ok(Some(message)));
    true
}

/// An envelope from a contact; and if the bytes are what may stand in one, the way into one and out again, for each kind of key.
pub fn envelope(bytes: &[u8]) -> bool {
    let (alice, bob) = two();
    let secrets = [(5, false), (6, true)].map(|(id, one_time)| PrekeySecret::new(id, [5; 32], one_time, 0));
    let publics = secrets.each_ref().map(|secret| secret.public(&bob));
    let keyring = Keyring::new(secrets);
    let open = |envelope: &[u8]| seal::open(&bob, &keyring, alice.peer_id(), b"fuzz", envelope);
    assert!(open(bytes).is_err(), "nobody seals by chance");
    let Ok((frames, [])) = postcard::take_from_bytes::<Vec<PeerFrame>>(bytes) else { return false };
    for to in [None, Some(&publics[0]), Some(&publics[1])] {
        let Ok(sealed) = seal::seal(&alice, bob.peer_id(), to, b"fuzz", &frames, [7; 32]) else { continue };
        assert!(sealed.len() <= MAX_ENVELOPE);
        let one_time = to.filter(|prekey| prekey.one_time).map(|prekey| prekey.id);
        assert_eq!(open(&sealed), Ok(Opened { frames: frames.clone(), one_time }));
    }
    true
}

/// What is signed: nothing that comes by chance is anybody's.
pub fn signed(bytes: &[u8]) -> bool {
    let (alice, bob) = two();
    let (author, by) = (alice.peer_id(), bob.peer_id());
    let (mut read, mut verified) = (false, false);
    if let Ok((receipt, [])) = postcard::take_from_bytes::<Receipt>(bytes) {
        (read, verified) = (true, verified | receipt.verify(by, author).is_ok());
    }
    if let Ok((receipt, [])) = postcard::take_from_bytes::<StoredReceipt>(bytes) {
        (read, verified) = (true, verified | receipt.verify(by, author, author).is_ok());
    }
    if let Ok((bundle, [])) = postcard::take_from_bytes::<Bundle>(bytes) {
        (read, verified) = (true, verified | bundle.best(by, 0).is_some());
    }
    if let Ok((collected, [])) = postcard::take_from_bytes::<Collected>(bytes) {
        (read, verified) = (true, verified | collected.verify(by, author).is_ok());
    }
    assert!(!verified, "nobody signs by chance, and no seed is signed for these two");
    read
}

/// A box of candidates from a contact, sealed or opened.
pub fn sealed_box(bytes: &[u8]) -> bool {
    let (alice, bob) = two();
    let pairing = Pairing::new(&bob, alice.peer_id()).expect("two keys");
    assert!(pairing.open(b"fuzz", bytes).is_err(), "nobody seals by chance");
    let Ok(contents) = candidate::unpack(bytes) else { return false };
    for address in &contents.addresses {
        black_box(candidate::may_probe(*address, None));
    }
    assert_eq!(candidate::unpack(&candidate::pack(contents.clone())), Ok(contents));
    true
}

/// What a socket receives at once: datagrams of one length, and a shorter last one. The first byte is the length.
pub fn datagrams(bytes: &[u8]) -> bool {
    let Some((stride, rest)) = bytes.split_first() else { return false };
    let mut buffer = rest.to_vec();
    let mut others = 0;
    let kept = datagram::sift(&mut buffer, usize::from(*stride), |kind, other| {
        assert_ne!(kind, Kind::Quic);
        assert_eq!(datagram::classify(other), kind);
        others += other.len();
    });
    assert_eq!(kept + others, rest.len(), "each byte is somebody's");
    kept > 0 && others > 0
}

/// A relay frame.
pub fn relay_frame(bytes: &[u8]) -> bool {
    let Some((channel, payload)) = relay::parse(bytes) else { return false };
    assert_eq!([&channel.header(), payload].concat(), bytes);
    assert_eq!(relay::RelayChannel::from_address(channel.address()), Some(channel));
    true
}

/// STUN: what a server says of it, what a client makes of it, and as a probe.
pub fn stun_message(bytes: &[u8]) -> bool {
    let answered = stun::decode(bytes).is_ok();
    for ip in ["11.1.1.1", "2001:db8::1"].iter().filter(|_| answered) {
        let ip: IpAddr = ip.parse().expect("an address");
        let layout = Layout { ip, second_ip: None, port: 3478, second_port: 3479 };
        let (mut service, source) = (StunService::new(layout, 7), SocketAddr::new(ip, 4000));
        let place = Place { second_ip: false, second_port: false };
        if let Some(answer) = service.handle_datagram(place, None, source, bytes, Instant::now()) {
            // On the line there is a header of IP and UDP around both: of the longer kind for the longer answers.
            let headers = if ip.is_ipv4() { 28 } else { 48 };
            assert!(answer.bytes.len() + headers <= 3 * (bytes.len() + headers), "a gun: {answer:?}");
            assert_eq!(answer.to.ip(), ip, "somebody else is shot at");
        }
    }
    // Making a key takes longer than reading a thousand messages.
    static CREDENTIAL: LazyLock<Credential> = LazyLock::new(|| {
        let (alice, bob) = two();
        let pairing = Pairing::new(&bob, alice.peer_id()).expect("two keys");
        Credential::new(&pairing.peer_probe_key(IntroductionId(1)))
    });
    let probe = stun::decode_authenticated(bytes, &CREDENTIAL).is_ok();
    match stun::decode(bytes) {
        Ok(Message::Response(response)) => {
            let again = stun::decode(&stun::encode_response(&response));
            assert_eq!(again, Ok(Message::Response(response)));
            true
        }
        Ok(_) => true,
        Err(_) => probe,
    }
}

/// What is announced on a LAN, or said there to one contact.
pub fn lan_message(bytes: &[u8]) -> bool {
    match LanMessage::decode(bytes) {
        Ok(LanMessage::Announcement(announcement)) => assert_eq!(announcement.encode(), bytes),
        Ok(LanMessage::Call(call)) => assert_eq!(call.encode(), bytes),
        Err(_) => return false,
    }
    true
}

/// A packet of multicast DNS.
pub fn mdns(bytes: &[u8]) -> bool {
    decode::mdns(bytes)
}

/// A link, or an id, that somebody has pasted.
pub fn link(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    black_box(MessageId::from_str(text).is_ok());
    if let Ok(peer) = text.parse::<PeerId>() {
        assert_eq!(peer.to_string().parse(), Ok(peer));
        return true;
    }
    let Ok(link) = text.parse::<Link>() else { return false };
    assert_eq!(link.to_string().parse(), Ok(link));
    true
}

/// What somebody sends to a tunnel's port, TLS taken away.
pub fn tunnel_request(bytes: &[u8]) -> bool {
    let mut stream = bytes;
    matches!(now(request::read(&mut stream)), Ok((request::Request::Tunnel { .. }, _)))
}

/// What comes through a tunnel, at the server and at the client.
pub fn web_socket(bytes: &[u8]) -> bool {
    [Role::Server, Role::Client].map(|role| web_socket_as(role, bytes)).contains(&true)
}

fn web_socket_as(role: Role, bytes: &[u8]) -> bool {
    now(async {
        let stream = tokio::io::join(bytes, tokio::io::sink());
        let mut socket = WebSocketStream::from_raw_socket(stream, role, Some(websocket())).await;
        let mut datagrams = 0;
        while let Some(Ok(message)) = socket.next().await {
            if let WebSocketMessage::Binary(datagram) = message {
                assert!(datagram.len() <= MAX_DATAGRAM);
                datagrams += 1;
            }
        }
        datagrams > 0
    })
}

/// What a UPnP gateway answers.
pub fn upnp(bytes: &[u8]) -> bool {
    let found = decode::ssdp(bytes);
    decode::upnp(bytes) || found
}

/// What an HTTP proxy answers.
pub fn proxy(bytes: &[u8]) -> bool {
    now(decode::proxy(bytes))
}

/// What a front end says over the control socket; and a request that came goes as the same.
pub fn control(bytes: &[u8]) -> bool {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let again = serde_json::to_value(&request).expect("a request is JSON");
        let request: Request = serde_json::from_value(again.clone()).expect("what we say we understand");
        assert_eq!(serde_json::to_value(&request).expect("a request is JSON"), again);
    }
    now(control::understood(bytes)) > 0
}

/// Nothing here waits for anything.
fn now<T>(work: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(work).expect("all of it is there")
}

/// Alice and Bob.
fn two() -> (Identity, Identity) {
    (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]))
}
