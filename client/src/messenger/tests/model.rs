//! Two messengers, a pretend network of two routes that break, swallow and repeat, and a rendezvous whose mailbox withholds,
//! repeats and mixes up what it keeps.

use std::collections::{BTreeMap, VecDeque};

use common::identity::Identity;
use common::receipt::Claim;
use proptest::prelude::*;

use super::super::*;

const RTT: Duration = Duration::from_millis(50);
const KEEPS: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone)]
enum Step {
    /// One of the two says something.
    Say(Side),
    /// It takes back something that it said.
    Cancel(Side, prop::sample::Index),
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
    /// The rendezvous does not introduce this side.
    Refuse(Side),
    /// The rendezvous says what became of this side's oldest deposit.
    Keep(Side, Outcome),
    /// The rendezvous gives this side something out of its mailbox, and keeps it nevertheless.
    Mail(Side, prop::sample::Index),
    /// This side registers, and hears that there is a mailbox.
    Register(Side),
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
    let outcome = prop_oneof![
        6 => Just(Outcome::Stored),
        1 => Just(Outcome::Full),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Lost),
    ];
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => side().prop_map(Step::Say),
        1 => (side(), index()).prop_map(|(side, index)| Step::Cancel(side, index)),
        16 => (side(), route()).prop_map(|(side, route)| Step::Deliver(side, route)),
        2 => (side(), index()).prop_map(|(side, index)| Step::Repeat(side, index)),
        1 => (side(), route()).prop_map(|(side, route)| Step::Swallow(side, route)),
        1 => route().prop_map(Step::Break),
        3 => route().prop_map(Step::Connect),
        1 => side().prop_map(Step::Introduce),
        2 => side().prop_map(Step::Post),
        1 => side().prop_map(Step::Refuse),
        4 => (side(), outcome).prop_map(|(side, outcome)| Step::Keep(side, outcome)),
        3 => (side(), index()).prop_map(|(side, index)| Step::Mail(side, index)),
        1 => side().prop_map(Step::Register),
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
    messenger: Messenger,
    /// On the way to this person, by route.
    inbound: [Pipe; 2],
    /// What the next introduction is to carry.
    letter: Vec<PeerFrame>,
    /// Letters on the way to this person; no two change places.
    post: VecDeque<PeerFrame>,
    /// On the way to the mailbox of the other.
    deposits: VecDeque<(u64, Vec<PeerFrame>)>,
    /// In the mailbox of this person, for ever.
    mailbox: Vec<Vec<PeerFrame>>,
    arrived: Vec<(Via, PeerFrame)>,
    disk: Disk,
}

/// What outlives a kill.
#[derive(Debug, Default)]
struct Disk {
    said: Vec<Post>,
    cancelled: Vec<MessageId>,
    at_server: Vec<MessageId>,
    heard: Vec<Post>,
    arrivals: BTreeMap<MessageId, Arrival>,
}

impl Disk {
    fn resumed(&self, stream: StreamId) -> Resumed {
        let outgoing = |post: &Post| {
            let mut outgoing = Outgoing::new(post.clone(), None);
            if self.cancelled.contains(&post.id) {
                outgoing.before = Some(post.digest());
                outgoing.post.content = Content::Void;
            }
            outgoing
        };
        let waits = self.said.iter().filter(|post| !self.arrivals.contains_key(&post.id));
        let mut heard: Vec<Stream> = Vec::new();
        for post in &self.heard {
            let highest = self.heard.iter().map(|post| post.seq).max().unwrap_or(0);
            let missing = (1..=highest).filter(|seq| self.heard.iter().all(|post| post.seq != *seq));
            heard = vec![Stream { id: post.stream, highest, holes: missing.map(|seq| (seq, seq)).collect() }];
        }
        Resumed {
            next: (stream, self.said.len() as u64 + 1),
            queue: waits.map(outgoing).collect(),
            seen: self.heard.iter().map(|post| (post.id, Some(post.digest()))).collect(),
            heard,
            read: None,
        }
    }
}

impl Person {
    fn new(seed: u8) -> Self {
        Person {
            identity: Identity::from_seed(&[seed; 32]),
            messenger: Messenger::new(),
            inbound: Default::default(),
            letter: Vec::new(),
            post: VecDeque::new(),
            deposits: VecDeque::new(),
            mailbox: Vec::new(),
            arrived: Vec::new(),
            disk: Disk::default(),
        }
    }

    fn id(&self) -> PeerId {
        self.identity.peer_id()
    }
}

struct World {
    people: [Person; 2],
    now: Instant,
    connected: [bool; 2],
    next_id: u128,
    /// Something came out of a mailbox: from then on the order is that of the numbers, not of the arrival.
    mailed: bool,
}

impl World {
    fn new() -> Self {
        let people = [Person::new(1), Person::new(2)];
        let mut world = World { people, now: Instant::now(), connected: [false; 2], next_id: 0, mailed: false };
        SIDES.into_iter().for_each(|side| world.start(side));
        world
    }

    fn start(&mut self, side: Side) {
        let (peer, person) = (self.other(side), &mut self.people[side as usize]);
        (person.messenger, person.letter) = (Messenger::new(), Vec::new());
        person.deposits.clear();
        let before = person.disk.resumed(StreamId(side as u64));
        self.input(side, Input::Resume { peer, before });
    }

    fn input(&mut self, side: Side, input: Input) {
        let now = self.now;
        let effects = self.people[side as usize].messenger.handle(input, now);
        self.apply(side, effects);
    }

    fn apply(&mut self, side: Side, effects: Vec<Effect>) {
        let mut dead = Vec::new();
        for effect in effects {
            let connected = self.connected;
            let [ref mut me, ref mut other] = self.people;
            let (me, other) = if side == Side::Alice { (me, other) } else { (other, me) };
            let Person { inbound, mailbox, post: letters, .. } = other;
            let mut send = |route: Route, frame| {
                assert!(connected[route as usize], "a frame for a route that is not there: {frame:?}");
                let pipe = &mut inbound[route as usize];
                if !pipe.swallowing {
                    pipe.frames.push_back(frame);
                }
            };
            match effect {
                Effect::Send { route, frame, .. } => send(route, frame),
                Effect::Reply { via: Via::Mail, frames, .. } => mailbox.push(frames),
                Effect::Reply { frames, .. } => letters.extend(frames),
                Effect::Acknowledge { peer, via, id, digest } => {
                    let claim = Claim::Device { posts: vec![(id, digest)] };
                    let frame = PeerFrame::Receipt(Receipt::sign(&me.identity, peer, claim, 0));
                    match (via, me.messenger.relies_on(peer)) {
                        (Via::Letter, _) => letters.push_back(frame),
                        (Via::Session(route), _) | (Via::Mail, Some(route)) => send(route, frame),
                        (Via::Mail, None) => mailbox.push(vec![frame]),
                    }
                }
                Effect::Letter { frames, .. } => me.letter = frames,
                Effect::Deposit { token, frames, .. } => me.deposits.push_back((token, frames)),
                Effect::Want { .. } | Effect::Switched { .. } => {}
                // The path machine finds a swallowing path dead and a sound one alive.
                Effect::Verify { route, .. } => {
                    if [&me.inbound, inbound].iter().any(|pipes| pipes[route as usize].swallowing) {
                        dead.push(route);
                    }
                }
                Effect::Said { post, .. } => me.disk.said.push(post),
                Effect::Incoming { post, .. } => me.disk.heard.push(post),
                Effect::AtServer { ids, .. } => me.disk.at_server.extend(ids),
                Effect::Acknowledged { posts, .. } => {
                    for (id, arrival) in posts {
                        assert_eq!(me.disk.arrivals.insert(id, arrival), None, "acknowledged once");
                    }
                }
                Effect::LookUp { peer, ranges, .. } => {
                    let within = |post: &&Post| ranges.iter().any(|(a, b)| (*a..=*b).contains(&post.seq));
                    let posts = me.disk.said.iter().filter(within).cloned().collect();
                    self.input(side, Input::Found { peer, posts });
                }
                Effect::Recall { peer, via, id } => {
                    let known = me.disk.heard.iter().find(|post| post.id == id).map(Post::digest);
                    if let Some(digest) = known {
                        self.input(side, Input::Recalled { peer, via, id, digest });
                    }
                }
                effect => panic!("nobody asked for {effect:?}"),
            }
        }
        dead.into_iter().for_each(|route| self.break_route(route));
    }

    fn other(&self, side: Side) -> PeerId {
        self.people[1 - side as usize].id()
    }

    fn say(&mut self, side: Side) {
        self.next_id += 1;
        let id = MessageId(self.next_id.to_be_bytes());
        let content = Content::Text { text: id.to_string(), reply_to: None };
        let peer = self.other(side);
        self.input(side, Input::Say { peer, id, at_ms: 0, content, expires: None });
    }

    fn cancel(&mut self, side: Side, index: prop::sample::Index) {
        let (peer, disk) = (self.other(side), &mut self.people[side as usize].disk);
        let waits: Vec<_> = disk.said.iter().filter(|post| !disk.arrivals.contains_key(&post.id)).collect();
        if !waits.is_empty() {
            let id = index.get(&waits).id;
            disk.cancelled.push(id);
            self.input(side, Input::Cancel { peer, id });
        }
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

    fn keep(&mut self, side: Side, outcome: Outcome) -> bool {
        let peer = self.other(side);
        let Some((token, frames)) = self.people[side as usize].deposits.pop_front() else { return false };
        // What is lost on the way back may have been kept.
        if matches!(outcome, Outcome::Stored | Outcome::Lost) {
            self.people[1 - side as usize].mailbox.push(frames);
        }
        self.input(side, Input::Deposited { peer, token, outcome });
        true
    }

    fn mail(&mut self, side: Side, index: prop::sample::Index) {
        let mailbox = &self.people[side as usize].mailbox;
        if !mailbox.is_empty() {
            self.mailed = true;
            let frames = index.get(mailbox).clone();
            frames.into_iter().for_each(|frame| self.arrive(side, Via::Mail, frame));
        }
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
        self.start(side);
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
            Step::Cancel(side, index) => self.cancel(side, index),
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
            Step::Refuse(side) => {
                let peer = self.other(side);
                self.input(side, Input::Absent { peer });
            }
            Step::Keep(side, outcome) => _ = self.keep(side, outcome),
            Step::Mail(side, index) => self.mail(side, index),
            Step::Register(side) => self.register(side),
            Step::Restart(side) => self.restart(side),
            Step::Move(side) => self.input(side, Input::NetworkChanged),
            Step::Wait => self.wait(),
        }
    }

    fn register(&mut self, side: Side) {
        let peer = self.other(side);
        for (token, _) in std::mem::take(&mut self.people[side as usize].deposits) {
            self.input(side, Input::Deposited { peer, token, outcome: Outcome::Lost });
        }
        self.input(side, Input::Mailbox { keeps: Some(KEEPS) });
    }

    /// Whatever can go on without time goes on.
    fn go_on(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for side in SIDES {
                busy |= self.post(side) | self.keep(side, Outcome::Stored);
                for route in Route::ALL {
                    busy |= self.deliver(side, route);
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.people.iter().all(|person| person.disk.said.len() == person.disk.arrivals.len())
    }

    /// Lets time and the network go on until nothing is under way. The network is kind from here on, but a path that
    /// swallows has first to be found out by `Verify`.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.go_on();
            if self.is_settled() {
                return;
            }
            self.wait();
            if self.connected == [false; 2] {
                self.connect(Route::Relayed);
            }
        }
        panic!("it does not come to rest");
    }

    /// The two are never there at the same time: only the mailbox brings them on.
    fn settle_by_mail(&mut self) {
        Route::ALL.into_iter().for_each(|route| self.break_route(route));
        for _ in 0..100 {
            for side in SIDES {
                self.restart(side);
                self.register(side);
                let peer = self.other(side);
                self.input(side, Input::Absent { peer });
                self.go_on();
                let mailbox = std::mem::take(&mut self.people[side as usize].mailbox);
                for frame in mailbox.into_iter().flatten() {
                    self.arrive(side, Via::Mail, frame);
                }
                self.go_on();
            }
            if self.is_settled() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (one, other) in [(0, 1), (1, 0)] {
            let (said, heard) = (&self.people[one].disk, &self.people[other].disk);
            let mut in_order: Vec<&Post> = heard.heard.iter().collect();
            if self.mailed {
                in_order.sort_by_key(|post| post.seq);
            }
            prop_assert_eq!(
                in_order.iter().map(|post| post.id).collect::<Vec<_>>(),
                said.said.iter().map(|post| post.id).collect::<Vec<_>>(),
                "each once, in order"
            );
            for (said_post, heard_post) in said.said.iter().zip(in_order) {
                let expected = match said.arrivals[&said_post.id] {
                    Arrival::Said => said_post.clone(),
                    Arrival::Void => {
                        prop_assert!(said.cancelled.contains(&said_post.id));
                        Post { content: Content::Void, ..said_post.clone() }
                    }
                };
                prop_assert_eq!(heard_post, &expected, "what the sender believes is what the recipient has");
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn nothing_is_lost_nothing_is_shown_twice_order_is_kept_and_receipts_are_true(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check()?;
        for person in &world.people {
            prop_assert_eq!(person.messenger.poll_wakeup(), None);
        }
    }

    #[test]
    fn two_who_are_never_there_at_the_same_time_come_to_the_same_by_mail_alone(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.mailed = true;
        world.settle_by_mail();
        world.check()?;
    }
}
