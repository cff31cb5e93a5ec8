//! The measurements, and their table.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use common::identity::{Identity, PeerId};
use common::introduction::{Collected, Deposit, DepositOutcome, FromServer, MAX_CONTROL_FRAME, ToServer};
use common::link::Rendezvous as Place;
use common::pairing::Capability;
use common::wire;
use rendezvous::limits::{Limits, Source};
use rendezvous::mailbox::{Asker, Command, Event, Mailbox};
use rendezvous::server::ConnectionId;
use tokio::runtime::{Builder, Runtime};

use crate::process::{cpu, memory};
use crate::support::{Client, Person, Process};

/// Of a line of chat: 256 bytes of plaintext.
const LINE: usize = 312;
const WAITING: u64 = 100_000;
/// They wait for so many people, from ten each.
const RECIPIENTS: u64 = 1_000;
const SENDERS: u64 = 10;
/// Within what a source may deposit at once.
const DEPOSITS: u32 = 2_000;
const RUNS: usize = 9;
const LOOPBACK: [&str; 2] = ["--listen", "127.0.0.1:0"];

pub(crate) fn main() {
    // A word names one of the measurements; without any, all.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if wanted("memory") {
        waiting(&runtime);
    }
    if wanted("deposits") {
        deposits(&runtime);
    }
    if wanted("push") {
        push(&runtime);
    }
}

fn peer(n: u64) -> PeerId {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    Identity::from_seed(&seed).peer_id()
}

fn asker(peer: PeerId, n: u64) -> Asker {
    let [.., a, b, c] = n.to_be_bytes();
    Asker { connection: ConnectionId(n), peer, source: Source::of(IpAddr::from([10, a, b, c])) }
}

/// Puts the mail there as the server does.
fn fill(folder: &Path) {
    let limits = Limits::default();
    let mut mailbox = Mailbox::open(folder, Identity::from_seed(&[9; 32]), &limits, 1).expect("a mailbox");
    let (now, since) = (Instant::now(), Instant::now());
    let now_s = std::time::UNIX_EPOCH.elapsed().expect("a calendar").as_secs();
    let capability = |recipient: u64, sender: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&recipient.to_be_bytes());
        bytes[8..].copy_from_slice(&sender.to_be_bytes());
        Capability(bytes)
    };
    for recipient in 0..RECIPIENTS {
        let account = asker(peer(recipient), recipient);
        let capabilities = (0..SENDERS).map(|sender| capability(recipient, sender)).collect();
        let mut commands = vec![Command::Account(account, capabilities)];
        for n in 0..WAITING / RECIPIENTS {
            let sender = n % SENDERS;
            let from = RECIPIENTS + recipient * SENDERS + sender;
            let (peer, capability) = (account.peer, capability(recipient, sender));
            let envelope = vec![n as u8; LINE];
            commands.push(Command::Deposit {
                asker: asker(self::peer(from), from),
                request: 0,
                peer,
                capability,
                envelope,
            });
        }
        let events = mailbox.run(&commands, now_s, now);
        let stored = |event: &Event| {
            matches!(event, Event::Account(_, Some(_)) | Event::Deposited { outcome: DepositOutcome::Stored(_), .. })
        };
        assert!(events.iter().all(stored), "{events:?}");
    }
    let total = mailbox.store().total().expect("read");
    assert_eq!(total.mails, WAITING);
    println!("  put there in {:.1} s, a hundred in a transaction", since.elapsed().as_secs_f64());
}

fn waiting(runtime: &Runtime) {
    println!("{WAITING} envelopes of {LINE} bytes for {RECIPIENTS} people");
    for filled in [false, true] {
        let (data, mail) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        if filled {
            fill(mail.path());
        }
        let since = Instant::now();
        let mailbox = mail.path().to_str().expect("text");
        let server = Process::start(data.path(), &["--listen", "127.0.0.1:0", "--mailbox", mailbox]);
        let started = since.elapsed();
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3)).await });
        let (at_first, _) = memory(server.id());
        // Deposits and collections, to fill what caches there are.
        let (_, _) = runtime.block_on(exchange(&server.place(), 100, DEPOSITS as usize / 100));
        let (now, most) = memory(server.id());
        let file = fs::metadata(mail.path().join("mailbox.db")).expect("there").len();
        println!(
            "  {} envelopes: {at_first} KiB, {now} KiB after {DEPOSITS} more came and went ({most} at most); \
             the file has {:.1} MB; ready in {:.0} ms",
            if filled { WAITING } else { 0 },
            file as f64 / 1e6,
            started.as_secs_f64() * 1e3,
        );
    }
}

/// Writes and fetches so many, in rounds; the time of each round's deposits, and of the fetching.
async fn exchange(place: &Place, mails: usize, rounds: usize) -> (Vec<Duration>, Vec<Duration>) {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (alice, bob) = (alice.knows(&Person::new(2)), bob.knows(&Person::new(1)));
    settled(&bob, place).await.leave().await;
    let mut at_alice = settled(&alice, place).await;
    let (mut deposits, mut fetches) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let since = Instant::now();
        pipelined(&mut at_alice, &alice, &[bob.id()], place, mails as u32, 32).await;
        deposits.push(since.elapsed());
        let mut at_bob = bob.connect(place).await;
        let since = Instant::now();
        at_bob.send(&ToServer::Register(bob.register(place))).await;
        let (mut got, mut fresh) = (0, Vec::new());
        while got < mails {
            if let FromServer::Mail(mail) = at_bob.next().await {
                got += 1;
                fresh.push(mail.id);
            }
            if fresh.len() >= 8 || got == mails {
                let collected = Collected::sign(&bob.identity, place.key, std::mem::take(&mut fresh));
                if got == mails {
                    fetches.push(since.elapsed());
                }
                at_bob.send(&ToServer::Collected(collected)).await;
            }
        }
        // The last of it is removed before he goes.
        let fetch = common::introduction::FetchPrekeys {
            request: 1,
            peer: alice.id(),
            capability: bob.capability(alice.id(), place),
        };
        at_bob.send(&ToServer::FetchPrekeys(fetch)).await;
        assert!(matches!(at_bob.next().await, FromServer::Prekeys { .. }));
        at_bob.leave().await;
    }
    (deposits, fetches)
}

async fn settled(person: &Person, place: &Place) -> Client {
    let (mut client, _) = person.register_at(place).await;
    client.terms().await;
    client
}

/// So many deposits for these in turn, with so many unanswered at a time.
async fn pipelined(client: &mut Client, from: &Person, to: &[PeerId], place: &Place, count: u32, window: u32) {
    let frames: Vec<_> = (0..count)
        .map(|request| {
            let peer = to[request as usize % to.len()];
            let (capability, envelope) = (from.capability(peer, place), vec![request as u8; LINE]);
            let deposit = ToServer::Deposit(Deposit { request, peer, capability, envelope });
            wire::encode(&deposit, MAX_CONTROL_FRAME).expect("short")
        })
        .collect();
    let mut next = frames.iter();
    for frame in next.by_ref().take(window as usize) {
        client.send_bytes(frame).await;
    }
    for _ in 0..count {
        match client.next().await {
            FromServer::Deposited { outcome: DepositOutcome::Stored(_), .. } => {}
            other => panic!("stored, not {other:?}"),
        }
        if let Some(frame) = next.next() {
            client.send_bytes(frame).await;
        }
    }
}

/// What one sync of this disk takes, which bounds deposits one at a time.
fn sync_of_the_disk() -> Duration {
    let mut file = tempfile::tempfile().expect("a file");
    let mut times: Vec<_> = (0..101)
        .map(|_| {
            file.write_all(&[1; 4096]).expect("written");
            let since = Instant::now();
            file.sync_data().expect("synced");
            since.elapsed()
        })
        .collect();
    times.sort();
    times[50]
}

fn deposits(runtime: &Runtime) {
    println!("deposits of {LINE} bytes; a sync of this disk takes {:.2} ms", sync_of_the_disk().as_secs_f64() * 1e3);
    for (name, connections, window) in [
        ("one at a time", 1u8, 1),
        ("one connection, 32 at a time", 1, 32),
        ("32 connections, one at a time each", 32, 1),
    ] {
        let mut rates = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..RUNS {
            let data = tempfile::tempdir().expect("a folder");
            let server = Process::start(data.path(), &LOOPBACK);
            let place = server.place();
            let before = cpu(server.id());
            let took = runtime.block_on(deposit_all(&place, connections, window));
            costs.push((cpu(server.id()) - before).as_secs_f64() * 1e6 / f64::from(DEPOSITS));
            rates.push(f64::from(DEPOSITS) / took.as_secs_f64());
        }
        println!(
            "  {name}: {:.0}/s (medians of {RUNS}; {:.0} us of the server each)",
            median(&mut rates),
            median(&mut costs)
        );
    }
}

async fn deposit_all(place: &Place, connections: u8, window: u32) -> Duration {
    // To enough people that no quota is reached.
    let senders: Vec<u8> = (0..connections).map(|n| 100 + n).collect();
    let mut recipients = Vec::new();
    for n in 0..8 {
        let bob = senders.iter().fold(Person::new(10 + n), |bob, sender| bob.knows(&Person::new(*sender)));
        settled(&bob, place).await.leave().await;
        recipients.push(bob.id());
    }
    let mut clients = Vec::new();
    for n in senders {
        let person = Person::new(n);
        clients.push((settled(&person, place).await, person));
    }
    let since = Instant::now();
    let each = DEPOSITS / u32::from(connections);
    let busy = clients.into_iter().map(|(mut client, person)| {
        let (place, recipients) = (place.clone(), recipients.clone());
        tokio::spawn(async move { pipelined(&mut client, &person, &recipients, &place, each, window).await })
    });
    for sender in busy.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    since.elapsed()
}

fn push(runtime: &Runtime) {
    let data = tempfile::tempdir().expect("a folder");
    let server = Process::start(data.path(), &LOOPBACK);
    let place = server.place();
    let (_, mut fetches) = runtime.block_on(exchange(&place, 100, 2 * RUNS));
    let mut millis: Vec<_> = fetches.drain(..).map(|time| time.as_secs_f64() * 1e3).collect();
    let median = median(&mut millis);
    println!(
        "from Register to the last of 100 mails, collected eight at a time: {median:.1} ms (median of {}; most {:.1} ms)",
        millis.len(),
        millis.last().expect("some")
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
