//! Requests and answers as bytes, judged by the decoder that clients use.

use std::time::Duration;

use common::identity::Identity;
use common::introduction::IntroductionId;
use common::pairing::Pairing;
use common::stun::{Change, Credential, TransactionId};
use proptest::prelude::*;

use super::*;

const ID: TransactionId = TransactionId([3; 12]);
const CLIENT: &str = "198.51.100.7:4321";
const FIRST: Place = Place { second_ip: false, second_port: false };

#[test]
fn an_answer_says_where_the_request_came_from_and_where_else_to_ask() {
    let answer = ask(&mut two_addresses(), FIRST, Change::default()).expect("an answer");
    assert_eq!((answer.from, answer.to), (FIRST, at(CLIENT)));
    let Ok(Message::Response(response)) = stun::decode(&answer.bytes) else { panic!("a response") };
    assert_eq!(response.transaction, ID);
    assert_eq!(response.mapped, at(CLIENT));
    assert_eq!(response.origin, Some(at("203.0.113.5:3478")));
    assert_eq!(response.other, Some(at("203.0.113.6:3479")));
}

#[test]
fn every_change_from_every_place_is_answered_from_where_it_asks_and_goes_to_the_source() {
    for n in 0..16 {
        let bit = |at: u8| n & (1 << at) != 0;
        let place = Place { second_ip: bit(0), second_port: bit(1) };
        let change = Change { ip: bit(2), port: bit(3) };
        let answer = ask(&mut two_addresses(), place, change).expect("an answer");
        assert_eq!(answer.to, at(CLIENT));
        assert_eq!(answer.from.second_ip, place.second_ip != change.ip);
        assert_eq!(answer.from.second_port, place.second_port != change.port);
        let Ok(Message::Response(response)) = stun::decode(&answer.bytes) else { panic!("a response") };
        assert_eq!(response.origin, layout().at(answer.from));
    }
}

#[test]
fn with_one_address_there_is_no_other_address_and_a_change_to_it_is_error_420() {
    let mut service = one_address();
    let plain = ask(&mut service, FIRST, Change::default()).expect("an answer");
    let Ok(Message::Response(response)) = stun::decode(&plain.bytes) else { panic!("a response") };
    assert_eq!((response.origin, response.other), (Some(at("203.0.113.9:3478")), None));
    for change in [Change { ip: true, port: false }, Change { ip: true, port: true }] {
        let answer = ask(&mut service, FIRST, change).expect("an error");
        assert_eq!((answer.from, answer.to), (FIRST, at(CLIENT)));
        assert_eq!(stun::decode(&answer.bytes), Ok(Message::Error { transaction: ID, code: 420 }));
    }
}

#[test]
fn with_one_address_the_other_port_can_still_be_asked_for() {
    let answer = ask(&mut one_address(), FIRST, Change { ip: false, port: true }).expect("an answer");
    assert_eq!(answer.from, Place { second_ip: false, second_port: true });
    assert_eq!(answer.source_ip, Some("203.0.113.9".parse().expect("an address")), "the address that was asked");
    let Ok(Message::Response(response)) = stun::decode(&answer.bytes) else { panic!("a response") };
    assert_eq!(response.origin, Some(at("203.0.113.9:3479")));
}

#[test]
fn an_attribute_that_must_be_understood_and_is_not_is_error_420() {
    let mut request = stun::encode_request(ID, Change::default())[..20].to_vec();
    request.extend([0x00, 0x77, 0, 4, 1, 2, 3, 4]);
    request[3] = 8;
    let answer = handle(&mut two_addresses(), FIRST, at(CLIENT), &request).expect("an error");
    assert_eq!(stun::decode(&answer.bytes), Ok(Message::Error { transaction: ID, code: 420 }));
}

#[test]
fn the_answer_goes_to_another_port_of_the_same_address_if_that_was_asked_for() {
    let mut service = two_addresses();
    let answer =
        handle(&mut service, FIRST, at(CLIENT), &stun::encode_request_for_port(ID, 40_001)).expect("an answer");
    assert_eq!((answer.from, answer.to), (FIRST, SocketAddr::new(at(CLIENT).ip(), 40_001)));
    let Ok(Message::Response(response)) = stun::decode(&answer.bytes) else { panic!("a response") };
    assert_eq!(response.mapped, at(CLIENT), "it tells of who asked");
    for port in [0, 53, 1023] {
        let refusal =
            handle(&mut service, FIRST, at(CLIENT), &stun::encode_request_for_port(ID, port)).expect("an error");
        assert_eq!(refusal.to, at(CLIENT));
        assert_eq!(stun::decode(&refusal.bytes), Ok(Message::Error { transaction: ID, code: 420 }));
    }
}

#[test]
fn only_requests_are_answered() {
    let mut service = two_addresses();
    let mapped = at(CLIENT);
    let response = Response { transaction: ID, mapped, origin: None, other: None };
    assert_eq!(handle(&mut service, FIRST, mapped, &stun::encode_response(&response)), None);
    assert_eq!(handle(&mut service, FIRST, mapped, &stun::encode_unknown_attributes(ID, &[1])), None);
    let mut indication = stun::encode_request(ID, Change::default())[..20].to_vec();
    (indication[1], indication[3]) = (0x11, 0);
    assert_eq!(handle(&mut service, FIRST, mapped, &indication), None);
    let mut allocate = indication;
    allocate[1] = 0x03;
    assert_eq!(handle(&mut service, FIRST, mapped, &allocate), None, "TURN is not spoken here");
}

#[test]
fn a_probe_that_strayed_here_is_not_answered() {
    let [alice, bob] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let key = Pairing::new(&alice, bob.peer_id()).expect("a secret").own_probe_key(IntroductionId(1));
    let probe = stun::encode_probe(ID, "somebody", &Credential::new(&key));
    assert_eq!(handle(&mut two_addresses(), FIRST, at(CLIENT), &probe), None);
}

#[test]
fn no_answer_has_three_times_the_bytes_of_its_request_on_the_wire() {
    let six = |text: &str| text.parse::<IpAddr>().expect("an address");
    let layout = Layout { ip: six("2001:db8::5"), second_ip: Some(six("2001:db8::6")), port: 3478, second_port: 3479 };
    let (ip4, ip6) = (20 + 8, 40 + 8);
    for (mut service, source, headers) in [
        (two_addresses(), at(CLIENT), ip4),
        (one_address(), at(CLIENT), ip4),
        (StunService::new(layout, 1), at("[2001:db8::7]:1"), ip6),
    ] {
        let mut request = stun::encode_request(ID, Change::default())[..20].to_vec();
        request[3] = 0;
        let answer = handle(&mut service, FIRST, source, &request).expect("an answer").bytes.len();
        assert!(headers + answer < 3 * (headers + request.len()), "{answer} bytes for {}", request.len());
    }
}

#[test]
fn one_source_is_answered_so_often_and_others_still_are() {
    let mut service = two_addresses();
    let request = stun::encode_request(ID, Change::default());
    let mut now = Instant::now();
    let mut ask = |source: &str, now| service.handle_datagram(FIRST, None, at(source), &request, now).is_some();
    let answered = (0..1000).filter(|_| ask(CLIENT, now)).count();
    assert_eq!(answered, STUN_OF_SOURCE.burst as usize);
    assert!(!ask("198.51.100.7:9999", now), "another port is the same source");
    assert!(ask("198.51.100.8:4321", now));
    now += Duration::from_secs(1);
    assert!(ask(CLIENT, now));
}

proptest! {
    #[test]
    fn whatever_arrives_the_answer_is_short_and_goes_to_the_source(mut junk: Vec<u8>, shape in 0..3) {
        if shape > 0 && junk.len() >= 20 {
            junk[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            (junk[0], junk[1]) = (0, 1);
            let length = (junk.len() - 20) / 4 * 4;
            junk.truncate(20 + length);
            junk[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        }
        if let Some(answer) = handle(&mut two_addresses(), FIRST, at(CLIENT), &junk) {
            prop_assert_eq!(answer.to.ip(), at(CLIENT).ip());
            let moved = matches!(stun::decode(&junk), Ok(Message::Request(request)) if request.response_port.is_some());
            prop_assert!(moved || answer.to == at(CLIENT), "{:?}", answer.to);
            prop_assert!(answer.bytes.len() <= 100);
        }
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn layout() -> Layout {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    Layout { ip: ip("203.0.113.5"), second_ip: Some(ip("203.0.113.6")), port: 3478, second_port: 3479 }
}

fn two_addresses() -> StunService {
    StunService::new(layout(), 1)
}

/// Listens on the wildcard.
fn one_address() -> StunService {
    StunService::new(Layout { ip: IpAddr::from([0, 0, 0, 0]), second_ip: None, ..layout() }, 1)
}

fn ask(service: &mut StunService, place: Place, change: Change) -> Option<Answer> {
    handle(service, place, at(CLIENT), &stun::encode_request(ID, change))
}

fn handle(service: &mut StunService, place: Place, source: SocketAddr, datagram: &[u8]) -> Option<Answer> {
    // As the system reports it: the wildcard socket was reached at this address, the others at their own.
    let local = match service.layout.at(place).expect("a place that there is").ip() {
        ip if ip.is_unspecified() => "203.0.113.9".parse().expect("an address"),
        ip => ip,
    };
    service.handle_datagram(place, Some(local), source, datagram, Instant::now())
}
