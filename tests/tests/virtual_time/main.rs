//! The whole of two clients and their rendezvous in virtual time, whatever happens to them: each line arrives once and in
//! order, and the path is direct again wherever the oracle says that it can be, whatever the two believe of their NATs; and who has
//! nothing to find sends no probes.
//!
//! Nothing here waits, and luck comes from a seed: `PUNCHLINE_SEED=7 cargo test -p e2e --test virtual_time` plays one
//! story again, with everything that happened in it; `PUNCHLINE_SEEDS=10000` plays so many.

mod abuse;
mod disk;
mod families;
mod mail;
mod person;
mod pipe;
mod post;
mod server;
mod world;

use std::time::{Duration, Instant};

use common::nat::{Mapping, NatProfile};
use common::session::Route;
use netsim::matrix::kinds;
use netsim::model::{Preset, Random, presets};
use world::{Step, Who, World};

/// Stories of a run, if nobody says how many.
const STORIES: u64 = 300;
/// Longer than the longest pause between two attempts at a direct path, and the attempt.
const PATIENCE: Duration = Duration::from_secs(16 * 60);
/// On the best route, with everything in order, that is a matter of round trips. What waits for a repetition of a packet
/// from worse times may take as long as they took.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// Meetings of each pair whose ports have to be guessed, if `PUNCHLINE_GUESSES` does not say how many. Guessing is luck: of
/// thousands one is not direct at once.
const GUESSES: u64 = 40;

/// Longer than any attempt at a direct path, and what it leaves open for a moment.
const ATTEMPT: Duration = Duration::from_secs(25);

fn kinds() -> Vec<Preset> {
    // Who cannot send UDP needs the tunnel's TCP, which this network does not have.
    presets::all().into_iter().filter(|preset| preset.name != "udp_blocked").collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn step(luck: &mut Random) -> Step {
    let who = if luck.chance(0.5) { Who::Alice } else { Who::Bob };
    let millis = |luck: &mut Random, below| Duration::from_millis(luck.below(below));
    match luck.below(40) {
        0..10 => Step::Wait(millis(luck, 300)),
        10..14 => Step::Wait(millis(luck, 5_000)),
        14 => Step::Wait(millis(luck, 60_000)),
        15..27 => Step::Say(who),
        27 => Step::Between(false),
        28 => Step::Between(true),
        29 | 30 => Step::Line(who, luck.below(50) as f64 / 100.0, millis(luck, 40)),
        31 => Step::Outage(who, true),
        32 => Step::Outage(who, false),
        33 | 34 => Step::Roam(who),
        35 => Step::Reboot(who),
        36 => Step::Renumber(who),
        37 | 38 => Step::Restart,
        _ => Step::Sleep(who, millis(luck, 100_000)),
    }
}

/// One look at a NAT in three is misread, or finds out nothing.
fn misreading(luck: &mut Random) -> Option<NatProfile> {
    let mapping = match luck.below(9) {
        0 => None,
        1 => Some(Mapping::EndpointIndependent),
        2 => Some(Mapping::AddressAndPortDependent),
        _ => return None,
    };
    Some(NatProfile { mapping, ..NatProfile::default() })
}

/// Plays one story. How long after all trouble was over both were on the best route; or what was wrong.
fn play(seed: u64, start: Instant, record: bool) -> Result<Duration, String> {
    let mut luck = Random::new(seed).fork(99);
    let kinds = kinds();
    let mut pick = || &kinds[luck.below(kinds.len() as u64) as usize];
    let (alice, bob) = (pick(), pick());
    let mut world = World::new(alice, bob, seed, start);
    if record {
        world.record();
    }
    let mut beliefs = Random::new(seed).fork(98);
    for who in [Who::Alice, Who::Bob] {
        if let Some(profile) = misreading(&mut beliefs) {
            world.misread(who, profile);
        }
    }
    for _ in 0..10 + luck.below(40) {
        world.step(step(&mut luck));
    }
    world.heal();
    [Who::Alice, Who::Bob].into_iter().for_each(|who| world.step(Step::Wake(who)));
    let told = |world: &World, what: &str| {
        let report = if record { world.report() } else { String::new() };
        format!("seed {seed}, {} and {}: {what}\n{report}", alice.name, bob.name)
    };
    world.step(Step::Say(Who::Alice));
    let Some(recovered) = world.run_until(PATIENCE, World::is_on_the_best_route) else {
        return Err(told(&world, "not on the best route"));
    };
    world.step(Step::Say(Who::Alice));
    world.step(Step::Say(Who::Bob));
    if world.run_until(DELIVERED_WITHIN, World::is_settled).is_none() {
        return Err(told(&world, "on the best route, and something has not arrived"));
    }
    if let Some(complaint) = world.complaint() {
        return Err(told(&world, &complaint));
    }
    let tidy = |world: &World| {
        let tidy = |who| world.person(who).sessions() <= 2 && world.person(who).sockets() <= 1;
        tidy(Who::Alice) && tidy(Who::Bob)
    };
    if world.run_until(ATTEMPT, tidy).is_none() {
        return Err(told(&world, "connections or sockets are left over"));
    }
    Ok(recovered)
}

#[test]
fn whatever_happens_each_line_arrives_once_and_in_order_and_the_path_is_direct_again() {
    let start = Instant::now();
    let (first, count) = match number("PUNCHLINE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("PUNCHLINE_SEEDS").unwrap_or(STORIES)),
    };
    let (mut recovered, mut failed) = (Vec::new(), Vec::new());
    for seed in first..first + count {
        match play(seed, start, false) {
            Ok(time) => recovered.push(time),
            Err(_) => failed.push(seed),
        }
    }
    if let Some(seed) = failed.first() {
        let story = play(*seed, start, true).expect_err("a seed repeats a story");
        let again = format!("PUNCHLINE_SEED={seed} cargo test -p e2e --test virtual_time");
        let many = failed.len();
        panic!(
            "{many} of {count} stories went wrong, with the seeds {failed:?}; the first, again by {again}:\n{story}"
        );
    }
    recovered.sort();
    let share = |percent: usize| recovered[(recovered.len() - 1) * percent / 100];
    println!(
        "{count} stories; on the best route after the last trouble: median {:?}, p95 {:?}, p99 {:?}, latest {:?}",
        share(50),
        share(95),
        share(99),
        share(100)
    );
}

#[test]
fn who_guesses_ports_is_direct_at_the_first_attempt_whichever_of_several_pairs_each_finds_first() {
    let (start, guesses) = (Instant::now(), number("PUNCHLINE_GUESSES").unwrap_or(GUESSES));
    let block = [["symmetric_block_512", "port_restricted"], ["mobile", "home"], ["symmetric_sequential"; 2]];
    let pairs = block.into_iter().flat_map(|[a, b]| [[a, b], [b, a]]);
    let (mut late, mut lost) = (Vec::new(), Vec::new());
    for names in pairs {
        let [alice, bob] = names.map(|name| kinds::named(name).expect("a kind"));
        for seed in 0..guesses {
            let mut world = World::new(&alice, &bob, seed, start);
            world.step(Step::Say(Who::Alice));
            let direct = |world: &World| world.are_both(Route::Direct);
            // A second attempt begins after five seconds at the earliest.
            if world.run_until(Duration::from_secs(4), direct).is_none() {
                late.push((names, seed));
            }
            // What comes later does not take it away.
            world.step(Step::Wait(Duration::from_secs(8)));
            let once = |who| world.person(who).seen.paths.iter().filter(|(_, to, _)| *to == Route::Direct).count() == 1;
            if !direct(&world) || !once(Who::Alice) || !once(Who::Bob) {
                lost.push((names, seed));
            }
        }
    }
    assert!(late.is_empty() && lost.is_empty(), "of {}, late: {late:?}, lost: {lost:?}", 6 * guesses);
}

#[test]
fn a_choice_among_several_pairs_that_is_lost_is_said_again() {
    let (start, guesses) = (Instant::now(), number("PUNCHLINE_GUESSES").unwrap_or(GUESSES));
    let mut fell_back = Vec::new();
    for names in [["symmetric_block_512", "port_restricted"], ["port_restricted", "symmetric_block_512"]] {
        let [alice, bob] = names.map(|name| kinds::named(name).expect("a kind"));
        for seed in 0..guesses {
            let mut world = World::new(&alice, &bob, seed, start);
            for who in [Who::Alice, Who::Bob] {
                world.step(Step::Line(who, 0.15, Duration::ZERO));
            }
            world.step(Step::Say(Who::Alice));
            let direct = |world: &World| world.are_both(Route::Direct);
            let met = world.run_until(Duration::from_secs(60), direct).is_some();
            for who in [Who::Alice, Who::Bob] {
                world.step(Step::Line(who, 0.0, Duration::ZERO));
            }
            // Sockets that were not chosen are closed five seconds later. Whose connection stands on one of those finds out
            // by a receipt that does not come.
            world.step(Step::Wait(Duration::from_secs(8)));
            world.run_until(Duration::from_secs(60), World::is_settled);
            [Who::Alice, Who::Bob].into_iter().for_each(|who| world.step(Step::Say(who)));
            let prompt = world.run_until(Duration::from_millis(200), World::is_settled).is_some();
            if !met || !prompt || !direct(&world) {
                fell_back.push((names, seed));
            }
        }
    }
    assert!(fell_back.is_empty(), "{} of {}: {fell_back:?}", fell_back.len(), 2 * guesses);
}

#[test]
fn a_seed_repeats_a_story_to_the_letter() {
    let start = Instant::now();
    let story = || {
        let mut world = World::new(&kinds()[3], &kinds()[5], 7, start);
        world.record();
        let mut luck = Random::new(7);
        (0..40).for_each(|_| world.step(step(&mut luck)));
        world.report()
    };
    let once = story();
    assert!(once.contains("Punched"), "{once}");
    assert_eq!(once, story());
}

#[test]
fn after_ten_minutes_of_sleep_all_that_was_said_meanwhile_is_there_at_once_and_the_path_is_direct() {
    let home = presets::named("home").expect("a preset");
    let mut world = World::new(&home, &home, 1, Instant::now());
    world.record();
    world.step(Step::Say(Who::Alice));
    assert!(world.run_until(Duration::from_secs(5), World::is_on_the_best_route).is_some(), "{}", world.report());

    world.step(Step::Sleep(Who::Bob, Duration::from_secs(600)));
    // His router forgets him long before: nothing that comes from outside gets in any more.
    world.step(Step::Reboot(Who::Bob));
    for _ in 0..100 {
        world.step(Step::Say(Who::Alice));
        world.step(Step::Wait(Duration::from_secs(5)));
    }
    assert_eq!(world.person(Who::Alice).route(), None, "she knows that he is not there: {}", world.report());
    world.step(Step::Wait(Duration::from_secs(100)));

    let awake = world.run_until(Duration::from_secs(60), World::is_settled).expect("it arrives");
    assert_eq!(world.complaint(), None);
    let direct = world.run_until(Duration::from_secs(60), World::is_on_the_best_route).expect("a direct path");
    println!("all lines after {awake:?}, direct after {:?}", awake + direct);
    assert!(awake + direct < Duration::from_secs(3), "{}", world.report());
}

#[test]
fn somebody_who_was_away_for_long_is_tried_again_as_soon_as_anybody_else() {
    let home = presets::named("home").expect("a preset");
    let mut world = World::new(&home, &home, 1, Instant::now());
    world.step(Step::Outage(Who::Bob, true));
    world.step(Step::Say(Who::Alice));
    // She is told again and again that he is not there.
    world.step(Step::Wait(Duration::from_secs(120)));
    // The first attempt comes to nothing.
    world.step(Step::Between(false));
    world.step(Step::Outage(Who::Bob, false));
    let relayed = world.run_until(Duration::from_secs(60), |world| world.are_both(Route::Relayed));
    assert!(relayed.is_some(), "{}", world.report());
    world.step(Step::Wait(Duration::from_secs(15)));
    world.step(Step::Between(true));
    let direct = world.run_until(Duration::from_secs(30), |world| world.are_both(Route::Direct));
    assert!(direct.is_some(), "{}", world.report());
}
