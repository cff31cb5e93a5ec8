//! What all that was found out means for somebody who wants direct connections, and the one thing that would help most: in plain
//! words, for people. It says what to expect and no more; whatever it says, everything is tried.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::nat::NatProfile;
use crate::reach::{self, AccessKind};

/// What was found out about how this machine gets onto the Internet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Nothing comes back over UDP, and over TCP the rendezvous answers.
    pub udp_blocked: bool,
    /// Our address is shown to the rendezvous alone, and the NAT is not looked at.
    pub relay_only: bool,
    /// What the NAT does.
    pub profile: NatProfile,
    /// The router has given us a port.
    pub mapped: bool,
    /// There is another NAT beyond the router, or our own address is one of a carrier's.
    pub carrier: bool,
    /// There is a global IPv6 address.
    pub ipv6: bool,
    /// Our way out is through a tunnel of somebody's.
    pub vpn: bool,
}

/// The one change that would help most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing is missing.
    Nothing,
    /// The tunnel's other end is what is in the way.
    LeaveVpn,
    /// Nothing can be done here.
    OtherNetwork,
    /// Whoever shows no address has no direct connections.
    ShowAddress,
    /// The router may give out ports.
    PortMapping,
    /// The outer NAT is a carrier's, on which nobody has a say.
    PublicAddress,
    /// Too little is known.
    SecondAddress,
}

impl Circumstances {
    /// What this amounts to for others; `None` if too little is known.
    pub fn kind(&self) -> Option<AccessKind> {
        match (self.udp_blocked, self.mapped) {
            (true, _) => Some(AccessKind::UdpBlocked),
            (false, true) => Some(AccessKind::Open),
            (false, false) => AccessKind::of(&self.profile).filter(|_| !self.relay_only),
        }
    }

    /// To whom this machine will be direct.
    pub fn verdict(&self) -> String {
        if self.relay_only && !self.udp_blocked {
            return "Your address is shown to the rendezvous alone (--relay-only), so your router was not looked at. \
                    No direct connections; messages go through the rendezvous."
                .to_owned();
        }
        let what = match (self.udp_blocked, self.mapped, self.profile.translated, AccessKind::of(&self.profile)) {
            (true, ..) => {
                return "UDP is blocked: nothing came back from the rendezvous over UDP, and over TCP it answers. \
                        No direct connections from here; messages go through the rendezvous."
                    .to_owned();
            }
            (_, true, ..) => "Your router has given you a port at which everybody reaches you.",
            (_, _, Some(false), Some(AccessKind::Open)) => {
                "No router translates your address, and nothing is filtered."
            }
            (_, _, Some(false), Some(_)) => {
                "No router translates your address; a firewall keeps out whom you did not speak to."
            }
            (_, _, _, Some(kind)) if kind.is_symmetric() => "Your router takes another port for each destination.",
            (_, _, _, Some(_)) if self.profile.mapping.is_none() => {
                "Your router keeps your port numbers, and so most likely one port for all destinations."
            }
            (_, _, _, Some(AccessKind::Open)) => {
                "Your router keeps one port for all destinations, and lets everybody in."
            }
            (_, _, _, Some(_)) => "Your router keeps one port for all destinations.",
            (_, _, Some(true), None) => "Your router translates your address; in which way could not be tested fully.",
            (_, _, _, None) => "Nothing is known of your router yet.",
        };
        let to_whom =
            self.kind().map_or_else(|| "Direct connections are tried all the same.".to_owned(), reach::in_words);
        let ipv6 = if self.ipv6 { " Over IPv6 direct with everybody who has it." } else { "" };
        format!("{what} {to_whom}{ipv6}")
    }

    /// What would help most.
    pub fn advice(&self) -> Advice {
        let Circumstances { udp_blocked, mapped, carrier, vpn, .. } = *self;
        match self.kind() {
            _ if self.relay_only => Advice::ShowAddress,
            _ if mapped && !udp_blocked => Advice::Nothing,
            Some(AccessKind::Open) => Advice::Nothing,
            Some(kind) if vpn && (udp_blocked || kind.is_symmetric()) => Advice::LeaveVpn,
            Some(AccessKind::UdpBlocked) => Advice::OtherNetwork,
            // A firewall in front of one's own address lets in what the host has asked for.
            Some(_) if self.profile.translated == Some(false) => Advice::Nothing,
            Some(_) if carrier => Advice::PublicAddress,
            Some(_) => Advice::PortMapping,
            None => Advice::SecondAddress,
        }
    }
}

/// Is this one of the addresses that carriers give to their customers' routers, to translate them (RFC 6598)?
pub fn is_carriers(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Advice::Nothing => "nothing is missing for direct connections",
            Advice::LeaveVpn => {
                "leave the VPN, or let Punchline go past it: what is in the way stands at the VPN's other end"
            }
            Advice::OtherNetwork => {
                "use another network, or ask whoever runs this one to let UDP out; no setting of yours replaces that"
            }
            Advice::ShowAddress => "leave out --relay-only, if your contacts may see your address",
            Advice::PortMapping => {
                "switch on UPnP, NAT-PMP or PCP at your router; with a port from it everybody who has UDP reaches you at once"
            }
            Advice::PublicAddress => {
                "your router is behind a carrier's NAT: ask the provider for IPv6 or a public address, and put a second \
                 router of your own into bridge mode"
            }
            Advice::SecondAddress => {
                "have whoever runs the rendezvous give it a second address, so that your router can be told apart from others"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Filtering, Mapping, PortAssignment};

    fn profile(mapping: Mapping, filtering: Filtering, ports: PortAssignment) -> NatProfile {
        let (mapping, filtering, ports) = (Some(mapping), Some(filtering), Some(ports));
        NatProfile { translated: Some(true), mapping, filtering, ports, hairpinning: Some(false) }
    }

    fn home() -> Circumstances {
        let (mapping, filtering) = (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
        Circumstances { profile: profile(mapping, filtering, PortAssignment::Preserved), ..Circumstances::default() }
    }

    fn corporate() -> Circumstances {
        let any = PortAssignment::Random { low: 1030, high: 65_000 };
        let profile = profile(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, any);
        Circumstances { profile, ..Circumstances::default() }
    }

    #[test]
    fn each_situation_is_told_in_words_with_what_would_help() {
        let public =
            NatProfile { translated: Some(false), filtering: Some(Filtering::EndpointIndependent), ..home().profile };
        let cases = [
            ("public", Circumstances { profile: public, ..home() }),
            (
                "a firewall",
                Circumstances { profile: NatProfile { translated: Some(false), ..home().profile }, ..home() },
            ),
            ("home", home()),
            ("home with a port", Circumstances { mapped: true, ..home() }),
            ("home and IPv6", Circumstances { ipv6: true, ..home() }),
            ("behind a carrier", Circumstances { carrier: true, ..home() }),
            ("corporate", corporate()),
            ("corporate with a port", Circumstances { mapped: true, ..corporate() }),
            ("corporate by VPN", Circumstances { vpn: true, ..corporate() }),
            ("UDP blocked", Circumstances { udp_blocked: true, ..Circumstances::default() }),
            ("a rendezvous of one address", {
                Circumstances { profile: NatProfile { mapping: None, ..home().profile }, ..home() }
            }),
            ("unknown", Circumstances::default()),
            ("hardly known", {
                let profile = NatProfile { translated: Some(true), ..NatProfile::default() };
                Circumstances { profile, ..Circumstances::default() }
            }),
        ];
        let told: Vec<String> =
            cases.iter().map(|(name, case)| format!("{name}: {}\n  -> {}", case.verdict(), case.advice())).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn what_is_advised_never_makes_it_worse() {
        for case in [home(), corporate(), Circumstances { ipv6: true, ..corporate() }] {
            assert_eq!(case.advice(), Advice::PortMapping);
            let followed = Circumstances { mapped: true, ..case.clone() };
            assert!(followed.kind() <= case.kind());
            assert_eq!(followed.advice(), Advice::Nothing);
        }
    }

    #[test]
    fn a_carriers_addresses_are_those_of_rfc_6598() {
        for (address, carriers) in
            [("100.64.0.1", true), ("100.127.255.255", true), ("100.128.0.0", false), ("10.64.0.1", false)]
        {
            assert_eq!(is_carriers(address.parse().expect("an address")), carriers, "{address}");
        }
    }
}
