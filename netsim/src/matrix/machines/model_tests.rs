//! Any two accesses, any troubles, any belief of either side; then quiet. The path is direct exactly where the oracle says so, in the time that
//! the strategy has, stays that, and nobody sends or wakes who has nothing more to do.
//!
//! A failure names its seed; `NETSIM_SEED=n cargo test -p netsim --lib model_tests` plays that one alone, and with
//! `NETSIM_SEEDS=m` the m from there on.

#![allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and only the clock makes an Instant"
)]

use std::time::{Duration, Instant};

use common::nat::{self, NatProfile};
use common::path::{LONGEST_ATTEMPT, MAX_SOCKETS};

use super::meeting::{Cast, Done, Ending, Meeting, Script, Stage};
use super::profile;
use super::study::{Case, cases, stage};
use super::study_tests::{Judge, assert_caps, seeds};
use crate::model::behaviour::{Filtering, Hairpinning, Lifetimes, Mapping, PortAssignment, Quirks, StrayInbound};
use crate::model::{Access, Behaviour, Families, Line, Random, Router, RouterId, presets};
use crate::oracle::{self, Relation, Verdict};

/// All but what the model has no use for: a full table, and ICMP.
fn behaviour(luck: &mut Random) -> Behaviour {
    use Mapping as M;
    let mapping = [M::EndpointIndependent, M::AddressDependent, M::AddressAndPortDependent][luck.below(3) as usize];
    // A box that maps by address and lets others in than those whom it has mapped for is none that anybody has seen: there somebody
    // who believes something wrong may find a path by luck of which the oracle knows nothing.
    let filters = if mapping == M::AddressDependent { 2 } else { 0 };
    let filtering = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
        Filtering::AddressAndPortDependent,
    ][filters.max(luck.below(4)) as usize];
    let ports = match luck.below(6) {
        0 => PortAssignment::Preserving,
        1 => PortAssignment::PreservingOverloading,
        2 => PortAssignment::Sequential { step: [1, 2, -1, 4][luck.below(4) as usize], noise: luck.below(3) as u16 },
        3 => PortAssignment::Block { size: [512, 1024][luck.below(2) as usize] },
        _ => PortAssignment::Random,
    };
    let hairpinning = if luck.chance(0.5) { Hairpinning::ExternalSource } else { Hairpinning::Off };
    let stray = luck.chance(0.1) && filtering == Filtering::AddressAndPortDependent;
    let stray_inbound = if stray { StrayInbound::OccupiesTuple } else { Quirks::default().stray_inbound };
    let lifetimes = [Lifetimes::LINUX, Lifetimes::fixed(Duration::from_secs(30 + luck.below(200)))];
    Behaviour::nat(mapping, filtering)
        .ports(ports)
        .hairpinning(hairpinning)
        .lifetimes(lifetimes[luck.below(2) as usize])
        .quirks(Quirks { stray_inbound, ..Quirks::default() })
}

fn access(luck: &mut Random) -> (String, Access) {
    let presets = presets::all();
    if luck.chance(0.6) {
        let preset = &presets[luck.below(presets.len() as u64) as usize];
        return (preset.name.to_owned(), preset.access.clone());
    }
    let nat = behaviour(luck);
    (format!("{nat:?}"), Access { families: Families::Ipv4, routers: vec![Router::ipv4(nat)] })
}

/// What somebody believes of the own NAT: the truth, nothing, or what is true of another one.
fn belief(luck: &mut Random, access: &Access) -> NatProfile {
    let mapping = |mapping| NatProfile { mapping: Some(mapping), ..NatProfile::default() };
    match luck.below(6) {
        0 => NatProfile::default(),
        1 => mapping(nat::Mapping::EndpointIndependent),
        2 => mapping(nat::Mapping::AddressAndPortDependent),
        3 => profile::of(&self::access(luck).1),
        _ => profile::of(access),
    }
}

/// Do the machines try all that the oracle knows of? Where not, it stands in the limits of [`common::path`].
fn is_tried(accesses: [&Access; 2], second_address: bool) -> bool {
    let nats = || accesses.into_iter().flat_map(|access| &access.routers).filter_map(|router| router.ipv4.as_ref());
    let symmetric = || nats().filter(|nat| nat.seen_mapping() != Mapping::EndpointIndependent);
    let ports = |wanted: fn(&PortAssignment) -> bool| symmetric().any(|nat| wanted(&nat.ports));
    let keeps = ports(|ports| matches!(ports, PortAssignment::Preserving | PortAssignment::PreservingOverloading));
    let next = ports(|ports| matches!(ports, PortAssignment::Sequential { .. }));
    let by_address = symmetric().any(|nat| nat.mapping == Mapping::AddressDependent);
    let strays = symmetric().any(|nat| nat.quirks.stray_inbound == StrayInbound::OccupiesTuple);
    let lets_in = symmetric().any(|nat| nat.filtering != Filtering::AddressAndPortDependent);
    let both = symmetric().count() > 1;
    let together = (both && (lets_in || keeps)) || (next && (keeps || by_address));
    !(together || strays || (by_address && !second_address))
}

/// The most that an attempt may take here, and how many packets both send in ten quiet minutes on a path.
fn bound(verdict: Verdict) -> Duration {
    match verdict {
        // Fresh sockets, where a stray has spoilt the first ones.
        Verdict::Direct => Duration::from_secs(5),
        Verdict::DirectWithPrediction { .. } | Verdict::DirectByChance { .. } => LONGEST_ATTEMPT,
        Verdict::Relayed => Duration::ZERO,
    }
}

/// How long it is quiet. A rest that was too long for a mapping may cost a path, once ([`common::path::keepalive`]); before that
/// there is one of fifteen seconds.
fn quiet(accesses: [&Access; 2]) -> Duration {
    let mut nats =
        accesses.into_iter().flat_map(|access| &access.routers).flat_map(|router| [&router.ipv4, &router.ipv6]);
    let forgets = nats.any(|nat| nat.as_ref().is_some_and(|nat| nat.lifetimes.replied < Duration::from_secs(120)));
    Duration::from_secs(if forgets { 20 } else { 600 })
}

#[test]
fn whatever_has_happened_and_whatever_is_believed_what_the_oracle_allows_is_found_kept_and_nothing_else_is_done() {
    let (first, count) = seeds(80);
    let cast = Cast::new().expect("keys");
    let mut judge = Judge::default();
    for seed in first..first + count {
        let mut luck = Random::new(seed).fork(4);
        let [(one, a), (other, b)] = [access(&mut luck), access(&mut luck)];
        let possible = oracle::reachable(&a, &b, Relation::Separate);
        let believed = [belief(&mut luck, &a), belief(&mut luck, &b)];
        let late = if luck.chance(0.3) { super::LATE } else { Duration::ZERO };
        let second_address = luck.chance(0.7);
        let script = Script {
            believed: Some(believed),
            neighbours: if luck.chance(0.3) { 5 } else { 0 },
            second_address,
            ..Script::of([&a, &b], Relation::Separate, late)
        };
        let mut stage = Stage::new(&cast, script, seed, Instant::now());
        let mut story = format!("{one} and {other}, {possible:?}, they believe {believed:?}, {late:?} late; ");
        for _ in 0..luck.below(6) {
            let time = Duration::from_millis([30, 100, 300, 1000, 40_000, 200_000][luck.below(6) as usize]);
            let router = RouterId(luck.below(2) as usize);
            let routers = a.routers.len() + b.routers.len();
            story += &match luck.below(5) {
                0 => {
                    stage.begin(time);
                    format!("she asked, {time:?}; ")
                }
                1 => {
                    stage.rest(time);
                    format!("{time:?}; ")
                }
                2 => {
                    let loss = luck.below(60) as f64 / 100.0;
                    stage.change_lines(|line| Line { loss, ..line });
                    format!("{loss} are lost; ")
                }
                3 if router.0 < routers => {
                    stage.disturb(|topology| topology.reboot(router));
                    format!("{router:?} rebooted; ")
                }
                _ if router.0 < routers => {
                    stage.disturb(|topology| topology.renumber(router));
                    format!("{router:?} renumbered; ")
                }
                _ => String::new(),
            };
        }
        // Quiet: nothing is lost, both are online, and she asks again.
        stage.change_lines(|line| Line { loss: 0.0, ..line });
        stage.disturb(|_| ());
        let Meeting { outcome, reports, sockets, .. } = stage.play();
        let story =
            format!("NETSIM_SEED={seed} cargo test -p netsim --lib model_tests: {story}{outcome:?} {reports:?}");
        let direct = outcome.time();
        if matches!(possible, Verdict::Direct | Verdict::Relayed) || is_tried([&a, &b], second_address) {
            judge.judge(possible, direct.is_some(), story.clone());
        }
        assert!(direct.is_none() || possible != Verdict::Relayed, "{story}");
        assert!(direct.is_none_or(|time| time <= bound(possible)), "{story}");
        assert!(sockets <= MAX_SOCKETS, "{sockets}: {story}");
        reports.into_iter().flatten().for_each(|report| assert_caps(&report, seed));
        // What the one who leads may still choose is closed after five seconds.
        stage.rest(Duration::from_secs(6));
        let before = stage.done();
        let quiet = quiet([&a, &b]);
        stage.rest(quiet);
        for (before, after) in before.into_iter().zip(stage.done()) {
            let (packets, wakeups) = (after.packets - before.packets, after.wakeups - before.wakeups);
            assert_eq!(after.direct, direct.is_some(), "a path that stood is gone, or one came from nowhere: {story}");
            assert!(after.sockets <= 1, "{after:?}: {story}");
            let Done { direct, .. } = after;
            // Keepalives: 15 s apart at first, and answers to the other's.
            let most = if direct { 2 * quiet.as_secs() / 15 + 2 } else { 0 };
            assert!(u64::from(packets) <= most, "{packets} packets in {quiet:?} of quiet: {story}");
            // Who does not reach the rendezvous goes on trying.
            let registers = outcome == Ending::NotIntroduced;
            assert!(registers || u64::from(wakeups) <= most, "{wakeups} wakeups in {quiet:?} of quiet: {story}");
        }
    }
}

#[test]
fn where_guessing_finds_several_paths_both_keep_the_same_one() {
    let (first, count) = seeds(60);
    let cast = Cast::new().expect("keys");
    for case in cases().into_iter().filter(|case| case.name.contains("block of 512 × port") && case.neighbours == 0) {
        for loss in [0.0, 0.05] {
            for seed in first..first + count {
                let case = Case { loss, ..case.clone() };
                let mut stage = stage(&cast, &case, seed, Instant::now());
                let Meeting { outcome, .. } = stage.play();
                // The sockets of the others are closed after five seconds; a choice that was lost is repeated before.
                stage.change_lines(|line| Line { loss: 0.0, ..line });
                stage.rest(Duration::from_secs(6));
                let before = stage.done();
                stage.speak();
                stage.rest(Duration::from_secs(1));
                let heard =
                    stage.done().into_iter().zip(before).map(|(after, before)| after.messages - before.messages);
                let wanted = u32::from(outcome.time().is_some());
                let story = format!("NETSIM_SEED={seed} cargo test -p netsim --lib model_tests: {outcome:?}, {case:?}");
                assert_eq!(heard.collect::<Vec<_>>(), [wanted; 2], "{story}");
            }
        }
    }
}
