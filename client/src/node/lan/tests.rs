//! Stories of machines on one LAN, in virtual time; QUIC is taken to work over every path that probes have found.

use std::collections::VecDeque;

use common::identity::Identity;
use common::introduction::{FromServer, Introduction, Registered, Role, StunEndpoints, ToServer};
use common::lan::{MAX_TAGS, STEPS};
use common::nat::NatProfile;
use common::session::PeerFrame;

use super::meter::LOOKS_AT_ONE;
use super::*;
use crate::node::home::Random;
use crate::node::{Config, ControlEvent, Introducer, NodeCommand, NodeEvent, SessionEvent, SessionId, SocketId};

#[test]
fn two_on_a_lan_meet_without_anybody_whoever_comes_first() {
    for (first, second) in [(ALICE, BOB), (BOB, ALICE)] {
        for wants in [ALICE, BOB] {
            let mut street = Street::of_two();
            street.open(first);
            street.run(Duration::from_secs(60));
            street.command(wants, NodeCommand::Want(id(ALICE + BOB - wants)));
            street.open(second);
            street.run(Duration::from_millis(100));
            for who in [ALICE, BOB] {
                assert_eq!(street[who].introduced, [(Introducer::Lan, who == wants)], "{first} first, {wants} wants");
                assert_eq!(street[who].ups, [Some(Introducer::Lan)]);
            }
        }
    }
}

#[test]
fn who_wants_somebody_known_to_be_there_calls_at_once() {
    let mut street = Street::of_two_who_know_that_the_other_is_there();
    assert_eq!(street[ALICE].introduced, [], "nobody wants anybody");
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.run(Duration::from_millis(1));
    assert_eq!((street[ALICE].ups.len(), street[BOB].ups.len()), (1, 1));
}

#[test]
fn two_who_call_each_other_at_once_mean_the_same_introduction() {
    let mut street = Street::of_two_who_know_that_the_other_is_there();
    street.both_want_at_once();
    street.run(Duration::from_secs(20));
    for who in [ALICE, BOB] {
        assert_eq!(street[who].introduced, [(Introducer::Lan, true)]);
        assert_eq!(street[who].ups.len(), 1);
    }
}

#[test]
fn two_who_mean_different_introductions_keep_the_lower_one() {
    for moves in [ALICE, BOB] {
        let mut street = Street::of_two_who_know_that_the_other_is_there();
        // One takes another nonce, and the other has not heard of it yet when both call.
        let (now, node) = (street.now, street.node(moves));
        let pairings: Vec<Pairing> = vec![pairing(moves, ALICE + BOB - moves)];
        let (lan, home) = (&mut node.machine.lan, &mut node.machine.home);
        assert!(lan.own.as_mut().expect("open").renew(pairings.iter(), now, home));
        street.both_want_at_once();
        street.run(Duration::from_secs(3));
        assert_eq!((street[ALICE].ups.len(), street[BOB].ups.len()), (1, 1), "{moves} moves");
    }
}

#[test]
fn lost_calls_and_answers_are_repeated() {
    for lost in 1..4 {
        let mut street = Street::of_two_who_know_that_the_other_is_there();
        street.lose_calls = lost;
        street.command(ALICE, NodeCommand::Want(id(BOB)));
        street.run(Duration::from_millis(1_900));
        for who in [ALICE, BOB] {
            assert_eq!((street[who].introduced.len(), street[who].ups.len()), (1, 1), "{lost} lost");
        }
    }
}

#[test]
fn either_multicast_or_broadcast_is_enough() {
    for carried in [Audience::Multicast, Audience::Broadcast] {
        let mut street = Street::of_two();
        street.carried = carried;
        street.command(ALICE, NodeCommand::Want(id(BOB)));
        street.open(BOB);
        street.run(Duration::from_secs(10));
        street.open(ALICE);
        street.run(Duration::from_millis(50));
        assert_eq!(street[ALICE].ups.len(), 1, "by {carried:?}");
    }
}

#[test]
fn a_strangers_announcement_makes_us_send_nothing() {
    // Carol has Alice as a contact; Alice has only Bob.
    let mut street = Street::new(&[(ALICE, &[BOB]), (CAROL, &[ALICE])]);
    street.open(ALICE);
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.command(CAROL, NodeCommand::Want(id(ALICE)));
    street.run(Duration::from_secs(4));
    let before = street[ALICE].sent;
    street.open(CAROL);
    street.run(Duration::from_secs(10));
    assert!(street[CAROL].sent >= 4, "she has announced herself");
    assert_eq!(street[ALICE].sent, before, "and nobody answered her");
    assert_eq!((street[ALICE].introduced.len(), street[CAROL].introduced.len()), (0, 0));
}

#[test]
fn a_flood_of_strangers_costs_few_looks_and_no_packet_and_leaves_room_for_a_contact() {
    let mut street = Street::of_two();
    street.open(ALICE);
    street.run(Duration::from_secs(4));
    let now = street.now;
    let alice = &mut street.node(ALICE).machine;
    for number in 0..100_000_u32 {
        let tag = common::lan::LanTag([7; 8]);
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        let stranger = Announcement { nonce: LanNonce(nonce), port: 5000, tags: vec![tag; MAX_TAGS] };
        alice.handle_lan("192.168.1.99:5000".parse().expect("an address"), true, &stranger.encode(), now);
    }
    assert!(alice.poll_output().is_none(), "she says nothing");
    assert_eq!(alice.lan.meter.all, LOOKS_AT_ONE);
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.open(BOB);
    street.run(Duration::from_millis(1));
    assert_eq!(street[ALICE].ups.len(), 1, "in the same second");
}

#[test]
fn what_was_recorded_and_is_said_again_brings_no_introduction_and_few_answers() {
    let mut street = Street::of_two();
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.open(ALICE);
    street.open(BOB);
    street.run(Duration::from_secs(5));
    let recorded = street.recorded.clone();
    assert!(recorded.iter().any(|(.., to_all, _)| !to_all), "calls, too");
    // Bob was there, has gone and is there again.
    street.leave(BOB);
    street.run(Duration::from_secs(5));
    street.arrive(BOB, &[ALICE]);
    street.open(BOB);
    street.run(Duration::from_secs(30));
    let introduced = street[BOB].introduced.len();
    let (before, now) = (street[ALICE].sent + street[BOB].sent, street.now);
    for _ in 0..100 {
        for (from, to_all, payload) in &recorded {
            for who in [ALICE, BOB] {
                let source = SocketAddr::from(([192, 168, 1, if *from == who { CAROL } else { *from }], 5000));
                street.node(who).machine.handle_lan(source, *to_all, payload, now);
            }
        }
    }
    street.run(Duration::from_secs(1));
    assert_eq!((street[ALICE].introduced.len(), street[BOB].introduced.len()), (2, introduced), "one each time");
    let sent = street[ALICE].sent + street[BOB].sent - before;
    assert!(sent <= 4, "{sent} packets");
}

#[test]
fn while_the_rendezvous_punches_nobody_is_called_and_who_is_only_relayed_is() {
    let mut street = Street::of_two();
    street.open(ALICE);
    street.open(BOB);
    street.run(Duration::from_secs(5));
    for who in [ALICE, BOB] {
        street.connect(who);
    }
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    // Neither box of host candidates arrives, and the routers do not turn packets round: no path but on the LAN.
    let calls = street[ALICE].sent;
    street.introduce(7);
    street.run(Duration::from_secs(2));
    assert_eq!(
        street[ALICE].introduced,
        [(Introducer::Rendezvous, true)],
        "by the time a call could have been answered"
    );
    assert!(street[ALICE].sent - calls <= 1, "a call that was on its way, and no more");
    street.run(Duration::from_secs(12));
    assert_eq!(street[ALICE].ups, [Some(Introducer::Lan)], "{:?}", street[ALICE].introduced);
    assert_eq!(street[BOB].ups, [Some(Introducer::Lan)]);
}

#[test]
fn a_rendezvous_that_comes_back_changes_nothing_for_a_path_on_the_lan_unless_we_have_moved() {
    let mut street = Street::of_two_who_know_that_the_other_is_there();
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.run(Duration::from_secs(1));
    street.connect(ALICE);
    street.run(Duration::from_secs(1));
    let requests =
        |street: &Street| street[ALICE].asked.iter().filter(|ask| matches!(ask, ToServer::Introduce(_))).count();
    assert_eq!(requests(&street), 0);
    let now = street.now;
    street.node(ALICE).machine.handle_control(ControlEvent::Lost { reason: "cut".into() }, now);
    street.connect(ALICE);
    street.run(Duration::from_secs(60));
    assert_eq!((requests(&street), street[ALICE].introduced.len(), street[ALICE].downs), (0, 1, 0));
    let now = street.now;
    street.node(ALICE).machine.handle_network_change("moved".into(), now);
    street.connect(ALICE);
    street.run(Duration::from_secs(1));
    assert_eq!(requests(&street), 1);
}

#[test]
fn whom_we_have_just_met_on_the_lan_the_rendezvous_is_not_asked_for_at_once() {
    let mut street = Street::of_two_who_know_that_the_other_is_there();
    street.deaf_to_probes = true;
    street.connect(ALICE);
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    // Asked in the same moment; it is the next request that waits.
    street.run(Duration::from_millis(400));
    let asked = street[ALICE].asked.len();
    let now = street.now;
    street.node(ALICE).machine.handle_control(ControlEvent::Lost { reason: "cut".into() }, now);
    street.connect(ALICE);
    street.run(Duration::from_millis(50));
    assert_eq!(street[ALICE].asked.len(), asked);
    street.run(Duration::from_millis(100));
    assert_eq!(street[ALICE].asked.len(), asked + 1, "the LAN has had its time");
}

#[test]
fn a_contact_that_was_killed_and_is_back_is_met_again_at_once() {
    for wants in [ALICE, BOB] {
        let mut street = Street::of_two();
        street.command(ALICE, NodeCommand::Want(id(BOB)));
        street.open(ALICE);
        street.open(BOB);
        street.run(Duration::from_secs(40));
        street.leave(BOB);
        street.run(Duration::from_secs(1));
        street.arrive(BOB, &[ALICE]);
        if wants == BOB {
            street.command(BOB, NodeCommand::Want(id(ALICE)));
        }
        street.open(BOB);
        street.run(Duration::from_millis(10));
        assert_eq!(street[BOB].ups.len(), 1, "{wants} wants");
    }
}

#[test]
fn many_contacts_are_announced_in_turns_and_nobody_can_count_or_name_them() {
    let many: Vec<Who> = (10..110).collect();
    let mut street = Street::new(&[(ALICE, &many), (10, &[ALICE]), (109, &[ALICE])]);
    for who in [10, 109] {
        street.open(who);
    }
    street.open(ALICE);
    street.run(Duration::from_millis(250));
    let hers = street.recorded.iter().filter(|(from, to_all, _)| *from == ALICE && *to_all);
    let parts: Vec<Announcement> = hers
        .map(|(.., payload)| match LanMessage::decode(payload) {
            Ok(LanMessage::Announcement(announcement)) => announcement,
            other => panic!("{other:?}"),
        })
        .collect();
    let sizes: Vec<usize> = parts.iter().map(|part| part.tags.len()).collect();
    assert_eq!(sizes, [24, 24, 24, 24, 4]);
    assert!(sizes.iter().all(|size| STEPS.contains(size)));
    assert!(parts.iter().all(|part| part.tags.is_sorted()), "in no order of hers");
    let mut tags: Vec<_> = parts.iter().flat_map(|part| &part.tags).collect();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 100);
    let neighbours: Vec<PeerId> = street[ALICE].machine.lan.neighbours.keys().copied().collect();
    assert_eq!(neighbours.len(), 2, "and both who are here are found");
}

#[test]
fn few_contacts_look_like_some_and_none_are_not_announced() {
    let mut street = Street::new(&[(ALICE, &[BOB]), (CAROL, &[])]);
    street.open(ALICE);
    street.open(CAROL);
    street.run(Duration::from_secs(1));
    assert_eq!(street[CAROL].sent, 0);
    let (.., payload) = street.recorded.first().expect("announced");
    let Ok(LanMessage::Announcement(announcement)) = LanMessage::decode(payload) else { panic!("an announcement") };
    assert_eq!(announcement.tags.len(), STEPS[0]);
}

#[test]
fn in_another_network_and_after_a_while_an_announcement_has_nothing_of_the_one_before() {
    let mut street = Street::of_two();
    street.open(ALICE);
    street.run(Duration::from_secs(5));
    let now = street.now;
    street.node(ALICE).machine.handle_network_change("moved".into(), now);
    street.run(Duration::from_secs(1_000));
    let mut nonces = Vec::new();
    let mut tags = std::collections::BTreeSet::new();
    for (.., payload) in &street.recorded {
        let Ok(LanMessage::Announcement(announcement)) = LanMessage::decode(payload) else { panic!("an announcement") };
        if !nonces.contains(&announcement.nonce) {
            nonces.push(announcement.nonce);
            for tag in announcement.tags {
                assert!(tags.insert(tag), "a tag comes again");
            }
        }
    }
    assert_eq!(nonces.len(), 3, "at the start, after the move, after a quarter of an hour");
}

#[test]
fn announcements_are_few_and_multicast_at_most_once_a_second() {
    let mut street = Street::of_two();
    street.open(ALICE);
    for _ in 0..600 {
        street.run(Duration::from_millis(100));
        let now = street.now;
        street.node(ALICE).machine.handle_lan_question(now);
    }
    let multicast = street.announced.iter().filter(|(_, audience)| *audience != Audience::Broadcast);
    let times: Vec<Instant> = multicast.map(|(at, _)| *at).collect();
    assert!(times.len() > 30, "questions are answered: {}", times.len());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)));
    let broadcast = street.announced.iter().filter(|(_, audience)| *audience != Audience::Multicast).count();
    assert!((4..=6).contains(&broadcast), "{broadcast} in a minute");
}

#[test]
fn a_contact_who_is_removed_is_not_announced_to_nor_listened_to_any_more() {
    let mut street = Street::of_two_who_know_that_the_other_is_there();
    street.command(ALICE, NodeCommand::Contacts(vec![id(CAROL)]));
    street.command(BOB, NodeCommand::Want(id(ALICE)));
    street.run(Duration::from_secs(200));
    assert_eq!((street[ALICE].introduced.len(), street[BOB].introduced.len()), (0, 0));
    assert!(street[ALICE].machine.lan.neighbours.is_empty());
}

#[test]
fn who_has_no_lan_says_nothing_there() {
    let mut street = Street::of_two();
    street.open(BOB);
    street.command(ALICE, NodeCommand::Want(id(BOB)));
    street.run(Duration::from_secs(100));
    let (recorded, now) = (street.recorded.clone(), street.now);
    for (from, to_all, payload) in recorded {
        street.node(ALICE).machine.handle_lan(([192, 168, 1, from], 5000).into(), to_all, &payload, now);
    }
    street.run(Duration::from_secs(100));
    assert_eq!(street[ALICE].sent, 0);
}

type Who = u8;
const ALICE: Who = 1;
const BOB: Who = 2;
const CAROL: Who = 3;
const MAIN_PORT: u16 = 4000;
const RTT: Duration = Duration::from_millis(1);
/// The far end of a connection with somebody who was killed.
const NOBODYS: SessionId = SessionId(u64::MAX);

fn identity(who: Who) -> Identity {
    Identity::from_seed(&[who; 32])
}

fn id(who: Who) -> PeerId {
    identity(who).peer_id()
}

fn pairing(own: Who, peer: Who) -> Pairing {
    Pairing::new(&identity(own), id(peer)).expect("two")
}

fn main_address(who: Who) -> SocketAddr {
    ([192, 168, 1, who], MAIN_PORT).into()
}

/// Of those of this number who have arrived.
fn lan_port(arrival: u64) -> u16 {
    5000 + arrival as u16
}

/// A machine, and what it has said.
struct Node {
    machine: Machine,
    open: bool,
    lan: SocketAddr,
    /// Datagrams from its LAN socket.
    sent: usize,
    introduced: Vec<(Introducer, bool)>,
    /// Direct connections that came up: who had introduced the two.
    ups: Vec<Option<Introducer>>,
    downs: usize,
    asked: Vec<ToServer>,
    /// The other ends of its connections.
    ends: BTreeMap<SessionId, (Who, SessionId)>,
}

/// Houses on one wire.
struct Street {
    now: Instant,
    nodes: BTreeMap<Who, Node>,
    arrivals: u64,
    /// Of the two ways to everybody, this is carried; if it is both, both are.
    carried: Audience,
    /// So many calls and answers are still to be lost.
    lose_calls: usize,
    deaf_to_probes: bool,
    /// Everything that was said: by whom, whether to all, what.
    recorded: Vec<(Who, bool, Vec<u8>)>,
    announced: Vec<(Instant, Audience)>,
}

impl std::ops::Index<Who> for Street {
    type Output = Node;

    fn index(&self, who: Who) -> &Node {
        &self.nodes[&who]
    }
}

impl Street {
    fn new(people: &[(Who, &[Who])]) -> Street {
        let mut street = Street {
            now: Instant::now(),
            nodes: BTreeMap::new(),
            arrivals: 0,
            carried: Audience::Both,
            lose_calls: 0,
            deaf_to_probes: false,
            recorded: Vec::new(),
            announced: Vec::new(),
        };
        people.iter().for_each(|(who, contacts)| street.arrive(*who, contacts));
        street
    }

    fn of_two() -> Street {
        Street::new(&[(ALICE, &[BOB]), (BOB, &[ALICE])])
    }

    fn of_two_who_know_that_the_other_is_there() -> Street {
        let mut street = Street::of_two();
        street.open(ALICE);
        street.open(BOB);
        street.run(Duration::from_secs(20));
        street
    }

    fn node(&mut self, who: Who) -> &mut Node {
        self.nodes.get_mut(&who).expect("somebody lives there")
    }

    fn arrive(&mut self, who: Who, contacts: &[Who]) {
        self.arrivals += 1;
        let mut state = self.arrivals << 32;
        // SplitMix64.
        let mut luck = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) as u8
        };
        let mut machine = Machine::new(Config {
            identity: identity(who),
            rendezvous: id(200),
            epoch: 1,
            contacts: contacts.iter().map(|who| id(*who)).collect(),
            birthday: false,
            relay_only: false,
            random: Random::new(move |bytes| {
                bytes.fill_with(&mut luck);
                true
            }),
        });
        machine.handle_hosts(vec![main_address(who)]);
        let node = Node {
            machine,
            open: false,
            lan: ([192, 168, 1, who], lan_port(self.arrivals)).into(),
            sent: 0,
            introduced: Vec::new(),
            ups: Vec::new(),
            downs: 0,
            asked: Vec::new(),
            ends: BTreeMap::new(),
        };
        self.nodes.insert(who, node);
    }

    /// Vanishes, as after `kill -9`.
    fn leave(&mut self, who: Who) {
        self.nodes.remove(&who);
        let ends = self.nodes.values_mut().flat_map(|node| node.ends.values_mut());
        ends.filter(|(to, _)| *to == who).for_each(|(_, end)| *end = NOBODYS);
    }

    fn open(&mut self, who: Who) {
        let now = self.now;
        let node = self.node(who);
        node.open = true;
        node.machine.handle_lan_opened(node.lan.port(), now);
    }

    fn command(&mut self, who: Who, command: NodeCommand) {
        let now = self.now;
        self.node(who).machine.handle_command(command, now);
        self.pump();
    }

    /// Both want each other before either has heard of that.
    fn both_want_at_once(&mut self) {
        let now = self.now;
        for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
            let machine = &mut self.node(who).machine;
            machine.handle_command(NodeCommand::Want(id(other)), now);
            machine.handle_timeout(now);
        }
    }

    /// The rendezvous knows somebody now.
    fn connect(&mut self, who: Who) {
        let (server, now) = ("11.1.1.1:3478".parse().expect("an address"), self.now);
        let machine = &mut self.node(who).machine;
        machine.handle_control(ControlEvent::Connected { server, remote: server, rtt: RTT }, now);
        let stun = StunEndpoints { alternate_port: 3479, alternate: None };
        let registered = Registered { observed: ([11, 1, 1, 100 + who], MAIN_PORT).into(), stun, now_s: 0 };
        machine.handle_control(ControlEvent::Message(FromServer::Registered(registered)), now);
    }

    /// The rendezvous introduces Alice, who asked, and Bob.
    fn introduce(&mut self, number: u64) {
        let now = self.now;
        for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
            let introduction = Introduction {
                id: IntroductionId(number),
                peer: id(other),
                role: if who == ALICE { Role::Requester { request: 1 } } else { Role::Responder },
                addresses: vec![([11, 1, 1, 100 + other], MAIN_PORT).into()],
                profile: NatProfile::default(),
                sealed: Vec::new(),
                envelope: Vec::new(),
                hint: None,
                relay: None,
            };
            let message = ControlEvent::Message(FromServer::Introduction(introduction));
            self.node(who).machine.handle_control(message, now);
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.pump();
            let next = self.nodes.values().filter_map(|node| node.machine.poll_wakeup()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(next >= self.now || self.nodes.values().any(|node| node.open), "time goes on");
            self.now = next.max(self.now);
            let now = self.now;
            for node in self.nodes.values_mut() {
                node.machine.handle_timeout(now);
            }
            let stuck = self.nodes.values().filter_map(|node| node.machine.poll_wakeup()).min();
            assert!(stuck.is_none_or(|stuck| stuck > now), "somebody wants to be woken for nothing");
        }
        self.now = end;
    }

    fn pump(&mut self) {
        let now = self.now;
        let mut todo: VecDeque<(Who, Output)> = VecDeque::new();
        loop {
            for (who, node) in &mut self.nodes {
                todo.extend(std::iter::from_fn(|| node.machine.poll_output()).map(|output| (*who, output)));
            }
            let Some((who, output)) = todo.pop_front() else { break };
            self.act(who, output, now);
        }
    }

    fn act(&mut self, who: Who, output: Output, now: Instant) {
        let source = self[who].lan;
        match output {
            Output::Announce(announcement, audience) => {
                let payload = announcement.encode();
                self.recorded.push((who, true, payload.clone()));
                self.announced.push((now, audience));
                self.node(who).sent += 1;
                let carried = [audience, self.carried].contains(&Audience::Both) || audience == self.carried;
                for (_, node) in self.nodes.iter_mut().filter(|(other, node)| carried && **other != who && node.open) {
                    node.machine.handle_lan(source, true, &payload, now);
                }
            }
            Output::LanTransmit { destination, payload } => {
                self.recorded.push((who, false, payload.clone()));
                self.node(who).sent += 1;
                let is_call = matches!(LanMessage::decode(&payload), Ok(LanMessage::Call(_)));
                if is_call && self.lose_calls > 0 {
                    self.lose_calls -= 1;
                } else if let Some(node) = self.nodes.values_mut().find(|node| node.open && node.at(destination)) {
                    node.machine.handle_lan(source, false, &payload, now);
                }
            }
            Output::Transmit { destination, payload, .. } if !self.deaf_to_probes => {
                if let Some(node) = self.nodes.values_mut().find(|node| node.at(destination)) {
                    node.machine.handle_stun(SocketId::MAIN, main_address(who), &payload, now);
                }
            }
            Output::Dial(begin, remote) => {
                let hello = PeerFrame::Ping { nonce: 1 };
                let up = |remote| SessionEvent::Up { remote, rtt: RTT, hello: hello.clone() };
                let to = self.nodes.iter_mut().find(|(_, node)| node.at(remote));
                let accepted = to.and_then(|(to, node)| {
                    Some((*to, node.machine.handle_incoming(SocketId::MAIN, main_address(who))?))
                });
                let Some((to, accepted)) = accepted else { return };
                self.node(who).ends.insert(begin.id, (to, accepted.id));
                self.node(to).ends.insert(accepted.id, (who, begin.id));
                self.node(to).machine.handle_session(id(who), accepted.id, up(main_address(who)), now);
                self.node(who).machine.handle_session(id(to), begin.id, up(remote), now);
            }
            Output::Close(session, _) | Output::Finish(session, _) => {
                let Some((to, end)) = self.node(who).ends.remove(&session) else { return };
                let down = |by_peer| SessionEvent::Down { reason: "closed".into(), by_peer };
                self.node(who).machine.handle_session(id(to), session, down(false), now);
                if let Some(node) = self.nodes.get_mut(&to)
                    && node.ends.remove(&end).is_some()
                {
                    node.machine.handle_session(id(who), end, down(true), now);
                }
            }
            Output::Ask(message) => self.node(who).asked.push(message),
            Output::Tell(NodeEvent::Introduced { by, requested, .. }) => {
                self.node(who).introduced.push((by, requested));
            }
            Output::Tell(NodeEvent::Up { by, .. }) => self.node(who).ups.push(by),
            Output::Tell(NodeEvent::Down { .. }) => self.node(who).downs += 1,
            _ => {}
        }
    }
}

impl Node {
    fn at(&self, address: SocketAddr) -> bool {
        let own = self.machine.home.hosts.first().map(SocketAddr::ip);
        own == Some(address.ip()) && [MAIN_PORT, self.lan.port()].contains(&address.port())
    }
}
