//! The measurements, and their table.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::bare;
use crate::crowd::{Crowd, Idle, Outcome};
use crate::process::{cpu, memory};
use crate::support::Process;

/// So many stay; memory is looked at after each step.
const STEPS: [u64; 2] = [5_000, 20_000];
/// So many come and go: as many as those of whom a Retry once stalled 21.
const VISITORS: u64 = 26_000;
/// Others who are registered meanwhile, because what a Retry says can be mistaken for theirs.
const RESIDENTS: u64 = 5_000;
/// At a time: fewer than the handshakes under way that lead to a Retry by themselves.
const AT_ONCE: usize = 64;
/// At a time, after a restart: more than that, and fewer than are not answered at all.
const RUSH: usize = 600;
/// What a client waits for its handshake.
const DEADLINE: Duration = Duration::from_secs(5);
/// All clients have said something, and what they needed for their handshakes is given back.
const SETTLING: Duration = Duration::from_secs(5);
const WATCHING: Duration = Duration::from_secs(10);

/// Clients are numbered, and a number is a key: visitors are others than residents.
const FIRST_VISITOR: u64 = 1 << 32;

/// A server, and clients who use it.
struct World {
    server: Process,
    crowd: Crowd,
    runtime: Runtime,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    fn new(limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("rendezvous.toml");
        fs::write(&config, format!("[limits]\nregistrations = 50000\n{limits}\n")).expect("written");
        let config = config.to_str().expect("text");
        let server = Process::start(folder.path(), &["--listen", "127.0.0.1:0", "--config", config]);
        World { _folder: Some(folder), ..World::around(server) }
    }

    /// Clients of whatever this is.
    fn around(server: Process) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let crowd = runtime.block_on(async { Crowd::new(server.place()) });
        World { server, crowd, runtime, _folder: None }
    }

    /// Also the processor time of the server.
    fn come(&self, what: &str, who: Range<u64>, at_once: usize, stay: bool) -> (Vec<Idle>, Outcome, Duration) {
        let before = cpu(self.server.id());
        let total = who.end - who.start;
        let (idle, outcome) = self.runtime.block_on(self.crowd.come(who, at_once, stay, |done| {
            if done % 500 == 0 {
                progress(&format!("{what}: {done} of {total}"));
            }
        }));
        progress("");
        (idle, outcome, cpu(self.server.id()) - before)
    }

    fn pass(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

pub(crate) fn main() {
    // A word names one of the measurements; without any, all.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| word == name);
    if wanted("memory") {
        idle_clients();
    }
    if wanted("rate") {
        rate();
    }
    if wanted("retry") {
        println!("{VISITORS} registrations, {AT_ONCE} at a time, beside {RESIDENTS} clients who stay");
        retry("without Retry", "handshakes-before-retry = 1000000", AT_ONCE);
        retry("with Retry for all", "handshakes-before-retry = 0", AT_ONCE);
    }
    if wanted("rush") {
        println!("{VISITORS} registrations, {RUSH} at a time, beside {RESIDENTS} clients who stay");
        retry("as it comes", "", RUSH);
    }
}

/// What clients cost who are registered and do nothing but keep their connections alive.
fn idle_clients() {
    let world = World::new("");
    world.pass(Duration::from_secs(1));
    let (empty, _) = memory(world.server.id());
    println!("memory of the server: {empty} KiB without clients");
    let mut all = Vec::new();
    for step in STEPS {
        let (idle, outcome, _) = world.come("registering", all.len() as u64..step, AT_ONCE, true);
        all.extend(idle);
        world.pass(SETTLING);
        let (now, most) = memory(world.server.id());
        let since = Instant::now();
        let before = cpu(world.server.id());
        world.pass(WATCHING);
        let busy = (cpu(world.server.id()) - before).as_secs_f64() / since.elapsed().as_secs_f64();
        let here = all.iter().filter(|client| client.connection.close_reason().is_none()).count();
        println!(
            "  {here} clients: {now} KiB ({most} at most), {:.1} KiB a client; {:.1} % of a processor; {} failed{}",
            (now - empty) as f64 / here.max(1) as f64,
            100.0 * busy,
            outcome.failures.len(),
            reasons(&outcome),
        );
    }
}

/// What a registration costs: a handshake with keys on both sides, `Register`, the answer, and the end of it all. Beside it,
/// what that costs where nothing is done but this.
fn rate() {
    println!("{VISITORS} registrations, {AT_ONCE} at a time, nobody else there");
    for (name, world) in [("rendezvous", World::new("")), ("bare quinn", World::around(bare::start()))] {
        let (_, outcome, used) = world.come("visiting", visitors(), AT_ONCE, false);
        report(name, &outcome, used);
    }
}

fn retry(name: &str, limits: &str, at_once: usize) {
    let world = World::new(limits);
    let (residents, _, _) = world.come("residents", 0..RESIDENTS, AT_ONCE, true);
    let (_, outcome, used) = world.come(name, visitors(), at_once, false);
    report(name, &outcome, used);
    let here = residents.iter().filter(|client| client.connection.close_reason().is_none()).count();
    if here as u64 != RESIDENTS {
        println!("    of those who meant to stay {} are gone", RESIDENTS - here as u64);
    }
}

fn visitors() -> Range<u64> {
    FIRST_VISITOR..FIRST_VISITOR + VISITORS
}

fn report(name: &str, outcome: &Outcome, used: Duration) {
    let count = outcome.times.len().max(1);
    let each = used.as_secs_f64() / count as f64;
    println!(
        "  {name}: {:.0}/s; {:.0} us of the server each, {:.0}/s per core; p50 {:.1}, p99 {:.1}, most {:.1} ms; \
         {} failed or took over {} s{}",
        count as f64 / outcome.wall.as_secs_f64(),
        each * 1e6,
        1.0 / each,
        millis(&outcome.times, 0.5),
        millis(&outcome.times, 0.99),
        millis(&outcome.times, 1.0),
        outcome.beyond(DEADLINE),
        DEADLINE.as_secs(),
        reasons(outcome),
    );
}

/// Each once, with how often.
fn reasons(outcome: &Outcome) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for why in &outcome.failures {
        *counts.entry(why).or_default() += 1;
    }
    counts.iter().map(|(why, count)| format!("; {count} times {why}")).collect()
}

fn millis(sorted: &[Duration], quantile: f64) -> f64 {
    let at = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// One line that overwrites itself, for whoever watches.
fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}
