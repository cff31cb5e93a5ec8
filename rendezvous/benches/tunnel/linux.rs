//! The measurements, and their table.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::link::Rendezvous as Place;
use common::relay::RelayChannel;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::process::{cpu, memory};
use crate::support::tunnel::{Bridge, Reads};
use crate::support::{Client, Person, Process, frame};

const ROUNDS: usize = 3;
/// Round trips of one series, and one after each interval.
const TRIPS: usize = 1000;
const INTERVAL: Duration = Duration::from_millis(4);
/// The bytes of a frame.
const SIZE: usize = 1100;
/// How long one series of bulk lasts.
const BULK: Duration = Duration::from_secs(3);
/// Past all quotas.
const UNLIMITED: &str = "[limits]\nrelay-bytes-per-second = 4000000000\nrelay-packets-per-second = 4000000000\n";
/// Messages that a client reads before it stops: its registration and an introduction.
const FIRST: usize = 40;

pub(crate) fn main() {
    // A word names one of the measurements; without any, all.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    if wanted("stalled") {
        // Above the quota the rest is dropped as it comes; five times that is pressure enough for a machine of two cores.
        stalled("at the quota of a key (4 MiB/s)", "", 20_000.0);
        stalled("20,000 frames a second, no quota", UNLIMITED, 20_000.0);
    }
    if wanted("bulk") {
        bulk();
    }
    if wanted("memory") {
        many();
    }
}

/// A server with a tunnel.
struct World {
    server: Process,
    place: Place,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("rendezvous.toml");
        fs::write(&config, limits).expect("written");
        let config = config.to_str().expect("text");
        let server =
            Process::start(folder.path(), &["--listen", "127.0.0.1:0", "--tunnel", "127.0.0.1:0", "--config", config]);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        World { place: server.place(), server, runtime, _folder: folder }
    }
}

/// Two who have met: each is at the server or at the near end of a tunnel.
struct Pair {
    clients: [Client; 2],
    channel: RelayChannel,
}

impl Pair {
    async fn meet(numbers: [u8; 2], places: [&Place; 2], server: &Place) -> Pair {
        let [a, b] = numbers.map(Person::new);
        let (a, b) = (a.knows(&b), b.knows(&Person::new(numbers[0])));
        let (mut one, _) = a.register_at(places[0]).await;
        let (mut other, _) = b.register_at(places[1]).await;
        one.send(&a.introduce(1, b.id(), server)).await;
        let channel = one.next_introduction().await.relay.expect("a channel");
        other.next_introduction().await;
        Pair { clients: [one, other], channel }
    }

    /// There and back, so many times; sorted. One that is lost counts as a second.
    async fn round_trips(&mut self) -> Vec<Duration> {
        let mut times = Vec::new();
        let channel = self.channel;
        let [one, other] = &mut self.clients;
        let mut next = Instant::now();
        for n in 0..TRIPS as u32 {
            tokio::time::sleep_until(next.into()).await;
            next += INTERVAL;
            let since = Instant::now();
            let trip = async {
                one.send_frame(channel, &n.to_be_bytes());
                while other.next_frame().await != frame(channel, &n.to_be_bytes()) {}
                other.send_frame(channel, &n.to_be_bytes());
                while one.next_frame().await != frame(channel, &n.to_be_bytes()) {}
            };
            let arrived = timeout(Duration::from_secs(1), trip).await;
            times.push(arrived.map_or(Duration::from_secs(1), |()| since.elapsed()));
        }
        times.sort();
        times
    }
}

/// Sends frames to somebody at a rate, from a thread of its own, until it is told to stop.
struct Hose {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Hose {
    fn open(from: &Client, channel: RelayChannel, rate: f64) -> Hose {
        let done = Arc::new(AtomicBool::new(false));
        let (socket, server, stop) = (from.plain.try_clone().expect("a descriptor"), from.server, done.clone());
        let frame = frame(channel, &vec![0x40; SIZE - 9]);
        let thread = thread::spawn(move || pour(&socket, server, &frame, rate, || stop.load(Ordering::Relaxed)));
        Hose { done, thread }
    }

    /// How many frames it sent.
    fn close(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn pour(socket: &UdpSocket, server: std::net::SocketAddr, frame: &[u8], rate: f64, stop: impl Fn() -> bool) -> u64 {
    let (since, mut sent) = (Instant::now(), 0u64);
    while !stop() {
        let due = (rate * since.elapsed().as_secs_f64()) as u64;
        while sent < due {
            let _ = socket.send_to(frame, server);
            sent += 1;
        }
        thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Round trips of a tunnelled client with one on UDP, and of two on UDP: alone, while somebody is sent a lot through a tunnel
/// and reads it, and while he does not.
fn stalled(name: &str, limits: &str, rate: f64) {
    println!("one who does not read his tunnel, {name}");
    let (mut added, mut most_memory) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let world = World::new(limits);
        let (place, before) = (&world.place, memory(world.server.id()).0);
        let mut round = Vec::new();
        world.runtime.block_on(async {
            let tunnel = Bridge::to(place).await;
            let mut tunnelled = Pair::meet([1, 2], [&tunnel.place, place], place).await;
            let mut on_udp = Pair::meet([3, 4], [place, place], place).await;
            for (number, reads) in [(5, Reads::Everything), (7, Reads::Only(FIRST))] {
                let sink = Bridge::that_reads(place, reads).await;
                let victim = Pair::meet([number, number + 1], [place, &sink.place], place).await;
                let hose = Hose::open(&victim.clients[0], victim.channel, rate);
                // Until everything is full that can be.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let trips = [tunnelled.round_trips().await, on_udp.round_trips().await];
                hose.close();
                round.push(trips.map(|times| [millis(&times, 0.5), millis(&times, 0.99)]));
            }
            let quiet = [tunnelled.round_trips().await, on_udp.round_trips().await];
            round.push(quiet.map(|times| [millis(&times, 0.5), millis(&times, 0.99)]));
        });
        let [reading, stalled, quiet] = [round[0], round[1], round[2]];
        println!(
            "  tunnelled: quiet {:?}, beside a reader {:?}, beside one who does not read {:?} (p50, p99 in ms)",
            quiet[0], reading[0], stalled[0]
        );
        println!("  on UDP:    quiet {:?}, {:?}, {:?}", quiet[1], reading[1], stalled[1]);
        added.push([stalled[0][1] - quiet[0][1], stalled[1][1] - quiet[1][1], stalled[0][1] - reading[0][1]]);
        most_memory = most_memory.max(memory(world.server.id()).1.saturating_sub(before));
    }
    let of = |n: usize| median(&added.iter().map(|added| added[n]).collect::<Vec<_>>());
    println!(
        "  median of {ROUNDS}: p99 is {:+.2} ms for the tunnelled and {:+.2} ms for those on UDP, against quiet; {:+.2} ms for the \
         tunnelled against beside a reader; memory grew by {most_memory} KiB at most",
        of(0),
        of(1),
        of(2)
    );
}

/// How much goes through one tunnel in each direction.
fn bulk() {
    println!("bulk, frames of {SIZE} bytes");
    for (name, up) in [("down, to the client", false), ("up, from the client", true)] {
        let (mut rates, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let world = World::new(UNLIMITED);
            let (received, used) = world.runtime.block_on(flood(&world.place, up, || cpu(world.server.id())));
            rates.push(received as f64 * SIZE as f64 * 8.0 / BULK.as_secs_f64() / 1e6);
            costs.push(used.as_secs_f64() * 1e6 / received.max(1) as f64);
        }
        println!(
            "  {name}: median {:.0} Mb/s, {:.1} us of the server's processor a frame ({rates:.0?})",
            median(&rates),
            median(&costs)
        );
    }
}

/// Frames that arrived, and what the server used for them.
async fn flood(place: &Place, up: bool, cpu: impl Fn() -> Duration) -> (u64, Duration) {
    let tunnel = Bridge::to(place).await;
    let mut pair = Pair::meet([1, 2], [&tunnel.place, place], place).await;
    let (from, to) = if up { (0, 1) } else { (1, 0) };
    // More than goes through.
    let hose = Hose::open(&pair.clients[from], pair.channel, 60_000.0);
    let (before, since, mut received) = (cpu(), Instant::now(), 0);
    let receiver = &mut pair.clients[to];
    while since.elapsed() < BULK {
        if timeout(Duration::from_millis(50), receiver.next_frame()).await.is_ok() {
            received += 1;
        }
    }
    let used = cpu() - before;
    hose.close();
    (received, used)
}

/// Many who do not read at once, each sent as much as a key may.
fn many() {
    const STALLED: u8 = 40;
    println!("{STALLED} who do not read");
    let world = World::new(UNLIMITED);
    let place = &world.place;
    world.runtime.block_on(async {
        let mut victims = Vec::new();
        for n in 0..STALLED {
            let sink = Bridge::that_reads(place, Reads::Only(FIRST)).await;
            let pair = Pair::meet([2 * n + 1, 2 * n + 2], [place, &sink.place], place).await;
            victims.push((sink, pair));
        }
        let before = memory(world.server.id()).0;
        for (_, pair) in &victims {
            // Twice what any of them can hold.
            for _ in 0..1000 {
                pair.clients[0].send_frame(pair.channel, &[0x40; SIZE - 9]);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (after, _) = memory(world.server.id());
        println!("  {} KiB each", (after.saturating_sub(before)) / u64::from(STALLED));
    });
}

fn millis(sorted: &[Duration], quantile: f64) -> f64 {
    let at = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |time| (time.as_secs_f64() * 1e5).round() / 1e2)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
