//! The mailbox of a real server: what is acknowledged is there whatever happens to the process, and what cannot be opened is said.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::introduction::{Collected, DepositOutcome, FetchPrekeys, FromServer, PublishPrekeys, ToServer};
use common::link::Rendezvous as Place;
use common::prekey::PrekeySecret;
use common::seal;
use nix::sys::signal::Signal;
use rendezvous::limits::OUTGOING_BYTES;
use support::{Client, Person, Process, Server, command};

const LOOPBACK: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Two who know each other.
fn alice_and_bob() -> (Person, Person) {
    let (alice, bob) = (Person::new(1), Person::new(2));
    (alice.knows(&Person::new(2)), bob.knows(&Person::new(1)))
}

/// Registered, and the mailbox knows of it.
async fn settled(person: &Person, place: &Place) -> Client {
    let (mut client, _) = person.register_at(place).await;
    client.terms().await;
    client
}

async fn stored(client: &mut Client, from: &Person, to: &Person, place: &Place, envelope: &[u8]) {
    let outcome = client.deposit(1, to.id(), from.capability(to.id(), place), envelope).await;
    let DepositOutcome::Stored(receipt) = outcome else { panic!("stored, not {outcome:?}") };
    assert_eq!(receipt.digest, seal::digest(envelope));
    assert_eq!(receipt.verify(place.key, from.id(), to.id()), Ok(()));
}

#[tokio::test]
async fn what_is_acknowledged_survives_sigkill_and_is_pushed_by_the_next_process() {
    let data = tempfile::tempdir().expect("a folder");
    let process = Process::start(data.path(), &LOOPBACK);
    let place = process.place();
    let (alice, bob) = alice_and_bob();
    settled(&bob, &place).await.leave().await;
    let mut at_alice = settled(&alice, &place).await;
    for n in 0..20u8 {
        stored(&mut at_alice, &alice, &bob, &place, &vec![n; 300 + 800 * usize::from(n)]).await;
    }
    process.signal(Signal::SIGKILL);
    process.wait();

    // Not even Alice is there any more: the mail alone is.
    let listen = format!("127.0.0.1:{}", place.port);
    let process = Process::start(data.path(), &["--listen", &listen]);
    let (mut at_bob, _) = bob.register_at(&place).await;
    assert_eq!(at_bob.terms().await.waiting, 20);
    let mut ids = Vec::new();
    for n in 0..20u8 {
        let mail = at_bob.next_mail().await;
        assert_eq!((mail.sender, &mail.envelope), (alice.id(), &vec![n; 300 + 800 * usize::from(n)]));
        let collected = Collected::sign(&bob.identity, place.key, vec![mail.id]);
        at_bob.send(&ToServer::Collected(collected)).await;
        ids.push(mail.id);
    }
    assert!(ids.is_sorted());
    // An answer to something that was asked behind it: the last removal is on the disk.
    at_bob.send(&fetch(&bob, &alice, &place)).await;
    assert_eq!(at_bob.next().await, FromServer::Prekeys { request: 5, bundle: None });
    process.signal(Signal::SIGKILL);
    process.wait();
    let process = Process::start(data.path(), &["--listen", &listen]);
    let (mut at_bob, _) = bob.register_at(&place).await;
    assert_eq!(at_bob.terms().await.waiting, 0, "what was collected is gone");
    process.signal(Signal::SIGTERM);
    let (status, _, err) = process.wait();
    assert!(status.success() && !err.contains("ERROR"), "{err}");
}

#[tokio::test]
async fn prekeys_are_handed_out_while_their_owner_is_away_and_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let process = Process::start(data.path(), &LOOPBACK);
    let place = process.place();
    let (alice, bob) = alice_and_bob();
    let mut at_bob = settled(&bob, &place).await;
    let prekey = |id, one_time| PrekeySecret::new(id, [7; 32], one_time, 1_900_000_000).public(&bob.identity);
    let prekeys = PublishPrekeys { signed: prekey(1, false), one_time: vec![prekey(2, true)] };
    at_bob.send(&ToServer::Prekeys(prekeys)).await;
    // Behind it, so it has been kept when this is answered.
    at_bob.send(&fetch(&bob, &alice, &place)).await;
    assert!(matches!(at_bob.next().await, FromServer::Prekeys { bundle: None, .. }));
    process.signal(Signal::SIGKILL);
    process.wait();
    let process = Process::start(data.path(), &["--listen", &format!("127.0.0.1:{}", place.port)]);
    let mut at_alice = settled(&alice, &place).await;
    for one_time in [Some(prekey(2, true)), None] {
        at_alice.send(&fetch(&alice, &bob, &place)).await;
        let FromServer::Prekeys { bundle: Some(bundle), .. } = at_alice.next().await else { panic!("a bundle") };
        assert_eq!((bundle.signed, bundle.one_time), (prekey(1, false), one_time));
        assert_eq!(bundle.signed.verify(bob.id()), Ok(()));
    }
    drop(process);
}

fn fetch(of: &Person, peer: &Person, place: &Place) -> ToServer {
    let capability = of.capability(peer.id(), place);
    ToServer::FetchPrekeys(FetchPrekeys { request: 5, peer: peer.id(), capability })
}

#[tokio::test]
async fn to_a_stranger_unknown_here_and_away_look_alike_to_the_last_byte() {
    let server = Server::start();
    let (alice, place) = (Person::new(1), &server.place);
    // Bob is here, Carol was; both keep mail of others, and prekeys. Dave never was.
    let (bob, carol, friend) = (Person::new(2), Person::new(3), Person::new(9));
    let (bob, carol) = (bob.knows(&friend), carol.knows(&friend));
    let mut here = Vec::new();
    for person in [&bob, &carol] {
        let mut client = settled(person, place).await;
        let signed = PrekeySecret::new(1, [7; 32], false, 1_900_000_000).public(&person.identity);
        client.send(&ToServer::Prekeys(PublishPrekeys { signed, one_time: Vec::new() })).await;
        client.send(&fetch(person, &friend, place)).await;
        assert!(matches!(client.next().await, FromServer::Prekeys { .. }));
        here.push(client);
    }
    here.pop().expect("Carol").leave().await;
    let mut at_alice = settled(&alice, place).await;
    let mut answers = Vec::new();
    for peer in [2, 3, 4].map(Person::new) {
        let before = at_alice.raw.len();
        let outcome = at_alice.deposit(5, peer.id(), alice.capability(peer.id(), place), &[1; 300]).await;
        assert_eq!(outcome, DepositOutcome::Refused);
        at_alice.send(&fetch(&alice, &peer, place)).await;
        assert_eq!(at_alice.next().await, FromServer::Prekeys { request: 5, bundle: None });
        answers.push(at_alice.raw[before..].to_vec());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn two_servers_after_each_other_in_one_process_have_the_same_mail() {
    let mail = tempfile::tempdir().expect("a folder");
    let (alice, bob) = alice_and_bob();
    for round in 0..3 {
        let server = Server::start_with(|config| config.mailbox = Some(mail.path().join("mail")));
        let mut at_bob = settled(&bob, &server.place).await;
        assert_eq!(at_bob.terms().await.waiting, round);
        at_bob.leave().await;
        let mut at_alice = settled(&alice, &server.place).await;
        stored(&mut at_alice, &alice, &bob, &server.place, &[9; 300]).await;
        at_alice.leave().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn the_file_is_private_and_lies_where_it_is_told_or_nowhere() {
    let (data, mail) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let place = mail.path().join("a/b");
    let process = Process::start(data.path(), &["--listen", "127.0.0.1:0", "--mailbox", place.to_str().expect("text")]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for file in ["mailbox.db", "mailbox.db-wal"] {
        assert_eq!(mode(&place.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&place), 0o700);
    assert!(!data.path().join("mailbox.db").exists());
    drop(process);
    let off = Process::start_in(data.path(), &LOOPBACK, &[("RENDEZVOUS_MAILBOX", "off")]);
    assert!(!data.path().join("mailbox.db").exists());
    let (alice, bob) = alice_and_bob();
    let (mut at_alice, _) = alice.register_at(&off.place()).await;
    let outcome = at_alice.deposit(3, bob.id(), alice.capability(bob.id(), &off.place()), &[1; 300]).await;
    assert_eq!((outcome, at_alice.terms), (DepositOutcome::Refused, None));
    drop(off);
    let _default = Process::start(data.path(), &LOOPBACK);
    assert_eq!(mode(&data.path().join("mailbox.db")), 0o600);
}

#[tokio::test]
async fn a_second_server_does_not_take_the_mailbox_of_the_first() {
    let (data, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = Process::start(data.path(), &LOOPBACK);
    let error = refused(other.path(), data.path());
    assert!(error.contains("another program uses the mailbox") && error.contains("--mailbox"), "{error}");
    let (mut alice, _) = Person::new(1).register_at(&first.place()).await;
    assert_eq!(alice.terms().await.waiting, 0);
}

#[test]
fn a_mailbox_that_is_damaged_newer_or_somebody_elses_is_said_at_the_start_and_left_as_it_is() {
    let data = tempfile::tempdir().expect("a folder");
    let mail = tempfile::tempdir().expect("a folder");
    let file = mail.path().join("mailbox.db");
    // Stopped in order, so that all of it is in the file.
    let process =
        Process::start_in(data.path(), &LOOPBACK, &[("RENDEZVOUS_MAILBOX", mail.path().to_str().expect("text"))]);
    process.signal(Signal::SIGTERM);
    process.wait();
    let sound = fs::read(&file).expect("closed in order");
    assert!(sound.len() > 8192 && !mail.path().join("mailbox.db-wal").exists());

    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        bytes
    };
    for (bytes, complaint) in [
        (changed(&|bytes| bytes[..16].fill(b'x')), "is damaged"),
        (changed(&|bytes| bytes[4096..].fill(0xa5)), "is damaged"),
        (changed(&|bytes| bytes.truncate(bytes.len() / 2)), "is damaged"),
        // The version is at 60, whose it is at 68 (https://sqlite.org/fileformat.html).
        (changed(&|bytes| bytes[63] = 9), "has format 9, this program knows format 1; update the program"),
        (changed(&|bytes| bytes[68..72].fill(1)), "is a database of another program"),
        (b"not a database, but long enough to look at".repeat(100), "is damaged"),
    ] {
        fs::write(&file, &bytes).expect("written");
        let error = refused(data.path(), mail.path());
        assert!(error.contains(complaint) && error.contains("mailbox.db"), "{error}");
        assert!(fs::read(&file).expect("still there") == bytes, "left as it is: {complaint}");
    }
}

#[test]
fn a_mailbox_that_cannot_be_written_is_said_at_the_start() {
    let (data, mail) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let blocked = mail.path().join("file");
    fs::write(&blocked, "").expect("written");
    let error = refused(data.path(), &blocked);
    assert!(error.contains("cannot open the mailbox") && error.contains("--mailbox off"), "{error}");
    // The kernel's own files are read-only even for root.
    let error = refused(data.path(), Path::new("/proc/self"));
    assert!(error.contains("the mailbox") && error.contains("--mailbox off"), "{error}");
}

#[tokio::test]
async fn one_who_does_not_read_costs_no_more_than_the_window_and_is_not_sent_away_for_his_mail() {
    let server = Server::start();
    let (alice, mut bob) = alice_and_bob();
    bob.window = 1024;
    let mut at_bob = settled(&bob, &server.place).await;
    let mut at_alice = settled(&alice, &server.place).await;
    let long = |n: u8| vec![n; seal::MAX_ENVELOPE];
    // More than may ever wait in his queue of frames.
    let count = (OUTGOING_BYTES / seal::MAX_ENVELOPE * 2) as u8;
    for n in 0..count {
        stored(&mut at_alice, &alice, &bob, &server.place, &long(n)).await;
    }
    assert!(at_bob.connection.close_reason().is_none());
    for n in 0..count {
        let mail = at_bob.next_mail().await;
        assert!(mail.envelope == long(n), "{n}");
        let collected = Collected::sign(&bob.identity, server.place.key, vec![mail.id]);
        at_bob.send(&ToServer::Collected(collected)).await;
    }
    server.stop().await;
}

/// What a server says that does not start with this mailbox.
fn refused(data: &Path, mailbox: &Path) -> String {
    let output = command(data).args(LOOPBACK).arg("--mailbox").arg(mailbox).output().expect("started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()), "{error}");
    error
}

/// Many at once, on many connections, share the disk's time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_of_many_are_all_kept_and_each_is_told_its_own() {
    let server = Server::start();
    let recipient = (3..23).fold(Person::new(2), |bob, n| bob.knows(&Person::new(n)));
    settled(&recipient, &server.place).await.leave().await;
    let senders = (3..23u8).map(|n| {
        let (place, to) = (server.place.clone(), recipient.id());
        tokio::spawn(async move {
            let sender = Person::new(n);
            let mut client = settled(&sender, &place).await;
            let capability = sender.capability(to, &place);
            for request in 0..20 {
                let outcome = client.deposit(request, to, capability, &[n; 300]).await;
                assert!(matches!(outcome, DepositOutcome::Stored(_)), "{outcome:?}");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), sender).await.expect("soon").expect("no panic");
    }
    let (mut at_bob, _) = recipient.register_at(&server.place).await;
    assert_eq!(at_bob.terms().await.waiting, 400);
    let mut per_sender = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let mail = at_bob.next_mail().await;
        *per_sender.entry(mail.sender).or_insert(0) += 1;
        let collected = Collected::sign(&recipient.identity, server.place.key, vec![mail.id]);
        at_bob.send(&ToServer::Collected(collected)).await;
    }
    assert!(per_sender.len() == 20 && per_sender.values().all(|count| *count == 20), "{per_sender:?}");
    server.stop().await;
}
