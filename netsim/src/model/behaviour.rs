//! The words for what a NAT does: RFC 4787's, and a few for what it says NATs should not do.
//!
//! A [`Behaviour`] is what a box is *configured* to do. What can be seen of it from outside is [`Observed`](super::Observed).

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far one external port serves one internal one (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// For packets to everyone.
    EndpointIndependent,
    /// For packets to one address, whatever the port.
    AddressDependent,
    /// For packets to one address and port.
    AddressAndPortDependent,
}

impl Mapping {
    /// All three, from the friendliest.
    pub const ALL: [Mapping; 3] =
        [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
}

/// Whose packets come in through a mapping (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Everyone's.
    EndpointIndependent,
    /// Those from an address that was sent to.
    AddressDependent,
    /// Those from an address and port that was sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// All three, from the friendliest.
    pub const ALL: [Filtering; 3] =
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];
}

/// Which external port a new mapping gets (RFC 4787, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortAssignment {
    /// The internal one if no other mapping has it, else a random one: port preservation without overloading.
    Preserving,
    /// As Linux: the internal one even if another host's mapping has it, as long as the two talk to different remote
    /// endpoints. When they meet at one, the later gets a random port for that remote endpoint alone, and its mapping is
    /// endpoint-independent no more (a violation of REQ-3).
    PreservingOverloading,
    /// Each is `step` above (or below) the last one; between two of ours up to `noise` mappings go to the box's other users.
    Sequential {
        /// May be negative, not 0.
        step: i16,
        /// 0 for a box that nobody else uses.
        noise: u16,
    },
    /// Any.
    Random,
    /// Any within a block of so many consecutive ports that belongs to the one internal host (RFC 6888, RFC 7422).
    Block {
        /// Ports per host.
        size: u16,
    },
    /// Any of the internal port's parity (REQ-4).
    Parity,
}

/// What happens to a packet from the inside to the box's own external address (RFC 4787, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpinning {
    /// It is dropped.
    Off,
    /// It is turned round, and comes from the sender's external endpoint, as it should (REQ-9).
    ExternalSource,
    /// It is turned round, and comes from the sender's internal endpoint.
    InternalSource,
}

/// Whose packets keep a mapping alive (RFC 4787, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Only those that leave.
    OutboundOnly,
    /// Those that are let in, too.
    BothWays,
}

/// How long a box remembers a UDP session in which nothing moves. A mapping lives as long as one of its sessions; a filter
/// is open for as long as the session that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lifetimes {
    /// While no answer has come.
    #[serde(with = "super::seconds")]
    pub unreplied: Duration,
    /// Once answers have come.
    #[serde(with = "super::seconds")]
    pub replied: Duration,
    /// A session younger than this counts as unreplied; Linux has 2 s, most have 0.
    #[serde(with = "super::seconds")]
    pub settles_after: Duration,
    /// Whose packets count.
    pub refresh: Refresh,
}

impl Lifetimes {
    /// The Linux kernel's own: 30 s, 120 s.
    pub const LINUX: Lifetimes = Lifetimes {
        unreplied: Duration::from_secs(30),
        replied: Duration::from_secs(120),
        settles_after: Duration::from_secs(2),
        refresh: Refresh::BothWays,
    };

    /// What RFC 4787 recommends (REQ-5): five minutes, refreshed from inside.
    pub const RECOMMENDED: Lifetimes = Lifetimes::fixed(Duration::from_secs(300));

    /// The same for all sessions, refreshed from inside only.
    pub const fn fixed(lifetime: Duration) -> Lifetimes {
        Lifetimes {
            unreplied: lifetime,
            replied: lifetime,
            settles_after: Duration::ZERO,
            refresh: Refresh::OutboundOnly,
        }
    }
}

/// How much there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Mappings of one internal host at a time; a packet that would need one more is dropped.
    pub mappings_per_host: Option<usize>,
    /// Mappings of the box at a time. Linux has 65,536 on a small machine.
    pub mappings: usize,
    /// External ports that may be given out; with all in use, new mappings fail.
    pub ports: RangeInclusive<u16>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { mappings_per_host: None, mappings: 65_536, ports: 1024..=65_535 }
    }
}

/// What an unsolicited packet from outside leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrayInbound {
    /// Nothing.
    Ignored,
    /// An entry that occupies (external endpoint, remote endpoint) for the unreplied lifetime: a mapping that would need
    /// that pair moves to another port. A Linux router whose own input is open does this.
    OccupiesTuple,
}

/// Which of several external addresses a mapping gets (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Always the same for one internal host (REQ-2).
    Paired,
    /// Any.
    Arbitrary,
}

/// What else is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quirks {
    /// Unsolicited packets from outside.
    pub stray_inbound: StrayInbound,
    /// With more than one external address.
    pub pooling: Pooling,
    /// How many of those there are.
    pub external_addresses: u8,
    /// No UDP passes in either direction.
    pub blocks_udp: bool,
    /// No ICMP passes: neither pings nor errors.
    pub drops_icmp: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Quirks {
            stray_inbound: StrayInbound::Ignored,
            pooling: Pooling::Paired,
            external_addresses: 1,
            blocks_udp: false,
            drops_icmp: false,
        }
    }
}

/// Does the box change addresses?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Translation {
    /// Address and port: NAPT.
    AddressAndPort,
    /// Nothing: a stateful firewall, which opens and closes as a NAT does and leaves the addresses alone (RFC 6092).
    None,
}

/// All that a box does to the packets that pass through it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Behaviour {
    /// NAT or firewall.
    pub translation: Translation,
    /// How far one external port serves. With [`PortAssignment::PreservingOverloading`] it counts for nothing: that gives
    /// every session the internal port, which is endpoint-independent until two hosts clash.
    pub mapping: Mapping,
    /// Whose packets come in.
    pub filtering: Filtering,
    /// External ports.
    pub ports: PortAssignment,
    /// Packets to the own external address.
    pub hairpinning: Hairpinning,
    /// Of idle UDP sessions.
    pub lifetimes: Lifetimes,
    /// How much there is.
    #[serde(default)]
    pub limits: Limits,
    /// What is wrong with it.
    #[serde(default)]
    pub quirks: Quirks,
}

impl Behaviour {
    /// A NAT of this cell of the table mapping x filtering: random ports, no hairpinning, five minutes, no quirks.
    pub fn nat(mapping: Mapping, filtering: Filtering) -> Self {
        Behaviour {
            translation: Translation::AddressAndPort,
            mapping,
            filtering,
            ports: PortAssignment::Random,
            hairpinning: Hairpinning::Off,
            lifetimes: Lifetimes::RECOMMENDED,
            limits: Limits::default(),
            quirks: Quirks::default(),
        }
    }

    /// A firewall that changes no addresses.
    pub fn firewall(filtering: Filtering) -> Self {
        Behaviour {
            translation: Translation::None,
            ports: PortAssignment::Preserving,
            ..Behaviour::nat(Mapping::EndpointIndependent, filtering)
        }
    }

    /// The mapping that can be seen.
    pub fn seen_mapping(&self) -> Mapping {
        match (self.translation, self.ports) {
            (Translation::None, _) | (_, PortAssignment::PreservingOverloading) => Mapping::EndpointIndependent,
            _ => self.mapping,
        }
    }

    /// With these external ports.
    pub fn ports(self, ports: PortAssignment) -> Self {
        Behaviour { ports, ..self }
    }

    /// With this hairpinning.
    pub fn hairpinning(self, hairpinning: Hairpinning) -> Self {
        Behaviour { hairpinning, ..self }
    }

    /// With these lifetimes.
    pub fn lifetimes(self, lifetimes: Lifetimes) -> Self {
        Behaviour { lifetimes, ..self }
    }

    /// With these limits.
    pub fn limits(self, limits: Limits) -> Self {
        Behaviour { limits, ..self }
    }

    /// With these quirks.
    pub fn quirks(self, quirks: Quirks) -> Self {
        Behaviour { quirks, ..self }
    }
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

impl fmt::Display for PortAssignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortAssignment::Preserving => f.pad("preserving"),
            PortAssignment::PreservingOverloading => f.pad("preserving, overloading"),
            PortAssignment::Sequential { step, noise: 0 } => write!(f, "sequential by {step}"),
            PortAssignment::Sequential { step, noise } => {
                write!(f, "sequential by {step}, up to {noise} others between")
            }
            PortAssignment::Random => f.pad("random"),
            PortAssignment::Block { size } => write!(f, "random in a block of {size}"),
            PortAssignment::Parity => f.pad("random of the same parity"),
        }
    }
}
