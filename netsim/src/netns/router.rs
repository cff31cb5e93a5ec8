//! How a router is to be: the words of [`model::behaviour`](crate::model::behaviour) that a kernel can be told.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::port_mapper::PortMapping;
use super::prefix::Prefix;
use crate::model::behaviour::{
    Filtering, Hairpinning, Lifetimes, Limits, Mapping, PortAssignment, Quirks, StrayInbound, Translation,
};
use crate::model::{Behaviour, Survey};

/// What the router does with packets that arrive on its WAN side, are for itself, and answer nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WanInput {
    /// Drops them silently, as a consumer's box does.
    Drop,
    /// Takes them in, finds nobody, and answers "port unreachable", as a plain Linux machine does. The packet leaves a
    /// connection-tracking entry, and that entry occupies the port it was sent to.
    Accept,
}

/// How long the router remembers a UDP flow in which nothing moves. The kernel looks in seconds, and packets of both
/// directions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UdpTimeouts {
    /// While no answer has come, and for any flow younger than two seconds.
    pub unreplied: Duration,
    /// Once answers have come.
    pub stream: Duration,
}

impl UdpTimeouts {
    /// The same for all flows.
    pub const fn fixed(timeout: Duration) -> UdpTimeouts {
        UdpTimeouts { unreplied: timeout, stream: timeout }
    }
}

impl Default for UdpTimeouts {
    /// The kernel's own: 30 s and 120 s. RFC 4787, REQ-5 wants at least two minutes.
    fn default() -> UdpTimeouts {
        UdpTimeouts { unreplied: Lifetimes::LINUX.unreplied, stream: Lifetimes::LINUX.replied }
    }
}

/// How a router is to be; start from [`Router::home`] or [`Router::cell`] and change what the story is about.
///
/// The kernel can be most of what RFC 4787 has words for, in one of two ways. Its own NAT is Linux `masquerade`: ports
/// [overloaded](PortAssignment::PreservingOverloading) with endpoint-independent mapping, or [random](PortAssignment::Random)
/// ones with address-and-port-dependent mapping, in both cases behind address-and-port-dependent filtering. All other
/// combinations are made by rules that record each mapping and look it up again. What neither can be is
/// [refused](NotByKernel) when the router is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Router {
    /// Unsolicited packets on the WAN side. Only the kernel's own NAT may accept them.
    pub wan_input: WanInput,
    /// How far one external port serves.
    pub mapping: Mapping,
    /// Whose packets come in.
    pub filtering: Filtering,
    /// External ports; neither in blocks nor by parity. Sequential ones begin anew after 2,048.
    pub ports: PortAssignment,
    /// Packets from the LAN to the WAN address: off, or from the external source. They pass the filter as others do.
    pub hairpinning: Hairpinning,
    /// Neither pings nor errors pass.
    pub drops_icmp: bool,
    /// The LAN's prefix; the router takes its first address. `None`: the next free `192.168.x.0/24`.
    pub lan: Option<Prefix>,
    /// The router's WAN address. `None`: the lowest free one.
    pub wan_address: Option<Ipv4Addr>,
    /// How long idle mappings live. Except with the kernel's own NAT both must be the same.
    pub udp_timeouts: UdpTimeouts,
    /// How its LAN may ask it for ports. Behind a carrier, where its own address is a private one, it refuses them all.
    pub port_mapping: PortMapping,
}

impl Router {
    /// A consumer's box: keeps ports, drops what it did not ask for.
    pub fn home() -> Router {
        Router {
            wan_input: WanInput::Drop,
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::AddressAndPortDependent,
            ports: PortAssignment::PreservingOverloading,
            hairpinning: Hairpinning::Off,
            drops_icmp: false,
            lan: None,
            wan_address: None,
            udp_timeouts: UdpTimeouts::default(),
            port_mapping: PortMapping::NONE,
        }
    }

    /// A Linux machine on which somebody typed `masquerade` and nothing else.
    pub fn plain_linux() -> Router {
        Router { wan_input: WanInput::Accept, ..Router::home() }
    }

    /// A company's firewall: a new random port for each destination, a "symmetric" NAT.
    pub fn corporate() -> Router {
        Router { mapping: Mapping::AddressAndPortDependent, ports: PortAssignment::Random, ..Router::home() }
    }

    /// A carrier's NAT: its LAN is the shared address space of RFC 6598, its customers' routers hang on it.
    pub fn carrier() -> Router {
        Router { lan: Some(Prefix::literal(100, 64, 0, 0, 16)), ..Router::home() }
    }

    /// One of the nine cells of the table mapping x filtering: random ports, no hairpinning, five minutes.
    pub fn cell(mapping: Mapping, filtering: Filtering) -> Router {
        let five_minutes = Lifetimes::RECOMMENDED.replied;
        let ports = PortAssignment::Random;
        Router { mapping, filtering, ports, udp_timeouts: UdpTimeouts::fixed(five_minutes), ..Router::home() }
    }

    /// The same router in the words of the model.
    pub fn behaviour(&self) -> Behaviour {
        let stray_inbound = match self.wan_input {
            WanInput::Drop => StrayInbound::Ignored,
            WanInput::Accept => StrayInbound::OccupiesTuple,
        };
        let UdpTimeouts { unreplied, stream } = self.udp_timeouts;
        Behaviour::nat(self.mapping, self.filtering)
            .ports(self.ports)
            .hairpinning(self.hairpinning)
            .lifetimes(Lifetimes { unreplied, replied: stream, ..Lifetimes::LINUX })
            .quirks(Quirks { stray_inbound, drops_icmp: self.drops_icmp, ..Quirks::default() })
    }

    /// What [`survey`](super::survey()) must find out about such a router.
    pub fn promised(&self) -> Survey {
        Survey::from(&self.behaviour())
    }

    /// Which of the two ways leads there.
    pub(super) fn kind(&self) -> Result<Kind, NotByKernel> {
        let own = self.filtering == Filtering::AddressAndPortDependent && self.hairpinning == Hairpinning::Off;
        match (self.mapping, self.ports) {
            (Mapping::EndpointIndependent, PortAssignment::PreservingOverloading) if own => Ok(Kind::KernelsOwn),
            (Mapping::AddressAndPortDependent, PortAssignment::Random) if own => Ok(Kind::KernelsOwnRandom),
            (_, PortAssignment::PreservingOverloading) => Err(NotByKernel(
                "overloading ports, except with endpoint-independent mapping, address-and-port-dependent filtering and no \
                 hairpinning",
            )),
            _ => self.recorded().map(Kind::Recorded),
        }
    }

    fn recorded(&self) -> Result<Recorded, NotByKernel> {
        let ports = match self.ports {
            PortAssignment::Preserving => RecordedPorts::Preserving,
            PortAssignment::Random => RecordedPorts::Random,
            PortAssignment::Sequential { step: 0, .. } => return Err(NotByKernel("giving out ports in steps of 0")),
            PortAssignment::Sequential { step, noise } => RecordedPorts::Sequential { step, noise },
            PortAssignment::PreservingOverloading => return Err(NotByKernel("overloading ports")),
            PortAssignment::Block { .. } => return Err(NotByKernel("giving out ports in blocks")),
            PortAssignment::Parity => return Err(NotByKernel("giving out ports by parity")),
        };
        let hairpins = match self.hairpinning {
            Hairpinning::Off => false,
            Hairpinning::ExternalSource => true,
            Hairpinning::InternalSource => return Err(NotByKernel("hairpinning with the internal source")),
        };
        let UdpTimeouts { unreplied, stream } = self.udp_timeouts;
        if unreplied != stream {
            return Err(NotByKernel("having two UDP timeouts, except with Linux masquerade"));
        }
        if self.wan_input == WanInput::Accept {
            return Err(NotByKernel("accepting unsolicited input, except with Linux masquerade"));
        }
        Ok(Recorded { mapping: self.mapping, filtering: self.filtering, ports, hairpins, lifetime: stream })
    }
}

/// The nearest router: whatever the lifetimes say, the kernel counts packets of both directions.
impl TryFrom<&Behaviour> for Router {
    type Error = NotByKernel;

    fn try_from(behaviour: &Behaviour) -> Result<Router, NotByKernel> {
        let Quirks { stray_inbound, pooling: _, external_addresses, blocks_udp, drops_icmp } = behaviour.quirks;
        if behaviour.translation == Translation::None {
            return Err(NotByKernel("leaving the addresses alone"));
        }
        if blocks_udp {
            return Err(NotByKernel("letting no UDP pass"));
        }
        if external_addresses != 1 {
            return Err(NotByKernel("several external addresses"));
        }
        if behaviour.limits != Limits::default() {
            return Err(NotByKernel("limits to mappings or ports"));
        }
        let wan_input = match stray_inbound {
            StrayInbound::Ignored => WanInput::Drop,
            StrayInbound::OccupiesTuple => WanInput::Accept,
        };
        let router = Router {
            wan_input,
            mapping: behaviour.mapping,
            filtering: behaviour.filtering,
            ports: behaviour.ports,
            hairpinning: behaviour.hairpinning,
            drops_icmp,
            udp_timeouts: UdpTimeouts { unreplied: behaviour.lifetimes.unreplied, stream: behaviour.lifetimes.replied },
            ..Router::home()
        };
        router.kind().map(|_| router)
    }
}

/// What was asked for and no router made of kernel rules can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kernel rules do not do this: {0}")]
pub struct NotByKernel(pub(super) &'static str);

/// How the kernel is brought to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `masquerade`.
    KernelsOwn,
    /// `masquerade fully-random`.
    KernelsOwnRandom,
    /// By rules that record each mapping.
    Recorded(Recorded),
}

/// What those rules are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    pub(super) ports: RecordedPorts,
    pub(super) hairpins: bool,
    pub(super) lifetime: Duration,
}

/// Which port they give to a mapping that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordedPorts {
    /// The internal one, else a random one.
    Preserving,
    /// Any.
    Random,
    /// As [`PortAssignment::Sequential`]; the step is not 0.
    Sequential { step: i16, noise: u16 },
}
