//! How often, how soon and at what price each strategy finds its path: many meetings of the pairs that it is for.

use std::fmt::Write;
use std::time::{Duration, Instant};

use common::nat::{self, NatProfile};
use common::path::Strategy;

use super::meeting::{Cast, Ending, Meeting, Script, Stage};
use crate::matrix::Percentiles;
use crate::model::behaviour::PortAssignment;
use crate::model::{Access, Behaviour, Families, Line, Router, presets};
use crate::oracle::Relation;

/// After asking, a share of the meetings is direct.
pub const MARKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(12)];

/// What the two believe of their own NATs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// What discovery finds out.
    True,
    /// Nothing.
    None,
    /// That one mapping serves all, whatever it is.
    Friendly,
    /// That every destination has its own.
    Symmetric,
}

/// A pair to be studied, and the circumstances.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who meets whom.
    pub name: &'static str,
    /// Behind these.
    pub nats: [Behaviour; 2],
    /// New flows a second of other people, on each NAT.
    pub neighbours: u32,
    /// The one who is asked hears late.
    pub late: bool,
    /// What they believe.
    pub belief: Belief,
    /// The chance that a packet is lost on a line.
    pub loss: f64,
    /// So many times as far from each other and from the rendezvous.
    pub far: u32,
    /// Has the rendezvous a second address, and so an eye for mappings by address?
    pub second_address: bool,
    /// What the rendezvous says has found paths for others: to who asks, and to the other one.
    pub hints: [Option<Strategy>; 2],
}

impl Case {
    fn new(name: &'static str, nats: [Behaviour; 2]) -> Self {
        let (belief, hints) = (Belief::True, [None; 2]);
        Case { name, nats, neighbours: 0, late: false, belief, loss: 0.0, far: 1, second_address: true, hints }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// Who met whom.
    pub name: String,
    /// How often.
    pub meetings: usize,
    /// How many were direct on both sides after [`MARKS`].
    pub within: [usize; 3],
    /// Milliseconds until both were direct, where they were.
    pub times: Option<Percentiles>,
    /// Datagrams of both sides.
    pub packets: Option<Percentiles>,
    /// The most sockets that one side had open at a time, beyond the main one.
    pub sockets: usize,
}

/// All that is in the documentation.
pub fn cases() -> Vec<Case> {
    let sequential = |noise| presets::symmetric_random().ports(PortAssignment::Sequential { step: 1, noise });
    let block = |size| presets::symmetric_random().ports(PortAssignment::Block { size });
    let (standing, random, stray) = (presets::port_restricted, presets::symmetric_random, presets::home_open);
    let quiet = vec![
        Case::new("sequential × port-restricted", [sequential(0), standing()]),
        Case::new("port-restricted × sequential", [standing(), sequential(0)]),
        Case::new("sequential, up to 2 others between × port-restricted", [sequential(2), standing()]),
        Case::new("sequential × sequential", [sequential(0), sequential(0)]),
        Case::new("sequential × sequential, up to 2 others between on both", [sequential(2), sequential(2)]),
        Case::new("sequential × accepts input", [sequential(0), stray()]),
        Case::new("block of 512 × port-restricted", [block(512), standing()]),
        Case::new("block of 1,024 × port-restricted", [block(1024), standing()]),
        Case::new("block of 1,024 × accepts input", [block(1024), stray()]),
        Case::new("random × port-restricted", [random(), standing()]),
        Case::new("port-restricted × random", [standing(), random()]),
        Case::new("random × accepts input", [random(), stray()]),
        Case::new("random × random", [random(), random()]),
    ];
    let late = [
        Case::new("port-restricted × accepts input", [standing(), stray()]),
        Case::new("accepts input × accepts input", [stray(), stray()]),
    ];
    let noisy = quiet.iter().filter(|case| case.name != "random × random").cloned();
    let noisy: Vec<Case> = noisy.map(|case| Case { neighbours: 5, ..case }).collect();
    let late = late.into_iter().map(|case| Case { late: true, ..case });
    quiet.into_iter().chain(noisy).chain(late).collect()
}

/// Plays this case so often, from the seed on.
pub fn study(case: &Case, seed: u64, meetings: u64, start: Instant) -> Findings {
    let cast = Cast::new();
    let played = (seed..seed + meetings).filter_map(|seed| Some(play(cast.as_ref()?, case, seed, start)));
    // Here, unlike over QUIC, nobody repeats a word to the rendezvous that was lost.
    let played: Vec<Meeting> = played.filter(|meeting| meeting.outcome != Ending::NotIntroduced).collect();
    let within = |mark| played.iter().filter(|meeting| meeting.outcome.time().is_some_and(|time| time <= mark)).count();
    Findings {
        name: case.name.to_owned(),
        meetings: played.len(),
        within: MARKS.map(within),
        times: Percentiles::of(
            played.iter().filter_map(|meeting| u64::try_from(meeting.outcome.time()?.as_millis()).ok()).collect(),
        ),
        packets: Percentiles::of(played.iter().map(|meeting| u64::from(meeting.packets)).collect()),
        sockets: played.iter().map(|meeting| meeting.sockets).max().unwrap_or(0),
    }
}

/// Once.
pub(super) fn play(cast: &Cast, case: &Case, seed: u64, start: Instant) -> Meeting {
    stage(cast, case, seed, start).play()
}

/// 20 ms from each to the rendezvous, 15 ms between the two.
pub(super) fn stage(cast: &Cast, case: &Case, seed: u64, start: Instant) -> Stage {
    let access = case.nats.clone().map(|nat| Access { families: Families::Ipv4, routers: vec![Router::ipv4(nat)] });
    let line = |micros| Line { loss: case.loss, ..Line::delay(Duration::from_micros(micros) * case.far) };
    let late = if case.late { super::LATE } else { Duration::ZERO };
    let mapping = |mapping| NatProfile { mapping: Some(mapping), ..NatProfile::default() };
    let believed = match case.belief {
        Belief::True => None,
        Belief::None => Some(NatProfile::default()),
        Belief::Friendly => Some(mapping(nat::Mapping::EndpointIndependent)),
        Belief::Symmetric => Some(mapping(nat::Mapping::AddressAndPortDependent)),
    };
    let script = Script {
        // The last millisecond is the LAN's.
        lines: Some(([line(6_500), line(6_500)], line(12_500))),
        neighbours: case.neighbours,
        believed: believed.map(|profile| [profile; 2]),
        second_address: case.second_address,
        hints: case.hints,
        ..Script::of([&access[0], &access[1]], Relation::Separate, late)
    };
    Stage::new(cast, script, seed, start)
}

/// As a table.
pub fn markdown(studied: &[(Case, Findings)]) -> String {
    let mut out = String::from(
        "| pair | new flows a second | meetings | within 1 s | 3 s | 12 s | datagrams of both, median (95 %) | sockets of one |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (case, findings) in studied {
        let Findings { name, meetings, within, packets, sockets, .. } = findings;
        let share = |n: usize| format!("{} %", n * 100 / (*meetings).max(1));
        let [one, three, twelve] = within.map(share);
        let packets = packets.map_or(String::new(), |packets| format!("{} ({})", packets.p50, packets.p95));
        let late = if case.late { ", who hears late" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {name}{late} | {} | {meetings} | {one} | {three} | {twelve} | {packets} | {sockets} |",
            case.neighbours
        );
    }
    out
}
