//! One messenger, and what it does about this or that.

use common::identity::Identity;
use common::receipt::{Claim, Receipt};

use super::super::*;

const RTT: Duration = Duration::from_millis(50);

fn peer() -> PeerId {
    Identity::from_seed(&[9; 32]).peer_id()
}

fn say(messenger: &mut Messenger, n: u128, text: &str, now: Instant) -> Vec<Effect> {
    let id = MessageId(n.to_be_bytes());
    messenger.handle(Input::Say { peer: peer(), id, at_ms: 1, content: words(text), expires: None }, now)
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

fn words(text: &str) -> Content {
    Content::Text { text: text.to_owned(), reply_to: None }
}

/// What the messenger made of the words with this number.
fn post(n: u128, seq: u64, content: Content) -> Post {
    Post { id: MessageId(n.to_be_bytes()), stream: StreamId(0), seq, at_ms: 1, content }
}

fn device(posts: &[Post]) -> PeerFrame {
    let posts = posts.iter().map(|post| (post.id, post.digest())).collect();
    PeerFrame::Receipt(signed(Claim::Device { posts }))
}

fn signed(claim: Claim) -> Receipt {
    Receipt::sign(&Identity::from_seed(&[9; 32]), Identity::from_seed(&[1; 32]).peer_id(), claim, 0)
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

fn cancel(messenger: &mut Messenger, n: u128, now: Instant) -> Vec<Effect> {
    messenger.handle(Input::Cancel { peer: peer(), id: MessageId(n.to_be_bytes()) }, now)
}

/// What these effects say of messages of ours, by their numbers.
fn acknowledged(effects: &[Effect]) -> Vec<(u128, Arrival)> {
    let posts = effects.iter().filter_map(|effect| match effect {
        Effect::Acknowledged { posts, .. } => Some(posts),
        _ => None,
    });
    posts.flatten().map(|(id, arrival)| (u128::from_be_bytes(id.0), *arrival)).collect()
}

#[test]
fn what_waits_asks_for_a_session_once_and_goes_in_order_when_it_stands() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    let effects = say(&mut messenger, 1, "one", now);
    assert!(
        matches!(&effects[..], [Effect::Said { .. }, Effect::Want { .. }, Effect::Letter { frames, .. }] if frames.len() == 1)
    );
    let effects = say(&mut messenger, 2, "two", now);
    assert!(matches!(&effects[..], [Effect::Said { .. }, Effect::Letter { frames, .. }] if frames.len() == 2));
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
    answered_with_our_own_words_in_front(Via::Letter);
}

#[test]
fn mail_is_answered_by_mail_with_our_own_words_in_front() {
    answered_with_our_own_words_in_front(Via::Mail);
}

fn answered_with_our_own_words_in_front(via: Via) {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    say(&mut messenger, 1, "so do I", now);
    let mut comes = |n: u128| {
        let frame = PeerFrame::Post(Post { seq: n as u64, ..post(n, 1, words("I have something to say")) });
        messenger.handle(Input::Frame { peer: peer(), via, frame, rtt: RTT }, now)
    };
    let effects = comes(10);
    assert!(
        matches!(&effects[..], [Effect::Incoming { .. }, Effect::Reply { frames, .. }, Effect::Acknowledge { .. }]
            if matches!(&frames[..], [frame] if says(frame) == Some("so do I"))),
        "{effects:?}"
    );
    let effects = comes(11);
    assert!(matches!(&effects[..], [Effect::Incoming { .. }, Effect::Acknowledge { .. }]), "once: {effects:?}");
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

    let effects = comes(&mut messenger, Route::Direct, device(&[post(1, 1, words("hello?"))]), second);
    let why = Reason::Answered;
    assert_eq!(effects[0], Effect::Switched { peer: peer(), route: Route::Direct, why });
    assert_eq!(sent(&say(&mut messenger, 2, "there you are", second)), [(Route::Direct, "there you are")]);
}

/// Two connections came up at once, and the peer answered over the one that we had left.
#[test]
fn a_message_whose_receipt_was_lost_is_said_again_when_the_peer_has_answered_something_later() {
    let start = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Direct, start);
    say(&mut messenger, 1, "one", start);
    let silent = messenger.poll_wakeup().expect("a receipt is due");
    assert_eq!(sent(&messenger.handle_timeout(silent)), [], "QUIC repeats what is lost on the way");
    say(&mut messenger, 2, "two", silent);
    comes(&mut messenger, Route::Direct, device(&[post(2, 2, words("two"))]), silent);
    let overdue = messenger.poll_wakeup().expect("a receipt is due");
    assert_eq!(sent(&messenger.handle_timeout(overdue)), [(Route::Direct, "one")]);
    comes(&mut messenger, Route::Direct, device(&[post(1, 1, words("one"))]), overdue);
    assert_eq!(messenger.poll_wakeup(), None);
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
fn what_is_taken_back_goes_no_more_but_a_void_in_its_place_does() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    say(&mut messenger, 1, "typo", now);
    say(&mut messenger, 2, "good", now);
    let effects = cancel(&mut messenger, 1, now);
    let void = post(1, 1, Content::Void);
    assert!(
        matches!(&effects[..], [Effect::Letter { frames, .. }] if frames[0] == PeerFrame::Post(void.clone())),
        "{effects:?}"
    );
    assert_eq!(messenger.outstanding(peer()).len(), 1, "a void is nothing that a person waits for");
    assert_eq!(sent(&connected(&mut messenger, Route::Direct, now)), [(Route::Direct, "good")]);
    let effects = comes(&mut messenger, Route::Direct, device(&[void]), now);
    assert_eq!(acknowledged(&effects), [(1, Arrival::Void)]);
}

#[test]
fn a_receipt_tells_whether_what_was_taken_back_had_arrived_all_the_same() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    say(&mut messenger, 1, "too late", now);
    assert!(cancel(&mut messenger, 1, now).is_empty());
    let said = post(1, 1, words("too late"));
    assert_eq!(
        acknowledged(&comes(&mut messenger, Route::Direct, device(std::slice::from_ref(&said)), now)),
        [(1, Arrival::Said)]
    );
    assert!(comes(&mut messenger, Route::Direct, device(&[said]), now).is_empty(), "once");
    let other = post(3, 2, words("never said"));
    assert!(comes(&mut messenger, Route::Direct, device(&[other]), now).is_empty());
    assert_eq!(messenger.poll_wakeup(), None, "nothing is waited for");
}

#[test]
fn a_receipt_for_other_words_than_were_said_counts_for_nothing() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    say(&mut messenger, 1, "yes", now);
    assert!(comes(&mut messenger, Route::Direct, device(&[post(1, 1, words("no"))]), now).is_empty());
    assert_eq!(messenger.outstanding(peer()).len(), 1);
}

#[test]
fn what_nobody_wants_any_more_expires_and_leaves_a_void() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    let (id, expires) = (MessageId(1u128.to_be_bytes()), Some(now + Duration::from_secs(60)));
    messenger.handle(Input::Say { peer: peer(), id, at_ms: 1, content: words("lunch?"), expires }, now);
    assert_eq!(messenger.poll_wakeup(), expires);
    assert_eq!(messenger.handle_timeout(now + Duration::from_secs(59)), []);
    let effects = messenger.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(effects[0], Effect::Expired { peer: peer(), id });
    assert!(messenger.outstanding(peer()).is_empty());
    assert_eq!(messenger.poll_wakeup(), None);
}

#[test]
fn how_far_the_person_has_read_is_said_once_and_again_when_a_session_begins() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    let read = |messenger: &mut Messenger, up_to| {
        messenger.handle(Input::Read { peer: peer(), stream: StreamId(7), up_to }, now)
    };
    let tells = |via, up_to| Effect::TellRead { peer: peer(), via, stream: StreamId(7), up_to };
    assert_eq!(read(&mut messenger, 3), [], "nobody is there to hear it");
    let via = Via::Session(Route::Relayed);
    assert!(connected(&mut messenger, Route::Relayed, now).contains(&tells(via, 3)));
    assert_eq!(read(&mut messenger, 3), []);
    assert_eq!(read(&mut messenger, 2), []);
    assert_eq!(read(&mut messenger, 4), [tells(via, 4)]);
    assert!(!connected(&mut messenger, Route::Direct, now).contains(&tells(via, 4)), "the session goes on");
}

#[test]
fn a_peer_has_read_no_more_than_was_said_and_it_is_told_once() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    say(&mut messenger, 1, "one", now);
    let mut reads = |up_to| {
        let receipt = signed(Claim::Read { stream: StreamId(0), up_to });
        let effects = comes(&mut messenger, Route::Direct, PeerFrame::Receipt(receipt.clone()), now);
        effects.contains(&Effect::ReadBy { peer: peer(), receipt })
    };
    assert_eq!([reads(2), reads(1), reads(1)], [false, true, false]);
}

#[test]
fn what_is_missing_is_asked_for_when_the_sender_had_the_time_to_say_it_by_itself() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    comes(&mut messenger, Route::Direct, PeerFrame::Post(post(9, 4, words("the end"))), now);
    let at = messenger.poll_wakeup().expect("a question");
    assert_eq!(at, now + Duration::from_secs(2));
    let asks = |ranges: &[(u64, u64)]| {
        let frame = PeerFrame::Missing { stream: StreamId(0), ranges: ranges.to_vec() };
        [Effect::Send { peer: peer(), route: Route::Direct, frame }]
    };
    assert_eq!(messenger.handle_timeout(at), asks(&[(1, 3)]));
    let next = messenger.poll_wakeup().expect("another question, later");
    assert_eq!(next, at + Duration::from_secs(30));
    comes(&mut messenger, Route::Direct, PeerFrame::Post(post(10, 2, words("the middle"))), at);
    let next = messenger.poll_wakeup().expect("something came, and something is left");
    assert_eq!(messenger.handle_timeout(next), asks(&[(1, 1), (3, 3)]));
    for (id, seq) in [(11, 1), (12, 3)] {
        comes(&mut messenger, Route::Direct, PeerFrame::Post(post(id, seq, words("the rest"))), next);
    }
    assert_eq!(messenger.poll_wakeup(), None);
}

#[test]
fn a_peer_that_has_lost_something_gets_it_again_but_not_as_often_as_it_likes() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    let (stream, ranges) = (StreamId(0), vec![(1, 2)]);
    let missing = PeerFrame::Missing { stream, ranges: ranges.clone() };
    let look_up = Effect::LookUp { peer: peer(), stream, ranges };
    assert_eq!(comes(&mut messenger, Route::Direct, missing.clone(), now), std::slice::from_ref(&look_up));
    assert_eq!(comes(&mut messenger, Route::Direct, missing.clone(), now), []);
    let posts = vec![post(1, 1, words("one")), post(2, 2, words("two"))];
    let effects = messenger.handle(Input::Found { peer: peer(), posts }, now);
    assert_eq!(sent(&effects), [(Route::Direct, "one"), (Route::Direct, "two")]);
    let later = now + Duration::from_secs(1);
    assert_eq!(comes(&mut messenger, Route::Direct, missing, later), [look_up]);
}

#[test]
fn a_second_post_with_the_number_of_another_is_neither_shown_nor_acknowledged() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    let mut hears = |id| comes(&mut messenger, Route::Direct, PeerFrame::Post(post(id, 1, words("one"))), now);
    assert_eq!(hears(1).len(), 2);
    // It may be that other post, from long ago: the store knows no such name, and then that is all.
    let (via, id) = (Via::Session(Route::Direct), post(2, 1, words("one")).id);
    assert_eq!(hears(2), [Effect::Recall { peer: peer(), via, id }]);
    assert!(matches!(hears(1)[..], [Effect::Acknowledge { .. }]));
}

#[test]
fn a_copy_of_what_came_long_ago_is_acknowledged_as_what_the_store_says_it_was() {
    let (mut messenger, now) = (Messenger::new(), Instant::now());
    connected(&mut messenger, Route::Direct, now);
    let mut hears = |seq: u64, content| {
        let frame = PeerFrame::Post(post(seq.into(), seq, content));
        comes(&mut messenger, Route::Direct, frame, now)
    };
    for seq in 1..=MAX_SEEN as u64 + 1 {
        assert!(matches!(hears(seq, words("something"))[..], [Effect::Incoming { .. }, Effect::Acknowledge { .. }]));
    }
    // Its sender has heard nothing of the receipt, and took it back meanwhile.
    let (via, first) = (Via::Session(Route::Direct), post(1, 1, words("something")));
    let (peer, id, digest) = (peer(), first.id, first.digest());
    assert_eq!(hears(1, Content::Void), [Effect::Recall { peer, via, id }]);
    let acknowledged = [Effect::Acknowledge { peer, via, id, digest }];
    assert_eq!(messenger.handle(Input::Recalled { peer, via, id, digest }, now), acknowledged);
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
    let sent: usize = (0..MAX_QUEUED as u128).map(|n| sent(&say(&mut messenger, n, "x", now)).len()).sum();
    assert_eq!(sent, WINDOW);
    let effects = comes(&mut messenger, Route::Relayed, device(&[post(0, 1, words("x"))]), now);
    // The window was full, and lets one more go for the one that came back.
    assert!(
        matches!(effects[..], [Effect::Acknowledged { .. }, Effect::Send { .. }, Effect::Send { .. }]),
        "{effects:?}"
    );
}

#[test]
fn of_long_messages_fewer_are_on_their_way() {
    let now = Instant::now();
    let mut messenger = Messenger::new();
    connected(&mut messenger, Route::Relayed, now);
    let long = "x".repeat(MAX_TEXT);
    let on_their_way: usize = (0..100).map(|n| sent(&say(&mut messenger, n, &long, now)).len()).sum();
    assert_eq!(on_their_way, WINDOW_BYTES / MAX_TEXT - 1, "what is around a text counts, too");
    let effects = comes(&mut messenger, Route::Relayed, device(&[post(0, 1, words(&long))]), now);
    assert!(matches!(effects[..], [Effect::Acknowledged { .. }, Effect::Send { .. }]), "{effects:?}");
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
