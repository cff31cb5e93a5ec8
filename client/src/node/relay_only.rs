//! What the machine of somebody does who shows an address to the rendezvous alone, whatever the rendezvous and the peer say;
//! and what the machine of an ordinary peer does opposite.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::{Contents, pack, unpack};
use common::identity::Identity;
use common::introduction::{
    FromServer, Introduction, IntroductionId, Registered, Role, StunEndpoints, ToServer, Trickle,
};
use common::nat::NatProfile;
use common::pairing::{Pairing, SealNonce};
use common::path::Ending;
use common::prediction::{Foretold, Prediction};
use common::relay::RelayChannel;
use common::session::{PeerFrame, Route};

use super::home::{Random, request_context, trickle_context};
use super::{
    Begin, Config, ControlEvent, Machine, MappingProtocol, NodeCommand, NodeEvent, Output, PortMapping, SessionEvent,
    SocketId,
};

const CHANNEL: RelayChannel = RelayChannel(9);
const LATER: Duration = Duration::from_secs(3600);

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn server() -> SocketAddr {
    address("11.1.1.1:3478")
}

/// One of two, and the clock.
struct Side {
    machine: Machine,
    own: u8,
    peer: u8,
    now: Instant,
    introductions: u64,
    /// What was dialled last.
    dialled: Option<Begin>,
}

impl Side {
    /// Registered, behind a NAT, and wants the other one.
    fn new(own: u8, peer: u8, relay_only: bool) -> Self {
        let machine = Machine::new(Config {
            identity: identity(own),
            rendezvous: identity(9).peer_id(),
            epoch: 1,
            contacts: vec![identity(peer).peer_id()],
            birthday: true,
            relay_only,
            random: Random::new(|bytes| {
                bytes.fill(5);
                true
            }),
        });
        let mut side = Side { machine, own, peer, now: Instant::now(), introductions: 0, dialled: None };
        side.machine.handle_hosts(vec![address("192.168.1.7:4000")]);
        let connected = ControlEvent::Connected { server: server(), remote: server(), rtt: Duration::from_millis(20) };
        side.control(connected);
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        side.message(FromServer::Registered(Registered { observed: address("11.1.1.7:4000"), stun, now_s: 0 }));
        side.machine.handle_command(NodeCommand::Want(identity(peer).peer_id()), side.now);
        side
    }

    fn control(&mut self, event: ControlEvent) {
        self.machine.handle_control(event, self.now);
    }

    fn message(&mut self, message: FromServer) {
        self.control(ControlEvent::Message(message));
    }

    /// Everything that a server can say of the peer's address, and as long a list of it as it likes.
    fn introduce(&mut self, role: Role, sealed: Vec<u8>, addresses: &[&str], relay: Option<RelayChannel>) {
        self.introductions += 1;
        let introduction = Introduction {
            id: IntroductionId(self.introductions),
            peer: identity(self.peer).peer_id(),
            role,
            addresses: addresses.iter().map(|text| address(text)).collect(),
            profile: NatProfile::default(),
            sealed,
            envelope: Vec::new(),
            relay,
            hint: None,
        };
        self.message(FromServer::Introduction(introduction));
    }

    /// A box as the peer seals it.
    fn sealed(&self, context: &[u8], contents: Contents) -> Vec<u8> {
        let pairing = Pairing::new(&identity(self.peer), identity(self.own).peer_id()).expect("two");
        let nonce: SealNonce = [3; 24];
        pairing.seal(context, &pack(contents), nonce)
    }

    fn in_request(&self, contents: Contents) -> Vec<u8> {
        self.sealed(&request_context(identity(9).peer_id()), contents)
    }

    fn trickle(&mut self, contents: Contents) {
        let introduction = IntroductionId(self.introductions);
        let sealed = self.sealed(&trickle_context(introduction), contents);
        self.message(FromServer::Trickle(Trickle { introduction, sealed }));
    }

    /// What is in the boxes that were sent, as the peer reads it.
    fn boxes(&self, outputs: &[Output]) -> Vec<Contents> {
        let pairing = Pairing::new(&identity(self.peer), identity(self.own).peer_id()).expect("two");
        let boxes = outputs.iter().filter_map(|output| match output {
            Output::Ask(ToServer::Introduce(request)) => {
                Some((request_context(identity(9).peer_id()), &request.sealed))
            }
            Output::Ask(ToServer::Trickle(trickle)) => Some((trickle_context(trickle.introduction), &trickle.sealed)),
            _ => None,
        });
        let opened = boxes.map(|(context, sealed)| pairing.open(&context, sealed).expect("it opens"));
        opened.map(|plain| unpack(&plain).expect("contents")).collect()
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        for output in &outputs {
            if let Output::Dial(begin, _) = output {
                self.dialled = Some(*begin);
            }
        }
        outputs
    }

    /// All that comes of letting this time pass.
    fn pass(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut outputs = self.drain();
        while let Some(at) = self.machine.poll_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            outputs.extend(self.drain());
        }
        self.now = end;
        outputs
    }

    /// The relayed connection that was dialled last, or that the peer dials, stands.
    fn relayed_stands(&mut self) -> Begin {
        let begin = self
            .dialled
            .or_else(|| self.machine.handle_incoming(SocketId::MAIN, CHANNEL.address()))
            .expect("a handshake");
        assert_eq!(begin.route, Route::Relayed);
        let hello = PeerFrame::Hello { name: "friend".into(), prekey: None };
        let up = SessionEvent::Up { remote: CHANNEL.address(), rtt: Duration::from_millis(40), hello };
        self.machine.handle_session(begin.peer, begin.id, up, self.now);
        begin
    }
}

/// What would show where we are: a datagram, a socket, a dial to an address, a look at the NAT.
fn shows(output: &Output) -> bool {
    match output {
        Output::Transmit { .. } | Output::Open(_) | Output::Discover(_) | Output::Leave(..) => true,
        Output::Dial(_, remote) => *remote != CHANNEL.address(),
        Output::Register(register) => !register.reflexive.is_empty() || register.profile != NatProfile::default(),
        _ => false,
    }
}

fn endings(outputs: &[Output]) -> Vec<Ending> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Tell(NodeEvent::NoPath { report, .. }) => Some(report.ending),
        _ => None,
    });
    told.collect()
}

fn requests(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Ask(ToServer::Introduce(_)))).count()
}

/// As a server and a contact would have it who want to know where she is.
fn every_temptation(alice: &mut Side) -> Vec<Output> {
    let mut all = alice.drain();
    let told = ["11.1.1.8:4000", "192.168.1.8:4000", "11.9.9.9:53"];
    let bait = Contents {
        addresses: vec![address("192.168.1.9:4000"), address("11.9.9.9:4001")],
        mapped: Some(address("11.1.1.8:5353")),
        prediction: Some(Prediction { round: 0, rtt_ms: 1, ports: Foretold::Stands { port: 4000 } }),
        ..Contents::default()
    };
    for role in [Role::Responder, Role::Requester { request: 1 }] {
        let sealed = alice.in_request(bait.clone());
        alice.introduce(role, sealed, &told, Some(CHANNEL));
        alice.trickle(bait.clone());
        for source in ["11.1.1.8:4000", "192.168.1.9:4000", "11.1.1.1:3478"] {
            let probe = common::stun::encode_request(common::stun::TransactionId([7; 12]), Default::default());
            assert!(!alice.machine.handle_stun(SocketId::MAIN, address(source), &probe, alice.now));
            assert!(
                alice.machine.handle_incoming(SocketId::MAIN, address(source)).is_none(),
                "{source} gets no answer"
            );
        }
        let port = PortMapping { protocol: MappingProtocol::Pcp, external: address("11.1.1.7:4000") };
        alice.machine.handle_port_mapping(Ok(port), alice.now);
        alice.machine.handle_network_change("another network".to_owned(), alice.now);
        all.extend(alice.pass(Duration::from_secs(20)));
    }
    all
}

#[test]
fn whatever_a_lying_rendezvous_and_a_contact_say_nothing_leaves_that_would_show_an_address() {
    for (own, peer) in [(1, 2), (2, 1)] {
        let mut ordinary = Side::new(own, peer, false);
        assert!(every_temptation(&mut ordinary).iter().any(shows), "the same would make anybody else send");

        let mut alice = Side::new(own, peer, true);
        assert!(alice.machine.registration().relay_only);
        let all = every_temptation(&mut alice);
        let shown: Vec<_> = all.iter().filter(|output| shows(output)).collect();
        assert!(shown.is_empty(), "{shown:?}");
        assert!(alice.machine.registration().relay_only);
        let boxes = alice.boxes(&all);
        let hers = |contents: &Contents| Contents { unconnected: false, ..contents.clone() } == Contents::relay_only();
        assert!(!boxes.is_empty() && boxes.iter().all(hers), "{boxes:?}");
        assert_eq!(endings(&all), [Ending::RelayOnly], "told once");
    }
}

#[test]
fn opposite_somebody_who_shows_no_address_nothing_is_sent_and_nobody_asks_again_while_the_relay_carries() {
    let mut bob = Side::new(2, 1, false);
    bob.drain();
    let sealed = bob.in_request(Contents::relay_only());
    // The server may know her address and tell it.
    bob.introduce(Role::Responder, sealed, &["11.1.1.7:4000"], Some(CHANNEL));
    let outputs = bob.drain();
    assert_eq!(endings(&outputs), [Ending::PeerRelayOnly]);
    assert!(!outputs.iter().any(shows), "{outputs:?}");
    assert_eq!(bob.boxes(&outputs), [], "she would not use them");
    bob.relayed_stands();
    let outputs = bob.pass(LATER);
    assert_eq!((requests(&outputs), endings(&outputs)), (0, vec![]), "{outputs:?}");
}

#[test]
fn who_asked_hears_it_with_the_answer_and_stops_what_was_begun() {
    let mut bob = Side::new(2, 1, false);
    bob.drain();
    bob.introduce(Role::Requester { request: 1 }, Vec::new(), &["11.1.1.7:4000"], Some(CHANNEL));
    assert!(bob.drain().iter().any(shows), "a server that lies makes him probe what it says");
    bob.trickle(Contents::relay_only());
    let outputs = bob.drain();
    assert_eq!(endings(&outputs), [Ending::PeerRelayOnly]);
    bob.relayed_stands();
    let outputs = bob.pass(LATER);
    assert!(!outputs.iter().any(shows), "{outputs:?}");
    assert_eq!((requests(&outputs), endings(&outputs)), (0, vec![]));
    // He doubts the relay, and asks: it is no news.
    bob.machine.handle_command(NodeCommand::Verify(identity(1).peer_id(), Route::Relayed), bob.now);
    bob.introduce(Role::Requester { request: 2 }, Vec::new(), &[], Some(CHANNEL));
    bob.trickle(Contents::relay_only());
    assert_eq!(endings(&bob.drain()), []);
}

#[test]
fn a_relayed_connection_that_ends_is_asked_for_again() {
    let mut alice = Side::new(1, 2, true);
    alice.drain();
    alice.introduce(Role::Requester { request: 1 }, Vec::new(), &[], Some(CHANNEL));
    alice.drain();
    let begin = alice.relayed_stands();
    assert_eq!(requests(&alice.pass(LATER)), 0);
    alice.message(FromServer::ChannelClosed(CHANNEL));
    let down = SessionEvent::Down { reason: "closed".into(), by_peer: false };
    alice.machine.handle_session(identity(2).peer_id(), begin.id, down, alice.now);
    assert_eq!(requests(&alice.drain()), 1);
}

#[test]
fn a_peer_that_was_killed_is_dialled_anew_whoever_asks() {
    // The one of the two who dials.
    let (own, peer) = if identity(1).peer_id() < identity(2).peer_id() { (1, 2) } else { (2, 1) };
    for relay_only in [true, false] {
        let mut bob = Side::new(own, peer, relay_only);
        bob.drain();
        for role in [Role::Responder, Role::Responder, Role::Requester { request: 1 }] {
            let sealed = bob.in_request(Contents::relay_only());
            bob.introduce(role, sealed, &[], Some(CHANNEL));
            let outputs = bob.drain();
            let dialled = outputs.iter().filter(|output| matches!(output, Output::Dial(..))).count();
            assert_eq!(dialled, 1, "{outputs:?}");
            bob.relayed_stands();
        }
    }
}

#[test]
fn a_rendezvous_that_does_not_relay_is_the_reason_why_there_is_no_path() {
    for (relay_only, contents) in [(true, Contents::default()), (false, Contents::relay_only())] {
        let mut side = Side::new(1, 2, relay_only);
        side.drain();
        let sealed = side.in_request(contents);
        side.introduce(Role::Responder, sealed, &["11.1.1.8:4000"], None);
        let outputs = side.pass(Duration::from_secs(60));
        assert_eq!(endings(&outputs), [Ending::NoRelay]);
        assert!(!outputs.iter().any(shows), "{outputs:?}");
        assert!((1..5).contains(&requests(&outputs)), "it asks again, and ever more seldom: {outputs:?}");
    }
}

#[test]
fn who_comes_back_without_the_option_is_punched_with_and_the_other_way_round() {
    let mut bob = Side::new(2, 1, false);
    bob.drain();
    for (turn, relay_only) in [true, false, true, false].into_iter().enumerate() {
        let host = Contents::hosts(vec![address("192.168.1.8:4000")]);
        let sealed = bob.in_request(if relay_only { Contents::relay_only() } else { host });
        let addresses: &[&str] = if relay_only { &[] } else { &["11.1.1.8:4000"] };
        bob.introduce(Role::Responder, sealed, addresses, Some(CHANNEL));
        let outputs = bob.drain();
        assert_eq!(outputs.iter().any(shows), !relay_only, "turn {turn}: {outputs:?}");
        assert_eq!(endings(&outputs).is_empty(), !relay_only, "turn {turn}: {outputs:?}");
    }
}
