//! Two messengers and a pretend network that breaks, swallows and repeats.

use std::collections::VecDeque;

use common::identity::Identity;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// One of the two says something.
    Say(Side),
    /// The oldest frame on the way to this side arrives.
    Deliver(Side),
    /// A frame that arrived at this side before arrives again.
    Repeat(Side, prop::sample::Index),
    /// From now until the session ends, whatever is sent to this side is swallowed.
    Swallow(Side),
    /// The session breaks; everything on the way is gone.
    Break,
    /// A session stands again.
    Connect,
    /// Seconds pass.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Alice,
    Bob,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || prop_oneof![Just(Side::Alice), Just(Side::Bob)];
    let step = prop_oneof![
        4 => side().prop_map(Step::Say),
        8 => side().prop_map(Step::Deliver),
        2 => (side(), any::<prop::sample::Index>()).prop_map(|(side, index)| Step::Repeat(side, index)),
        1 => side().prop_map(Step::Swallow),
        1 => Just(Step::Break),
        3 => Just(Step::Connect),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

struct Person {
    id: PeerId,
    messenger: Messenger,
    /// Frames on the way to this person.
    inbound: VecDeque<PeerFrame>,
    arrived: Vec<PeerFrame>,
    swallowing: bool,
    said: Vec<MessageId>,
    shown: Vec<MessageId>,
    delivered: Vec<MessageId>,
}

impl Person {
    fn new(seed: u8) -> Self {
        Person {
            id: Identity::from_seed(&[seed; 32]).peer_id(),
            messenger: Messenger::new(),
            inbound: VecDeque::new(),
            arrived: Vec::new(),
            swallowing: false,
            said: Vec::new(),
            shown: Vec::new(),
            delivered: Vec::new(),
        }
    }
}

struct World {
    people: [Person; 2],
    now: Instant,
    connected: bool,
    next_id: u128,
}

impl World {
    fn new() -> Self {
        World { people: [Person::new(1), Person::new(2)], now: Instant::now(), connected: false, next_id: 0 }
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
                Effect::Send { frame, .. } if self.connected && !other.swallowing => other.inbound.push_back(frame),
                Effect::Send { .. } | Effect::Want { .. } => {}
                // The path machine finds a swallowing path dead and a sound one alive.
                Effect::Verify { .. } if me.swallowing || other.swallowing => self.break_session(),
                Effect::Verify { .. } => {}
                Effect::ShowIncoming { id, .. } => me.shown.push(id),
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

    fn deliver(&mut self, side: Side) -> bool {
        let Some(frame) = self.people[side as usize].inbound.pop_front() else { return false };
        self.people[side as usize].arrived.push(frame.clone());
        let peer = self.other(side);
        self.input(side, Input::Frame { peer, frame });
        true
    }

    fn break_session(&mut self) {
        if !std::mem::replace(&mut self.connected, false) {
            return;
        }
        for person in &mut self.people {
            person.inbound.clear();
            person.swallowing = false;
        }
        for side in [Side::Alice, Side::Bob] {
            let peer = self.other(side);
            self.input(side, Input::Disconnected { peer });
        }
    }

    fn connect(&mut self) {
        self.break_session();
        self.connected = true;
        for side in [Side::Alice, Side::Bob] {
            let peer = self.other(side);
            self.input(side, Input::Connected { peer });
        }
    }

    fn wait(&mut self) {
        self.now += VERIFY_AFTER;
        for side in [Side::Alice, Side::Bob] {
            let now = self.now;
            let effects = self.people[side as usize].messenger.handle_timeout(now);
            self.apply(side, effects);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Say(side) => self.say(side),
            Step::Deliver(side) => _ = self.deliver(side),
            Step::Repeat(side, index) => {
                let arrived = &self.people[side as usize].arrived;
                if !arrived.is_empty() {
                    let frame = index.get(arrived).clone();
                    let peer = self.other(side);
                    self.input(side, Input::Frame { peer, frame });
                }
            }
            Step::Swallow(side) => self.people[side as usize].swallowing = self.connected,
            Step::Break => self.break_session(),
            Step::Connect => self.connect(),
            Step::Wait => self.wait(),
        }
    }

    /// Lets time and the network go on until nothing is under way. The network is kind from here on, but a path that
    /// swallows has first to be found out by `Verify`.
    fn settle(&mut self) {
        loop {
            while self.deliver(Side::Alice) || self.deliver(Side::Bob) {}
            let quiet = self.people.iter().all(|person| person.said.len() == person.delivered.len());
            if quiet {
                return;
            }
            self.wait();
            if !self.connected {
                self.connect();
            }
        }
    }
}

proptest! {
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

#[test]
fn what_waits_asks_for_a_session_once_and_goes_in_order_when_it_stands() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    assert_eq!(say(&mut messenger, 1, "one", now), [Effect::Want { peer: peer() }]);
    assert_eq!(say(&mut messenger, 2, "two", now), []);
    let sent = messenger.handle(Input::Connected { peer: peer() }, now);
    let texts: Vec<_> = sent
        .iter()
        .map(|effect| match effect {
            Effect::Send { frame: PeerFrame::Message { text, .. }, .. } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn an_overdue_receipt_has_the_path_verified_again_and_again() {
    let start = Instant::now();
    let mut messenger = Messenger::new();
    messenger.handle(Input::Connected { peer: peer() }, start);
    assert_eq!(messenger.poll_wakeup(), None);
    say(&mut messenger, 1, "hello?", start);
    let due = messenger.poll_wakeup().expect("a receipt is due");
    assert_eq!(due, start + VERIFY_AFTER);
    assert_eq!(messenger.handle_timeout(start), []);
    assert_eq!(messenger.handle_timeout(due), [Effect::Verify { peer: peer() }]);
    assert_eq!(messenger.poll_wakeup(), Some(due + VERIFY_AFTER));
    messenger.handle(Input::Disconnected { peer: peer() }, due);
    assert_eq!(messenger.poll_wakeup(), None, "without a session there is nothing to verify");
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
    messenger.handle(Input::Connected { peer: peer() }, now);
    let sent: usize = (0..100).map(|n| say(&mut messenger, n, "x", now).len()).sum();
    assert_eq!(sent, WINDOW);
    let frame = PeerFrame::Receipt { id: MessageId(0u128.to_be_bytes()) };
    let effects = messenger.handle(Input::Frame { peer: peer(), frame }, now);
    assert!(matches!(effects[..], [Effect::Delivered { .. }, Effect::Send { .. }]), "{effects:?}");
}

#[test]
fn a_ping_is_answered_and_a_name_is_passed_on() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    let frame = |frame| Input::Frame { peer: peer(), frame };
    assert_eq!(
        messenger.handle(frame(PeerFrame::Ping { nonce: 7 }), now),
        [Effect::Send { peer: peer(), frame: PeerFrame::Pong { nonce: 7 } }]
    );
    assert_eq!(messenger.handle(frame(PeerFrame::Pong { nonce: 8 }), now), [Effect::Pong { peer: peer(), nonce: 8 }]);
    assert_eq!(
        messenger.handle(frame(PeerFrame::Hello { name: "Bob".into() }), now),
        [Effect::PeerName { peer: peer(), name: "Bob".into() }]
    );
}
