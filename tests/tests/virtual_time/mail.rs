//! Alice and Bob write to each other's mailbox, whoever is there.

use std::time::{Duration, Instant};

use netsim::model::{Preset, Random, presets};

use crate::world::{Step, Who, World};

/// Stories of a run.
const STORIES: u64 = 60;
/// After all trouble: a server that is restarted, a backlog, and what is tried again after pauses.
const PATIENCE: Duration = Duration::from_secs(300);
const NIGHT: Duration = Duration::from_secs(8 * 3600);

fn world(seed: u64) -> World {
    let home: Preset = presets::named("home").expect("a preset");
    let mut world = World::new(&home, &home, seed, Instant::now());
    world.with_post();
    world
}

fn read(world: &World, who: Who) -> Vec<String> {
    world.person(who).letters().read.iter().map(|(text, _)| text.clone()).collect()
}

#[test]
fn what_alice_writes_while_bob_is_off_he_reads_within_a_second_of_registering_though_she_is_off_by_then() {
    let mut world = world(1);
    world.record();
    // Both have published their keys.
    world.step(Step::Wait(Duration::from_secs(5)));
    world.step(Step::Sleep(Who::Bob, NIGHT));
    world.step(Step::Wait(Duration::from_secs(60)));
    (0..20).for_each(|_| world.step(Step::Write(Who::Alice)));
    let stored = world.run_until(Duration::from_secs(5), |world| world.person(Who::Alice).letters().is_done());
    assert!(stored.is_some(), "{}", world.report());
    assert_eq!(read(&world, Who::Bob), Vec::<String>::new());

    world.step(Step::Sleep(Who::Alice, NIGHT));
    world.step(Step::Wait(Duration::from_secs(3600)));
    world.step(Step::Wake(Who::Bob));
    let all = world.run_until(Duration::from_secs(30), |world| read(world, Who::Bob).len() == 20);
    assert!(all.is_some(), "{}", world.report());
    let post = world.person(Who::Bob).letters();
    let registered = post.registered.expect("he is registered");
    let took = post.read.last().expect("twenty").1 - registered;
    assert!(took < Duration::from_secs(1), "{took:?}: {}", world.report());
    println!("twenty lines, {took:?} after he was registered");
    assert_eq!(read(&world, Who::Bob), world.written(Who::Alice));
    assert_eq!((post.unreadable, post.used), (0, 8), "the first eight to one-time prekeys, then to the signed one");
    world.step(Step::Wait(Duration::from_secs(5)));
    assert_eq!(world.mails(), 0, "what he has is removed");
}

#[test]
fn what_was_said_to_be_at_the_server_arrives_though_the_server_is_killed_and_its_sender_never_comes_back() {
    let mut in_the_middle = 0;
    for seed in 0..20 {
        let mut world = world(seed);
        world.step(Step::Wait(Duration::from_secs(5)));
        world.step(Step::Sleep(Who::Bob, NIGHT));
        world.step(Step::Wait(Duration::from_secs(60)));
        (0..20).for_each(|_| world.step(Step::Write(Who::Alice)));
        // In the middle of it.
        world.step(Step::Wait(Duration::from_millis(20 + 37 * seed)));
        world.step(Step::Restart);
        world.step(Step::Sleep(Who::Alice, NIGHT));
        let stored = world.person(Who::Alice).letters().stored.len();
        in_the_middle += usize::from((1..20).contains(&stored));
        world.step(Step::Wake(Who::Bob));
        world.step(Step::Wait(Duration::from_secs(30)));
        let read = read(&world, Who::Bob);
        assert!(
            read.len() >= stored,
            "seed {seed}: {stored} were said to be there, {} are: {}",
            read.len(),
            world.report()
        );
        assert_eq!(read[..], world.written(Who::Alice)[..read.len()], "seed {seed}");
    }
    assert!(in_the_middle > 5, "{in_the_middle}");
}

fn step(luck: &mut Random) -> Step {
    let who = if luck.chance(0.5) { Who::Alice } else { Who::Bob };
    let millis = |luck: &mut Random, below| Duration::from_millis(luck.below(below));
    match luck.below(30) {
        0..6 => Step::Wait(millis(luck, 300)),
        6..9 => Step::Wait(millis(luck, 5_000)),
        9 => Step::Wait(millis(luck, 60_000)),
        10..22 => Step::Write(who),
        22 => Step::Line(who, luck.below(50) as f64 / 100.0, millis(luck, 40)),
        23 => Step::Outage(who, true),
        24 => Step::Outage(who, false),
        25 => Step::Roam(who),
        26 => Step::Reboot(who),
        27 | 28 => Step::Restart,
        _ => Step::Sleep(who, millis(luck, 100_000)),
    }
}

#[test]
fn whatever_happens_each_letter_is_read_once_and_nothing_stays_at_the_server() {
    let seeds = match crate::number("PUNCHLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..crate::number("PUNCHLINE_SEEDS").unwrap_or(STORIES),
    };
    let (mut letters, mut once) = (0, 0);
    for seed in seeds {
        let mut world = world(seed);
        let mut luck = Random::new(seed).fork(97);
        (0..20 + luck.below(40)).for_each(|_| world.step(step(&mut luck)));
        world.heal();
        [Who::Alice, Who::Bob].into_iter().for_each(|who| world.step(Step::Wake(who)));
        let both = |world: &World| {
            let all = |who, other| {
                let mut read = read(world, other);
                let mut written = world.written(who).to_vec();
                read.sort();
                written.sort();
                world.person(who).letters().is_done() && read == written
            };
            all(Who::Alice, Who::Bob) && all(Who::Bob, Who::Alice)
        };
        assert!(world.run_until(PATIENCE, both).is_some(), "seed {seed}: {}", world.report());
        for who in [Who::Alice, Who::Bob] {
            let post = world.person(who).letters();
            assert_eq!(post.unreadable, 0, "seed {seed}: {}", world.report());
            once += post.used;
        }
        letters += world.written(Who::Alice).len() + world.written(Who::Bob).len();
        world.step(Step::Wait(Duration::from_secs(60)));
        assert_eq!(world.mails(), 0, "seed {seed}: {}", world.report());
    }
    println!("{letters} letters, {once} of them to one-time prekeys");
}
