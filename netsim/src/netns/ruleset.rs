//! What a kernel router does, written in nftables' language.

use std::net::Ipv4Addr;

use super::port_mapper::PortMapping;
use super::prefix::Prefix;
use super::recorded;
use super::router::{Kind, NotByKernel, Router, WanInput};

/// RFC 1918, and RFC 6598 for carriers: a router sends nothing there through its WAN side, except to its neighbours on
/// the WAN link itself (it may hang behind another router).
const PRIVATE: &str = "{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 }";

/// Nothing passes; over with the next [`Rules::afresh`].
pub(super) const POWER_CUT: &str = "table ip router {
 chain power {
  type filter hook forward priority -1
  policy drop
 }
}
";

/// Where a router stands, between the interfaces `lan` and `wan`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) lan: Prefix,
    pub(crate) lan_address: Ipv4Addr,
    pub(crate) wan: Prefix,
    pub(crate) wan_address: Ipv4Addr,
}

/// A router's rules, wherever it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    kind: Kind,
    wan_input: WanInput,
    drops_icmp: bool,
    port_mapping: PortMapping,
}

impl Rules {
    pub(super) fn of(router: &Router) -> Result<Rules, NotByKernel> {
        let Router { wan_input, drops_icmp, port_mapping, .. } = *router;
        Ok(Rules { kind: router.kind()?, wan_input, drops_icmp, port_mapping })
    }

    /// Whether they remember mappings beside the kernel's connection tracking.
    pub(super) fn record(&self) -> bool {
        matches!(self.kind, Kind::Recorded(_))
    }

    /// Whether packets turn round on the LAN.
    pub(super) fn hairpin(&self) -> bool {
        matches!(self.kind, Kind::Recorded(recorded) if recorded.hairpins)
    }

    /// In place of those that are there, with whatever they remember.
    pub(super) fn afresh(&self, place: &Place) -> String {
        // Declared first, since only what is there can be deleted.
        format!("table ip router\ndelete table ip router\n{}", self.text(place))
    }

    /// The whole ruleset.
    pub(super) fn text(&self, place: &Place) -> String {
        let Place { lan, lan_address, wan, .. } = place;
        const MAPPED: &str = "\n  iifname \"wan\" oifname \"lan\" ct status dnat accept";
        let mapped = if self.port_mapping == PortMapping::NONE { "" } else { MAPPED };
        let (translation, let_in) = match self.kind {
            Kind::KernelsOwn => (kernels_own(*lan, "masquerade"), mapped),
            Kind::KernelsOwnRandom => (kernels_own(*lan, "masquerade fully-random"), mapped),
            Kind::Recorded(recorded) if recorded.hairpins => {
                (recorded::rules(&recorded, place), "\n  oifname \"lan\" ct status dnat accept")
            }
            Kind::Recorded(recorded) => (recorded::rules(&recorded, place), MAPPED),
        };
        let asking = self.port_mapping.input_rules();
        let input = match self.wan_input {
            // The second rule keeps the LAN side as silent about the WAN address as the WAN side is.
            WanInput::Drop => format!(
                "{asking}ct state established,related accept\n  \
                 iifname \"wan\" drop\n  \
                 iifname \"lan\" ip daddr != {lan_address} drop"
            ),
            WanInput::Accept => format!("{asking}accept"),
        };
        let icmp = if self.drops_icmp { "\n  meta l4proto icmp drop" } else { "" };
        format!(
            "table ip router {{
{translation} chain input {{
  type filter hook input priority filter
  {input}
 }}
 chain forward {{
  type filter hook forward priority filter
  policy drop{icmp}
  iifname \"lan\" oifname \"wan\" ip daddr {PRIVATE} ip daddr != {wan} drop
  ct state established,related accept{let_in}
  iifname \"lan\" oifname \"wan\" accept
 }}
}}
"
        )
    }
}

fn kernels_own(lan: Prefix, masquerade: &str) -> String {
    format!(
        " chain source_nat {{
  type nat hook postrouting priority srcnat
  oifname \"wan\" ip saddr {lan} {masquerade}
 }}
"
    )
}

#[cfg(test)]
mod tests {
    use crate::model::behaviour::{Filtering, Hairpinning, Mapping, PortAssignment};
    use crate::model::presets;

    use super::*;

    #[test]
    fn linux_masquerade_needs_few_words() {
        insta::assert_snapshot!(rules(Router::home()));
    }

    #[test]
    fn a_box_that_is_endpoint_independent_in_everything_remembers_the_least() {
        insta::assert_snapshot!(rules(Router::cell(Mapping::EndpointIndependent, Filtering::EndpointIndependent)));
    }

    #[test]
    fn a_box_that_hairpins_and_keeps_ports_filters_on_the_lan_too() {
        let hairpinning = Hairpinning::ExternalSource;
        let cell = Router::cell(Mapping::AddressDependent, Filtering::AddressAndPortDependent);
        insta::assert_snapshot!(rules(Router { hairpinning, ports: PortAssignment::Preserving, ..cell }));
    }

    #[test]
    fn a_sequence_is_a_list_with_gaps_for_the_others() {
        let ports = PortAssignment::Sequential { step: 1, noise: 2 };
        let cell = Router::cell(Mapping::AddressAndPortDependent, Filtering::AddressDependent);
        let text = rules(Router { ports, drops_icmp: true, ..cell });
        let (begin, end) = (text.find("5 : ").expect("six ports"), text.find(" }\n  oifname").expect("the last"));
        insta::assert_snapshot!(format!("{}...{}", &text[..begin], &text[end..]));
    }

    #[test]
    fn a_box_that_maps_ports_hears_who_asks_and_lets_in_what_was_asked_for() {
        let port_mapping = PortMapping { upnp: true, nat_pmp: true, pcp: false };
        insta::assert_snapshot!(rules(Router { port_mapping, ..Router::home() }));
    }

    #[test]
    fn what_a_router_is_said_to_do_makes_the_same_router() {
        for router in [Router::home(), Router::plain_linux(), Router::corporate()] {
            assert_eq!(Router::try_from(&router.behaviour()), Ok(router));
        }
        for mapping in Mapping::ALL {
            for filtering in Filtering::ALL {
                let router = Router::cell(mapping, filtering);
                assert_eq!(Router::try_from(&router.behaviour()), Ok(router));
            }
        }
        assert_eq!(presets::home(), Router::home().behaviour());
        assert_eq!(presets::home_open(), Router::plain_linux().behaviour());
    }

    fn rules(router: Router) -> String {
        let prefix = |text: &str| text.parse().expect("a prefix");
        let place = Place {
            lan: prefix("192.168.1.0/24"),
            lan_address: [192, 168, 1, 1].into(),
            wan: prefix("11.1.1.0/24"),
            wan_address: [11, 1, 1, 2].into(),
        };
        Rules::of(&router).expect("the kernel can").text(&place)
    }
}
