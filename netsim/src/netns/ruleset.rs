//! What a kernel router does, written in nftables' language.

use std::net::Ipv4Addr;

use super::prefix::Prefix;
use super::router::{PortAssignment, Router, WanInput};

/// RFC 1918, and RFC 6598 for carriers: a router sends nothing there through its WAN side, except to its neighbours on
/// the WAN link itself (it may hang behind another router).
const PRIVATE: &str = "{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 }";

/// The whole ruleset of a router between the interfaces `lan` and `wan`.
pub(super) fn ruleset(router: &Router, lan: Prefix, lan_address: Ipv4Addr, wan: Prefix) -> String {
    let masquerade = match router.port_assignment {
        PortAssignment::Preserving => "masquerade",
        PortAssignment::Random => "masquerade fully-random",
    };
    let input = match router.wan_input {
        // The second rule keeps the LAN side as silent about the WAN address as the WAN side is.
        WanInput::Drop => format!(
            "ct state established,related accept\n  \
             iifname \"wan\" drop\n  \
             iifname \"lan\" ip daddr != {lan_address} drop"
        ),
        WanInput::Accept => "accept".to_owned(),
    };
    format!(
        "table ip router {{
 chain source_nat {{
  type nat hook postrouting priority srcnat
  oifname \"wan\" ip saddr {lan} {masquerade}
 }}
 chain input {{
  type filter hook input priority filter
  {input}
 }}
 chain forward {{
  type filter hook forward priority filter
  policy drop
  iifname \"lan\" oifname \"wan\" ip daddr {PRIVATE} ip daddr != {wan} drop
  ct state established,related accept
  iifname \"lan\" oifname \"wan\" accept
 }}
}}
"
    )
}
