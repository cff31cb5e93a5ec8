//! Writes the seeds: for each decoder a few inputs of the kinds that it is made for. After a change of a format, say
//! `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`; files that others have added stay.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use common::candidate::{Contents, pack};
use common::identity::Identity;
use common::introduction::*;
use common::lan::{Announcement, Call, LanNonce, LanTag, SERVICE};
use common::link::{Link, Rendezvous};
use common::nat::{Filtering, Mapping, NatProfile, PortAssignment};
use common::pairing::Pairing;
use common::path::Strategy;
use common::prediction::{Foretold, Prediction};
use common::prekey::{Bundle, Prekey, PrekeySecret};
use common::receipt::{Claim, EnvelopeDigest, Receipt, StoredReceipt};
use common::relay::RelayChannel;
use common::session::{Content, MessageId, PeerFrame, Post, PostDigest, StreamId};
use common::speed::{Arrived, Refusal, RunNumber, SpeedFrame};
use common::stun::{self, Change, Credential, Response, TransactionId};
use common::wire;
use serde::Serialize;

type Seeds = BTreeMap<&'static str, Vec<(&'static str, Vec<u8>)>>;

fn main() -> std::io::Result<()> {
    for (target, seeds) in all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            assert!(decodes(target, &bytes), "{target}/{name} is not what its decoder is made for");
            fs::write(folder.join(format!("seed-{name}")), bytes)?;
        }
    }
    Ok(())
}

fn decodes(target: &str, bytes: &[u8]) -> bool {
    let decoder = punchline_fuzz::decoders::DECODERS.iter().find(|(name, _)| *name == target).expect("a target");
    (decoder.1)(bytes)
}

fn all() -> Seeds {
    BTreeMap::from([
        ("to_server", to_server()),
        ("from_server", from_server()),
        ("peer_frame", peer_frames().into_iter().map(|(name, frame)| (name, body(&frame))).collect()),
        ("speed_frame", speed_frames()),
        ("envelope", envelopes()),
        ("signed", signed()),
        ("sealed_box", boxes()),
        ("datagrams", datagrams()),
        ("relay_frame", vec![("short", relay_frame(1)), ("full", relay_frame(1443))]),
        ("stun_message", stun_messages()),
        ("lan_message", lan_messages()),
        ("mdns", mdns()),
        ("link", links()),
        ("tunnel_request", tunnel_requests()),
        ("web_socket", web_sockets()),
        ("upnp", upnp()),
        ("proxy", proxies()),
        ("control", control_lines()),
    ])
}

/// A frame without its header, which the decoder puts in front.
fn body<T: Serialize>(message: &T) -> Vec<u8> {
    wire::encode(message, usize::from(u16::MAX)).expect("a short message").split_off(3)
}

fn alice() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn bob() -> Identity {
    Identity::from_seed(&[2; 32])
}

/// Who has signed what is signed here. No decoder knows that key.
fn carol() -> Identity {
    Identity::from_seed(&[4; 32])
}

fn prekey(one_time: bool) -> Prekey {
    PrekeySecret::new(u64::MAX, [5; 32], one_time, 1_800_000_000).public(&carol())
}

fn bundle() -> Bundle {
    Bundle { signed: prekey(false), one_time: Some(prekey(true)) }
}

fn receipt(claim: Claim) -> Receipt {
    Receipt::sign(&carol(), alice().peer_id(), claim, 1_800_000_000_000)
}

fn on_device() -> Claim {
    Claim::Device { posts: vec![(MessageId([0x6f; 16]), PostDigest([0x70; 16])); 2] }
}

fn stored() -> StoredReceipt {
    StoredReceipt::sign(&carol(), alice().peer_id(), bob().peer_id(), EnvelopeDigest([0x71; 32]), 1_800_000_000)
}

fn collected() -> Collected {
    Collected::sign(&carol(), bob().peer_id(), vec![MailId(1), MailId(u64::MAX)])
}

fn pairing() -> Pairing {
    Pairing::new(&alice(), bob().peer_id()).expect("two keys")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn profile() -> NatProfile {
    NatProfile {
        translated: Some(true),
        mapping: Some(Mapping::EndpointIndependent),
        filtering: Some(Filtering::AddressAndPortDependent),
        ports: Some(PortAssignment::Random { low: 33_012, high: 60_871 }),
        ..NatProfile::default()
    }
}

fn to_server() -> Vec<(&'static str, Vec<u8>)> {
    let capability = pairing().capability(Identity::from_seed(&[3; 32]).peer_id());
    let register = Register {
        epoch: 1_800_000_000,
        capabilities: vec![capability; 3],
        reflexive: vec![address("11.1.1.7:4000"), address("[2001:db8::7]:4000")],
        profile: profile(),
        relay_only: false,
    };
    let introduce = Introduce {
        request: 7,
        peer: bob().peer_id(),
        capability,
        sealed: vec![5; MAX_SEALED],
        envelope: vec![6; 304],
    };
    let deposit = Deposit { request: 9, peer: bob().peer_id(), capability, envelope: vec![6; 312] };
    let id = IntroductionId(u64::MAX);
    vec![
        ("register", body(&ToServer::Register(register.clone()))),
        ("update", body(&ToServer::Update(Register { relay_only: true, ..register }))),
        ("introduce", body(&ToServer::Introduce(introduce))),
        ("trickle", body(&ToServer::Trickle(Trickle { introduction: id, sealed: vec![5; 40] }))),
        ("letter", body(&ToServer::Letter(Letter { introduction: id, envelope: vec![6; 304] }))),
        (
            "prekeys",
            body(&ToServer::Prekeys(PublishPrekeys { signed: prekey(false), one_time: vec![prekey(true); 2] })),
        ),
        ("fetch", body(&ToServer::FetchPrekeys(FetchPrekeys { request: 8, peer: bob().peer_id(), capability }))),
        ("deposit", body(&ToServer::Deposit(deposit))),
        ("collected", body(&ToServer::Collected(collected()))),
        ("outcome", body(&ToServer::Outcome(Outcome { introduction: id, won: Some(Strategy::ALL[0].into()) }))),
    ]
}

fn from_server() -> Vec<(&'static str, Vec<u8>)> {
    let registered = Registered {
        observed: address("11.1.1.7:4000"),
        stun: StunEndpoints { alternate_port: 3479, alternate: Some(address("11.1.1.2:3478")) },
        now_s: 1_800_000_000,
    };
    let introduction = Introduction {
        id: IntroductionId(9),
        peer: alice().peer_id(),
        role: Role::Requester { request: 7 },
        addresses: vec![address("11.1.1.8:4001"), address("[2001:db8::8]:4001")],
        profile: profile(),
        sealed: vec![5; 40],
        envelope: vec![6; 304],
        relay: Some(RelayChannel(0x0123_4567_89ab_cdef)),
        hint: Some(StrategyCode(3)),
    };
    let error = FromServer::Error { code: ErrorCode::RateLimited, message: "too many requests".to_owned() };
    vec![
        ("registered", body(&FromServer::Registered(registered))),
        ("introduction", body(&FromServer::Introduction(introduction))),
        ("closed", body(&FromServer::ChannelClosed(RelayChannel(1)))),
        ("refused", body(&FromServer::Refused { request: 7 })),
        ("mailbox", body(&FromServer::Mailbox(MailboxTerms { keeps_s: 2_592_000, one_time_prekeys: 64, waiting: 2 }))),
        ("prekeys", body(&FromServer::Prekeys { request: 8, bundle: Some(Box::new(bundle())) })),
        ("no-prekeys", body(&FromServer::Prekeys { request: 8, bundle: None })),
        ("stored", body(&FromServer::Deposited { request: 9, outcome: DepositOutcome::Stored(stored()) })),
        ("not-stored", body(&FromServer::Deposited { request: 9, outcome: DepositOutcome::Full })),
        ("mail", body(&FromServer::Mail(Mail { id: MailId(1), sender: alice().peer_id(), envelope: vec![6; 312] }))),
        ("replaced", body(&FromServer::Replaced)),
        ("draining", body(&FromServer::Draining)),
        ("error", body(&error)),
    ]
}

fn peer_frames() -> Vec<(&'static str, PeerFrame)> {
    let id = MessageId([0x6f; 16]);
    let post =
        |content| PeerFrame::Post(Post { id, stream: StreamId(u64::MAX), seq: 7, at_ms: 1_800_000_000_000, content });
    let text = "Ça va? 東京".to_owned();
    vec![
        ("hello", PeerFrame::Hello { name: "Alice".to_owned(), prekey: Some(prekey(false)) }),
        ("text", post(Content::Text { text: text.clone(), reply_to: Some(id) })),
        ("edit", post(Content::Edit { of: id, text })),
        ("delete", post(Content::Delete { of: id })),
        ("reaction", post(Content::Reaction { to: id, emoji: "🙂".to_owned() })),
        ("void", post(Content::Void)),
        ("receipt", PeerFrame::Receipt(receipt(on_device()))),
        ("read", PeerFrame::Receipt(receipt(Claim::Read { stream: StreamId(1), up_to: 7 }))),
        ("missing", PeerFrame::Missing { stream: StreamId(1), ranges: vec![(1, 3), (5, u64::MAX)] }),
        ("ping", PeerFrame::Ping { nonce: u64::MAX }),
        ("pong", PeerFrame::Pong { nonce: 1 }),
    ]
}

fn signed() -> Vec<(&'static str, Vec<u8>)> {
    fn fact<T: Serialize>(fact: &T) -> Vec<u8> {
        postcard::to_stdvec(fact).expect("short")
    }
    vec![
        ("device", fact(&receipt(on_device()))),
        ("read", fact(&receipt(Claim::Read { stream: StreamId(1), up_to: 7 }))),
        ("stored", fact(&stored())),
        ("bundle", fact(&bundle())),
        ("collected", fact(&collected())),
    ]
}

fn speed_frames() -> Vec<(&'static str, Vec<u8>)> {
    let arrived = Arrived { bytes: 1 << 30, micros: 5_000_000 };
    vec![
        ("ask", body(&SpeedFrame::Ask { run: RunNumber(7), each_way_ms: 5000 })),
        ("refuse", body(&SpeedFrame::Refuse(Refusal::Relayed))),
        ("counted", body(&SpeedFrame::Counted { arrived, last: true })),
    ]
}

fn envelopes() -> Vec<(&'static str, Vec<u8>)> {
    let frames: Vec<PeerFrame> = peer_frames().into_iter().map(|(_, frame)| frame).collect();
    let content = |frames: &[PeerFrame]| postcard::to_stdvec(frames).expect("short");
    vec![("all", content(&frames)), ("one", content(&frames[1..2])), ("none", content(&[]))]
}

fn boxes() -> Vec<(&'static str, Vec<u8>)> {
    let hosts = vec![address("192.168.1.7:4000"), address("[2001:db8::7]:4000")];
    let prediction = Prediction { round: 1, rtt_ms: 40, ports: Foretold::Stands { port: 40_000 } };
    vec![
        ("hosts", pack(Contents { mapped: Some(address("11.1.1.7:4000")), ..Contents::hosts(hosts) })),
        ("relay-only", pack(Contents::relay_only())),
        ("prediction", pack(prediction.into())),
    ]
}

fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let quic = [&[0x45][..], &[1; 27]].concat();
    let stun = stun::encode_request(TransactionId([7; 12]), Change::default());
    let relayed = [&[8][..], &[2; 27]].concat();
    let stride = vec![u8::try_from(stun.len()).expect("short")];
    vec![("of-all-kinds", [stride, quic.clone(), stun, relayed, quic, vec![0x90; 3]].concat())]
}

fn relay_frame(payload: usize) -> Vec<u8> {
    [&RelayChannel(0x0123_4567_89ab_cdef).header()[..], &vec![0x45; payload]].concat()
}

fn stun_messages() -> Vec<(&'static str, Vec<u8>)> {
    let (transaction, own) = (TransactionId([7; 12]), pairing());
    let credential = Credential::new(&own.own_probe_key(IntroductionId(1)));
    let v6 = address("[2001:db8::7]:4000");
    let response = Response {
        transaction,
        mapped: v6,
        origin: Some(address("11.1.1.1:3478")),
        other: Some(address("11.1.1.2:3479")),
    };
    vec![
        ("request", stun::encode_request(transaction, Change { ip: true, port: true })),
        ("for-port", stun::encode_request_for_port(transaction, 40_001)),
        ("response", stun::encode_response(&response)),
        ("unknown", stun::encode_unknown_attributes(transaction, &[0x26, 0x27])),
        ("probe", stun::encode_probe(transaction, "0123456789abcdef", &credential)),
        ("nomination", stun::encode_nomination(transaction, "0123456789abcdef", &credential)),
        ("probe-response", stun::encode_probe_response(transaction, v6, &credential)),
    ]
}

fn announcement() -> Announcement {
    Announcement { nonce: LanNonce([0xab; 16]), port: 4000, tags: vec![LanTag([1; 8]); 4] }
}

fn lan_messages() -> Vec<(&'static str, Vec<u8>)> {
    let call = |answers| Call {
        answers,
        from: LanNonce([1; 16]),
        to: LanNonce([2; 16]),
        tag: LanTag([3; 8]),
        sealed: vec![5; 296],
    };
    vec![("announcement", announcement().encode()), ("call", call(false).encode()), ("answer", call(true).encode())]
}

/// DNS by hand (RFC 1035, section 4): a question for the service, and an answer with one TXT record.
fn mdns() -> Vec<(&'static str, Vec<u8>)> {
    let name = |name: &str| -> Vec<u8> {
        let labels = name.split('.').flat_map(|label| {
            let length = u8::try_from(label.len()).expect("a short label");
            [&[length][..], label.as_bytes()].concat()
        });
        labels.chain([0]).collect()
    };
    let header = |flags: u8, questions: u8, answers: u8| vec![0, 0, flags, 0, 0, questions, 0, answers, 0, 0, 0, 0];
    let (question, pointer) = ([0, 12, 0, 1], [0xc0, 12]);
    let attribute = [&b"a="[..], &announcement().encode()].concat();
    let text = [&[u8::try_from(attribute.len()).expect("a short text")][..], &attribute].concat();
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    let record = |name: &[u8]| [name, &[0, 16, 0x80, 1, 0, 0, 0, 120], &length, &text].concat();
    let instance = name(&format!("abababab01010101.{SERVICE}"));
    vec![
        ("question", [header(0, 1, 0), name(SERVICE), question.to_vec()].concat()),
        ("announcement", [header(0x84, 0, 1), record(&instance)].concat()),
        ("compressed", [header(0x84, 0, 2), record(&instance), record(&pointer)].concat()),
    ]
}

fn links() -> Vec<(&'static str, Vec<u8>)> {
    let key = Identity::from_seed(&[3; 32]).peer_id();
    let at = |host: &str| Rendezvous { host: host.to_owned(), port: 3478, key, tunnel: None };
    let name = Some("Ça va? 東京".to_owned());
    let links = [
        ("join", Link::Join(at("example.org"))),
        ("join-by-tunnel", Link::Join(at("2001:db8::1").with_tunnel(8443))),
        ("peer", Link::Peer { rendezvous: at("192.0.2.1"), peer: alice().peer_id(), name: None }),
        ("named", Link::Peer { rendezvous: at("example.org").with_tunnel(8443), peer: alice().peer_id(), name }),
    ];
    let links = links.into_iter().map(|(name, link)| (name, link.to_string().into_bytes()));
    links.chain([("id", key.to_string().into_bytes())]).collect()
}

/// RFC 6455, section 1.3, with our path.
fn tunnel_requests() -> Vec<(&'static str, Vec<u8>)> {
    let plain = "GET /punchline HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let proxied = plain.replace("Connection: Upgrade", "connection: keep-alive, Upgrade\r\nVia: 1.1 proxy");
    vec![("plain", plain.into()), ("by-a-proxy-and-hasty", [proxied.as_bytes(), b"\x82\x80abcd"].concat())]
}

/// RFC 6455, section 5.7: frames of both directions.
fn web_sockets() -> Vec<(&'static str, Vec<u8>)> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let masked = |first: u8, payload: &[u8]| -> Vec<u8> {
        let length = 0x80 | u8::try_from(payload.len()).expect("short");
        let hidden = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        [first, length].into_iter().chain(mask).chain(hidden).collect()
    };
    let long = [&[0x82, 126, 0x05, 0xac][..], &[0x45; 1452]].concat();
    vec![
        ("to-server", masked(0x82, b"datagram")),
        ("in-pieces", [masked(0x02, b"data"), masked(0x89, b"ping"), masked(0x80, b"gram")].concat()),
        ("to-client", [&[0x82, 8][..], b"datagram", &[0x88, 2, 3, 0xe8]].concat()),
        ("long", long),
    ]
}

fn upnp() -> Vec<(&'static str, Vec<u8>)> {
    let with_length = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let service = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                   <controlURL>/ctl/IPConn</controlURL></service>";
    let described =
        format!("<?xml version=\"1.0\"?><root><device><serviceList>{service}</serviceList></device></root>");
    let based = format!("<root><URLBase>http://{}:5000/</URLBase>{service}</root>", Ipv4Addr::new(192, 168, 1, 1));
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{based}\r\n0\r\n\r\n", based.len());
    let addressed = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
                     <NewExternalIPAddress>11.1.1.7</NewExternalIPAddress></s:Body></s:Envelope>";
    let refused =
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><errorCode>718</errorCode></s:Envelope>";
    let found = "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                 LOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n";
    vec![
        ("found", found.into()),
        ("described", with_length("200 OK", &described)),
        ("in-chunks", chunked.into()),
        ("to-the-end", format!("HTTP/1.0 200 OK\r\n\r\n{described}").into()),
        ("addressed", with_length("200 OK", addressed)),
        ("refused", with_length("500 Internal Server Error", refused)),
    ]
}

fn proxies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("established", b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n\x16\x03\x03".to_vec()),
        ("refused", b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n".to_vec()),
    ]
}

fn control_lines() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("chat", r#"{"id":1,"command":"chat","peer":"Bob","as":"text","zone":"Europe/Berlin"}"#),
        ("msg", r#"{"id":2,"command":"msg","peer":"Bob","text":"noon?","wait":"device","timeout_s":5}"#),
        ("reply", r#"{"id":3,"command":"reply","message":"8b3d","text":"yes","expires_s":90}"#),
        ("ping", r#"{"id":4,"command":"ping","peer":"Bob","count":3,"age_ms":7}"#),
        ("react", r#"{"id":9,"command":"react","message":"8b3d","wait":"read"}"#),
        ("speed", r#"{"id":5,"command":"speed","peer":"Bob","progress":true}"#),
        ("tail", r#"{"id":6,"command":"tail","since":7}"#),
        ("watch", r#"{"id":7,"command":"watch"}"#),
        ("down", r#"{"id":8,"command":"down"}"#),
        ("line", r#"{"re":1,"line":"hello"}"#),
        ("too-long", r#"{"re":1,"too_long":70000}"#),
        ("eof", r#"{"re":1,"eof":true}"#),
        ("interrupt", r#"{"re":1,"interrupt":true}"#),
    ]
    .map(|(name, line)| (name, format!("{line}\n").into_bytes()))
    .into()
}
