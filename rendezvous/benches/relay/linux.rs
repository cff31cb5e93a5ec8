//! The measurements, and their table.

use std::fs;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::clients::{Clients, Load, SIZE, Train};
use crate::control::Control;
use crate::coturn;
use crate::process::{cpu, memory};
use crate::support::Process;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(4);
/// Frames that a sender of bulk hands to the system in one call (quinn: ten).
const TRAIN: usize = 10;
/// Past all quotas.
const UNLIMITED: &str = "[limits]\nrelay-bytes-per-second = 4000000000\nrelay-packets-per-second = 4000000000\n";

/// A server and clients that have met.
struct World {
    server: Process,
    clients: Clients,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(pairs: u8, limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("rendezvous.toml");
        fs::write(&config, limits).expect("written");
        let config = config.to_str().expect("text");
        let server = Process::start(folder.path(), &["--listen", "127.0.0.1:0", "--config", config]);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clients = runtime.block_on(Clients::meet(&server.place(), pairs));
        World { server, clients, runtime, _folder: folder }
    }

    /// All flows together at this rate. Also what a frame that arrived cost the server.
    fn load(&self, total: f64) -> (Load, Duration) {
        let rates = vec![total / self.clients.flows.len() as f64; self.clients.flows.len()];
        self.loads(&rates)
    }

    fn loads(&self, rates: &[f64]) -> (Load, Duration) {
        self.trains(rates, Train::ToOne(1))
    }

    /// The same, so many frames in one call of the system each.
    fn trains(&self, rates: &[f64], train: Train) -> (Load, Duration) {
        // Lets quinn keep its connections alive before it is kept from its sockets.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(300)).await });
        let before = cpu(self.server.id());
        let load = self.clients.run(rates, train, TIME);
        let used = cpu(self.server.id()) - before;
        let cost = used.div_f64(load.received.iter().sum::<u64>().max(1) as f64);
        (load, cost)
    }
}

impl Load {
    fn rate(&self, counts: &[u64]) -> f64 {
        counts.iter().sum::<u64>() as f64 / self.time.as_secs_f64()
    }

    fn goodput(&self) -> f64 {
        self.rate(&self.received)
    }

    fn offered(&self) -> f64 {
        self.rate(&self.sent)
    }

    fn loss(&self) -> f64 {
        1.0 - self.goodput() / self.offered()
    }
}

pub(crate) fn main() {
    // A word names one of the measurements; without any, all.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    if wanted("paced") {
        for target in [10_000.0, 20_000.0, 50_000.0] {
            paced(target);
        }
    }
    if wanted("saturation") {
        beyond();
    }
    if wanted("hog") {
        hog();
    }
}

/// What one relayed datagram costs at a rate that both servers bear.
fn paced(target: f64) {
    println!("{SIZE}-byte datagrams at {target:.0}/s");
    let (mut ours, mut in_trains, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let pairs = (target / 2000.0) as u8;
        let world = World::new(pairs, "");
        let (load, cost) = world.load(target);
        println!("  rendezvous {:6.0}/s, lost {:.3} %, {:.2} us", load.goodput(), 100.0 * load.loss(), micros(cost));
        ours.push(micros(cost));
        let (load, cost) = world.trains(&vec![1000.0; world.clients.flows.len()], Train::ToOne(TRAIN));
        println!("    in trains of {TRAIN}: {:6.0}/s, {:.2} us", load.goodput(), micros(cost));
        in_trains.push(micros(cost));
        // The generator sends about 400 messages a second and client, twice through the relay each.
        let clients = (target / 800.0) as usize;
        match coturn::run(clients, SIZE, 1000) {
            Some(run) => {
                println!("  coturn     {:6.0}/s, {:.2} us", run.rate, micros(run.cpu));
                theirs.push(micros(run.cpu));
            }
            None => println!("  coturn is not installed"),
        }
    }
    let (ours, in_trains, theirs) = (median(&ours), median(&in_trains), median(&theirs));
    println!("  median: rendezvous {ours:.2} us, in trains {in_trains:.2} us, coturn {theirs:.2} us");
}

/// Twice as much as it can carry. The clients' trains go to two others in turn: cheap to send, and all the work for the
/// server, or the clients could not overload it on the same machine.
fn beyond() {
    println!("saturation, 50 senders");
    let (mut kept, mut waits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let world = World::new(25, UNLIMITED);
        let each = |total: f64| vec![total / world.clients.flows.len() as f64; world.clients.flows.len()];
        let mut peak = 0f64;
        for step in 1.. {
            let (load, _) = world.trains(&each(40_000.0 * f64::from(step)), Train::ToTwo(TRAIN));
            peak = peak.max(load.goodput());
            if load.loss() > 0.05 || load.offered() < 0.9 * 40_000.0 * f64::from(step) {
                break;
            }
        }
        let control = Control::start(&world.server.place());
        let (load, _) = world.trains(&each(2.0 * peak), Train::ToTwo(TRAIN));
        let times = control.stop();
        let (now, most) = memory(world.server.id());
        println!(
            "  peak {peak:.0}/s; offered {:.0}/s, carried {:.0}/s ({:.0} % of the peak); \
             requests p50 {:.1} p99 {:.1} ms (of {}), registrations p99 {:.1} ms (of {}); {now} KiB now, {most} at most",
            load.offered(),
            load.goodput(),
            100.0 * load.goodput() / peak,
            millis(&times.requests, 0.5),
            millis(&times.requests, 0.99),
            times.requests.len(),
            millis(&times.registrations, 0.99),
            times.registrations.len(),
        );
        kept.push(100.0 * load.goodput() / peak);
        waits.push(millis(&times.requests, 0.99));
        ratios.push(load.offered() / peak);
    }
    let (ratio, kept, wait) = (median(&ratios), median(&kept), median(&waits));
    println!("  median: at {ratio:.2} times the peak {kept:.0} % of it, requests p99 {wait:.1} ms");
}

/// One who sends as fast as he can among forty-nine who do not.
fn hog() {
    println!("one hog among 50 senders, quotas as they come");
    let mut losses = Vec::new();
    for _ in 0..ROUNDS {
        let world = World::new(25, "");
        let mut rates = vec![200.0; world.clients.flows.len()];
        rates[0] = 1e9;
        let (load, _) = world.loads(&rates);
        let others = |counts: &[u64]| counts[1..].iter().sum::<u64>() as f64;
        let loss = 100.0 * (1.0 - others(&load.received) / others(&load.sent));
        println!(
            "  hog {:.0}/s in, {:.0}/s out; the others lost {loss:.3} %",
            load.rate(&load.sent[..1]),
            load.rate(&load.received[..1])
        );
        losses.push(loss);
    }
    println!("  median: the others lost {:.3} %", median(&losses));
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(sorted: &[Duration], quantile: f64) -> f64 {
    let at = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
