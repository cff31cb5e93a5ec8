//! The kinds of access to the Internet that there are, by name, and what each stands for in the world.

use std::time::Duration;

use super::addresses::Families;
use super::behaviour::{
    Behaviour, Filtering, Hairpinning, Lifetimes, Limits, Mapping, PortAssignment, Quirks, StrayInbound,
};
use super::link::Line;
use super::topology::{INTERNET, NetworkId, Router, RouterId, Topology};

/// What is between a host and the Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What the host speaks.
    pub families: Families,
    /// The routers, the one nearest to the host first; none for a public host.
    pub routers: Vec<Router>,
}

impl Access {
    /// Builds the routers on a network, each hanging on the one above by such a line. Gives the network for the host, and
    /// the routers, again the nearest first.
    pub fn build<P: Clone>(
        &self,
        topology: &mut Topology<P>,
        above: NetworkId,
        line: Line,
    ) -> (NetworkId, Vec<RouterId>) {
        let (mut network, mut ids) = (above, Vec::new());
        for router in self.routers.iter().rev() {
            let id = topology.add_router(network, router.clone(), line);
            network = topology.lan(id);
            ids.insert(0, id);
        }
        (network, ids)
    }

    /// As [`Access::build`], on the Internet.
    pub fn build_on_the_internet<P: Clone>(&self, topology: &mut Topology<P>, line: Line) -> NetworkId {
        self.build(topology, INTERNET, line).0
    }
}

/// A kind of access with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// As scenarios and tables call it.
    pub name: &'static str,
    /// The real devices and situations.
    pub stands_for: &'static str,
    /// What it is.
    pub access: Access,
}

/// The preset of this name.
pub fn named(name: &str) -> Option<Preset> {
    all().into_iter().find(|preset| preset.name == name)
}

/// All presets, the friendliest first.
pub fn all() -> Vec<Preset> {
    vec![
        Preset {
            name: "open",
            stands_for: "a server, a university's public addresses: no NAT, no firewall",
            access: Access { families: Families::Ipv4, routers: vec![] },
        },
        behind_nat("full_cone", "a home box with \"full cone NAT\" switched on, as gamers do", full_cone()),
        behind_nat("address_restricted", "older consumer boxes: \"restricted cone\"", address_restricted()),
        behind_nat(
            "port_restricted",
            "home boxes that keep one mapping, with a port of their own choice",
            port_restricted(),
        ),
        behind_nat("home", "Linux masquerade, unsolicited input dropped: OpenWrt and most home boxes", home()),
        behind_nat("home_open", "Linux masquerade and nothing else: input accepted, strays occupy ports", home_open()),
        behind_nat("hairpin", "a home box with NAT loopback, as RFC 4787 demands", hairpin()),
        behind_nat("no_loopback", "a home box that keeps ports and turns nothing round", home_box()),
        behind_nat(
            "symmetric_sequential",
            "older office boxes: the next port up for each destination",
            symmetric_sequential(),
        ),
        behind_nat(
            "symmetric_random",
            "pf as pfSense and OPNsense have it: any port for each destination",
            symmetric_random(),
        ),
        behind_nat(
            "corporate",
            "a company's firewall: symmetric, short memory, no ICMP; masquerade fully-random",
            corporate(),
        ),
        Preset {
            name: "cgnat",
            stands_for: "straight behind a carrier's NAT by RFC 6888: a block of ports for each subscriber",
            access: behind(vec![carrier(cgnat())]),
        },
        Preset {
            name: "home_behind_cgnat",
            stands_for: "a home box whose provider has no IPv4 addresses left: two NATs in series",
            access: behind(vec![Router::ipv4(home()), carrier(cgnat())]),
        },
        Preset {
            name: "mobile",
            stands_for: "a phone: symmetric within a block of ports, few mappings, short memory, several addresses",
            access: behind(vec![carrier(mobile())]),
        },
        behind_nat("udp_blocked", "a hotel, a ministry: nothing but TCP gets out", udp_blocked()),
        Preset {
            name: "ipv6_firewall",
            stands_for: "an IPv6-only host behind a home box's stateful firewall (RFC 6092)",
            access: Access {
                families: Families::Ipv6,
                routers: vec![Router { ipv4: None, ipv6: Some(ipv6_firewall()), carrier: false, isolates: false }],
            },
        },
        Preset {
            name: "dual_stack",
            stands_for: "a home with both: masquerade for IPv4, a stateful firewall for IPv6",
            access: Access {
                families: Families::Both,
                routers: vec![Router { ipv6: Some(ipv6_firewall()), ..Router::ipv4(home()) }],
            },
        },
    ]
}

/// Endpoint-independent in everything.
pub fn full_cone() -> Behaviour {
    Behaviour::nat(Mapping::EndpointIndependent, Filtering::EndpointIndependent).ports(PortAssignment::Preserving)
}

/// Filters by address.
pub fn address_restricted() -> Behaviour {
    Behaviour::nat(Mapping::EndpointIndependent, Filtering::AddressDependent).ports(PortAssignment::Preserving)
}

/// Filters by address and port, and gives out random ports.
pub fn port_restricted() -> Behaviour {
    Behaviour::nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
}

/// Linux masquerade as measured, unsolicited input dropped.
pub fn home() -> Behaviour {
    Behaviour::nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
        .ports(PortAssignment::PreservingOverloading)
        .lifetimes(Lifetimes::LINUX)
}

/// Linux masquerade as measured, unsolicited input accepted.
pub fn home_open() -> Behaviour {
    home().quirks(Quirks { stray_inbound: StrayInbound::OccupiesTuple, ..Quirks::default() })
}

/// A box that keeps ports without overloading them.
pub fn home_box() -> Behaviour {
    port_restricted().ports(PortAssignment::Preserving)
}

/// A box that keeps ports, and turns packets round as it should.
pub fn hairpin() -> Behaviour {
    home_box().hairpinning(Hairpinning::ExternalSource)
}

/// A new port for each destination, the next one up; up to two other connections in between.
pub fn symmetric_sequential() -> Behaviour {
    symmetric_random().ports(PortAssignment::Sequential { step: 1, noise: 2 })
}

/// A new random port for each destination.
pub fn symmetric_random() -> Behaviour {
    Behaviour::nat(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent)
}

/// Linux masquerade fully-random, as measured, behind a stricter filter. Its lifetimes are those of the firewalls it
/// stands for.
pub fn corporate() -> Behaviour {
    symmetric_random()
        .lifetimes(Lifetimes::fixed(Duration::from_secs(30)))
        .quirks(Quirks { drops_icmp: true, ..Quirks::default() })
}

/// Blocks of 512 ports, as many carriers give: enough for a home, and 126 subscribers on an address.
pub fn cgnat() -> Behaviour {
    let limits = Limits { mappings_per_host: Some(512), mappings: 1 << 20, ..Limits::default() };
    Behaviour::nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
        .ports(PortAssignment::Block { size: 512 })
        .limits(limits)
}

/// Symmetric within a block of 1,024 ports.
pub fn mobile() -> Behaviour {
    let limits = Limits { mappings_per_host: Some(512), mappings: 1 << 20, ..Limits::default() };
    symmetric_random()
        .ports(PortAssignment::Block { size: 1024 })
        .lifetimes(Lifetimes::fixed(Duration::from_secs(30)))
        .limits(limits)
        .quirks(Quirks { external_addresses: 4, ..Quirks::default() })
}

/// No UDP at all.
pub fn udp_blocked() -> Behaviour {
    home().quirks(Quirks { blocks_udp: true, ..Quirks::default() })
}

/// Lets nobody in who was not spoken to, changes nothing.
pub fn ipv6_firewall() -> Behaviour {
    Behaviour::firewall(Filtering::AddressAndPortDependent).lifetimes(Lifetimes::LINUX)
}

fn behind_nat(name: &'static str, stands_for: &'static str, nat: Behaviour) -> Preset {
    Preset { name, stands_for, access: behind(vec![Router::ipv4(nat)]) }
}

fn behind(routers: Vec<Router>) -> Access {
    Access { families: Families::Ipv4, routers }
}

fn carrier(nat: Behaviour) -> Router {
    Router { carrier: true, ..Router::ipv4(nat) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn every_behaviour_reads_back_as_it_was_written() {
        for preset in all() {
            let spoken = |router: &Router| Family::ALL.map(|family| router.behaviour(family).cloned());
            for behaviour in preset.access.routers.iter().flat_map(spoken).flatten() {
                let written = serde_json::to_string(&behaviour).expect("it can be written");
                assert_eq!(serde_json::from_str::<Behaviour>(&written).expect(&written), behaviour);
            }
        }
        let line: Line =
            serde_json::from_str(r#"{"delay": 0.02, "loss": 0.01}"#).expect("the rest is as it is by default");
        assert_eq!(line, Line { loss: 0.01, ..Line::delay(Duration::from_millis(20)) });
        assert!(serde_json::from_str::<Line>(r#"{"dealy": 0.02}"#).is_err(), "a typing error is not a perfect line");
    }
}
