//! What stands between this machine and the Internet.

use std::net::SocketAddr;
use std::time::Duration;

use common::discovery::Advice;
use common::lifetime::Span;
use common::nat::NatProfile;
use common::reach::{AccessKind, Reach};
use serde::Serialize;

use super::sanitize;
use super::text::{TUNNELLED, list, mapped, nat};
use crate::node::{Around, Entrance, LanLink, PortMapping};

/// All of it. The field names and their order are the JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Netcheck {
    /// How we come to the rendezvous, and our address as it sees it.
    #[serde(flatten)]
    pub entrance: Entrance,
    /// Our own addresses.
    pub local: Vec<SocketAddr>,
    /// RFC 4787's words.
    pub profile: NatProfile,
    /// The port that the router gave us.
    pub port_mapping: Option<PortMapping>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_port_mapping: Option<String>,
    /// IPv6, a VPN, the LAN.
    #[serde(flatten)]
    pub around: Around,
    /// For how long the NAT remembers a silent socket, if that was asked for.
    pub lifetime: Option<LifetimeLine>,
    /// What all this amounts to for others.
    pub kind: Option<AccessKind>,
    /// How each kind of access is reached from here; empty if too little is known.
    pub reaches: Vec<ReachLine>,
    /// To whom this machine will be direct, in plain words.
    pub verdict: String,
    /// What would help most.
    pub advice: Advice,
    /// The same in plain words.
    pub help: String,
}

/// How one kind of access is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReachLine {
    /// The other one's.
    pub kind: AccessKind,
    /// How.
    pub how: Reach,
}

/// Between which times a mapping ends, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LifetimeLine {
    /// The longest silence that was outlived.
    pub outlived_s: Option<f64>,
    /// The shortest beyond it that was not.
    pub gone_after_s: Option<f64>,
    /// Why nothing (more) was found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl LifetimeLine {
    /// What was found out, and what kept it from being more.
    pub fn new(span: Span, trouble: Option<String>) -> Self {
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
        LifetimeLine { outlived_s: seconds(span.outlived), gone_after_s: seconds(span.gone_after), trouble }
    }
}

/// In words: a page.
pub(super) fn render(netcheck: &Netcheck) -> String {
    let Netcheck { entrance, local, profile, port_mapping, no_port_mapping, around, lifetime, verdict, help, .. } =
        netcheck;
    let udp = match entrance {
        Entrance::Udp { .. } => "gets through",
        Entrance::Tunnel => "blocked; the rendezvous answers over TCP",
    };
    let seen = entrance.observed().map_or_else(|| TUNNELLED.to_owned(), |observed| observed.to_string());
    let reason = || sanitize::line(no_port_mapping.as_deref().unwrap_or("not asked for"));
    let port = port_mapping.as_ref().map_or_else(|| format!("none: {}", reason()), mapped);
    let mut lines = vec![
        format!("seen at     {seen}"),
        format!("own         {}", list(local)),
        format!("udp         {udp}"),
        format!("nat         {}", nat(profile)),
    ];
    lines.extend(lifetime.as_ref().map(|lifetime| format!("memory      {}", lifetime_words(lifetime))));
    lines.push(format!("port        {port}"));
    lines.push(format!("ipv6        {}", ipv6_words(around)));
    lines.extend(around.vpn.as_ref().map(|vpn| format!("vpn         the way out is by {}", sanitize::line(vpn))));
    lines.extend(around.lan.iter().flatten().map(|link| format!("lan         {}", lan_words(link))));
    lines.push(verdict.clone());
    lines.push(format!("What would help most: {help}."));
    lines.join("\n")
}

fn lifetime_words(LifetimeLine { outlived_s, gone_after_s, trouble }: &LifetimeLine) -> String {
    let words = match (outlived_s, gone_after_s) {
        (Some(outlived), Some(gone)) => format!("a silent socket is remembered for {outlived} to {gone} seconds"),
        (Some(outlived), None) => format!("a silent socket is remembered for more than {outlived} seconds"),
        (None, Some(gone)) => format!("a silent socket is forgotten within {gone} seconds"),
        (None, None) => "not found out".to_owned(),
    };
    trouble.as_ref().map_or(words.clone(), |trouble| format!("{words}: {}", sanitize::line(trouble)))
}

fn ipv6_words(around: &Around) -> String {
    match (around.ipv6.address, around.ipv6.rendezvous) {
        (None, _) => "no global address".to_owned(),
        (Some(address), Some(true)) => format!("{address}; the rendezvous answers over it"),
        (Some(address), Some(false)) => format!("{address}; the rendezvous does not answer over it"),
        (Some(address), None) => format!("{address}; the rendezvous has none"),
    }
}

fn lan_words(LanLink { interface, address, multicast, broadcast }: &LanLink) -> String {
    let comes = |comes: bool| if comes { "comes back" } else { "does not come back" };
    let broadcast = broadcast.map(|back| format!(", broadcast {}", comes(back))).unwrap_or_default();
    let open = "; what the network does with it only another machine can tell";
    let meaning = if *multicast { open } else { "; something on this machine keeps it from the network" };
    format!("{} ({address}): multicast {}{broadcast}{meaning}", sanitize::line(interface), comes(*multicast))
}
