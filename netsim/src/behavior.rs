//! The words for what a NAT does: RFC 4787's.

use std::fmt;

use serde::Serialize;

/// How far one external port serves one internal one (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// For packets to everyone.
    EndpointIndependent,
    /// For packets to one address, whatever the port.
    AddressDependent,
    /// For packets to one address and port.
    AddressAndPortDependent,
}

/// Whose packets come in through a mapping (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Everyone's.
    EndpointIndependent,
    /// Those from an address that was sent to.
    AddressDependent,
    /// Those from an address and port that was sent to.
    AddressAndPortDependent,
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

/// What a NAT does with UDP, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Behavior {
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

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressDependent => "address-dependent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        })
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
