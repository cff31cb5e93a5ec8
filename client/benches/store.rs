//! How fast a large history is: `cargo bench -p client --bench store`. Makes a database of a million messages in a temporary folder
//! (about a minute), then asks it as `history` and `search` do, each time over a fresh connection.

use std::path::Path;
use std::time::{Duration, Instant};

use client::store::{Page, Record, Store};
use common::identity::{Identity, PeerId};
use common::session::{Content, MessageId, Post, StreamId};

const MESSAGES: usize = 1_000_000;
const PEERS: usize = 20;
const RUNS: usize = 21;
/// As many as people use in talking.
const WORDS: [&str; 16] = [
    "train",
    "noon",
    "yes",
    "the meeting",
    "tomorrow",
    "see you",
    "lunch",
    "router",
    "明天",
    "東京",
    "見面",
    "안녕",
    "내일",
    "ok",
    "perhaps",
    "later then",
];

fn peer(n: usize) -> PeerId {
    Identity::from_seed(&[u8::try_from(n).unwrap_or(u8::MAX); 32]).peer_id()
}

/// Numbers that look random (SplitMix64).
fn dice(n: usize) -> usize {
    let mut z = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)) as usize
}

fn text(n: usize) -> String {
    let rare = if n == MESSAGES / 3 { " xylophone 龘" } else { "" };
    let words: Vec<&str> = (0..6).map(|k| WORDS[dice(n * 7 + k) % WORDS.len()]).collect();
    format!("{} {n}{rare}", words.join(" "))
}

fn heard(peer: PeerId, n: usize, seq: u64) -> Record {
    let content = Content::Text { text: text(n), reply_to: None };
    let (id, at_ms) = (MessageId((n as u128).to_be_bytes()), 1_700_000_000_000);
    Record::Heard { peer, post: Post { id, stream: StreamId(1), seq, at_ms, content } }
}

fn fill(path: &Path) {
    let mut store = Store::open(path).expect("a store");
    let peers: Vec<PeerId> = (1..=PEERS).map(peer).collect();
    let mut seqs = [0; PEERS];
    for first in (0..MESSAGES).step_by(1000) {
        let records: Vec<Record> = (first..first + 1000)
            .map(|n| {
                let at = dice(n) % PEERS;
                seqs[at] += 1;
                heard(peers[at], n, seqs[at])
            })
            .collect();
        store.keep(&records).expect("kept");
    }
}

/// The median time of opening the store and asking it.
fn measure(path: &Path, what: &str, ask: impl Fn(&Store) -> usize) {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let store = Store::open(path).expect("a store");
        found = ask(&store);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "{what:44} {:>9.2} ms (slowest of {RUNS}: {:.2}), {found} messages",
        ms(times[RUNS / 2]),
        ms(times[RUNS - 1])
    );
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Messages a second that are kept, each batch in a transaction of its own, on disk when it returns.
fn rates(path: &Path) {
    let mut store = Store::open(path).expect("a store");
    let (peer, mut seq) = (peer(PEERS + 1), 0);
    for batch in [1, 16, 64, 256] {
        let count = (batch * 200).min(20_000);
        let start = Instant::now();
        for _ in 0..count / batch {
            let records: Vec<Record> = (0..batch)
                .map(|_| {
                    seq += 1;
                    heard(peer, MESSAGES + usize::try_from(seq).unwrap_or(0), seq)
                })
                .collect();
            store.keep(&records).expect("kept");
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        println!("kept in batches of {batch:3}: {rate:>7.0} messages a second");
    }
}

/// The median time of a search before which a thousand messages have come.
fn after_many(path: &Path) {
    let (peer, mut times) = (peer(PEERS + 2), Vec::new());
    for run in 0..RUNS {
        let mut store = Store::open(path).expect("a store");
        for seq in (run * 1000..(run + 1) * 1000).collect::<Vec<_>>().chunks(250) {
            let records: Vec<Record> = seq.iter().map(|seq| heard(peer, 2 * MESSAGES + seq, *seq as u64 + 1)).collect();
            store.keep(&records).expect("kept");
        }
        let start = Instant::now();
        let found = store.search(&format!("{}", 2 * MESSAGES + run * 1000 + 999), None, 50).expect("read").len();
        times.push(start.elapsed());
        assert_eq!(found, 1, "the last one");
    }
    times.sort_unstable();
    println!("search after 1000 new ones: {:.2} ms (slowest: {:.2})", ms(times[RUNS / 2]), ms(times[RUNS - 1]));
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("messages.db");
    let start = Instant::now();
    fill(&path);
    let size = std::fs::metadata(&path).expect("there").len() / 1_000_000;
    println!("{MESSAGES} messages kept in {:.1} s, {size} MB", start.elapsed().as_secs_f64());
    rates(&folder.path().join("rates.db"));
    rates(&path);
    after_many(&path);
    measure(&path, "history: the last 50", |store| store.history(peer(3), Page::Last(50)).expect("read").len());
    measure(&path, "outbox", |store| store.outbox(None).expect("read").len());
    measure(&path, "resume", |store| store.resume(peer(3), 2048).expect("read").seen.len());
    for words in ["train", "xylophone", "train noon router", "東京", "龘", "ok", "o", "zz", "lunch 明天", "nowhere"]
    {
        measure(&path, &format!("search {words}"), |store| store.search(words, None, 50).expect("read").len());
        measure(&path, &format!("search {words} --with"), |store| {
            store.search(words, Some(peer(3)), 50).expect("read").len()
        });
    }
}
