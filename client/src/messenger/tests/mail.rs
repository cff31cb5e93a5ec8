//! What goes to the mailbox of the rendezvous, and when.

use common::identity::Identity;

use super::super::*;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const RTT: Duration = Duration::from_millis(50);

fn peer() -> PeerId {
    Identity::from_seed(&[9; 32]).peer_id()
}

fn id(n: u128) -> MessageId {
    MessageId(n.to_be_bytes())
}

struct World {
    messenger: Messenger,
    now: Instant,
}

impl World {
    /// Registered with a rendezvous that keeps mail.
    fn new() -> Self {
        let mut world = World { messenger: Messenger::new(), now: Instant::now() };
        world.input(Input::Mailbox { keeps: Some(WEEK) });
        world
    }

    fn input(&mut self, input: Input) -> Vec<Effect> {
        self.messenger.handle(input, self.now)
    }

    fn say(&mut self, n: u128, text: &str) -> Vec<Effect> {
        let content = Content::Text { text: text.to_owned(), reply_to: None };
        self.input(Input::Say { peer: peer(), id: id(n), at_ms: 1, content, expires: None })
    }

    fn absent(&mut self) -> Vec<Effect> {
        self.input(Input::Absent { peer: peer() })
    }

    fn deposited(&mut self, token: u64, outcome: Outcome) -> Vec<Effect> {
        self.input(Input::Deposited { peer: peer(), token, outcome })
    }

    fn wake(&mut self) -> Vec<Effect> {
        self.now = self.messenger.poll_wakeup().expect("something is due");
        self.messenger.handle_timeout(self.now)
    }
}

/// The envelopes that these effects bring to the server: their tokens, and how many posts are in each.
fn envelopes(effects: &[Effect]) -> Vec<(u64, usize)> {
    let deposits = effects.iter().filter_map(|effect| match effect {
        Effect::Deposit { token, frames, .. } => Some((*token, frames.len())),
        _ => None,
    });
    deposits.collect()
}

#[test]
fn what_is_said_to_somebody_who_is_away_goes_to_the_server_at_once_and_is_there_when_that_says_so() {
    let mut world = World::new();
    assert_eq!(envelopes(&world.say(1, "one")), [], "they may be there");
    assert_eq!(envelopes(&world.absent()), [(1, 1)]);
    assert_eq!(envelopes(&world.say(2, "two")), [], "one is under way");
    assert_eq!(envelopes(&world.say(3, "three")), []);
    let effects = world.deposited(1, Outcome::Stored);
    assert_eq!(effects[0], Effect::AtServer { peer: peer(), ids: vec![id(1)] });
    assert_eq!(envelopes(&effects), [(2, 2)], "what gathered goes together");
}

#[test]
fn a_peer_with_whom_no_session_comes_about_is_written_to_after_three_seconds() {
    let mut world = World::new();
    let start = world.now;
    world.say(1, "are you there?");
    let effects = world.wake();
    assert_eq!((world.now - start, envelopes(&effects)), (Duration::from_secs(3), vec![(1, 1)]));
}

#[test]
fn what_is_at_the_server_goes_over_the_next_session_as_well() {
    let mut world = World::new();
    world.say(1, "one");
    world.absent();
    world.deposited(1, Outcome::Stored);
    let effects = world.input(Input::Connected { peer: peer(), route: Route::Direct, rtt: RTT });
    let posts = |effect: &&Effect| matches!(effect, Effect::Send { frame: PeerFrame::Post(_), .. });
    assert_eq!(effects.iter().filter(posts).count(), 1);
    assert_eq!(envelopes(&world.say(2, "two")), []);
}

#[test]
fn what_the_server_has_thrown_away_goes_there_again() {
    let mut world = World::new();
    world.say(1, "one");
    world.absent();
    world.deposited(1, Outcome::Stored);
    let start = world.now;
    let effects = world.wake();
    assert_eq!((world.now - start, envelopes(&effects)), (WEEK, vec![(2, 1)]));
}

#[test]
fn a_server_that_is_full_is_asked_again_later_and_one_that_comes_back_at_once() {
    let mut world = World::new();
    world.say(1, "one");
    world.absent();
    assert_eq!(world.deposited(1, Outcome::Full), []);
    assert_eq!(envelopes(&world.say(2, "two")), []);
    let start = world.now;
    assert_eq!(envelopes(&world.wake()), [(2, 2)]);
    assert!(world.now >= start + Duration::from_secs(60));
    assert_eq!(world.deposited(2, Outcome::Lost), []);
    assert_eq!(envelopes(&world.input(Input::Mailbox { keeps: Some(WEEK) })), [(3, 2)]);
}

#[test]
fn a_server_without_a_mailbox_is_not_bothered() {
    let mut world = World::new();
    world.input(Input::Mailbox { keeps: None });
    world.say(1, "one");
    assert_eq!(envelopes(&world.absent()), []);
    assert_eq!(world.messenger.poll_wakeup(), None);
}

#[test]
fn long_messages_fill_several_envelopes_in_order() {
    let mut world = World::new();
    for n in 1..=5 {
        world.say(n, &"x".repeat(MAX_TEXT / 2));
    }
    assert_eq!(envelopes(&world.absent()), [(1, 2)]);
    assert_eq!(envelopes(&world.deposited(1, Outcome::Stored)), [(2, 2)]);
    assert_eq!(envelopes(&world.deposited(2, Outcome::Stored)), [(3, 1)]);
}

#[test]
fn what_the_server_refuses_is_not_overtaken_by_what_was_said_after_it() {
    let mut world = World::new();
    world.say(1, "one");
    world.absent();
    world.say(2, "two");
    assert_eq!(envelopes(&world.deposited(1, Outcome::Refused)), []);
    assert_eq!(envelopes(&world.wake()), [(2, 2)]);
}

#[test]
fn the_longest_posts_that_fit_by_our_count_fit_into_an_envelope() {
    let identity = Identity::from_seed(&[1; 32]);
    for length in [0, 1, 100, 500, 1_000, 3_000, MAX_TEXT] {
        let mut world = World::new();
        for n in 1..=300 {
            let stream = StreamId(u64::MAX);
            if n == 1 {
                let before =
                    Resumed { next: (stream, u64::MAX / 2), queue: vec![], seen: vec![], heard: vec![], read: None };
                world.input(Input::Resume { peer: peer(), before });
            }
            let content = Content::Text { text: "x".repeat(length), reply_to: Some(id(u128::MAX)) };
            world.input(Input::Say { peer: peer(), id: id(u128::MAX - n), at_ms: u64::MAX, content, expires: None });
        }
        for effect in world.absent() {
            if let Effect::Deposit { frames, .. } | Effect::Letter { frames, .. } = effect {
                assert!(!frames.is_empty());
                common::seal::seal(&identity, peer(), None, b"", &frames, [1; 32]).expect("it fits");
            }
        }
    }
}

#[test]
fn an_envelope_that_does_not_open_is_asked_for_again_and_seldom() {
    let mut world = World::new();
    let unreadable = Input::Unreadable { peer: peer() };
    let effects = world.input(unreadable.clone());
    assert!(
        matches!(&effects[..], [Effect::Deposit { token: 0, frames, .. }]
            if matches!(&frames[..], [PeerFrame::Missing { ranges, .. }] if ranges.is_empty())),
        "{effects:?}"
    );
    assert_eq!(world.input(unreadable), [], "whoever carries the mail could damage all of it");
}

#[test]
fn who_could_not_open_something_of_ours_gets_all_that_it_has_not_acknowledged_once_more() {
    let mut world = World::new();
    world.say(1, "one");
    world.absent();
    world.deposited(1, Outcome::Stored);
    let missing = PeerFrame::Missing { stream: StreamId(0), ranges: Vec::new() };
    let again = Input::Frame { peer: peer(), via: Via::Mail, frame: missing, rtt: Duration::ZERO };
    assert_eq!(envelopes(&world.input(again.clone())), [(2, 1)]);
    world.deposited(2, Outcome::Stored);
    assert_eq!(envelopes(&world.input(again)), [], "and not as often as somebody likes");
}
