//! Streams, gaps, and what is said about what was said.

use super::*;

fn edit(n: u128, words: &str) -> Content {
    Content::Edit { of: id(n), text: words.to_owned() }
}

fn reaction(n: u128, emoji: &str) -> Content {
    Content::Reaction { to: id(n), emoji: emoji.to_owned() }
}

fn history(store: &Store) -> Vec<Message> {
    store.history(peer(1), Page::Last(99)).expect("read")
}

fn found(store: &Store, words: &str) -> usize {
    store.search(words, None, 99).expect("searched").len()
}

/// With the number of posts that are missing before each.
fn with_gaps(store: &Store) -> Vec<(String, u64)> {
    history(store).into_iter().map(|message| (message.text, message.missing_before)).collect()
}

#[test]
fn what_came_under_a_name_is_known_though_its_words_are_gone() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[heard(1, 0, "1"), said(1, 1, "mine"), hears(1, 2, Content::Delete { of: id(0) })]).expect("kept");
    let came = |peer, n| store.digest_of(peer, id(n)).expect("read");
    assert_eq!(came(peer(1), 0), Some(post(0, text("1")).digest()));
    assert_eq!((came(peer(1), 1), came(peer(1), 9), came(peer(2), 0)), (None, None, None));
}

#[test]
fn what_fills_a_gap_stands_in_its_place_and_the_gap_is_told_until_then() {
    let folder = Folder::new();
    let mut store = folder.open();
    // Posts of this name have the number above it in the stream.
    store.keep(&[heard(1, 0, "1"), heard(1, 4, "5"), said(1, 50, "mine"), heard(1, 5, "6")]).expect("kept");
    let told = |texts: &[(&str, u64)]| texts.iter().map(|(text, n)| ((*text).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(with_gaps(&store), told(&[("1", 0), ("5", 3), ("mine", 0), ("6", 0)]));
    let gaps = |store: &Store| store.resume(peer(1), 9).expect("read").streams[0].gaps.clone();
    assert_eq!(gaps(&store), [(2, 4)]);
    store.keep(&[heard(1, 2, "3")]).expect("kept");
    assert_eq!(with_gaps(&store), told(&[("1", 0), ("3", 1), ("5", 1), ("mine", 0), ("6", 0)]));
    assert_eq!(gaps(&store), [(2, 2), (4, 4)]);
    let five = history(&store)[2].place;
    store.keep(&[heard(1, 1, "2"), heard(1, 3, "4")]).expect("kept");
    assert_eq!(with_gaps(&store), told(&[("1", 0), ("2", 0), ("3", 0), ("4", 0), ("5", 0), ("mine", 0), ("6", 0)]));
    assert_eq!(gaps(&store), []);
    assert_eq!(history(&store)[4].place, five, "a place never changes");
    // Pages go by place, too.
    let before = store.history(peer(1), Page::Before(five, 2)).expect("read");
    assert_eq!(texts(&before), ["3", "4"]);
    assert_eq!(texts(&store.history(peer(1), Page::After(before[0].place, 2)).expect("read")), ["4", "5"]);
}

#[test]
fn a_stream_that_begins_late_misses_its_beginning_and_two_streams_do_not_mix() {
    let folder = Folder::new();
    let mut store = folder.open();
    let other = Post { stream: StreamId(8), seq: 1, ..post(70, text("after a restoration")) };
    store.keep(&[heard(1, 2, "3"), Record::Heard { peer: peer(1), post: other }]).expect("kept");
    assert_eq!(with_gaps(&store), [("3".to_owned(), 2), ("after a restoration".to_owned(), 0)]);
    let streams = store.resume(peer(1), 9).expect("read").streams;
    let summary: Vec<_> = streams.iter().map(|stream| (stream.stream.0, stream.highest, stream.gaps.len())).collect();
    assert_eq!(summary, [(8, 1, 0), (7, 3, 1)], "the newest first");
}

#[test]
fn a_gap_before_what_is_not_shown_is_told_with_the_next_message() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[heard(1, 0, "one"), hears(1, 3, reaction(0, "+")), heard(1, 4, "two")]).expect("kept");
    assert_eq!(with_gaps(&store), [("one".to_owned(), 0), ("two".to_owned(), 2)]);
    store.keep(&[hears(1, 1, Content::Void), hears(1, 2, Content::Void)]).expect("kept");
    assert_eq!(with_gaps(&store), [("one".to_owned(), 0), ("two".to_owned(), 0)], "a void fills its place unseen");
}

#[test]
fn numbers_beyond_all_reason_do_no_harm() {
    let folder = Folder::new();
    let mut store = folder.open();
    let far = |n: u128, seq: u64| Record::Heard { peer: peer(1), post: Post { seq, ..post(n, text(&n.to_string())) } };
    store.keep(&[far(1, u64::MAX), far(2, 5), far(3, u64::MAX - 1), far(4, 1 << 40), far(5, 6)]).expect("kept");
    assert_eq!(history(&store).len(), 5);
    let stream = &store.resume(peer(1), 9).expect("read").streams[0];
    assert!(stream.gaps.contains(&(1, 4)) && stream.gaps.contains(&(7, (1 << 40) - 1)), "{stream:?}");
    assert_eq!(stream.read, 0);
}

#[test]
fn only_the_newest_edit_is_kept_whatever_the_order_in_which_they_come() {
    let edits = [hears(1, 1, edit(0, "second version")), hears(1, 2, edit(0, "third version"))];
    for (first, second) in [(0, 1), (1, 0)] {
        let folder = Folder::new();
        let mut store = folder.open();
        let original = heard(1, 0, "original version");
        store.keep(&[original.clone(), edits[first].clone(), edits[second].clone(), original]).expect("kept");
        let message = &history(&store)[0];
        assert_eq!((message.text.as_str(), message.edited), ("third version", true));
        assert_eq!([found(&store, "original"), found(&store, "second"), found(&store, "third")], [0, 0, 1]);
        let kept: Vec<String> = store
            .db
            .prepare("SELECT text FROM message WHERE text <> '' AND text <> 'third version'")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .expect("read");
        assert!(kept.is_empty(), "{kept:?}");
    }
}

#[test]
fn what_is_about_a_message_that_comes_later_waits_for_it() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[hears(1, 3, edit(0, "edited")), hears(1, 4, reaction(0, "+"))]).expect("kept");
    store.keep(&[hears(1, 5, edit(1, "gone, too")), hears(1, 6, Content::Delete { of: id(1) })]).expect("kept");
    assert!(history(&store).is_empty());
    store.keep(&[heard(1, 0, "first"), heard(1, 1, "secret")]).expect("kept");
    let messages = history(&store);
    assert_eq!((messages[0].text.as_str(), messages[0].peer_reaction.as_deref()), ("edited", Some("+")));
    assert_eq!((messages[1].text.as_str(), messages[1].deleted, messages[1].edited), ("", true, false));
    assert_eq!([found(&store, "secret"), found(&store, "gone"), found(&store, "edited")], [0, 0, 1]);
}

#[test]
fn a_deleted_text_is_gone_from_the_table_and_the_search_and_stays_gone() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[heard(1, 0, "secret"), hears(1, 1, edit(0, "secret edit"))]).expect("kept");
    store.keep(&[hears(1, 2, Content::Delete { of: id(0) }), hears(1, 3, edit(0, "secret again"))]).expect("kept");
    let message = &history(&store)[0];
    assert!(message.deleted && !message.unread && message.text.is_empty(), "{message:?}");
    assert_eq!([found(&store, "secret"), found(&store, "s")], [0, 0]);
    let left: i64 =
        store.db.query_row("SELECT count(*) FROM message WHERE text <> ''", [], |row| row.get(0)).expect("read");
    assert_eq!(left, 0);
}

#[test]
fn nobody_edits_or_deletes_the_words_of_the_other() {
    let folder = Folder::new();
    let mut store = folder.open();
    store
        .keep(&[said(1, 0, "mine"), hears(1, 1, edit(0, "theirs")), hears(1, 2, Content::Delete { of: id(0) })])
        .expect("kept");
    store.keep(&[heard(2, 0, "of another"), hears(1, 3, Content::Delete { of: id(0) })]).expect("kept");
    assert_eq!(history(&store)[0].text, "mine");
    assert_eq!(store.history(peer(2), Page::Last(9)).expect("read")[0].text, "of another");
}

#[test]
fn each_of_the_two_has_one_reaction_to_a_message_and_may_take_it_back() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[heard(1, 0, "hello"), hears(1, 1, reaction(0, "a")), says(1, 9, reaction(0, "b"))]).expect("kept");
    let of = |store: &Store| {
        let message = history(store).remove(0);
        (message.own_reaction, message.peer_reaction)
    };
    assert_eq!(of(&store), (Some("b".into()), Some("a".into())));
    // The older one comes last: it changes nothing.
    store.keep(&[hears(1, 3, reaction(0, "c")), hears(1, 2, reaction(0, "d"))]).expect("kept");
    assert_eq!(of(&store), (Some("b".into()), Some("c".into())));
    store.keep(&[hears(1, 4, reaction(0, "")), says(1, 10, reaction(0, ""))]).expect("kept");
    assert_eq!(of(&store), (None, None));
    assert_eq!(history(&store).len(), 1, "they are no messages");
}

#[test]
fn a_reply_says_to_what_and_our_own_say_on_which_machine() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.host = "desk".into();
    let reply = Content::Text { text: "yes".into(), reply_to: Some(id(0)) };
    store.keep(&[heard(1, 0, "lunch?"), says(1, 1, reply.clone())]).expect("kept");
    let messages = history(&store);
    assert_eq!((messages[1].reply_to, messages[1].host.as_deref()), (Some(id(0)), Some("desk")));
    assert_eq!((messages[0].reply_to, messages[0].host.as_deref()), (None, None));
    assert_eq!(store.resume(peer(1), 9).expect("read").queue[0].post, post(1, reply));
}

#[test]
fn what_was_not_shown_is_unread_and_what_was_read_is_told_up_to_the_first_gap() {
    let folder = Folder::new();
    let mut store = folder.open();
    store
        .keep(&[heard(1, 0, "1"), heard(1, 1, "2"), hears(1, 2, reaction(0, "+")), heard(1, 4, "5"), heard(2, 0, "x")])
        .expect("kept");
    let read = |store: &Store| store.resume(peer(1), 9).expect("read").streams[0].read;
    assert_eq!(store.unread().expect("read"), [(peer(1), 3), (peer(2), 1)]);
    assert_eq!(read(&store), 0);
    let places: Vec<i64> = history(&store).iter().map(|message| message.place).collect();
    assert_eq!(store.mark_read(peer(1), places[0]).expect("written"), 1);
    assert_eq!((read(&store), store.mark_read(peer(1), places[0]).expect("written")), (1, 0));
    store.keep(&[Record::Shown { peer: peer(1), id: id(4) }]).expect("kept");
    assert_eq!(store.unread().expect("read"), [(peer(2), 1)]);
    assert_eq!(read(&store), 3, "the fourth is not here");
    store.keep(&[heard(1, 3, "4")]).expect("kept");
    assert_eq!(store.unread().expect("read"), [(peer(1), 1), (peer(2), 1)], "what fills a gap is new");
    assert_eq!(read(&store), 3);
    store.keep(&[Record::Shown { peer: peer(1), id: id(4) }]).expect("kept");
    assert_eq!(read(&store), 5);
}

#[test]
fn what_the_peer_lacks_is_said_again_and_what_is_gone_as_a_void() {
    let folder = Folder::new();
    let mut store = folder.open();
    let records: Vec<Record> = (0..10).map(|n| said(1, n, &n.to_string())).collect();
    store.keep(&records).expect("kept");
    store.keep(&[says(1, 10, Content::Delete { of: id(3) }), says(1, 11, edit(4, "four"))]).expect("kept");
    assert_eq!(store.cancel(peer(1), id(5), NOW).expect("written"), Ok(()));
    let posts = store.posts(peer(1), StreamId(7), &[(1, 1), (4, 6), (11, u64::MAX)], 99).expect("read");
    let expected = [
        post(0, text("0")),
        post(3, Content::Void),
        post(4, text("four")),
        post(5, Content::Void),
        post(10, Content::Delete { of: id(3) }),
        post(11, edit(4, "four")),
    ];
    assert_eq!(posts, expected);
    assert_eq!(store.posts(peer(1), StreamId(7), &[(1, 5), (6, 9)], 7).expect("read").len(), 7, "bounded");
    assert!(store.posts(peer(1), StreamId(6), &[(1, 5)], 9).expect("read").is_empty());
    assert!(store.posts(peer(2), StreamId(7), &[(1, 5)], 9).expect("read").is_empty(), "to nobody else");
}

#[test]
fn after_a_restoration_we_speak_in_a_new_stream_and_what_waits_keeps_its_place() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0, "one"), said(1, 1, "two")]).expect("kept");
    store.retire_streams().expect("written");
    let resumed = store.resume(peer(1), 9).expect("read");
    assert_ne!(resumed.stream, StreamId(7));
    assert_eq!(resumed.next_seq, 1);
    assert_eq!(resumed.queue[1].post, post(1, text("two")));
    let next = Post { stream: resumed.stream, seq: 1, ..post(2, text("three")) };
    store.keep(&[Record::Said { peer: peer(1), post: next, expires_ms: None }]).expect("kept");
    let again = store.resume(peer(1), 9).expect("read");
    assert_eq!((again.stream, again.next_seq, again.queue.len()), (resumed.stream, 2, 3));
}

/// A plain list in the place of the database: what is here of a stream, and the order in which it was shown first.
fn expected_order(arrivals: &[u64]) -> Vec<u64> {
    let mut order: Vec<u64> = Vec::new();
    for seq in arrivals {
        if !order.contains(seq) {
            let successor = order.iter().filter(|other| *other > seq).min();
            let at = successor.and_then(|next| order.iter().position(|other| other == next)).unwrap_or(order.len());
            order.insert(at, *seq);
        }
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However they arrive, those of one stream stand in its order, and the gaps are what is not here.
    #[test]
    fn a_stream_is_in_order_and_its_gaps_are_true(arrivals in prop::collection::vec(1_u64..20, 1..40), batch in 1_usize..5) {
        let folder = Folder::new();
        let mut store = folder.open();
        let records: Vec<Record> =
            arrivals.iter().map(|seq| heard(1, u128::from(*seq) - 1, &seq.to_string())).collect();
        for some in records.chunks(batch) {
            store.keep(some).expect("kept");
        }
        let order = expected_order(&arrivals);
        let shown: Vec<u64> = history(&store).iter().map(|message| message.text.parse().expect("a number")).collect();
        prop_assert_eq!(&shown, &order);
        let highest = *order.iter().max().expect("one");
        let stream = store.resume(peer(1), 99).expect("read").streams.remove(0);
        let missing: Vec<u64> = stream.gaps.iter().flat_map(|(first, last)| *first..=*last).collect();
        let absent: Vec<u64> = (1..highest).filter(|seq| !order.contains(seq)).collect();
        prop_assert_eq!(&missing, &absent);
        prop_assert_eq!(stream.highest, highest);
        let told: u64 = history(&store).iter().map(|message| message.missing_before).sum();
        prop_assert_eq!(told, absent.len() as u64);
    }
}

#[test]
fn a_message_is_found_by_the_first_digits_of_its_name_and_posts_about_it_are_not() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 0xa1, "mine"), heard(1, 0xa2, "theirs"), says(1, 0xa3, edit(0xa1, "changed"))]).expect("kept");
    store.keep(&[said(2, 0xb1, "elsewhere")]).expect("kept");
    let named = |digits: &str, with: Option<u8>, way| {
        let found = store.named(digits, with.map(peer), way).expect("read");
        found.into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    let whole = |n: u128| id(n).to_string();
    assert_eq!(named(&whole(0xa1), None, None), ["changed"]);
    assert_eq!(named(&whole(0xa3), None, None), [""; 0], "an edit is no message");
    let common = &whole(0xa1)[..31];
    assert_eq!(named(common, None, None).len(), 2);
    assert_eq!(named(common, None, Some(Direction::Sent)), ["changed"]);
    assert_eq!(named(common, None, Some(Direction::Received)), ["theirs"]);
    assert_eq!(named("0000", None, None).len(), 2, "two are enough to know that it is not one");
    assert_eq!(named("0000", Some(2), None), ["elsewhere"]);
    assert_eq!(named("0000", Some(3), None), [""; 0]);
    assert_eq!(named("zz", None, None), [""; 0]);
}

#[test]
fn what_was_edited_or_deleted_before_or_after_it_was_indexed_is_found_as_it_is() {
    let folder = Folder::new();
    let mut store = folder.open();
    let enough = u128::try_from(search::UNINDEXED).expect("positive");
    let words = |n: u128| format!("word{n}x");
    let indexed = |store: &Store| search::indexed(&store.db).expect("read");
    store.keep(&(0..enough).map(|n| heard(1, n, &words(n))).collect::<Vec<_>>()).expect("kept");
    assert_eq!(indexed(&store), 0, "so many may wait");
    store.keep(&[heard(1, enough, &words(enough))]).expect("kept");
    assert_eq!(indexed(&store), search::UNINDEXED + 1, "but no more");
    store.keep(&[heard(1, enough + 1, &words(enough + 1)), heard(1, enough + 2, &words(enough + 2))]).expect("kept");
    let about = [
        edit(0, "other"),
        Content::Delete { of: id(1) },
        edit(enough + 1, "other"),
        Content::Delete { of: id(enough + 2) },
    ];
    let about: Vec<Record> = (enough + 3..).zip(about).map(|(n, content)| hears(1, n, content)).collect();
    store.keep(&about).expect("kept");
    assert_eq!(indexed(&store), search::UNINDEXED + 1);
    for _ in 0..2 {
        assert_eq!(found(&store, "other"), 2);
        assert_eq!([0, 1, enough + 1, enough + 2].map(|n| found(&store, &words(n))), [0; 4]);
        assert_eq!([2, enough].map(|n| found(&store, &words(n))), [1; 2]);
        assert_eq!(indexed(&store), search::UNINDEXED + 2, "the last of them was deleted");
    }
}
