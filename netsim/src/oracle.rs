//! What physics allows between two hosts, from the behaviours alone: no packet is sent to find out.
//!
//! Everything that states an expectation asks here: [`direct_path_possible`] for what anybody could reach, and how surely;
//! [`reachable`] for the same of those who have to be introduced first, which is what Punchline's own machines are held to;
//! [`plain_path`] for what plain probing with peer-reflexive candidates reaches, without guessing a port.
//!
//! # Why plain probing works where it does
//!
//! Each side probes the other's endpoint as the server saw it, E, and probes back where it is heard from. A probe of A's
//! arrives at B's E if B's NAT filters nobody, or if B's own probe left from E (its mapping is endpoint-independent) and
//! so opened the filter: for A's address if it filters by address, for A's E alone if it filters by port, so that
//! A's probe must come from A's E as well. Then B knows where A really is, and answers from y: its E, or another endpoint
//! if its mapping depends on the destination. From y it must pass A's filter, and if y is news to A, A's answer must come
//! from where B's probe went, or B will not believe it (RFC 8445, section 7.2.5.2.1).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use crate::model::behaviour::{Behaviour, Filtering, Hairpinning, Mapping, PortAssignment, StrayInbound};
use crate::model::{Access, Family};

/// How two hosts stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Each behind routers of its own.
    Separate,
    /// On one LAN, where they reach each other.
    SameLan,
    /// Behind one outermost NAT, and kept from each other inside it: guest networks, a carrier's subscribers.
    SameOuterNat,
}

/// What is possible.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// A direct path, by plain probing.
    Direct,
    /// A direct path with this probability, by foretelling the next external ports.
    DirectWithPrediction {
        /// In as many rounds as [`ROUNDS`].
        p: f64,
    },
    /// A direct path with this probability, by probing many ports from many sockets.
    DirectByChance {
        /// In one attempt of the size that [`Effort`] says.
        p: f64,
    },
    /// No direct path: somebody has to relay.
    Relayed,
}

/// A verdict, and why.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Judgement {
    /// What is possible.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// In words, for people.
    pub because: String,
}

impl Verdict {
    /// How sure it is.
    pub fn probability(self) -> f64 {
        match self {
            Verdict::Direct => 1.0,
            Verdict::DirectWithPrediction { p } | Verdict::DirectByChance { p } => p,
            Verdict::Relayed => 0.0,
        }
    }
}

/// How often the two look anew and predict.
pub const ROUNDS: i32 = 4;
/// Ports after the last one that are probed for a prediction.
const WINDOW: f64 = 32.0;
/// Ports of one sequential NAT toward which the other side lays mappings, where both are.
const ROWS: f64 = 12.0;

/// How many sockets one side opens and how many ports the other probes, in an attempt that leaves it to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Mappings on the symmetric side.
    pub sockets: u32,
    /// Probes to different ports from the other.
    pub probes: u32,
}

impl Effort {
    /// Into a block of known position: what 32 sockets occupy of 1,024 ports, 128 probes find with 98 %.
    pub const BLOCK: Effort = Effort { sockets: 32, probes: 128 };
    /// Into all ports: the birthday paradox, 99 % after some 1,150 probes.
    pub const BIRTHDAY: Effort = Effort { sockets: 256, probes: 1200 };

    /// The chance that a probe meets a socket among so many ports.
    pub fn chance(self, ports: u32) -> f64 {
        let ports = f64::from(ports.max(1));
        let missed = (1.0 - f64::from(self.sockets) / ports).max(0.0);
        1.0 - missed.powi(i32::try_from(self.probes).unwrap_or(i32::MAX))
    }
}

/// Could these two reach each other directly, with all the arts?
pub fn direct_path_possible(a: &Access, b: &Access, relation: Relation) -> Judgement {
    if relation == Relation::SameLan && common_families(a, b).next().is_some() {
        return judge(Verdict::Direct, "over the LAN that they share, by host candidates");
    }
    let candidates = common_families(a, b).map(|family| over(family, a, b, relation));
    let none = || judge(Verdict::Relayed, "they have no version of IP in common");
    candidates.reduce(better).unwrap_or_else(none)
}

/// The same for two who know of each other from a rendezvous: it takes UDP to be introduced, so that who has none finds nobody,
/// not even on the LAN.
pub fn reachable(a: &Access, b: &Access, relation: Relation) -> Verdict {
    if reaches_rendezvous(a) && reaches_rendezvous(b) {
        direct_path_possible(a, b, relation).verdict
    } else {
        Verdict::Relayed
    }
}

fn reaches_rendezvous(access: &Access) -> bool {
    Family::ALL.into_iter().filter_map(|family| Chain::of(access, family)).any(|chain| !chain.blocks_udp)
}

/// Do plain probing, host candidates and peer-reflexive candidates find a path?
pub fn plain_path(a: &Access, b: &Access, relation: Relation) -> bool {
    reachable(a, b, relation) == Verdict::Direct
}

/// Does plain probing find a path between two behind routers of their own if `b` hears of it so late that `a`'s first probes
/// come before `b` has sent any? Where stray packets occupy endpoints, `b`'s mapping toward `a` has moved by then, and `b`
/// is as good as symmetric.
pub fn plain_path_when_late(a: &Access, b: &Access) -> bool {
    let through = |family| {
        let (Some(a), Some(b)) = (Chain::of(a, family), Chain::of(b, family)) else { return false };
        // What a symmetric NAT sends first does not come from where `b` will send to, and does no harm.
        let moved = b.strays && !a.is_symmetric();
        let mapping = if moved { Mapping::AddressAndPortDependent } else { b.mapping };
        !a.blocks_udp && !b.blocks_udp && plain(&a, &Chain { mapping, ..b }).is_some()
    };
    plain_path(a, b, Relation::Separate) && Family::ALL.into_iter().any(through)
}

/// What several NATs in series amount to.
#[derive(Debug, Clone, Copy)]
struct Chain {
    mapping: Mapping,
    filtering: Filtering,
    ports: Foresight,
    blocks_udp: bool,
    /// Does a stray packet spoil a mapping?
    strays: bool,
    /// Of the outermost.
    hairpinning: Hairpinning,
}

/// What can be foretold of a symmetric NAT's next external port, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Foresight {
    /// A fresh socket keeps its port for the first whom it speaks to.
    Preserved,
    /// The next one, or one a little further: up to so many go to others in between.
    Next(u16),
    /// Somewhere within so many.
    Among(u32),
}

impl Chain {
    fn of(access: &Access, family: Family) -> Option<Chain> {
        if !family.is_in(access.families) {
            return None;
        }
        let open = Chain {
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::EndpointIndependent,
            ports: Foresight::Preserved,
            blocks_udp: false,
            strays: false,
            hairpinning: Hairpinning::Off,
        };
        access.routers.iter().try_fold(open, |chain, router| Some(chain.then(router.behaviour(family)?)))
    }

    /// With another NAT above: each does its worst.
    fn then(self, nat: &Behaviour) -> Chain {
        let mapping = nat.seen_mapping();
        let all = u32::try_from(nat.limits.ports.len()).unwrap_or(u32::MAX);
        let ports = match nat.ports {
            // Where one mapping serves all, it stands, and nothing is to be foretold.
            _ if mapping == Mapping::EndpointIndependent => Foresight::Preserved,
            PortAssignment::Preserving | PortAssignment::PreservingOverloading => Foresight::Preserved,
            PortAssignment::Sequential { noise, .. } => Foresight::Next(noise),
            PortAssignment::Block { size } => Foresight::Among(u32::from(size)),
            PortAssignment::Parity => Foresight::Among(all / 2),
            PortAssignment::Random => Foresight::Among(all),
        };
        Chain {
            mapping: self.mapping.max(mapping),
            filtering: self.filtering.max(nat.filtering),
            ports: self.ports.max(ports),
            blocks_udp: self.blocks_udp || nat.quirks.blocks_udp,
            strays: self.strays || nat.quirks.stray_inbound == StrayInbound::OccupiesTuple,
            hairpinning: nat.hairpinning,
        }
    }

    fn is_symmetric(&self) -> bool {
        self.mapping != Mapping::EndpointIndependent
    }
}

fn common_families<'a>(a: &'a Access, b: &'a Access) -> impl Iterator<Item = Family> + 'a {
    Family::ALL.into_iter().filter(|family| Chain::of(a, *family).is_some() && Chain::of(b, *family).is_some())
}

fn over(family: Family, a: &Access, b: &Access, relation: Relation) -> Judgement {
    let (Some(a), Some(b)) = (Chain::of(a, family), Chain::of(b, family)) else {
        return judge(Verdict::Relayed, "they have no version of IP in common");
    };
    if a.blocks_udp || b.blocks_udp {
        return judge(Verdict::Relayed, "no UDP gets out");
    }
    if relation == Relation::SameOuterNat {
        match a.hairpinning {
            Hairpinning::Off => {
                return judge(Verdict::Relayed, "kept apart inside, and the NAT that they share does not hairpin");
            }
            Hairpinning::InternalSource => {
                let why = "the NAT that they share turns packets round with internal sources, which cannot be answered";
                return judge(Verdict::Relayed, why);
            }
            Hairpinning::ExternalSource => {}
        }
    }
    if let Some(why) = plain(&a, &b) {
        return judge(Verdict::Direct, why);
    }
    match (a.is_symmetric(), b.is_symmetric()) {
        (true, true) => both_symmetric(&a, &b),
        (true, false) => one_symmetric(&a),
        _ => one_symmetric(&b),
    }
}

/// Does plain probing get through, and why?
fn plain(a: &Chain, b: &Chain) -> Option<&'static str> {
    if !a.is_symmetric() && !b.is_symmetric() {
        return Some(match (a.strays || b.strays, a.filtering.min(b.filtering)) {
            (true, _) => "both mappings stand, as long as nobody's first probe overtakes the other's",
            (_, Filtering::EndpointIndependent) => "one side lets everybody in",
            _ => "both mappings stand, and each side's probes open its filter for the other's",
        });
    }
    if hears_first(a, b) || hears_first(b, a) {
        return Some("the symmetric side is let in by the other, which answers where it was heard from");
    }
    None
}

/// Does `b` hear `a` at the endpoint that the server saw, and does the answer make a path? See the module's page.
fn hears_first(a: &Chain, b: &Chain) -> bool {
    let arrives = match b.filtering {
        Filtering::EndpointIndependent => true,
        Filtering::AddressDependent => !b.is_symmetric(),
        Filtering::AddressAndPortDependent => !b.is_symmetric() && !a.is_symmetric(),
    };
    if !b.is_symmetric() {
        return arrives;
    }
    // B probes back from another endpoint y. A lets it in unless it looks at ports. A's answer comes from where B's probe
    // went unless A's mapping depends on ports; then A's own probe of y, which B lets in, must be answered from y.
    let returns = a.filtering != Filtering::AddressAndPortDependent;
    let from_there = a.mapping != Mapping::AddressAndPortDependent || b.mapping == Mapping::AddressDependent;
    arrives && returns && from_there
}

/// One symmetric NAT, and opposite it a mapping that stands behind a filter by port.
fn one_symmetric(symmetric: &Chain) -> Judgement {
    match symmetric.ports {
        Foresight::Preserved => judge(
            Verdict::DirectWithPrediction { p: 1.0 },
            "a fresh socket on the symmetric side keeps its port for the first whom it speaks to",
        ),
        Foresight::Next(others) => {
            let p = in_rounds((WINDOW / f64::from(others.saturating_add(1))).min(1.0));
            judge(Verdict::DirectWithPrediction { p }, "the symmetric side's next port can be foretold")
        }
        Foresight::Among(ports) => {
            let all = ports > 16_384;
            let (effort, where_) =
                if all { (Effort::BIRTHDAY, "any port") } else { (Effort::BLOCK, "a block of known place") };
            let Effort { sockets, probes } = effort;
            let p = effort.chance(ports);
            let because = format!("{sockets} sockets on the symmetric side, {probes} probes into {ports}: {where_}");
            Judgement { verdict: Verdict::DirectByChance { p }, because }
        }
    }
}

fn both_symmetric(a: &Chain, b: &Chain) -> Judgement {
    // Every so manieth port is ours.
    let share = |chain: &Chain| match chain.ports {
        Foresight::Next(others) => Some(1.0 / (1.0 + f64::from(others) / 2.0)),
        Foresight::Preserved => Some(1.0),
        Foresight::Among(_) => None,
    };
    match share(a).zip(share(b)) {
        Some((one, other)) => {
            let p = in_rounds(1.0 - (1.0 - one * other).powf(ROWS));
            judge(Verdict::DirectWithPrediction { p }, "both sides' next ports can be foretold")
        }
        None => judge(Verdict::Relayed, "both sides are symmetric, and one port at least cannot be foretold"),
    }
}

fn in_rounds(p: f64) -> f64 {
    1.0 - (1.0 - p).powi(ROUNDS)
}

fn better(one: Judgement, other: Judgement) -> Judgement {
    let rank = |judgement: &Judgement| match judgement.verdict {
        Verdict::Direct => 0,
        Verdict::DirectWithPrediction { .. } => 1,
        Verdict::DirectByChance { .. } => 2,
        Verdict::Relayed => 3,
    };
    if rank(&other) < rank(&one) { other } else { one }
}

fn judge(verdict: Verdict, because: &str) -> Judgement {
    Judgement { verdict, because: because.to_owned() }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Direct => f.pad("direct"),
            Verdict::DirectWithPrediction { p } => f.pad(&format!("direct with prediction, {:.0} %", p * 100.0)),
            Verdict::DirectByChance { p } => f.pad(&format!("direct by chance, {:.0} %", p * 100.0)),
            Verdict::Relayed => f.pad("relayed"),
        }
    }
}

#[cfg(test)]
mod tests;
