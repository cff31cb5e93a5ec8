//! Two messengers and a pretend network of two routes that break, swallow and repeat.

use std::collections::VecDeque;

use common::identity::Identity;
use common::receipt::{Claim, Receipt};
use common::session::{Content, StreamId};
use proptest::prelude::*;

use super::*;

const RTT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
enum Step {
    /// One of the two says something.
    Say(Side),
    /// The oldest frame on this route's way to this side arrives.
    Deliver(Side, Route),
    /// A frame that arrived at this side before arrives again.
    Repeat(Side, prop::sample::Index),
    /// From now until its connection ends, whatever is sent this way is swallowed.
    Swallow(Side, Route),
    /// The connection breaks; everything on the way is gone.
    Break(Route),
    /// A connection stands again.
    Connect(Route),
    /// This side is introduced to the other, and its letter goes along.
    Introduce(Side),
    /// A letter arrives.
    Post(Side),
    /// This side's network changes.
    Move(Side),
    /// This side is killed, and starts again with what is on its disk.
    Restart(Side),
    /// A second passes.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Alice,
    Bob,
}

const SIDES: [Side; 2] = [Side::Alice, Side::Bob];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || prop_oneof![Just(Side::Alice), Just(Side::Bob)];
    let route = || prop_oneof![Just(Route::Relayed), Just(Route::Direct)];
    let step = prop_oneof![
        6 => side().prop_map(Step::Say),
        16 => (side(), route()).prop_map(|(side, route)| Step::Deliver(side, route)),
        2 => (side(), any::<prop::sample::Index>()).prop_map(|(side, index)| Step::Repeat(side, index)),
        1 => (side(), route()).prop_map(|(side, route)| Step::Swallow(side, route)),
        1 => route().prop_map(Step::Break),
        3 => route().prop_map(Step::Connect),
        1 => side().prop_map(Step::Introduce),
        2 => side().prop_map(Step::Post),
        1 => side().prop_map(Step::Move),
        1 => side().prop_map(Step::Restart),
        2 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..300)
}

/// What is on a route's way to one side.
#[derive(Debug, Default)]
struct Pipe {
    frames: VecDeque<PeerFrame>,
    swallowing: bool,
}

struct Person {
    identity: Identity,
    id: PeerId,
    messenger: Messenger,
    /// On the way to this person, by route.
    inbound: [Pipe; 2],
    /// What the next introduction is to carry.
    letter: Vec<PeerFrame>,
    /// Letters on the way to this person; no two change places.
    post: VecDeque<PeerFrame>,
    arrived: Vec<(Via, PeerFrame)>,
    said: Vec<MessageId>,
    shown: Vec<MessageId>,
    delivered: Vec<MessageId>,
}

impl Person {
    fn new(seed: u8) -> Self {
        Person {
            identity: Identity::from_seed(&[seed; 32]),
            id: Identity::from_seed(&[seed; 32]).peer_id(),
            messenger: Messenger::new(),
            inbound: Default::default(),
            letter: Vec::new(),
            post: VecDeque::new(),
            arrived: Vec::new(),
            said: Vec::new(),
            shown: Vec::new(),
            delivered: Vec::new(),
        }
    }
}

struct World {
    people: [Person; 2],
    now: Instant,
    connected: [bool; 2],
    next_id: u128,
}

impl World {
    fn new() -> Self {
        World { people: [Person::new(1), Person::new(2)], now: Instant::now(), connected: [false; 2], next_id: 0 }
    }

    fn input(&mut self, side: Side, input: Input) {
        let now = self.now;
        let effects = self.people[side as usize].messenger.handle(input, now);
        self.apply(side, effects);
    }

    fn apply(&mut self, side: Side, effects: Vec<Effect>) {
        for effect in effects {
            let [ref mut me, ref mut other] = self.people;
            let (me, other) = if side == Side::Alice { (me, other) } else { (other, me) };
            match effect {
                Effect::Send { route, frame, .. } => {
                    assert!(self.connected[route as usize], "a frame for a route that is not there: {frame:?}");
                    let pipe = &mut other.inbound[route as usize];
                    if !pipe.swallowing {
                        pipe.frames.push_back(frame);
                    }
                }
                Effect::Reply { frames, .. } => other.post.extend(frames),
                Effect::Acknowledge { via, id, digest, .. } => {
                    let claim = Claim::Device { posts: vec![(id, digest)] };
                    let frame = PeerFrame::Receipt(Receipt::sign(&me.identity, other.id, claim, 0));
                    match via {
                        Via::Letter | Via::Mail => other.post.push_back(frame),
                        Via::Session(route) => {
                            let pipe = &mut other.inbound[route as usize];
                            if !pipe.swallowing {
                                pipe.frames.push_back(frame);
                            }
                        }
                    }
                }
                Effect::Letter { frames, .. } => me.letter = frames,
                Effect::Want { .. } | Effect::Switched { .. } => {}
                // The path machine finds a swallowing path dead and a sound one alive.
                Effect::Verify { route, .. } => {
                    if [&me.inbound, &other.inbound].iter().any(|pipes| pipes[route as usize].swallowing) {
                        self.break_route(route);
                    }
                }
                Effect::ShowIncoming { post, .. } => me.shown.push(post.id),
                Effect::Delivered { id, .. } => me.delivered.push(id),
                effect => panic!("nobody asked for {effect:?}"),
            }
        }
    }

    fn other(&self, side: Side) -> PeerId {
        self.people[1 - side as usize].id
    }

    fn say(&mut self, side: Side) {
        self.next_id += 1;
        let id = MessageId(self.next_id.to_be_bytes());
        self.people[side as usize].said.push(id);
        let peer = self.other(side);
        self.input(side, Input::Say { peer, id, at_ms: 0, text: id.to_string() });
    }

    fn arrive(&mut self, side: Side, via: Via, frame: PeerFrame) {
        self.people[side as usize].arrived.push((via, frame.clone()));
        let peer = self.other(side);
        self.input(side, Input::Frame { peer, via, frame, rtt: RTT });
    }

    fn deliver(&mut self, side: Side, route: Route) -> bool {
        let Some(frame) = self.people[side as usize].inbound[route as usize].frames.pop_front() else { return false };
        self.arrive(side, Via::Session(route), frame);
        true
    }

    fn post(&mut self, side: Side) -> bool {
        let Some(frame) = self.people[side as usize].post.pop_front() else { return false };
        self.arrive(side, Via::Letter, frame);
        true
    }

    fn break_route(&mut self, route: Route) {
        if !std::mem::replace(&mut self.connected[route as usize], false) {
            return;
        }
        for person in &mut self.people {
            person.inbound[route as usize] = Pipe::default();
        }
        for side in SIDES {
            let peer = self.other(side);
            self.input(side, Input::Disconnected { peer, route });
        }
    }

    fn connect(&mut self, route: Route) {
        self.break_route(route);
        self.connected[route as usize] = true;
        for side in SIDES {
            let peer = self.other(side);
            self.input(side, Input::Connected { peer, route, rtt: RTT });
        }
    }

    fn restart(&mut self, side: Side) {
        for route in Route::ALL {
            self.break_route(route);
        }
        let peer = self.other(side);
        let person = &mut self.people[side as usize];
        (person.messenger, person.letter) = (Messenger::new(), Vec::new());
        let waits = person.said.iter().filter(|id| !person.delivered.contains(id));
        let queue = waits.map(|id| Outgoing { post: text(*id, id.to_string()) }).collect();
        let seen = person.shown.clone();
        self.input(side, Input::Resume { peer, queue, seen });
    }

    fn wait(&mut self) {
        self.now += Duration::from_secs(1);
        for side in SIDES {
            let now = self.now;
            let effects = self.people[side as usize].messenger.handle_timeout(now);
            self.apply(side, effects);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Say(side) => self.say(side),
            Step::Deliver(side, route) => _ = self.deliver(side, route),
            Step::Repeat(side, index) => {
                let arrived = &self.people[side as usize].arrived;
                if !arrived.is_empty() {
                    let (via, frame) = index.get(arrived).clone();
                    // What comes over a connection comes while it stands.
                    let via = match via {
                        Via::Session(route) if !self.connected[route as usize] => Via::Letter,
                        via => via,
                    };
                    let peer = self.other(side);
                    self.input(side, Input::Frame { peer, via, frame, rtt: RTT });
                }
            }
            Step::Swallow(side, route) => {
                self.people[side as usize].inbound[route as usize].swallowing = self.connected[route as usize];
            }
            Step::Break(route) => self.break_route(route),
            Step::Connect(route) => self.connect(route),
            Step::Introduce(side) => {
                let letter = self.people[side as usize].letter.clone();
                self.people[1 - side as usize].post.extend(letter);
            }
            Step::Post(side) => _ = self.post(side),
            Step::Restart(side) => self.restart(side),
            Step::Move(side) => self.input(side, Input::NetworkChanged),
            Step::Wait => self.wait(),
        }
    }

    /// Lets time and the network go on until nothing is under way. The network is kind from here on, but a path that
    /// swallows has first to be found out by `Verify`.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = true;
            while busy {
                busy = false;
                for side in SIDES {
                    busy |= self.post(side);
                    for route in Route::ALL {
                        busy |= self.deliver(side, route);
                    }
                }
            }
            if self.people.iter().all(|person| person.said.len() == person.delivered.len()) {
                return;
            }
            self.wait();
            if self.connected == [false; 2] {
                self.connect(Route::Relayed);
            }
        }
        panic!("it does not come to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn nothing_is_lost_nothing_is_shown_twice_and_order_is_kept(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        let [alice, bob] = &world.people;
        prop_assert_eq!(&bob.shown, &alice.said);
        prop_assert_eq!(&alice.shown, &bob.said);
        for person in &world.people {
            let mut delivered = person.delivered.clone();
            delivered.sort();
            prop_assert_eq!(&delivered, &person.said);
            prop_assert_eq!(person.messenger.poll_wakeup(), None);
        }
    }
}

fn peer() -> PeerId {
    Identity::from_seed(&[9; 32]).peer_id()
}

fn say(messenger: &mut Messenger, n: u128, text: &str, now: Instant) -> Vec<Effect> {
    let id = MessageId(n.to_be_bytes());
    messenger.handle(Input::Say { peer: peer(), id, at_ms: 1, text: text.to_owned() }, now)
}

fn connected(messenger: &mut Messenger, route: Route, now: Instant) -> Vec<Effect> {
    messenger.handle(Input::Connected { peer: peer(), route, rtt: RTT }, now)
}

fn disconnected(messenger: &mut Messenger, route: Route, now: Instant) -> Vec<Effect> {
    messenger.handle(Input::Disconnected { peer: peer(), route }, now)
}

fn comes(messenger: &mut Messenger, route: Route, frame: PeerFrame, now: Instant) -> Vec<Effect> {
    messenger.handle(Input::Frame { peer: peer(), via: Via::Session(route), frame, rtt: RTT }, now)
}

fn receipt(n: u128) -> PeerFrame {
    let (bob, id) = (Identity::from_seed(&[9; 32]), MessageId(n.to_be_bytes()));
    let claim = Claim::Device { posts: vec![(id, text(id, String::new()).digest())] };
    PeerFrame::Receipt(Receipt::sign(&bob, Identity::from_seed(&[1; 32]).peer_id(), claim, 0))
}

fn text(id: MessageId, text: String) -> Post {
    let content = Content::Text { text, reply_to: None };
    Post { id, stream: StreamId(0), seq: 1, at_ms: 1, content }
}

fn says(frame: &PeerFrame) -> Option<&str> {
    match frame {
        PeerFrame::Post(Post { content: Content::Text { text, .. }, .. }) => Some(text),
        _ => None,
    }
}

/// The messages that these effects send, and how.
fn sent(effects: &[Effect]) -> Vec<(Route, &str)> {
    let message = |effect| match effect {
        &Effect::Send { route, ref frame, .. } => says(frame).map(|text| (route, text)),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

#[test]
fn what_waits_asks_for_a_session_once_and_goes_in_order_when_it_stands() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    let effects = say(&mut messenger, 1, "one", now);
    assert!(matches!(&effects[..], [Effect::Want { .. }, Effect::Letter { frames, .. }] if frames.len() == 1));
    let effects = say(&mut messenger, 2, "two", now);
    assert!(matches!(&effects[..], [Effect::Letter { frames, .. }] if frames.len() == 2), "{effects:?}");
    let effects = connected(&mut messenger, Route::Relayed, now);
    assert_eq!(sent(&effects), [(Route::Relayed, "one"), (Route::Relayed, "two")]);
    assert!(effects.contains(&Effect::Letter { peer: peer(), frames: Vec::new() }), "no introduction carries them now");
}

#[test]
fn a_letter_holds_the_first_messages_that_fit() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    let long = "x".repeat(7000);
    let letters = |effects: Vec<Effect>| match &effects[..] {
        [.., Effect::Letter { frames, .. }] => Some(frames.len()),
        _ => None,
    };
    assert_eq!(letters(say(&mut messenger, 1, &long, now)), Some(1));
    assert_eq!(letters(say(&mut messenger, 2, &long, now)), Some(2));
    assert_eq!(letters(say(&mut messenger, 3, &long, now)), None, "the third would not fit");
    assert_eq!(letters(say(&mut messenger, 4, "short", now)), None, "and nothing overtakes it");
}

#[test]
fn a_letter_is_answered_by_one_with_our_own_words_in_front() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    say(&mut messenger, 1, "so do I", now);
    let mut comes = |n: u128| {
        let id = MessageId(n.to_be_bytes());
        let frame = PeerFrame::Post(text(id, "I have something to say".into()));
        messenger.handle(Input::Frame { peer: peer(), via: Via::Letter, frame, rtt: RTT }, now)
    };
    let effects = comes(10);
    assert!(
        matches!(&effects[..], [Effect::ShowIncoming { .. }, Effect::Reply { frames, .. }, Effect::Acknowledge { .. }]
            if matches!(&frames[..], [frame] if says(frame) == Some("so do I"))),
        "{effects:?}"
    );
    let effects = comes(11);
    assert!(matches!(&effects[..], [Effect::ShowIncoming { .. }, Effect::Acknowledge { .. }]), "once: {effects:?}");
}

#[test]
fn a_direct_connection_is_trusted_alone_when_the_peer_has_answered_over_it_and_not_before() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    let effects = connected(&mut messenger, Route::Direct, now);
    let Some(Effect::Send { route: Route::Direct, frame: PeerFrame::Ping { nonce }, .. }) = effects.last() else {
        panic!("no question: {effects:?}")
    };
    let nonce = *nonce;
    let both = [(Route::Relayed, "one"), (Route::Direct, "one")];
    assert_eq!(sent(&say(&mut messenger, 1, "one", now)), both);
    let why = Reason::Connected;
    assert_eq!(effects.first(), Some(&Effect::Switched { peer: peer(), route: Route::Direct, why }));
    comes(&mut messenger, Route::Direct, PeerFrame::Pong { nonce }, now);
    assert_eq!(sent(&say(&mut messenger, 2, "two", now)), [(Route::Direct, "two")]);
}

#[test]
fn two_overdue_receipts_bring_the_relay_back_and_an_answer_sends_it_away() {
    let start = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, start);
    connected(&mut messenger, Route::Direct, start);
    comes(&mut messenger, Route::Direct, PeerFrame::Pong { nonce: 1 }, start);
    assert_eq!(messenger.poll_wakeup(), None);
    say(&mut messenger, 1, "hello?", start);
    let verify = Effect::Verify { peer: peer(), route: Route::Direct };

    let first = messenger.poll_wakeup().expect("a receipt is due");
    assert_eq!(first, start + 4 * RTT);
    assert_eq!(messenger.handle_timeout(start), []);
    assert_eq!(messenger.handle_timeout(first), std::slice::from_ref(&verify));
    let second = messenger.poll_wakeup().expect("it is still due");
    let effects = messenger.handle_timeout(second);
    assert_eq!(effects[0], verify);
    let why = Reason::ReceiptsOverdue;
    assert_eq!(effects[1], Effect::Switched { peer: peer(), route: Route::Relayed, why });
    assert_eq!(sent(&effects), [(Route::Relayed, "hello?")]);
    assert!(second - start < Duration::from_millis(500), "{:?}", second - start);

    let effects = comes(&mut messenger, Route::Direct, receipt(1), second);
    let why = Reason::Answered;
    assert_eq!(effects[0], Effect::Switched { peer: peer(), route: Route::Direct, why });
    assert_eq!(sent(&say(&mut messenger, 2, "there you are", second)), [(Route::Direct, "there you are")]);
}

#[test]
fn a_change_of_network_brings_the_relay_back_at_once() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    connected(&mut messenger, Route::Direct, now);
    comes(&mut messenger, Route::Direct, PeerFrame::Pong { nonce: 1 }, now);
    say(&mut messenger, 1, "on my way", now);
    let effects = messenger.handle(Input::NetworkChanged, now);
    assert_eq!(sent(&effects), [(Route::Relayed, "on my way")]);
}

#[test]
fn after_a_change_of_network_a_direct_connection_that_still_answers_is_relied_on_without_a_word_being_said() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    connected(&mut messenger, Route::Direct, now);
    comes(&mut messenger, Route::Direct, PeerFrame::Pong { nonce: 1 }, now);
    let effects = messenger.handle(Input::NetworkChanged, now);
    assert_eq!(messenger.relies_on(peer()), Some(Route::Relayed));
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Send { route: Route::Direct, frame: PeerFrame::Ping { nonce }, .. } => Some(*nonce),
        _ => None,
    });
    comes(&mut messenger, Route::Direct, PeerFrame::Pong { nonce: asked.expect("a question") }, now);
    assert_eq!(messenger.relies_on(peer()), Some(Route::Direct));
}

#[test]
fn without_any_connection_what_has_no_receipt_wants_one() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Direct, now);
    say(&mut messenger, 1, "hello?", now);
    let effects = disconnected(&mut messenger, Route::Direct, now);
    assert!(matches!(&effects[..], [Effect::Want { .. }, Effect::Letter { .. }]), "{effects:?}");
    assert_eq!(messenger.poll_wakeup(), None, "without a session there is nothing to verify");
}

#[test]
fn what_is_taken_back_goes_no_more_and_is_delivered_if_it_had_gone_already() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    say(&mut messenger, 1, "typo", now);
    say(&mut messenger, 2, "good", now);
    let cancel = |messenger: &mut Messenger, n: u128| {
        messenger.handle(Input::Cancel { peer: peer(), id: MessageId(n.to_be_bytes()) }, now)
    };
    let effects = cancel(&mut messenger, 1);
    assert!(matches!(&effects[..], [Effect::Letter { frames, .. }] if frames.len() == 1), "{effects:?}");
    assert_eq!(sent(&connected(&mut messenger, Route::Direct, now)), [(Route::Direct, "good")]);
    assert!(cancel(&mut messenger, 2).is_empty());
    assert_eq!(messenger.poll_wakeup(), None, "nothing is waited for");
    let delivered = Effect::Delivered { peer: peer(), id: MessageId(2u128.to_be_bytes()) };
    assert_eq!(comes(&mut messenger, Route::Direct, receipt(2), now), [delivered]);
    assert!(comes(&mut messenger, Route::Direct, receipt(2), now).is_empty(), "once");
    assert!(comes(&mut messenger, Route::Direct, receipt(3), now).is_empty(), "it was never said");
}

#[test]
fn a_text_over_the_limit_is_refused_before_it_is_queued() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    let effects = say(&mut messenger, 1, &"x".repeat(MAX_TEXT + 1), now);
    let why = Refusal::TooLong { length: MAX_TEXT + 1 };
    assert_eq!(effects, [Effect::Refused { peer: peer(), id: MessageId(1u128.to_be_bytes()), why }]);
    assert_eq!(messenger.outstanding(peer()).len(), 0);
}

#[test]
fn a_full_queue_refuses_the_newest_and_keeps_the_rest() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    for n in 0..MAX_QUEUED {
        assert!(messenger.has_room(peer()));
        say(&mut messenger, n as u128, "x", now);
    }
    assert!(!messenger.has_room(peer()));
    let effects = say(&mut messenger, 9999, "one too many", now);
    assert!(matches!(effects[..], [Effect::Refused { why: Refusal::QueueFull, .. }]));
    assert_eq!(messenger.outstanding(peer()).len(), MAX_QUEUED);
}

#[test]
fn no_more_than_a_window_is_on_its_way() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    let sent: usize = (0..100).map(|n| say(&mut messenger, n, "x", now).len()).sum();
    assert_eq!(sent, WINDOW);
    let effects = comes(&mut messenger, Route::Relayed, receipt(0), now);
    assert!(matches!(effects[..], [Effect::Delivered { .. }, Effect::Send { .. }]), "{effects:?}");
}

#[test]
fn a_ping_is_answered_the_way_it_came_and_a_name_is_passed_on() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    let mut frame = |frame| comes(&mut messenger, Route::Relayed, frame, now);
    let (route, via) = (Route::Relayed, Via::Session(Route::Relayed));
    assert_eq!(
        frame(PeerFrame::Ping { nonce: 7 }),
        [Effect::Send { peer: peer(), route, frame: PeerFrame::Pong { nonce: 7 } }]
    );
    assert_eq!(frame(PeerFrame::Pong { nonce: 8 }), [Effect::Pong { peer: peer(), via, nonce: 8 }]);
    assert_eq!(
        frame(PeerFrame::Hello { name: "Bob".into(), prekey: None }),
        [Effect::PeerName { peer: peer(), name: "Bob".into() }]
    );
}
