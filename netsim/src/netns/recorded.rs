//! A NAT of any cell of RFC 4787's table, made of rules that record each mapping.
//!
//! The kernel's own NAT keeps no mappings, only sessions: each finds its external port alone. Here the first packet of a
//! session asks the map `mapping` first, and the kernel chooses a port only if there is no answer. What it chose is seen
//! when the packet leaves (priority 300 is after the translation), and is recorded three times: in `mapping` (internal
//! endpoint, and as much of the remote one as the mapping depends on, to external port), in `owner` (external port to
//! internal endpoint), and in `open` (external port, and as much of the remote endpoint as the filter depends on). A
//! packet from outside that belongs to no session comes in if `open` has it, and then `owner` knows where to. Every later
//! packet, in whichever direction, makes the three entries young again, as it does the session in connection tracking.
//!
//! Two new mappings that are given one port (the kernel sees no clash if the remote endpoints differ) would be one too
//! many in `owner`. The packet that would make the second one is dropped; the next one tries another port.
//!
//! Only UDP is treated so. TCP and pings have the kernel's own NAT, with random ports where the mapping is not
//! endpoint-independent.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::router::{Recorded, RecordedPorts};
use super::ruleset::Place;
use crate::model::Random;
use crate::model::behaviour::{Filtering, Mapping};

/// As many as one router's connection tracking has on a small machine.
const MAPPINGS: u32 = 65_536;
/// Sequential ports are a list, since nftables can count and cannot add. Two thousand load in some ten milliseconds, and
/// are more than a story opens within one lifetime.
const SEQUENCE: u16 = 2048;
/// The first sequential port.
const FIRST_PORT: u16 = 40_000;
/// Of the ports that other users of the box took meanwhile: the same in every run.
const SEED: u64 = 4787;
/// On a packet that makes a new mapping.
const FRESH: &str = "meta mark 1";

/// All chains, maps and sets that take part, without the filters on input and forwarding.
pub(super) fn rules(recorded: &Recorded, place: &Place) -> String {
    let Recorded { mapping, filtering, hairpins, .. } = *recorded;
    let mut text = memory(recorded);
    let mut chain = |name: &str, hook: &str, rules: &[String]| {
        let kind = if hook.is_empty() { String::new() } else { format!("  type {hook}\n") };
        let rules: String = rules.iter().map(|rule| format!("  {rule}\n")).collect();
        let _ = write!(text, " chain {name} {{\n{kind}{rules} }}\n");
    };
    let wan = place.wan_address;

    let from_outside = remote(filtering.into(), "ip saddr", "udp sport");
    let mut destination_nat =
        vec![format!("iifname \"wan\" ip daddr {wan} udp dport{from_outside} @open dnat ip to udp dport map @owner")];
    if hairpins {
        destination_nat
            .push(format!("iifname \"lan\" ip daddr {wan} meta l4proto udp dnat ip to udp dport map @owner"));
    }
    chain("destination_nat", "nat hook prerouting priority dstnat", &destination_nat);
    chain("source_nat", "nat hook postrouting priority srcnat", &source_nat(recorded, wan));

    let mut record = vec![];
    for direction in ["original", "reply"] {
        record.push(format!("iifname \"lan\" meta l4proto udp ct direction {direction} jump sent_{direction}"));
        record.push(format!("iifname \"wan\" meta l4proto udp ct direction {direction} jump received_{direction}"));
    }
    chain("record", "filter hook postrouting priority 300", &record);
    for direction in ["original", "reply"] {
        let original = direction == "original";
        let [host, port, peer, peer_port] =
            ["ip saddr", "proto-src", "ip daddr", "proto-dst"].map(|what| format!("ct {direction} {what}"));

        let to = |dependence| remote(dependence, &peer, &peer_port);
        let sent = Updates {
            mapping: format!("{host} . {port}{} : udp sport", to(mapping.into())),
            owner: format!("udp sport : {host} . {port}"),
            open: format!("udp sport{}", to(filtering.into())),
        };
        let mut sent = sent.rules(original || mapping == Mapping::EndpointIndependent);
        if original {
            sent.insert(0, format!("{FRESH} udp sport @owner drop"));
        }
        if original && hairpins {
            // Last, for it opens the sender's own filter even if the receiver's keeps it out.
            sent.push(format!("oifname \"lan\" meta l4proto udp {peer_port}{from_outside} != @open drop"));
        }
        chain(&format!("sent_{direction}"), "", &sent);

        let from = |dependence| remote(dependence, "ip saddr", "udp sport");
        let received = Updates {
            mapping: format!("ip daddr . udp dport{} : {peer_port}", from(mapping.into())),
            owner: format!("{peer_port} : ip daddr . udp dport"),
            open: format!("{peer_port}{}", from(filtering.into())),
        };
        let received = received.rules(!original || mapping == Mapping::EndpointIndependent);
        chain(&format!("received_{direction}"), "", &received);
    }
    text
}

/// What a packet enters, or makes young again.
struct Updates {
    mapping: String,
    owner: String,
    open: String,
}

impl Updates {
    /// A session that a stranger began has no mapping of its own, unless one serves all: it came in through another's.
    fn rules(&self, has_mapping: bool) -> Vec<String> {
        let Updates { mapping, owner, open } = self;
        let mapping = has_mapping.then(|| format!("meta l4proto udp update @mapping {{ {mapping} }}"));
        let others = [("owner", owner), ("open", open)];
        let others = others.map(|(name, entry)| format!("meta l4proto udp update @{name} {{ {entry} }}"));
        mapping.into_iter().chain(others).collect()
    }
}

/// The maps and the set.
fn memory(recorded: &Recorded) -> String {
    let seconds = recorded.lifetime.as_secs().max(1);
    let memory = |declaration: &str, content: String| {
        format!(
            " {declaration} {{\n  type {content}\n  flags dynamic,timeout\n  timeout {seconds}s\n  size {MAPPINGS}\n }}\n"
        )
    };
    let by = |dependence| remote(dependence, "ipv4_addr", "inet_service");
    memory("map mapping", format!("ipv4_addr . inet_service{} : inet_service", by(recorded.mapping.into())))
        + &memory("map owner", "inet_service : ipv4_addr . inet_service".to_owned())
        + &memory("set open", format!("inet_service{}", by(recorded.filtering.into())))
}

fn source_nat(recorded: &Recorded, wan: Ipv4Addr) -> Vec<String> {
    let to = remote(recorded.mapping.into(), "ct original ip daddr", "ct original proto-dst");
    let udp = "iifname \"lan\" meta l4proto udp";
    let random = format!("{udp} snat to {wan} : 1024-65535 fully-random");
    let mut rules =
        vec![format!("{udp} snat to {wan} : ip saddr . udp sport{to} map @mapping"), format!("{udp} meta mark set 1")];
    match recorded.ports {
        RecordedPorts::Preserving => rules.extend([format!("{udp} udp sport != @owner snat to {wan}"), random]),
        RecordedPorts::Random => rules.push(random),
        RecordedPorts::Sequential { step, noise } => {
            rules.push(format!("{udp} snat to {wan} : numgen inc mod {SEQUENCE} map {{ {} }}", sequence(step, noise)));
        }
    }
    let others = if recorded.mapping == Mapping::EndpointIndependent { "" } else { " fully-random" };
    rules.push(format!("oifname \"wan\" masquerade{others}"));
    rules
}

/// The ports of a sequence, as the elements of an nftables map from how-manieth to which.
fn sequence(step: i16, noise: u16) -> String {
    const LOWEST: i64 = 1024;
    const COUNT: i64 = 65_536 - LOWEST;
    let mut random = Random::new(SEED);
    let mut port = i64::from(FIRST_PORT);
    let mut elements = vec![];
    for number in 0..SEQUENCE {
        elements.push(format!("{number} : {port}"));
        let others = i64::try_from(random.below(u64::from(noise) + 1)).unwrap_or(0);
        port = LOWEST + (port - LOWEST + i64::from(step) * (1 + others)).rem_euclid(COUNT);
    }
    elements.join(", ")
}

/// How much of the remote endpoint counts.
#[derive(Debug, Clone, Copy)]
enum Dependence {
    Nothing,
    Address,
    AddressAndPort,
}

impl From<Mapping> for Dependence {
    fn from(mapping: Mapping) -> Dependence {
        match mapping {
            Mapping::EndpointIndependent => Dependence::Nothing,
            Mapping::AddressDependent => Dependence::Address,
            Mapping::AddressAndPortDependent => Dependence::AddressAndPort,
        }
    }
}

impl From<Filtering> for Dependence {
    fn from(filtering: Filtering) -> Dependence {
        match filtering {
            Filtering::EndpointIndependent => Dependence::Nothing,
            Filtering::AddressDependent => Dependence::Address,
            Filtering::AddressAndPortDependent => Dependence::AddressAndPort,
        }
    }
}

/// The rest of a key that goes on with that much of the remote endpoint.
fn remote(dependence: Dependence, address: &str, port: &str) -> String {
    match dependence {
        Dependence::Nothing => String::new(),
        Dependence::Address => format!(" . {address}"),
        Dependence::AddressAndPort => format!(" . {address} . {port}"),
    }
}
