//! Who reaches whom, by what the two know of their NATs: for people who want to know what to expect, or why something came as it
//! did. Nothing that punches asks here: a profile may be wrong, and orders what is tried without forbidding anything.
//!
//! It is the reasoning of `netsim::oracle`, which knows what boxes *are*, applied to what can be *seen* of them; a test there
//! holds the two together over every pair of presets.
//!
//! # Why plain probing works where it does
//!
//! Two mappings that stand meet whatever their filters: each side's probes open its own for the other's. A symmetric NAT's probes
//! come from a port that nobody foretold. They are heard by whom a filter does not keep them from, and answered where they came
//! from; that answer is let in, because it comes from where the probe went. So a symmetric NAT meets a mapping that stands behind a
//! filter that does not look at ports. Where it does, the port has to be known before: foretold if ports are given in a row or
//! kept, found by trying many else. Both ports at once cannot be guessed.

use std::fmt;

use serde::Serialize;

use crate::nat::{Filtering, Mapping, NatProfile, PortAssignment};

/// How two get at each other, from the easiest to the hardest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// At once, by plain probing.
    Direct,
    /// By foretelling ports.
    Foretold,
    /// By trying many ports, within seconds.
    Guessed,
    /// Only through the relay.
    Relayed,
}

/// The kinds of access that make a difference, from the most open one to the tightest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// A public address, a port that a router gave, or a NAT that lets everybody in.
    Open,
    /// One mapping for all, and a filter that looks at addresses, not at ports.
    AddressFiltered,
    /// One mapping for all, and a filter that looks at ports: most homes and carriers.
    PortFiltered,
    /// Another port for each destination, but one that can be foretold.
    SymmetricForeseeable,
    /// Another port for each destination, anywhere or in a block: companies' firewalls, phones. Which of the two it is decides how long
    /// guessing takes, and cannot be seen of the three or five mappings that a profile is made from.
    SymmetricRandom,
    /// No UDP at all.
    UdpBlocked,
}

/// A wider range of ports than this is no block: carriers give their subscribers 512 to 4,096 (RFC 7422, section 2.2).
pub const WIDEST_BLOCK: u16 = 8192;

impl AccessKind {
    /// All of them.
    pub const ALL: [AccessKind; 6] = [
        AccessKind::Open,
        AccessKind::AddressFiltered,
        AccessKind::PortFiltered,
        AccessKind::SymmetricForeseeable,
        AccessKind::SymmetricRandom,
        AccessKind::UdpBlocked,
    ];

    /// What this profile amounts to; `None` if too little is known. What is not known of a filter or of ports is taken for the
    /// tightest that there is.
    pub fn of(profile: &NatProfile) -> Option<AccessKind> {
        let preserved = profile.ports == Some(PortAssignment::Preserved);
        let standing = match profile.mapping {
            Some(mapping) => mapping == Mapping::EndpointIndependent,
            // A port that is kept for two sockets alike is kept for all destinations, nearly always.
            None if preserved || profile.translated == Some(false) => true,
            None => return None,
        };
        Some(match (standing, profile.filtering) {
            (true, Some(Filtering::EndpointIndependent)) => AccessKind::Open,
            (true, Some(Filtering::AddressDependent)) => AccessKind::AddressFiltered,
            (true, _) => AccessKind::PortFiltered,
            (false, _) => match profile.ports {
                Some(PortAssignment::Preserved | PortAssignment::Sequential { .. }) => AccessKind::SymmetricForeseeable,
                _ => AccessKind::SymmetricRandom,
            },
        })
    }

    /// Does it take another external port for each destination?
    pub fn is_symmetric(self) -> bool {
        matches!(self, AccessKind::SymmetricForeseeable | AccessKind::SymmetricRandom)
    }
}

/// What two such accesses let through. An `Open` symmetric NAT, which hears whom nobody let in, is not told from the others: it is
/// met with here as if it filtered by port.
pub fn reach(one: AccessKind, other: AccessKind) -> Reach {
    use AccessKind::*;
    let (easier, harder) = (one.min(other), one.max(other));
    match (easier, harder) {
        (_, UdpBlocked) => Reach::Relayed,
        (Open | AddressFiltered, _) | (PortFiltered, PortFiltered) => Reach::Direct,
        (PortFiltered, SymmetricForeseeable) | (SymmetricForeseeable, SymmetricForeseeable) => Reach::Foretold,
        (PortFiltered, _) => Reach::Guessed,
        _ => Reach::Relayed,
    }
}

impl fmt::Display for AccessKind {
    /// Several of them, in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccessKind::Open => "public addresses and open routers",
            AccessKind::AddressFiltered => "routers that filter by address",
            AccessKind::PortFiltered => "home routers and carriers' NATs",
            AccessKind::SymmetricForeseeable => "symmetric NATs with ports in a row",
            AccessKind::SymmetricRandom => "symmetric NATs with random ports (companies, phones)",
            AccessKind::UdpBlocked => "networks that block UDP",
        })
    }
}

/// To whom somebody with such access is direct, in words.
pub fn in_words(own: AccessKind) -> String {
    let mut sentences = Vec::new();
    let ways = [
        (Reach::Direct, "Direct at once with"),
        (Reach::Foretold, "Direct by foretelling ports, within a second, with"),
        (Reach::Guessed, "Direct by guessing ports, within some seconds, with"),
        (Reach::Relayed, "Through the relay with"),
    ];
    for (way, words) in ways {
        let kinds: Vec<String> =
            AccessKind::ALL.into_iter().filter(|kind| reach(own, *kind) == way).map(|kind| kind.to_string()).collect();
        if kinds.len() == AccessKind::ALL.len() {
            sentences.push(format!("{words} everybody."));
        } else if let [first @ .., last] = &kinds[..] {
            let list = match first {
                [] => last.clone(),
                [one] => format!("{one} and {last}"),
                more => format!("{}, and {last}", more.join(", ")),
            };
            sentences.push(format!("{words} {list}."));
        }
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_tighter_router_reaches_nobody_more_easily() {
        for pair in AccessKind::ALL.windows(2) {
            for other in AccessKind::ALL {
                assert!(reach(pair[0], other) <= reach(pair[1], other), "{pair:?} {other:?}");
                assert_eq!(reach(pair[0], other), reach(other, pair[0]));
            }
        }
    }

    #[test]
    fn each_kind_is_told_to_whom_it_is_direct() {
        let told: Vec<String> = AccessKind::ALL.map(|kind| format!("{kind:?}: {}", in_words(kind))).to_vec();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn what_is_not_known_of_a_nat_is_not_made_up() {
        assert_eq!(AccessKind::of(&NatProfile::default()), None);
        let kept = NatProfile { ports: Some(PortAssignment::Preserved), ..NatProfile::default() };
        assert_eq!(AccessKind::of(&kept), Some(AccessKind::PortFiltered), "the filter is taken for a tight one");
        let symmetric = NatProfile { mapping: Some(Mapping::AddressDependent), ..NatProfile::default() };
        assert_eq!(AccessKind::of(&symmetric), Some(AccessKind::SymmetricRandom));
        let row = Some(PortAssignment::Sequential { step: 2 });
        assert_eq!(AccessKind::of(&NatProfile { ports: row, ..symmetric }), Some(AccessKind::SymmetricForeseeable));
    }
}
