//! What a NAT does, in the words of RFC 4787. A profile is a guess from a few observations: it orders the strategies of
//! punching and never rules one out.

use serde::{Deserialize, Serialize};

/// Which external endpoint a NAT uses for packets to different destinations (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// The same for all destinations.
    EndpointIndependent,
    /// One for each destination address.
    AddressDependent,
    /// One for each destination address and port: "symmetric".
    AddressAndPortDependent,
}

/// Whose packets a NAT lets in through a mapping (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filtering {
    /// Everybody's.
    EndpointIndependent,
    /// Those from addresses that were sent to.
    AddressDependent,
    /// Those from addresses and ports that were sent to.
    AddressAndPortDependent,
}

/// How external ports are chosen, as far as a handful of observations shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortAssignment {
    /// External port = internal port.
    Preserved,
    /// Each new mapping is about `step` above (or below) the one before.
    Sequential {
        /// The median difference.
        step: i16,
    },
    /// No pattern seen, in the range `low..=high`.
    Random {
        /// The lowest port observed.
        low: u16,
        /// The highest.
        high: u16,
    },
}

/// What a client knows of the NAT in front of it. `None`: not found out, for example because the server has only one
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NatProfile {
    /// Is any address translated at all?
    pub translated: Option<bool>,
    /// Mapping behaviour.
    pub mapping: Option<Mapping>,
    /// Filtering behaviour.
    pub filtering: Option<Filtering>,
    /// Port assignment.
    pub ports: Option<PortAssignment>,
    /// Does a packet to one's own external endpoint come back?
    pub hairpinning: Option<bool>,
}
