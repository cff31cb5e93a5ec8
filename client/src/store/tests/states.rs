//! What becomes of what we say, and what proves it.

use super::*;

fn stored(to: u8, ns: &[u128]) -> Record {
    Record::Stored {
        peer: peer(to),
        posts: ns.iter().map(|n| id(*n)).collect(),
        at_ms: 10,
        until_s: 99,
        proof: b"server".to_vec(),
    }
}

fn arrived(to: u8, posts: &[Post], proof: &[u8]) -> Record {
    let posts = posts.iter().map(|post| (post.id, post.digest())).collect();
    Record::Delivered { peer: peer(to), posts, at_ms: 20, proof: proof.to_vec() }
}

fn read(by: u8, up_to: u64, proof: &[u8]) -> Record {
    Record::ReadByPeer { peer: peer(by), stream: StreamId(7), up_to, at_ms: 30, proof: proof.to_vec() }
}

fn void(n: u128) -> Post {
    post(n, Content::Void)
}

fn states(store: &Store) -> Vec<State> {
    store.history(peer(1), Page::Last(99)).expect("read").into_iter().map(|message| message.state).collect()
}

fn count(store: &Store, table: &str) -> i64 {
    store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("read")
}

#[test]
fn a_message_goes_its_way_and_late_word_of_an_earlier_step_changes_nothing() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0, "hello")]).expect("kept");
    let hello = post(0, text("hello"));
    for (record, state) in [
        (stored(1, &[0]), State::AtServer),
        (arrived(1, std::slice::from_ref(&hello), b"device"), State::OnDevice),
        (stored(1, &[0]), State::OnDevice),
        (read(1, 1, b"read"), State::Read),
        (arrived(1, &[hello], b"again"), State::Read),
        (Record::Cancelled { peer: peer(1), id: id(0), at_ms: 40 }, State::Read),
        (Record::Expired { peer: peer(1), id: id(0), at_ms: 50 }, State::Read),
    ] {
        store.keep(std::slice::from_ref(&record)).expect("kept");
        assert_eq!(states(&store), [state], "{record:?}");
    }
    let times = store.history(peer(1), Page::Last(1)).expect("read")[0].times;
    let at = |ms| Some(timestamp(ms));
    assert_eq!((times.server, times.device, times.read, times.ended), (at(10), at(20), at(30), None));
    let proofs = store.proofs(peer(1), id(0)).expect("read");
    let expected =
        Proofs { server: Some(b"server".to_vec()), device: Some(b"device".to_vec()), read: Some(b"read".to_vec()) };
    assert_eq!(proofs, expected);
    assert_eq!(count(&store, "proof"), 3, "what proves nothing new is not kept");
}

#[test]
fn one_receipt_for_many_messages_is_kept_once_and_of_cumulative_ones_the_last() {
    let folder = Folder::new();
    let mut store = folder.open();
    let records: Vec<Record> = (0..50).map(|n| said(1, n, "x")).collect();
    store.keep(&records).expect("kept");
    let posts: Vec<Post> = (0..50).map(|n| post(n, text("x"))).collect();
    store.keep(&[arrived(1, &posts, b"all")]).expect("kept");
    assert_eq!(count(&store, "proof"), 1);
    for up_to in 1..=20 {
        store.keep(&[read(1, up_to, &[u8::try_from(up_to).expect("small")])]).expect("kept");
    }
    assert_eq!(count(&store, "proof"), 2);
    assert_eq!(store.proofs(peer(1), id(3)).expect("read").read, Some(vec![20]));
    assert_eq!(store.proofs(peer(1), id(30)).expect("read").read, None);
    store.keep(&[read(1, 5, b"old")]).expect("kept");
    assert_eq!(states(&store).iter().filter(|state| **state == State::Read).count(), 20);
    assert!(store.outbox(None).expect("read").is_empty());
}

#[test]
fn what_is_said_to_be_read_before_it_is_acknowledged_is_read_as_soon_as_it_is() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0, "a"), said(1, 1, "b"), read(1, u64::MAX, b"read"), said(1, 2, "c")]).expect("kept");
    assert_eq!(states(&store), [State::Queued; 3], "nobody has what nobody has signed for");
    assert_eq!(store.outbox(None).expect("read").len(), 3);
    let posts = [post(0, text("a")), post(1, text("b")), post(2, text("c"))];
    store.keep(&[arrived(1, &posts, b"device")]).expect("kept");
    assert_eq!(states(&store), [State::Read, State::Read, State::OnDevice], "nor what was said later");
}

#[test]
fn what_is_taken_back_goes_as_a_void_until_that_is_acknowledged() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0, "typo"), said(1, 1, "late"), stored(1, &[1])]).expect("kept");
    assert_eq!(store.cancel(peer(1), id(0), NOW).expect("written"), Ok(()));
    store.keep(&[Record::Expired { peer: peer(1), id: id(1), at_ms: 5 }]).expect("kept");
    assert_eq!(states(&store), [State::Cancelled, State::Expired]);
    assert!(store.outbox(None).expect("read").is_empty());
    let queue = store.resume(peer(1), 9).expect("read").queue;
    let posts: Vec<Post> = queue.iter().map(|waiting| waiting.post.clone()).collect();
    assert_eq!(posts, [void(0), void(1)], "under the same name and number");
    assert_eq!(queue[0].digest, post(0, text("typo")).digest(), "by which an arrival of the words is known");
    let history = store.history(peer(1), Page::Last(9)).expect("read");
    assert_eq!(texts(&history), ["typo", "late"], "they were written all the same");
    store.keep(&[arrived(1, &[void(0), void(1)], b"voids")]).expect("kept");
    assert_eq!(states(&store), [State::Cancelled, State::Expired]);
    assert!(store.resume(peer(1), 9).expect("read").queue.is_empty());
}

#[test]
fn what_was_taken_back_too_late_is_said_to_have_arrived() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0, "typo"), said(1, 1, "late")]).expect("kept");
    assert_eq!(store.cancel(peer(1), id(0), NOW).expect("written"), Ok(()));
    store.keep(&[Record::Expired { peer: peer(1), id: id(1), at_ms: 5 }]).expect("kept");
    store.keep(&[arrived(1, &[post(0, text("typo")), post(1, text("late"))], b"words")]).expect("kept");
    assert_eq!(states(&store), [State::OnDevice; 2]);
    assert!(store.resume(peer(1), 9).expect("read").queue.is_empty());
    let again = store.posts(peer(1), StreamId(7), &[(1, 1)], 9).expect("read");
    assert_eq!(again, [post(0, text("typo"))], "and if it is asked for again it is what they have");
}

#[test]
fn an_outbox_says_where_each_is_and_until_when() {
    let folder = Folder::new();
    let mut store = folder.open();
    let expiring = Record::Said { peer: peer(1), post: post(0, text("soon")), expires_ms: Some(90) };
    let reaction = Content::Reaction { to: id(0), emoji: "+".into() };
    store.keep(&[expiring, said(1, 1, "at the server"), says(1, 2, reaction), stored(1, &[1])]).expect("kept");
    let outbox = store.outbox(Some(peer(1))).expect("read");
    let summary: Vec<_> = outbox.iter().map(|m| (m.text.as_str(), m.state, m.times.expires)).collect();
    assert_eq!(summary, [("soon", State::Queued, Some(timestamp(90))), ("at the server", State::AtServer, None)]);
    let queue = store.resume(peer(1), 9).expect("read").queue;
    let summary: Vec<_> = queue.iter().map(|waiting| (waiting.post.seq, waiting.state, waiting.expires_ms)).collect();
    assert_eq!(summary, [(1, State::Queued, Some(90)), (2, State::AtServer, None), (3, State::Queued, None)]);
    assert!(store.outbox(Some(peer(2))).expect("read").is_empty());
}

#[test]
fn older_words_of_ours_are_said_again_until_they_have_arrived() {
    let folder = Folder::new();
    let mut store = folder.open();
    let edit = |words: &str| Content::Edit { of: id(0), text: words.to_owned() };
    store.keep(&[said(1, 0, "a"), says(1, 1, edit("b")), says(1, 2, edit("c"))]).expect("kept");
    let queue = |store: &Store| -> Vec<Content> {
        let queue = store.resume(peer(1), 9).expect("read").queue;
        queue.into_iter().map(|waiting| waiting.post.content).collect()
    };
    assert_eq!(queue(&store), [text("c"), edit("b"), edit("c")]);
    store.keep(&[arrived(1, &[post(1, edit("b"))], b"x")]).expect("kept");
    assert_eq!(queue(&store), [text("c"), edit("c")]);
    let again = store.posts(peer(1), StreamId(7), &[(2, 2)], 1).expect("read");
    assert_eq!(again, [void(1)], "and then only the newest is kept");
}
