//! What can be seen of a way to the Internet from outside, by a survey, and what the [`Behaviour`]s on it promise such a
//! survey. Several boxes in series are seen as one: each does its worst, and [`Survey::of_chain`] knows what that is.

mod lifetimes;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::addresses::Family;
use super::behaviour::{Behaviour, Filtering, Hairpinning, Mapping, PortAssignment, StrayInbound, Translation};
use super::presets::Access;
pub use lifetimes::{Act, Answer, ObservedLifetimes, Question, Script, SeenLifetimes, SeenRefresh, Span, judge, plan};

/// Between two ports of what is seen as a sequence. Eight random ports are all as near as this, and in order, once in 10^12
/// surveys.
pub(crate) const NEAR: u16 = 1024;

/// What a survey finds out, or must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "passes", rename_all = "kebab-case")]
pub enum Survey {
    /// UDP gets out and is answered.
    Udp(Observed),
    /// Nothing that was sent over UDP arrived; a TCP connection came about.
    TcpOnly,
    /// Neither.
    Nothing,
}

/// What a way to the Internet does with UDP, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Observed {
    /// Whether the outside sees another address or port than the host's own.
    pub translated: bool,
    /// How far one external port serves.
    pub mapping: Mapping,
    /// Whether the external port is the internal one where it is free (RFC 4787, section 4.2.1).
    pub port_preservation: bool,
    /// Whose packets come in.
    pub filtering: Filtering,
    /// Whether two hosts on its LAN reach each other by their external addresses (RFC 4787, section 6), as far as a peer can
    /// make use of it; `None` where those are their own.
    pub hairpinning: Option<bool>,
    /// Whether an unsolicited probe spoils a later mapping.
    pub early_probe: EarlyProbe,
    /// Which ports mappings get.
    pub ports: SeenPorts,
}

/// What a peer's probe does that arrives before our first packet to that peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyProbe {
    /// Nothing: our packet leaves from the port that the peer expects.
    Harmless,
    /// It occupies the port; our packet leaves from another one, and the peer's probes go nowhere.
    MovesMapping,
    /// The port cannot be foreseen, so no peer can probe it early.
    NotApplicable,
}

/// As much of a port assignment as can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenPorts {
    /// The internal ones.
    Preserved,
    /// One after the other, up or down, perhaps with others between.
    Sequential,
    /// Without a visible order.
    Random,
}

impl Survey {
    /// What is to be seen of this access over this version of IP; `None` if it does not speak it.
    pub fn of(access: &Access, family: Family) -> Option<Survey> {
        if !family.is_in(access.families) {
            return None;
        }
        let chain: Option<Vec<&Behaviour>> = access.routers.iter().map(|router| router.behaviour(family)).collect();
        chain.map(|chain| Survey::of_chain(&chain))
    }

    /// What is to be seen of these boxes in series, the one nearest to the host first.
    pub fn of_chain(chain: &[&Behaviour]) -> Survey {
        if chain.iter().any(|nat| nat.quirks.blocks_udp) { Survey::TcpOnly } else { Survey::Udp(observed(chain)) }
    }

    /// What was seen, if UDP passes.
    pub fn observed(&self) -> Option<&Observed> {
        match self {
            Survey::Udp(observed) => Some(observed),
            Survey::TcpOnly | Survey::Nothing => None,
        }
    }
}

impl From<&Behaviour> for Survey {
    fn from(behaviour: &Behaviour) -> Survey {
        Survey::of_chain(&[behaviour])
    }
}

fn observed(chain: &[&Behaviour]) -> Observed {
    let ports = chain.iter().fold(SeenPorts::Preserved, |below, nat| seen_ports(nat).unwrap_or(below));
    let mapping = mapping(chain);
    let port_preservation = ports == SeenPorts::Preserved;
    Observed {
        translated: chain.iter().any(|nat| translates(nat)),
        mapping,
        port_preservation,
        filtering: filtering(chain),
        hairpinning: hairpinning(chain),
        early_probe: match port_preservation {
            true if early_probe_moves(chain, mapping) => EarlyProbe::MovesMapping,
            true => EarlyProbe::Harmless,
            false => EarlyProbe::NotApplicable,
        },
        ports,
    }
}

/// Who sees another port for each destination below does so above, whatever is there.
fn mapping(chain: &[&Behaviour]) -> Mapping {
    chain.iter().map(|nat| nat.seen_mapping()).max().unwrap_or(Mapping::EndpointIndependent)
}

/// Who is kept out by one is kept out.
fn filtering(chain: &[&Behaviour]) -> Filtering {
    chain.iter().map(|nat| nat.filtering).max().unwrap_or(Filtering::EndpointIndependent)
}

/// Which ports this box makes of any; `None` if it leaves them as they are.
fn seen_ports(nat: &Behaviour) -> Option<SeenPorts> {
    match nat.ports {
        _ if !translates(nat) => None,
        PortAssignment::Preserving | PortAssignment::PreservingOverloading => None,
        PortAssignment::Sequential { step, noise }
            if u64::from(step.unsigned_abs()) * (u64::from(noise) + 1) <= u64::from(NEAR) =>
        {
            Some(SeenPorts::Sequential)
        }
        _ => Some(SeenPorts::Random),
    }
}

/// It is the outermost NAT that turns packets round; what stands above never sees them, and what stands below sees them
/// come back. They are for the endpoint that a server sees, and every box on the way back asks its filter about a neighbour
/// who has been sent to.
fn hairpinning(chain: &[&Behaviour]) -> Option<bool> {
    let turning = chain.iter().rposition(|nat| translates(nat))?;
    let chain = &chain[..=turning];
    if chain[turning].hairpinning == Hairpinning::Off {
        return Some(false);
    }
    let stands = mapping(chain) == Mapping::EndpointIndependent;
    // The packet that opens one's own filter is a stray to the other's.
    let stands = stands && !early_probe_moves(chain, Mapping::EndpointIndependent);
    Some((0..=turning).all(|at| match chain[at].filtering {
        Filtering::EndpointIndependent => true,
        // The neighbour was sent to through another mapping, of which no server knows.
        _ if mapping(&chain[..=at]) != Mapping::EndpointIndependent => false,
        // Below, the neighbour seems to be somebody else.
        _ if at < turning && chain[turning].hairpinning == Hairpinning::InternalSource => false,
        Filtering::AddressDependent => true,
        Filtering::AddressAndPortDependent => stands,
    }))
}

/// A probe from outside to the port that our first packet would get: is there a box that takes it in for itself, and then has
/// to give our packet another port?
fn early_probe_moves(chain: &[&Behaviour], mapping: Mapping) -> bool {
    if mapping != Mapping::EndpointIndependent {
        // There is no mapping yet that would let it further in.
        return chain.last().is_some_and(|nat| translates(nat) && takes_strays(nat));
    }
    let stopped_by = chain.iter().rev().find(|nat| nat.filtering != Filtering::EndpointIndependent);
    // A mapping that serves all stands already, and moves only if each session looks for its tuple anew.
    stopped_by.is_some_and(|nat| overloads(nat) && takes_strays(nat))
}

fn translates(nat: &Behaviour) -> bool {
    nat.translation != Translation::None
}

fn overloads(nat: &Behaviour) -> bool {
    translates(nat) && nat.ports == PortAssignment::PreservingOverloading
}

fn takes_strays(nat: &Behaviour) -> bool {
    nat.quirks.stray_inbound == StrayInbound::OccupiesTuple
}

impl fmt::Display for EarlyProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            EarlyProbe::Harmless => "harmless",
            EarlyProbe::MovesMapping => "moves the mapping",
            EarlyProbe::NotApplicable => "not applicable",
        })
    }
}

impl fmt::Display for SeenPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SeenPorts::Preserved => "preserved",
            SeenPorts::Sequential => "sequential",
            SeenPorts::Random => "random",
        })
    }
}
