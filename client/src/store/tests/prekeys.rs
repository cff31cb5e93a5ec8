//! Secrets that must not stay.

use common::prekey::{Keyring, Prekey, PrekeyId, PrekeySecret};
use common::seal::{MAIL, SealError};
use common::session::PeerFrame;

use super::*;

fn secret(n: u8) -> PrekeySecret {
    PrekeySecret::new(u64::MAX - u64::from(n), secret_bytes(n), n.is_multiple_of(2), 1000 + u64::from(n))
}

/// Such as stand nowhere by chance.
fn secret_bytes(n: u8) -> [u8; 32] {
    let mut seed = [99; 32];
    seed[0] = n;
    *Identity::from_seed(&seed).peer_id().as_bytes()
}

/// All bytes of all files of the folder, each as a letter.
fn all_files(folder: &Folder) -> String {
    let files = std::fs::read_dir(folder.0.path()).expect("a folder");
    let bytes = files.flat_map(|file| std::fs::read(file.expect("a file").path()).expect("readable"));
    bytes.map(char::from).collect()
}

fn stands_in(files: &str, n: u8) -> bool {
    files.contains(&secret_bytes(n).map(char::from).iter().collect::<String>())
}

#[test]
fn secrets_are_kept_until_they_are_removed() {
    let folder = Folder::new();
    let mut store = folder.open();
    let secrets: Vec<PrekeySecret> = (1..5).map(secret).collect();
    store.keep(&[Record::Prekeys(secrets.clone())]).expect("kept");
    assert_eq!(folder.open().prekeys().expect("read"), secrets);
    store.keep(&[Record::PrekeysGone(vec![secrets[1].id, PrekeyId(77)])]).expect("kept");
    assert_eq!(folder.open().prekeys().expect("read"), [secrets[0].clone(), secrets[2].clone(), secrets[3].clone()]);
}

#[test]
fn nothing_of_a_removed_secret_stays_in_any_file() {
    let folder = Folder::new();
    let mut store = folder.open();
    // Enough for pages to be split, and something else in between.
    for n in 1..=200_u8 {
        store
            .keep(&[Record::Prekeys(vec![secret(n)]), heard(1, u128::from(n), "x".repeat(200).as_str())])
            .expect("kept");
    }
    let before = all_files(&folder);
    assert!((1..=200).all(|n| stands_in(&before, n)), "this test finds what is there");
    let gone: Vec<PrekeyId> = (1..=150).map(|n| secret(n).id).collect();
    store.keep(&[heard(1, 999, "came under one of them"), Record::PrekeysGone(gone)]).expect("kept");
    let after = all_files(&folder);
    let left: Vec<u8> = (1..=150).filter(|n| stands_in(&after, *n)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!((151..=200).all(|n| stands_in(&after, n)), "the others are still there");
}

/// Who takes the device opens nothing of what came under keys that are gone, though they have the identity, too.
#[test]
fn what_was_sealed_to_a_prekey_that_is_gone_does_not_open_with_what_is_on_disk() {
    let (alice, bob) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[Record::Prekeys(vec![secret(1), secret(2)])]).expect("kept");
    let words = [PeerFrame::Post(post(1, text("meet me at noon")))];
    let seal = |n: u8| {
        let to = secret(n).public(&bob);
        common::seal::seal(&alice, bob.peer_id(), Some(&to), MAIL, &words, [n; 32]).expect("short")
    };
    let (old, new) = (seal(1), seal(2));
    let open = |envelope: &[u8]| {
        let keyring = Keyring::new(folder.open().prekeys().expect("read"));
        common::seal::open(&bob, &keyring, alice.peer_id(), MAIL, envelope).map(|opened| opened.frames.len())
    };
    assert_eq!((open(&old), open(&new)), (Ok(1), Ok(1)));
    store.keep(&[Record::PrekeysGone(vec![secret(1).id])]).expect("kept");
    drop(store);
    assert_eq!((open(&old), open(&new)), (Err(SealError::UnknownPrekey), Ok(1)));
    assert!(!stands_in(&all_files(&folder), 1) && stands_in(&all_files(&folder), 2));
}

#[test]
fn while_somebody_reads_the_traces_wait_and_then_they_go() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.keep(&[Record::Prekeys(vec![secret(7)])]).expect("kept");
    let reader = Connection::open(folder.path()).expect("open");
    reader.execute_batch("BEGIN; SELECT count(*) FROM message").expect("reads");
    store.keep(&[Record::PrekeysGone(vec![secret(7).id])]).expect("kept, without waiting");
    assert!(stands_in(&all_files(&folder), 7), "in the log, which is being read");
    reader.execute_batch("COMMIT").expect("done");
    store.keep(&[heard(1, 1, "the next one")]).expect("kept");
    assert!(!stands_in(&all_files(&folder), 7));
}

#[test]
fn of_a_peers_prekeys_the_one_that_lives_longest_is_kept() {
    let folder = Folder::new();
    let mut store = folder.open();
    let bob = Identity::from_seed(&[1; 32]);
    let public = |made: u64| -> Prekey { PrekeySecret::new(made, [5; 32], false, made).public(&bob) };
    assert_eq!(store.peer_prekey(peer(1)).expect("read"), None);
    for (made, kept) in [(100, 100), (300, 300), (200, 300)] {
        store.keep(&[Record::PeerPrekey { peer: peer(1), prekey: public(made) }]).expect("kept");
        assert_eq!(store.peer_prekey(peer(1)).expect("read"), Some(public(kept)));
    }
    assert!(store.peer_prekeys().expect("read").is_empty(), "they are no contact");
    store
        .change_contacts(NOW, |contacts| contacts.add(peer(1), "Bob").map_err(crate::exit::Failure::from))
        .expect("added");
    assert_eq!(store.peer_prekeys().expect("read"), [(peer(1), public(300))]);
}
