//! What people and programs see when the node says this or that; no network, no clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser;
use common::candidate::CandidateKind;
use common::identity::{Identity, PeerId};
use common::path::Report;
use common::receipt::{Claim, Receipt};
use common::session::{Content, MAX_TEXT, MessageId, PeerFrame, Post, PostDigest, Route, StreamId, Via};
use jiff::Timestamp;

mod explaining;
mod fronts;
mod mailing;
mod remarks;

use super::*;
use crate::cli::{self, Cli};
use crate::commands::{Chat, Ping, Speed, Watch};
use crate::data::{Contacts, Status};
use crate::exit::Exit;
use crate::node::{Entrance, Introducer, NodeCommand, NodeEvent, Party, SessionId, SpeedFailure, SpeedReport};
use crate::output::{Direction, Event};

/// The front end that everything is about, unless a story says otherwise.
const FIRST: FrontId = FrontId(0);

/// What one front end hears, and what else is done.
#[derive(Debug)]
struct Heard {
    events: Vec<Event>,
    commands: Vec<NodeCommand>,
    end: Option<End>,
}

impl Heard {
    fn by(front: FrontId, listens: bool, out: Out) -> Self {
        let hears = |to: &To| matches!(to, To::Only(only) if *only == front) || *to == To::Everybody && listens;
        // Pictures are for people who wait.
        let events = out.events.into_iter().filter(|(to, event)| hears(to) && !matches!(event, Event::Progress { .. }));
        let end = out.ends.into_iter().find(|(ended, _)| *ended == front).map(|(_, end)| end);
        Heard { events: events.map(|(_, event)| event).collect(), commands: out.commands, end }
    }
}

struct World {
    engine: Engine,
    start: Instant,
    elapsed: Duration,
    next_id: u128,
    /// What Bob was sent.
    sent: BTreeMap<MessageId, PostDigest>,
}

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer_id()
}

fn bob() -> PeerId {
    id(2)
}

fn message(n: u128) -> MessageId {
    MessageId(n.to_be_bytes())
}

const RTT: Duration = Duration::from_millis(3);
const WAIT: Duration = Duration::from_secs(10);

impl World {
    fn new(task: impl Task + 'static) -> (Self, Heard) {
        let mut contacts = Contacts::default();
        contacts.add(bob(), "Bob").expect("added");
        let room = Room::new(Identity::from_seed(&[1; 32]), contacts, Status::new(1, Timestamp::UNIX_EPOCH));
        let (start, elapsed) = (Instant::now(), Duration::ZERO);
        let mut world = World { engine: Engine::new(room), start, elapsed, next_id: 0, sent: BTreeMap::new() };
        let out = world.feed(Happening::Attached(FIRST, Box::new(task)));
        (world, out)
    }

    /// What the first front end hears of it.
    fn feed(&mut self, happening: Happening) -> Heard {
        let out = self.all(happening);
        Heard::by(FIRST, true, out)
    }

    fn all(&mut self, happening: Happening) -> Out {
        let wall = Timestamp::UNIX_EPOCH + self.elapsed;
        let now = Moment { at: self.start + self.elapsed, wall };
        let mut out = self.engine.handle(happening, now);
        self.engine.flush(now, &mut out);
        let posts = out.commands.iter().filter_map(|command| match command {
            NodeCommand::Send { frame: PeerFrame::Post(post), .. } => Some((post.id, post.digest())),
            _ => None,
        });
        self.sent.extend(posts);
        out
    }

    /// Bob has the message of this number, and says so to us.
    fn receipt(&mut self, n: u128) -> Heard {
        self.receipt_by(2, n)
    }

    fn receipt_by(&mut self, signer: u8, n: u128) -> Heard {
        self.feed(self.receipt_comes(signer, n))
    }

    fn receipt_comes(&self, signer: u8, n: u128) -> Happening {
        let claim = Claim::Device { posts: vec![(message(n), self.sent[&message(n)])] };
        let receipt = Receipt::sign(&Identity::from_seed(&[signer; 32]), id(1), claim, 0);
        let (peer, via, frame) = (bob(), Via::Session(Route::Direct), PeerFrame::Receipt(receipt));
        Happening::Node(NodeEvent::Frame { peer, via, frame, rtt: RTT })
    }

    fn node(&mut self, event: NodeEvent) -> Heard {
        self.feed(Happening::Node(event))
    }

    fn frame(&mut self, frame: PeerFrame) -> Heard {
        self.node(NodeEvent::Frame { peer: bob(), via: Via::Session(Route::Direct), frame, rtt: RTT })
    }

    fn direct(&mut self) -> Heard {
        self.node(up())
    }

    fn line(&mut self, text: &str) -> Heard {
        self.next_id += 1;
        self.feed(Happening::Line(FIRST, Line::Text(text.into()), message(self.next_id)))
    }

    /// Lets time go on to the next wakeup, whatever it is for.
    fn sleep(&mut self) -> Heard {
        let at = self.engine.poll_wakeup().expect("something is due");
        self.elapsed = at.saturating_duration_since(self.start).max(self.elapsed);
        self.feed(Happening::Wakeup)
    }
}

fn remote() -> std::net::SocketAddr {
    "11.1.1.7:4000".parse().expect("an address")
}

fn up() -> NodeEvent {
    NodeEvent::Up { peer: bob(), session: SessionId(1), route: Route::Direct, remote: remote(), rtt: RTT, by: None }
}

fn lost(by_peer: bool) -> NodeEvent {
    NodeEvent::Down { peer: bob(), route: Route::Direct, reason: "gone".into(), by_peer }
}

/// What was sent, without the question that every new direct connection begins with.
fn sent(out: &Heard) -> Vec<&PeerFrame> {
    let frames = out.commands.iter().filter_map(|command| match command {
        NodeCommand::Send { frame: PeerFrame::Ping { nonce: u64::MAX }, .. } => None,
        NodeCommand::Send { frame, .. } => Some(frame),
        _ => None,
    });
    frames.collect()
}

fn post(text: &str) -> Post {
    let content = Content::Text { text: text.to_owned(), reply_to: None };
    Post { id: message(7), stream: StreamId(1), seq: 1, at_ms: 1_000, content }
}

fn says(frame: &PeerFrame) -> Option<&str> {
    match frame {
        PeerFrame::Post(Post { content: Content::Text { text, .. }, .. }) => Some(text),
        _ => None,
    }
}

/// What is acknowledged, in one receipt that is ours.
fn acknowledged(out: &Heard) -> Vec<MessageId> {
    let [PeerFrame::Receipt(receipt)] = sent(out)[..] else { panic!("{:?}", out.commands) };
    assert_eq!(receipt.verify(id(1), bob()), Ok(()));
    let Claim::Device { posts } = &receipt.claim else { panic!("{receipt:?}") };
    posts.iter().map(|(id, _)| *id).collect()
}

#[test]
fn what_comes_together_is_acknowledged_by_one_signature_and_a_forged_receipt_counts_for_nothing() {
    let (mut world, _) = chat();
    world.direct();
    let event = |n| {
        let frame = PeerFrame::Post(Post { id: message(n), seq: n as u64, ..post("hi") });
        NodeEvent::Frame { peer: bob(), via: Via::Session(Route::Direct), frame, rtt: RTT }
    };
    let now = Moment { at: world.start, wall: Timestamp::UNIX_EPOCH };
    let mut out = world.engine.handle(Happening::Node(event(7)), now);
    out.append(world.engine.handle(Happening::Node(event(8)), now));
    world.engine.flush(now, &mut out);
    assert_eq!(acknowledged(&Heard::by(FIRST, true, out)), [message(7), message(8)]);
    world.line("hello");
    let out = world.receipt_by(3, 1);
    assert!(out.events.is_empty(), "{out:?}");
    assert!(matches!(&world.receipt(1).events[..], [Event::Receipt { .. }]));
}

fn exit(out: &Heard) -> Exit {
    match out.end.as_ref().expect("an end") {
        Ok(exit) => *exit,
        Err(failure) => failure.exit,
    }
}

fn chat() -> (World, Heard) {
    World::new(Chat::new(bob(), WAIT, Vec::new()))
}

fn ping(arguments: &[&str]) -> (World, Heard) {
    let command = ["punchline", "ping", "Bob"].iter().chain(arguments);
    let cli::Command::Ping(arguments) = Cli::parse_from(command).command else { panic!("ping is ping") };
    World::new(Ping::new(bob(), FIRST, Duration::ZERO, &arguments))
}

#[test]
fn a_chat_wants_its_peer_from_the_start() {
    let (_, out) = chat();
    assert!(matches!(out.commands[..], [NodeCommand::Want(peer)] if peer == bob()));
}

#[test]
fn a_line_typed_early_waits_is_sent_once_connected_and_its_receipt_is_shown() {
    let (mut world, _) = chat();
    let out = world.line("hello");
    assert!(matches!(&out.events[..], [Event::Message { dir: Direction::Out, waiting: Some(true), .. }]));
    assert!(sent(&out).is_empty());
    let out = world.direct();
    assert!(matches!(&out.events[..], [Event::Path { .. }]));
    assert!(matches!(sent(&out)[..], [frame] if says(frame) == Some("hello")));
    let out = world.receipt(1);
    assert!(matches!(&out.events[..], [Event::Receipt { state: "device", .. }]));
    let out = world.line("again");
    assert!(matches!(&out.events[..], [Event::Message { waiting: None, .. }]));
    assert_eq!(sent(&out).len(), 1);
}

#[test]
fn a_message_that_comes_twice_is_shown_once_and_acknowledged_twice() {
    let (mut world, _) = chat();
    world.direct();
    let hello = post("hi");
    let id = hello.id;
    let hello = PeerFrame::Post(hello);
    let out = world.frame(hello.clone());
    assert!(matches!(&out.events[..], [Event::Message { dir: Direction::In, text, .. }] if text == "hi"));
    assert_eq!(acknowledged(&out), [id]);
    let out = world.frame(hello);
    assert!(out.events.is_empty());
    assert_eq!(acknowledged(&out), [id]);
}

#[test]
fn empty_lines_are_no_messages_and_long_ones_are_refused() {
    let (mut world, _) = chat();
    assert!(world.line("").events.is_empty());
    assert!(world.line("  \t").events.is_empty());
    let out = world.feed(Happening::Line(FIRST, Line::TooLong(MAX_TEXT + 5), message(9)));
    assert!(matches!(&out.events[..], [Event::Undelivered { reason, .. }] if reason.contains("16389")));
    let out = world.feed(Happening::EndOfInput(FIRST));
    assert_eq!(exit(&out), Exit::Other, "a script must learn that a line was not sent");
}

#[test]
fn the_end_of_input_with_nothing_outstanding_ends_a_chat_at_once() {
    let (mut world, _) = chat();
    assert_eq!(exit(&world.feed(Happening::EndOfInput(FIRST))), Exit::Done);
}

#[test]
fn the_end_of_input_waits_for_the_last_receipt() {
    let (mut world, _) = chat();
    world.line("one");
    world.line("two");
    let out = world.feed(Happening::EndOfInput(FIRST));
    assert!(matches!(&out.events[..], [Event::Waiting { receipts: 2, .. }]));
    assert!(out.end.is_none() && !world.engine.takes_input(FIRST));
    world.direct();
    assert!(world.receipt(1).end.is_none());
    assert_eq!(exit(&world.receipt(2)), Exit::Done);
}

#[test]
fn a_chat_that_waited_in_vain_says_what_was_not_delivered_and_why() {
    let introduced =
        NodeEvent::Introduced { peer: bob(), by: Introducer::Rendezvous, requested: true, addresses: vec![remote()] };
    let registered = NodeEvent::Registered { entrance: Entrance::Udp { observed: remote() }, local: Vec::new() };
    let unreachable = NodeEvent::RendezvousLost { reason: "tried 127.0.0.1:9".into() };
    for (heard, expected) in [
        (vec![], Exit::Timeout),
        (vec![unreachable.clone()], Exit::Timeout),
        (vec![unreachable, registered.clone(), NodeEvent::Refused { peer: bob() }], Exit::PeerOffline),
        (vec![registered.clone(), NodeEvent::Refused { peer: id(3) }], Exit::Timeout),
        (
            vec![registered, introduced, NodeEvent::NoPath { peer: bob(), tried: vec![], report: Report::new() }],
            Exit::NoPath,
        ),
        (vec![up(), lost(true)], Exit::PeerOffline),
        (vec![up(), lost(false)], Exit::NoPath),
        (vec![up()], Exit::Timeout),
    ] {
        let (mut world, _) = chat();
        world.line("anybody there?");
        world.feed(Happening::EndOfInput(FIRST));
        for event in heard.clone() {
            world.node(event);
        }
        let mut out = world.sleep();
        while out.end.is_none() {
            out = world.sleep();
        }
        assert_eq!(world.elapsed, WAIT);
        assert_eq!(exit(&out), expected, "{heard:?}");
        assert!(matches!(&out.events[..], [Event::Undelivered { .. }]), "{:?}", out.events);
    }
}

#[test]
fn ctrl_c_in_a_chat_tells_what_was_not_delivered() {
    let (mut world, _) = chat();
    assert_eq!(exit(&world.feed(Happening::Interrupted(FIRST))), Exit::Done);
    let (mut world, _) = chat();
    world.line("hello?");
    let out = world.feed(Happening::Interrupted(FIRST));
    assert!(matches!(&out.events[..], [Event::Undelivered { .. }]));
    assert_eq!(exit(&out), Exit::Timeout);
}

#[test]
fn a_missing_receipt_has_the_path_verified() {
    let (mut world, _) = chat();
    world.direct();
    world.line("hello?");
    let out = world.sleep();
    assert!(matches!(out.commands[..], [NodeCommand::Verify(peer, Route::Direct)] if peer == bob()));
}

#[test]
fn a_wrong_key_ends_a_chat_with_both_keys_named() {
    for expected in [Party::Peer(bob()), Party::Rendezvous(id(9))] {
        let (mut world, _) = chat();
        let out = world.node(NodeEvent::Untrusted { expected, seen: id(66) });
        assert_eq!(exit(&out), Exit::UntrustedKey);
        let message = out.end.expect("an end").expect_err("a failure").message;
        let (Party::Peer(pinned) | Party::Rendezvous(pinned)) = expected;
        assert!(message.contains(&pinned.to_string()) && message.contains(&id(66).to_string()), "{message}");
        assert!(matches!(&out.events[..], [Event::Untrusted { .. }]));
    }
}

#[test]
fn nobody_but_the_rendezvous_can_end_a_run_with_a_wrong_key() {
    let (mut world, _) = World::new(Watch);
    let out = world.node(NodeEvent::Untrusted { expected: Party::Peer(bob()), seen: id(66) });
    assert!(out.end.is_none());
    let out = world.node(NodeEvent::Untrusted { expected: Party::Rendezvous(id(9)), seen: id(66) });
    assert_eq!(exit(&out), Exit::UntrustedKey);
}

#[test]
fn a_run_ends_cleanly_when_it_is_interrupted_and_not_when_it_is_replaced() {
    let (mut world, _) = World::new(Watch);
    assert_eq!(exit(&world.feed(Happening::Interrupted(FIRST))), Exit::Done);
    let (mut world, _) = World::new(Watch);
    assert_eq!(exit(&world.node(NodeEvent::Replaced)), Exit::Other);
    let (mut world, _) = World::new(Watch);
    assert_eq!(exit(&world.feed(Happening::NodeStopped)), Exit::Other);
}

#[test]
fn a_ping_ends_with_the_first_direct_reply() {
    let (mut world, _) = ping(&[]);
    world.elapsed = Duration::from_millis(100);
    let out = world.direct();
    assert_eq!(sent(&out), [&PeerFrame::Ping { nonce: 1 }]);
    world.elapsed = Duration::from_millis(104);
    let out = world.frame(PeerFrame::Pong { nonce: 1 });
    let expected = Duration::from_millis(104).into();
    assert!(
        matches!(&out.events[..], [
            Event::Ping { seq: 1, since_start_ms, .. },
            Event::Summary { sent: 1, received: 1, first_reply_ms: Some(first), direct_ms: Some(direct), .. },
        ] if *since_start_ms == expected && *first == expected && *direct == Duration::from_millis(100).into()),
        "{:?}",
        out.events
    );
    assert_eq!(exit(&out), Exit::Done);
}

#[test]
fn a_ping_without_a_path_gives_up_in_time_and_says_why() {
    let punched = NodeEvent::Punched {
        peer: bob(),
        remote: remote(),
        kind: CandidateKind::ServerReflexive,
        rtt: RTT,
        after: RTT,
    };
    for (heard, reason) in [
        (None, "the rendezvous did not answer"),
        (Some(NodeEvent::Refused { peer: bob() }), "offline"),
        (
            Some(NodeEvent::NoPath { peer: bob(), tried: vec![remote()], report: Report::new() }),
            "no direct path was found",
        ),
        (Some(punched), "no direct path was found"),
    ] {
        let (mut world, _) = ping(&["--timeout", "5"]);
        if let Some(event) = heard {
            world.node(event);
        }
        let out = world.sleep();
        assert_eq!(world.elapsed, Duration::from_secs(5));
        assert_eq!(exit(&out), Exit::NoPath);
        assert!(matches!(&out.end, Some(Err(failure)) if failure.message.contains(reason)), "{:?}", out.end);
        assert!(matches!(&out.events[..], [Event::Summary { sent: 0, direct_ms: None, .. }]));
    }
}

#[test]
fn a_ping_without_replies_sends_as_many_as_asked_for() {
    let (mut world, _) = ping(&["-c", "3", "--interval", "0.5"]);
    let mut pings = sent(&world.direct()).len();
    let end = loop {
        let out = world.sleep();
        pings += sent(&out).len();
        if out.end.is_some() {
            break out;
        }
    };
    assert_eq!((pings, exit(&end)), (3, Exit::NoPath));
    assert_eq!(world.elapsed, Duration::from_millis(1500));
}

#[test]
fn a_late_pong_of_a_lost_session_counts_for_nothing() {
    let (mut world, _) = ping(&[]);
    world.direct();
    world.node(lost(false));
    assert!(world.frame(PeerFrame::Pong { nonce: 1 }).events.is_empty());
    assert_eq!(sent(&world.direct()), [&PeerFrame::Ping { nonce: 2 }]);
}

#[test]
fn changed_contacts_reach_the_node_and_a_removed_one_ends_its_chat() {
    let (mut world, _) = chat();
    let mut contacts = Contacts::default();
    contacts.add(bob(), "Robert").expect("added");
    contacts.add(id(3), "Carol").expect("added");
    let out = world.feed(Happening::Contacts(contacts));
    assert!(matches!(&out.commands[..], [NodeCommand::Contacts(ids)] if *ids == [bob(), id(3)]));
    let out = world.direct();
    assert!(matches!(&out.events[..], [Event::Path { who, .. }] if who.name.as_deref() == Some("Robert")));
    let out = world.feed(Happening::Contacts(Contacts::default()));
    assert_eq!(exit(&out), Exit::Other);
}

#[test]
fn the_status_follows_what_the_node_says() {
    let (mut world, _) = World::new(Watch);
    assert!(world.engine.take_status().is_some());
    assert!(world.engine.take_status().is_none());
    world.node(NodeEvent::Registered { entrance: Entrance::Udp { observed: remote() }, local: Vec::new() });
    world.direct();
    let status = world.engine.take_status().expect("changed");
    assert_eq!(status.entrance, Some(Entrance::Udp { observed: remote() }));
    assert_eq!(status.sessions.len(), 1);
    world.node(lost(true));
    assert!(world.engine.take_status().expect("changed").sessions.is_empty());
}

fn speed(arguments: &[&str]) -> World {
    let command = ["punchline", "speed", "Bob"].iter().chain(arguments);
    let cli::Command::Speed(arguments) = Cli::parse_from(command).command else { panic!("speed is speed") };
    let (world, out) = World::new(Speed::new(bob(), &arguments));
    assert!(matches!(out.commands[..], [NodeCommand::Want(peer)] if peer == bob()));
    world
}

fn measured(session: u64, report: SpeedReport) -> NodeEvent {
    NodeEvent::Speed { peer: bob(), session: SessionId(session), report }
}

/// Over which sessions a measurement is asked for.
fn asked(out: &Heard) -> Vec<u64> {
    let sessions = out.commands.iter().filter_map(|command| match command {
        NodeCommand::MeasureSpeed { session, .. } => Some(session.0),
        _ => None,
    });
    sessions.collect()
}

#[test]
fn a_line_is_measured_over_the_direct_path_alone() {
    let mut world = speed(&[]);
    let relayed = NodeEvent::Up {
        peer: bob(),
        session: SessionId(1),
        route: Route::Relayed,
        remote: remote(),
        rtt: RTT,
        by: None,
    };
    assert!(asked(&world.node(relayed.clone())).is_empty());
    assert_eq!(asked(&world.direct()), [1]);
    let done = SpeedReport::Done { up_mbps: 1.0, down_mbps: 2.0, idle: RTT, loaded: RTT };
    let out = world.node(measured(1, done));
    assert!(matches!(&out.events[..], [Event::Speed { route: Route::Direct, .. }]), "{out:?}");
    assert_eq!(exit(&out), Exit::Done);

    let mut world = speed(&["--timeout", "2"]);
    world.node(relayed);
    let out = loop {
        let out = world.sleep();
        if out.end.is_some() {
            break out;
        }
    };
    assert_eq!((exit(&out), world.elapsed), (Exit::NoPath, Duration::from_secs(2)));
}

#[test]
fn a_session_that_is_superseded_under_a_measurement_is_followed_by_the_next() {
    let mut world = speed(&[]);
    assert_eq!(asked(&world.direct()), [1]);
    let next = NodeEvent::Up {
        peer: bob(),
        session: SessionId(2),
        route: Route::Direct,
        remote: remote(),
        rtt: RTT,
        by: None,
    };
    assert!(asked(&world.node(next)).is_empty(), "one goes on");
    assert_eq!(asked(&world.node(measured(1, SpeedReport::Failed(SpeedFailure::Ended)))), [2]);
    // What the first one still says is old.
    assert!(world.node(measured(1, SpeedReport::Failed(SpeedFailure::Ended))).end.is_none());
    assert!(world.node(measured(2, SpeedReport::Failed(SpeedFailure::Ended))).end.is_none(), "it waits for a third");
    let third = NodeEvent::Up {
        peer: bob(),
        session: SessionId(3),
        route: Route::Direct,
        remote: remote(),
        rtt: RTT,
        by: None,
    };
    assert_eq!(asked(&world.node(third)), [3]);
    assert_eq!(exit(&world.node(measured(3, SpeedReport::Failed(SpeedFailure::Ended)))), Exit::NoPath);
}

#[test]
fn a_client_that_does_not_measure_is_said_to_be_old() {
    let mut world = speed(&[]);
    world.direct();
    let out = world.node(measured(1, SpeedReport::Failed(SpeedFailure::Unknown)));
    let Some(Err(failure)) = &out.end else { panic!("{out:?}") };
    assert!(failure.exit == Exit::Other && failure.message.contains("older than yours"), "{failure}");
    let mut world = speed(&[]);
    world.direct();
    let out = world.node(lost(true));
    assert_eq!(exit(&out), Exit::PeerOffline, "it was stopped, and need not be waited for");
    let out = speed(&[]).feed(Happening::Interrupted(FIRST));
    assert_eq!(exit(&out), Exit::Other);
}
