use common::identity::{Identity, PeerId};
use common::session::{Content, MessageId, Post, PostDigest, StreamId};
use proptest::prelude::*;

use super::*;

mod contacts;
mod posts;
mod prekeys;
mod states;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn peer(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer_id()
}

fn id(n: u128) -> MessageId {
    MessageId(n.to_be_bytes())
}

/// A post of this name with the place `n + 1` in stream 7.
fn post(n: u128, content: Content) -> Post {
    let seq = u64::try_from(n).expect("small") + 1;
    Post { id: id(n), stream: StreamId(7), seq, at_ms: 1_700_000_000_000, content }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.to_owned(), reply_to: None }
}

fn says(to: u8, n: u128, content: Content) -> Record {
    Record::Said { peer: peer(to), post: post(n, content), expires_ms: None }
}

fn hears(from: u8, n: u128, content: Content) -> Record {
    Record::Heard { peer: peer(from), post: post(n, content) }
}

fn said(to: u8, n: u128, words: &str) -> Record {
    says(to, n, text(words))
}

fn heard(from: u8, n: u128, words: &str) -> Record {
    hears(from, n, text(words))
}

fn delivered(to: u8, n: u128) -> Record {
    let posts = vec![(id(n), PostDigest([0; 16]))];
    Record::Delivered { peer: peer(to), posts, at_ms: 1_700_000_000_100, proof: vec![1] }
}

/// A folder with a database in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("messages.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path()).expect("a store")
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

#[test]
fn what_was_kept_is_there_when_the_next_one_opens_it() {
    let folder = Folder::new();
    folder.open().keep(&[said(1, 1, "one"), heard(1, 2, "two"), said(1, 3, "three"), delivered(1, 1)]).expect("kept");
    let store = folder.open();
    let resumed = store.resume(peer(1), 10).expect("read");
    assert_eq!(resumed.queue.iter().map(|waiting| waiting.post.clone()).collect::<Vec<_>>(), [post(3, text("three"))]);
    assert_eq!((resumed.stream, resumed.next_seq), (StreamId(7), 5));
    assert_eq!(resumed.seen, [(id(2), Some(post(2, text("two")).digest()))]);
    let history = store.history(peer(1), Page::Last(10)).expect("read");
    let states: Vec<_> = history.iter().map(|message| (message.text.as_str(), message.state)).collect();
    assert_eq!(states, [("one", State::OnDevice), ("two", State::OnDevice), ("three", State::Queued)]);
    let nobody = store.resume(peer(2), 10).expect("read");
    assert_eq!((nobody.next_seq, nobody.queue.len(), nobody.seen.len(), nobody.streams.len()), (1, 0, 0, 0));
}

#[test]
fn all_of_one_moment_is_kept_or_nothing_of_it() {
    let folder = Folder::new();
    let mut store = folder.open();
    // Another process writes and does not end; ours must not keep a half.
    store.db.busy_timeout(Duration::ZERO).expect("set");
    let other = Connection::open(folder.path()).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let refused = store.keep(&[said(1, 1, "one"), said(1, 2, "two")]);
    assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
    other.execute_batch("ROLLBACK").expect("unlocked");
    assert!(store.outbox(None).expect("read").is_empty());
    store.keep(&[said(1, 1, "one"), said(1, 2, "two")]).expect("kept");
    assert_eq!(texts(&store.outbox(None).expect("read")), ["one", "two"]);
}

#[test]
fn the_same_message_is_kept_once_and_an_id_belongs_to_one_side() {
    let folder = Folder::new();
    let mut store = folder.open();
    store
        .keep(&[heard(1, 1, "hello"), heard(1, 1, "hello again"), heard(2, 1, "hi"), said(1, 1, "ours")])
        .expect("kept");
    let all: Vec<String> = [1, 2]
        .into_iter()
        .flat_map(|seed| store.history(peer(seed), Page::Last(9)).expect("read"))
        .map(|message| message.text)
        .collect();
    assert_eq!(all, ["hello", "ours", "hi"]);
}

#[test]
fn a_receipt_for_what_was_never_said_changes_nothing() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[heard(1, 1, "theirs"), delivered(1, 1), delivered(1, 9), delivered(3, 1)]).expect("kept");
    assert_eq!(store.history(peer(1), Page::Last(9)).expect("read").len(), 1);
    assert_eq!(store.peers().expect("read"), [peer(1)]);
}

#[test]
fn a_history_is_read_page_by_page_in_both_directions() {
    let folder = Folder::new();
    let mut store = folder.open();
    let records: Vec<Record> = (0..10).map(|n| said(1, n, &n.to_string())).collect();
    store.keep(&records).expect("kept");
    store.keep(&[heard(2, 99, "somebody else")]).expect("kept");
    let last = store.history(peer(1), Page::Last(3)).expect("read");
    assert_eq!(texts(&last), ["7", "8", "9"]);
    let before = store.history(peer(1), Page::Before(last[0].place, 3)).expect("read");
    assert_eq!(texts(&before), ["4", "5", "6"]);
    assert_eq!(store.history(peer(1), Page::After(before[2].place, 9)).expect("read"), last);
}

#[test]
fn a_message_is_taken_back_while_nobody_has_it() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 1, "typo"), said(1, 2, "good"), delivered(1, 2)]).expect("kept");
    assert_eq!(store.cancel(peer(1), id(1), NOW).expect("written"), Ok(()));
    assert_eq!(store.cancel(peer(1), id(1), NOW).expect("read"), Err(NotCancelled::Already(State::Cancelled)));
    assert_eq!(store.cancel(peer(1), id(2), NOW).expect("read"), Err(NotCancelled::Already(State::OnDevice)));
    assert_eq!(store.cancel(peer(1), id(3), NOW).expect("read"), Err(NotCancelled::Unknown));
    assert!(store.outbox(None).expect("read").is_empty());
    // It had gone out all the same: then that is what is true of it.
    let posts = vec![(id(1), post(1, text("typo")).digest())];
    store.keep(&[Record::Delivered { peer: peer(1), posts, at_ms: 1, proof: vec![1] }]).expect("kept");
    assert_eq!(store.history(peer(1), Page::Last(9)).expect("read")[0].state, State::OnDevice);
}

#[test]
fn words_are_found_in_every_script_and_of_every_length() {
    let folder = Folder::new();
    let mut store = folder.open();
    let lines = [
        "The train to Zürich leaves at noon",
        "我们明天在东京见面",
        "東京",
        "도쿄에서 만나요 내일",
        "明日は京都へ行きます",
        "100% sure, a_b \"quoted\"",
        "Привет, мир",
    ];
    for (n, line) in (0..).zip(lines) {
        store.keep(&[heard(1, n, line)]).expect("kept");
    }
    let found = |words: &str| {
        let mut found: Vec<usize> = store
            .search(words, None, 10)
            .expect("searched")
            .iter()
            .map(|message| lines.iter().position(|line| *line == message.text).expect("one of them"))
            .collect();
        found.sort_unstable();
        found
    };
    for (words, expected) in [
        ("train", &[0][..]),
        ("TRAIN noon", &[0]),
        ("zurich", &[0]),
        ("rai", &[0]),
        ("trainer", &[]),
        ("东京", &[1]),
        ("見", &[]),
        ("面", &[1]),
        ("京", &[1, 2, 4]),
        ("東京", &[2]),
        ("도쿄", &[3]),
        ("내일", &[3]),
        ("行きます", &[4]),
        ("100%", &[5]),
        ("a_b", &[5]),
        ("%", &[5]),
        ("_", &[5]),
        ("\"quoted\"", &[5]),
        ("\"", &[5]),
        ("NEAR(train noon)", &[]),
        ("train OR мир", &[]),
        ("привет", &[6]),
        ("МИР", &[6]),
        ("", &[]),
        ("   ", &[]),
        ("\u{2}", &[]),
    ] {
        assert_eq!(found(words), expected, "{words:?}");
    }
    assert_eq!(texts(&store.search("京", None, 2).expect("searched")), [lines[4], lines[2]], "the newest first");
    assert!(store.search("京", Some(peer(2)), 9).expect("searched").is_empty());
    assert_eq!(store.search("京", Some(peer(1)), 9).expect("searched").len(), 3);
}

#[test]
fn a_letter_that_is_everywhere_is_found_too() {
    let folder = Folder::new();
    let mut store = folder.open();
    let letters: Vec<char> = ('a'..='z').collect();
    let mut records = Vec::new();
    for (n, (a, b)) in letters.iter().flat_map(|a| letters.iter().map(move |b| (a, b))).enumerate() {
        records.push(heard(1, n as u128, &format!("e{a}{b}")));
    }
    store.keep(&records).expect("kept");
    assert_eq!(texts(&store.search("e", None, 2).expect("searched")), ["ezz", "ezy"]);
    assert_eq!(texts(&store.search("E zz", None, 2).expect("searched")), ["ezz"]);
}

#[test]
fn a_newer_database_another_programs_and_a_broken_one_are_left_as_they_are() {
    let newer = Folder::new();
    newer.open().db.pragma_update(None, "user_version", 99).expect("set");
    let foreign = Folder::new();
    let other = Connection::open(foreign.path()).expect("open");
    other.execute_batch("CREATE TABLE theirs (x)").expect("made");
    drop(other);
    let junk = Folder::new();
    std::fs::write(junk.path(), "this is no database, and it is long enough to be looked at".repeat(100))
        .expect("written");
    for (folder, words) in [(&newer, "newer version"), (&foreign, "another program"), (&junk, "damaged")] {
        let before = std::fs::read(folder.path()).expect("there");
        let error = Store::open(&folder.path()).expect_err("refused").to_string();
        assert!(error.contains(words) && error.contains("left as it is"), "{error}");
        assert_eq!(std::fs::read(folder.path()).expect("there"), before);
    }
}

#[test]
fn a_database_that_breaks_while_it_is_used_says_so() {
    let folder = Folder::new();
    let mut store = folder.open();
    let records: Vec<Record> = (0..2000).map(|n| said(1, n, "some text to fill pages with")).collect();
    store.keep(&records).expect("kept");
    drop(store);
    let mut bytes = std::fs::read(folder.path()).expect("there");
    let length = bytes.len();
    bytes[8192..length - 4096].fill(0x5a);
    std::fs::write(folder.path(), bytes).expect("written");
    let error = Store::open(&folder.path()).and_then(|store| store.history(peer(1), Page::Last(5000)));
    assert!(matches!(error, Err(StoreError::Damaged { .. })), "{error:?}");
}

#[test]
fn a_full_disk_keeps_nothing_and_loses_nothing() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 1, "before")]).expect("kept");
    let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("read");
    store.db.pragma_update(None, "max_page_count", pages + 2).expect("set");
    let large = "x".repeat(60_000);
    let error = store.keep(&[said(1, 2, "small"), said(1, 3, &large)]).expect_err("full");
    assert!(matches!(error, StoreError::Full { .. }) && error.to_string().contains("Make room"), "{error}");
    assert_eq!(texts(&store.outbox(None).expect("read")), ["before"]);
    store.db.pragma_update(None, "max_page_count", 1_000_000).expect("set");
    store.keep(&[said(1, 2, "small"), said(1, 3, &large)]).expect("kept");
    assert_eq!(store.outbox(None).expect("read").len(), 3);
}

#[cfg(unix)]
#[test]
fn the_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[said(1, 1, "secret")]).expect("kept");
    let files: Vec<_> =
        std::fs::read_dir(folder.0.path()).expect("a folder").map(|file| file.expect("a file")).collect();
    assert!(files.len() > 1, "the log stands beside it");
    for file in files {
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against the plain meaning of "contains", for text in which folding of case and accents plays no part.
    #[test]
    fn a_word_is_found_where_it_stands_and_nowhere_else(
        lines in prop::collection::vec("[abc東京 ]{0,6}", 1..12),
        word in "[abc東京]{1,4}",
    ) {
        let folder = Folder::new();
    let mut store = folder.open();
        let records: Vec<Record> = (0..).zip(&lines).map(|(n, line)| heard(1, n, line)).collect();
        store.keep(&records).expect("kept");
        let found = store.search(&word, None, 100).expect("searched");
        let expected: Vec<&str> =
            lines.iter().rev().map(String::as_str).filter(|line| line.contains(&word)).collect();
        prop_assert_eq!(texts(&found), expected);
    }

    #[test]
    fn nothing_that_is_searched_for_is_an_error(words in "\\PC{0,40}") {
        let folder = Folder::new();
    let mut store = folder.open();
        store.keep(&[heard(1, 1, &words)]).expect("kept");
        prop_assert!(store.search(&words, None, 10).is_ok());
    }
}
