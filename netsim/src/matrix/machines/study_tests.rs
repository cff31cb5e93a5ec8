//! Each strategy keeps what it promises, and no belief about one's own NAT costs a path.
//!
//! A failure names its seed; `NETSIM_SEED=n cargo test -p netsim --lib study` plays that one alone, and with
//! `NETSIM_SEEDS=m` the m from there on.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::time::{Duration, Instant};

use common::path::{Ending, FOUND_BUDGET, MAX_SOCKETS, Report, Strategy, rounds, scatter, sequential, sweep};

use super::meeting::{Cast, Meeting};
use super::study::{Belief, Case, Findings, cases, play, stage, study};
use crate::model::behaviour::PortAssignment;
use crate::model::{Access, Behaviour, Families, Random, Router, RouterId, presets};
use crate::oracle::{self, Relation, Verdict};

/// The first seed, and how many.
pub(super) fn seeds(count: u64) -> (u64, u64) {
    let named = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match (named("NETSIM_SEED"), named("NETSIM_SEEDS")) {
        (Some(seed), many) => (seed, many.unwrap_or(1)),
        (None, many) => (1000, many.unwrap_or(count)),
    }
}

fn find(name: &str, neighbours: u32) -> Case {
    let found = cases().into_iter().find(|case| case.name == name && case.neighbours == neighbours);
    found.unwrap_or_else(|| panic!("no case {name}"))
}

/// At least so many percent within the first, second and third mark.
fn promise(case: &Case, count: u64, least: [usize; 3]) {
    let (seed, count) = seeds(count);
    let findings = study(case, seed, count, Instant::now());
    let Findings { within, meetings, .. } = &findings;
    for (within, least) in within.iter().zip(least) {
        assert!(within * 100 >= least * meetings, "{findings:?} {case:?}");
    }
}

#[test]
fn a_sequential_nat_is_foretold_within_three_seconds_alone_or_among_others() {
    for neighbours in [0, 5] {
        for name in [
            "sequential × port-restricted",
            "port-restricted × sequential",
            "sequential, up to 2 others between × port-restricted",
            "sequential × accepts input",
        ] {
            promise(&find(name, neighbours), 40, [95, 95, 95]);
        }
    }
}

#[test]
fn two_sequential_nats_meet_within_three_seconds_alone_or_among_others() {
    for neighbours in [0, 5] {
        promise(&find("sequential × sequential", neighbours), 40, [95, 95, 95]);
        promise(&find("sequential × sequential, up to 2 others between on both", neighbours), 40, [50, 95, 95]);
    }
}

#[test]
fn a_block_of_ports_is_guessed_within_three_seconds() {
    for name in ["block of 512 × port-restricted", "block of 1,024 × port-restricted", "block of 1,024 × accepts input"]
    {
        promise(&find(name, 0), 40, [50, 95, 95]);
    }
}

#[test]
fn a_birthday_run_finds_half_within_three_seconds_and_nearly_all_within_twelve() {
    promise(&find("random × port-restricted", 0), 40, [0, 50, 95]);
    promise(&find("port-restricted × random", 5), 20, [0, 50, 95]);
    promise(&find("random × accepts input", 0), 20, [0, 0, 95]);
}

#[test]
fn routers_that_accept_input_meet_within_three_seconds_if_one_hears_late() {
    for case in cases().iter().filter(|case| case.late) {
        promise(case, 40, [95, 95, 95]);
    }
}

#[test]
fn lost_packets_cost_time_and_no_path() {
    for (name, least) in [
        ("sequential × port-restricted", [50, 90, 95]),
        ("sequential × sequential", [50, 90, 95]),
        ("block of 1,024 × port-restricted", [50, 90, 95]),
    ] {
        promise(&Case { loss: 0.01, ..find(name, 0) }, 40, least);
    }
}

#[test]
fn across_the_world_everything_takes_longer_and_works() {
    // 150 ms from each to the rendezvous, 100 ms between the two.
    for case in cases().into_iter().filter(|case| case.neighbours == 0 && case.name != "random × random") {
        promise(&Case { far: 8, ..case }, 10, [0, 0, 90]);
    }
}

#[test]
fn two_who_are_both_random_say_so_and_stop_early() {
    let (seed, count) = seeds(10);
    let case = find("random × random", 0);
    let cast = Cast::new().expect("keys");
    for seed in seed..seed + count {
        let Meeting { reports, outcome, .. } = play(&cast, &case, seed, Instant::now());
        assert_eq!(outcome.time(), None);
        for report in reports {
            let report = report.expect("an agent");
            assert_eq!(report.ending, Ending::BothUnforeseeable, "seed {seed}");
            assert_eq!(report.of(Strategy::Birthday).packets + report.of(Strategy::Block).packets, 0, "seed {seed}");
        }
    }
}

#[test]
fn a_wrong_profile_costs_time_and_no_path() {
    for belief in [Belief::None, Belief::Friendly, Belief::Symmetric] {
        for (name, least) in [
            ("sequential × port-restricted", [0, 95, 95]),
            ("sequential × sequential", [0, 95, 95]),
            ("block of 1,024 × port-restricted", [0, 95, 95]),
            ("random × port-restricted", [0, 50, 95]),
        ] {
            promise(&Case { belief, ..find(name, 0) }, 20, least);
        }
        for case in cases().into_iter().filter(|case| case.late) {
            promise(&Case { belief, ..case }, 20, [50, 95, 95]);
        }
    }
}

/// Holds meetings against the oracle: what is left to chance may miss, two times in a hundred.
#[derive(Default)]
pub(super) struct Judge {
    chances: usize,
    missed: Vec<String>,
}

impl Judge {
    pub(super) fn judge(&mut self, verdict: Verdict, direct: bool, story: String) {
        let chance = matches!(verdict, Verdict::DirectByChance { .. });
        self.chances += usize::from(chance);
        if chance && !direct {
            self.missed.push(story);
        } else {
            assert_eq!(direct, verdict != Verdict::Relayed, "{story}");
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let few = self.missed.len() <= 1 + self.chances / 50;
        assert!(few || std::thread::panicking(), "{} of {}: {:?}", self.missed.len(), self.chances, self.missed);
    }
}

/// Two NATs, what the two believe of them, and who disturbs; and can these two meet at all?
fn drawn(luck: &mut Random) -> (Case, Verdict) {
    let mut draw = |bound: u64| luck.below(bound);
    let mut nat = || -> Behaviour {
        let steps = [1, 2, -1, 4];
        let sequential = |step, noise| presets::symmetric_random().ports(PortAssignment::Sequential { step, noise });
        match draw(7) {
            0 => presets::home(),
            1 => presets::home_open(),
            2 => presets::port_restricted(),
            3 => sequential(steps[draw(4) as usize], 0),
            4 => sequential(1, draw(3) as u16),
            5 => presets::symmetric_random().ports(PortAssignment::Block { size: 512 }),
            _ => presets::symmetric_random(),
        }
    };
    let nats = [nat(), nat()];
    let accesses = nats.clone().map(|nat| Access { families: Families::Ipv4, routers: vec![Router::ipv4(nat)] });
    let possible = oracle::reachable(&accesses[0], &accesses[1], Relation::Separate);
    let belief = [Belief::True, Belief::None, Belief::Friendly, Belief::Symmetric][draw(4) as usize];
    let (late, neighbours) = (draw(2) == 1, draw(2) as u32 * 5);
    // The rendezvous may know something, or lie.
    let mut hint = || if draw(2) == 1 { Some(Strategy::ALL[draw(7) as usize]) } else { None };
    let (hints, second_address) = ([hint(), hint()], true);
    (Case { name: "drawn", nats, neighbours, late, belief, loss: 0.0, far: 1, second_address, hints }, possible)
}

#[test]
fn whatever_happens_to_their_routers_who_can_meet_meets_again() {
    let (first, count) = seeds(25);
    let cast = Cast::new().expect("keys");
    let mut judge = Judge::default();
    for seed in first..first + count {
        let mut luck = Random::new(seed);
        let (case, possible) = drawn(&mut luck);
        let mut stage = stage(&cast, &case, seed, Instant::now());
        let mut story = String::new();
        for _ in 0..=luck.below(4) {
            let time = Duration::from_millis([30, 100, 300, 1000, 40_000, 200_000][luck.below(6) as usize]);
            let router = RouterId(luck.below(2) as usize);
            story += &match luck.below(4) {
                0 => {
                    stage.begin(time);
                    format!("she asked, {time:?}; ")
                }
                1 => {
                    stage.rest(time);
                    format!("{time:?}; ")
                }
                2 => {
                    stage.disturb(|topology| topology.reboot(router));
                    format!("{router:?} rebooted; ")
                }
                _ => {
                    stage.disturb(|topology| topology.renumber(router));
                    format!("{router:?} renumbered; ")
                }
            };
        }
        // Whatever came of all this: both are online, and she asks again.
        stage.disturb(|_| ());
        let Meeting { outcome, reports, .. } = stage.play();
        let story = format!("NETSIM_SEED={seed}: {story}{outcome:?} {reports:?} {case:?}");
        judge.judge(possible, outcome.time().is_some(), story);
    }
}

#[test]
fn whatever_two_nats_meet_every_cap_holds_and_who_can_meet_does() {
    let (first, count) = seeds(60);
    let cast = Cast::new().expect("keys");
    let mut judge = Judge::default();
    for seed in first..first + count {
        let (case, possible) = drawn(&mut Random::new(seed));
        let Meeting { reports, outcome, sockets, .. } = play(&cast, &case, seed, Instant::now());
        let story = format!("NETSIM_SEED={seed}: {outcome:?} {reports:?} {case:?}");
        judge.judge(possible, outcome.time().is_some(), story);
        assert!(sockets <= MAX_SOCKETS, "NETSIM_SEED={seed}: {sockets}");
        reports.into_iter().flatten().for_each(|report| assert_caps(&report, seed));
    }
}

/// No strategy takes more than it may.
pub(super) fn assert_caps(report: &Report, seed: u64) {
    let rounds = u32::from(rounds::MAX_ROUNDS);
    let packets = |strategy| report.of(strategy).packets;
    assert!(packets(Strategy::Plain) <= common::path::BUDGET + FOUND_BUDGET, "NETSIM_SEED={seed}");
    assert!(packets(Strategy::FreshSocket) <= 8 * rounds, "NETSIM_SEED={seed}");
    assert!(packets(Strategy::Sequential) <= sequential::MAX_PACKETS * rounds, "NETSIM_SEED={seed}");
    assert!(packets(Strategy::Sweep) <= sweep::PROBES as u32 * rounds, "NETSIM_SEED={seed}");
    assert!(packets(Strategy::Block) <= u32::from(scatter::BLOCK.probes) * rounds, "NETSIM_SEED={seed}");
    let runs = u32::from(scatter::BIRTHDAY.probes) * u32::from(scatter::RUNS);
    assert!(packets(Strategy::Birthday) <= runs, "NETSIM_SEED={seed}");
    assert!(packets(Strategy::Observation) <= 3 * 33 * rounds, "NETSIM_SEED={seed}");
}

/// The pairs of the documentation's table of hints, with what would win.
fn hinted() -> Vec<(Case, Strategy)> {
    let late = |name| cases().into_iter().find(|case| case.late && case.name == name).expect("a case");
    vec![
        (find("sequential × port-restricted", 0), Strategy::Sequential),
        (find("block of 1,024 × port-restricted", 0), Strategy::Block),
        (find("random × port-restricted", 0), Strategy::Birthday),
        (Case { belief: Belief::None, ..find("sequential × port-restricted", 0) }, Strategy::Sequential),
        (Case { belief: Belief::None, ..find("block of 1,024 × port-restricted", 0) }, Strategy::Block),
        (Case { belief: Belief::None, ..find("random × port-restricted", 0) }, Strategy::Birthday),
        (Case { belief: Belief::Friendly, ..find("sequential × port-restricted", 0) }, Strategy::Sequential),
        (Case { belief: Belief::Friendly, ..find("block of 1,024 × port-restricted", 0) }, Strategy::Block),
        (Case { belief: Belief::Friendly, ..find("random × port-restricted", 0) }, Strategy::Birthday),
        (late("accepts input × accepts input"), Strategy::FreshSocket),
    ]
}

#[test]
fn a_true_hint_makes_nobody_slower_and_misread_pairs_faster() {
    let (seed, count) = seeds(20);
    for (case, won) in hinted() {
        let times = |hint: Option<Strategy>| {
            let findings = study(&Case { hints: [hint; 2], ..case.clone() }, seed, count, Instant::now());
            let times = findings.times.expect("paths");
            let direct = findings.within[2] * 100 / findings.meetings;
            (times.p50, times.p95, direct, findings.packets.expect("packets").p50)
        };
        let (without, with) = (times(None), times(Some(won)));
        println!("{} ({:?}, late {}): {without:?} -> {with:?}", case.name, case.belief, case.late);
        assert!(with.0 <= without.0 + without.0 / 10 && with.2 >= 95, "{}: {without:?} -> {with:?}", case.name);
        if case.belief == Belief::Friendly || case.late {
            assert!(with.0 + 250 < without.0, "{}: {without:?} -> {with:?}", case.name);
        }
    }
}

#[test]
fn a_lying_hint_to_one_or_both_costs_a_moment_and_no_path() {
    let (seed, count) = seeds(1);
    let lies = || Strategy::ALL.into_iter().map(Some);
    for (case, _) in hinted() {
        let findings = |hints| study(&Case { hints, ..case.clone() }, seed, count, Instant::now());
        let honest = findings([None; 2]).times.expect("paths");
        for hints in lies().flat_map(|lie| [[lie, lie], [lie, None], [None, lie]]) {
            let lied = findings(hints);
            let times = lied.times.expect("paths");
            assert!(lied.within[2] == lied.meetings, "{} {hints:?}: {lied:?}", case.name);
            // A round that is for nothing, and a birthday run at most.
            assert!(times.p50 <= honest.p50 + 4500, "{} {hints:?}: {} -> {}", case.name, honest.p50, times.p50);
        }
    }
}
