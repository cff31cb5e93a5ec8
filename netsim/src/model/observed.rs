//! What can be seen of a NAT from outside: the answer of a survey, and what a [`Behaviour`] promises such a survey.

use std::fmt;

use serde::Serialize;

use super::behaviour::{Behaviour, Filtering, Hairpinning, Mapping, PortAssignment, StrayInbound, Translation};

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

/// What a NAT does with UDP, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Observed {
    /// How far one external port serves.
    pub mapping: Mapping,
    /// Whether the external port is the internal one where it is free (RFC 4787, section 4.2.1).
    pub port_preservation: bool,
    /// Whose packets come in.
    pub filtering: Filtering,
    /// Whether two hosts on its LAN reach each other by their external addresses (RFC 4787, section 6).
    pub hairpinning: bool,
    /// Whether an unsolicited probe spoils a later mapping.
    pub early_probe: EarlyProbe,
}

impl From<&Behaviour> for Observed {
    fn from(behaviour: &Behaviour) -> Observed {
        let port_preservation = behaviour.translation == Translation::None
            || matches!(behaviour.ports, PortAssignment::Preserving | PortAssignment::PreservingOverloading);
        // A mapping that serves one remote endpoint alone has nothing that could be probed before it is there. One that
        // serves all is made once, and moves later only if each session looks for its tuple anew.
        let early_probe = match (behaviour.seen_mapping(), behaviour.ports, behaviour.quirks.stray_inbound) {
            (Mapping::EndpointIndependent, PortAssignment::PreservingOverloading, StrayInbound::OccupiesTuple) => {
                EarlyProbe::MovesMapping
            }
            _ if port_preservation => EarlyProbe::Harmless,
            _ => EarlyProbe::NotApplicable,
        };
        Observed {
            mapping: behaviour.seen_mapping(),
            port_preservation,
            filtering: behaviour.filtering,
            hairpinning: behaviour.hairpinning != Hairpinning::Off,
            early_probe,
        }
    }
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
