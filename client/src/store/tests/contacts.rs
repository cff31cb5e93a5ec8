//! Whom we know.

use super::*;
use crate::data::{Added, ContactError};
use crate::exit::Failure;

fn names(store: &Store) -> Vec<String> {
    store.contacts().expect("read").iter().map(|contact| contact.name.clone()).collect()
}

fn add(store: &mut Store, seed: u8, name: &str) -> Result<Added, Failure> {
    store.change_contacts(Timestamp::UNIX_EPOCH, |contacts| Ok(contacts.add(peer(seed), name)?))
}

#[test]
fn contacts_are_kept_in_the_order_in_which_we_met() {
    let folder = Folder::new();
    let mut store = folder.open();
    assert_eq!(add(&mut store, 2, "bob"), Ok(Added::New));
    assert_eq!(add(&mut store, 1, "carol"), Ok(Added::New));
    assert_eq!(add(&mut store, 2, "Robert"), Ok(Added::Renamed { from: "bob".into() }));
    let mut store = folder.open();
    assert_eq!(names(&store), ["Robert", "carol"]);
    assert_eq!(store.contacts().expect("read").iter().next().and_then(|c| c.since), Some(Timestamp::UNIX_EPOCH));
    store
        .change_contacts(Timestamp::UNIX_EPOCH, |contacts| Ok::<_, Failure>(contacts.remove("robert")?))
        .expect("gone");
    assert_eq!(names(&store), ["carol"]);
    assert!(store.peers().expect("read").is_empty(), "nothing was said");
    add(&mut store, 2, "bob").expect("back");
    assert_eq!(names(&folder.open()), ["carol", "bob"]);
}

#[test]
fn a_refused_change_changes_nothing() {
    let folder = Folder::new();
    let mut store = folder.open();
    add(&mut store, 2, "bob").expect("added");
    let refused = store.change_contacts(Timestamp::UNIX_EPOCH, |contacts| {
        contacts.add(peer(3), "eve").map_err(Failure::from)?;
        contacts.add(peer(4), "BOB").map_err(Failure::from)
    });
    let taken = ContactError::NameTaken { name: "bob".into(), holder: peer(2) };
    assert_eq!(refused, Err(taken.into()));
    assert_eq!(names(&folder.open()), ["bob"]);
}

#[test]
fn another_process_that_opens_the_store_sees_that_contacts_were_changed() {
    let folder = Folder::new();
    let (mut one, mut other) = (folder.open(), folder.open());
    assert!(one.changed_by_others().expect("read"), "what was before is not known");
    assert!(!one.changed_by_others().expect("read"));
    add(&mut other, 2, "bob").expect("added");
    assert!(one.changed_by_others().expect("read"));
    add(&mut one, 3, "carol").expect("added");
    assert!(!one.changed_by_others().expect("read"), "that was no other");
}

#[test]
fn a_database_of_any_earlier_version_is_brought_up_to_date() {
    // Those in which a message had these columns.
    for version in [1, 2] {
        let folder = Folder::new();
        let old = Connection::open(folder.path()).expect("open");
        schema::STEPS[..version].iter().for_each(|step| old.execute_batch(step).expect("made"));
        old.pragma_update(None, "application_id", schema::APPLICATION).expect("set");
        old.pragma_update(None, "user_version", i64::try_from(version).expect("small")).expect("set");
        old.execute("INSERT INTO peer (id) VALUES (?1)", [peer(1).as_bytes()]).expect("written");
        for (n, text, sent, state) in [(1, "one", 1, 1), (2, "two", 0, 1), (3, "three", 1, 2), (4, "four", 1, 0)] {
            old.execute(
                "INSERT INTO message (peer, sent, id, at_ms, text, state) VALUES (1, ?1, ?2, 1000, ?3, ?4)",
                rusqlite::params![sent, id(n).0, text, state],
            )
            .expect("written");
            let indexed = rusqlite::params![old.last_insert_rowid(), format!("{text}\u{2}\u{2}")];
            old.execute("INSERT INTO word (rowid, text) VALUES (?1, ?2)", indexed).expect("written");
        }
        drop(old);
        let mut store = folder.open();
        let history = store.history(peer(1), Page::Last(9)).expect("read");
        let states: Vec<_> = history.iter().map(|message| (message.text.as_str(), message.state)).collect();
        let expected =
            [("one", State::OnDevice), ("two", State::OnDevice), ("three", State::Cancelled), ("four", State::Queued)];
        assert_eq!(states, expected, "version {version}");
        assert_eq!(texts(&store.outbox(None).expect("read")), ["four"]);
        let resumed = store.resume(peer(1), 9).expect("read");
        let waits: Vec<_> = resumed.queue.iter().map(|waiting| (waiting.post.stream, waiting.post.seq)).collect();
        assert_eq!((waits, resumed.next_seq), (vec![(resumed.stream, 1)], 2), "what waits has a place in a stream");
        assert_eq!(resumed.seen, [(id(2), None)]);
        assert!(store.unread().expect("read").is_empty());
        assert_eq!(texts(&store.search("three", None, 9).expect("searched")), ["three"]);
        assert_eq!(texts(&store.search("o", Some(peer(1)), 9).expect("searched")), ["four", "two", "one"]);
        add(&mut store, 1, "bob").expect("added");
        store.keep(&[said(1, 5, "five"), delivered(1, 4)]).expect("kept");
        assert_eq!(texts(&folder.open().outbox(None).expect("read")), ["five"]);
    }
}
