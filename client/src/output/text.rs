//! Events in words. Whatever may come from outside goes through [`sanitize::line`].

use std::fmt::Write as _;
use std::net::SocketAddr;

use common::candidate::CandidateKind;
use common::nat::{Filtering, Mapping, NatProfile, PortAssignment};
use common::reach::WIDEST_BLOCK;
use common::session::Route;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::printer::label;
use super::{
    ContactChange, Event, JoinChange, NodeChange, SessionLine, Who, backup, kept, netcheck, said, sanitize, why,
};
use crate::data::State;
use crate::exit::Failure;
use crate::node::{Entrance, Introducer, PortMapping};

/// What is said where an address would stand otherwise.
pub(super) const TUNNELLED: &str = "through TCP (UDP is blocked here)";

/// The line for an event, without its end; `None` if people need not be told.
pub(super) fn render(event: &Event, now: Timestamp, zone: &TimeZone) -> Option<String> {
    let clock = |line: String| Some(format!("{} {line}", time(now, now, zone)));
    match event {
        Event::Joined { .. } | Event::Id { .. } | Event::Contact { .. } | Event::Status { .. } => {
            Some(answer(event, now, zone))
        }
        Event::Message { .. } | Event::Edited { .. } | Event::Deleted { .. } | Event::Reaction { .. } => {
            said::render(event, |at| time(at, now, zone))
        }
        Event::MarkedRead { who, messages: 0 } => Some(format!("nothing of {} was unread", name(who))),
        Event::MarkedRead { who, messages: 1 } => Some(format!("1 message of {} is read now", name(who))),
        Event::MarkedRead { who, messages } => Some(format!("{messages} messages of {} are read now", name(who))),
        Event::Kept(message) => Some(kept::render(message, zone)),
        Event::Entry { what: "message", kept, .. } => Some(kept::render(kept, zone)),
        Event::Entry { what, kept, .. } => {
            let (id, text) = (said::short(&kept.id), excerpt(&kept.text));
            Some(format!("{id} {what} is now {}: {text}", kept.state))
        }
        Event::Sent { who, id, state } => Some(format!("{id} {state} ({})", name(who))),
        Event::Ran { who, id, attempt, status, again, .. } => clock(ran(who, id, *attempt, *status, *again)),
        Event::MailboxFull { who } => {
            let who = name(who);
            clock(format!(
                "the rendezvous takes no more mail for {who} now: what waits goes when {who} is online, or later"
            ))
        }
        Event::Clock { server, .. } => {
            let server = server.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M");
            clock(format!("your clock or the rendezvous' is wrong: there it is {server}. Set yours, if it is that"))
        }
        Event::Node { change, pid } => Some(node(*change, *pid)),
        Event::Progress { .. } => None,
        Event::Cancelled { who, text, .. } => Some(format!("Taken back from {}: {}", name(who), excerpt(text))),
        Event::Hello { who, suggests } if who.name.as_deref() == Some(suggests) || suggests.is_empty() => None,
        // Most routers give none, and it is no trouble.
        Event::PortMapping { port_mapping: None, .. } => None,
        Event::Error { message, .. } => Some(sanitize::line(message)),
        Event::BackedUp(page) => Some(backup::backed_up(page)),
        Event::Replacing(page) => Some(backup::replacing(page)),
        Event::Restored(page) => Some(backup::restored(page, zone)),
        Event::Netcheck(page) => Some(netcheck::render(page)),
        Event::Why(page) => Some(why::render(page)),
        happened => clock(news(happened)),
    }
}

/// What a command answers, once.
fn answer(event: &Event, now: Timestamp, zone: &TimeZone) -> String {
    match event {
        Event::Joined { id, rendezvous, key, change, was, restart_needed } => {
            let mut line = match change {
                JoinChange::New => format!("Joined {rendezvous}. You are {id}"),
                JoinChange::Same => format!("You had joined {rendezvous} already. You are {id}"),
                JoinChange::NewAddress => {
                    format!("Your rendezvous is now reached at {rendezvous}. You are {id}")
                }
                JoinChange::Moved => format!(
                    "Joined {rendezvous} and left {}. You are still {id}; contacts meet you only if they join it too",
                    was.as_deref().unwrap_or("the one before")
                ),
                JoinChange::KeyChanged => format!(
                    "Joined {rendezvous}, which has another key than before: it is now {key}. If nobody told you \
                     why, ask whoever runs it. You are still {id}"
                ),
            };
            if *restart_needed {
                line.push_str("\nThe punchline that is online now goes on as it was; restart it");
            }
            line
        }
        Event::Id { id, link: Some(link) } => format!("{id}\n{link}"),
        Event::Id { id, link: None } => format!("{id}\nno link yet: join a rendezvous with `punchline join LINK`"),
        Event::Contact { change, who, was, unread } => {
            let was = was.as_deref().map(sanitize::line).unwrap_or_default();
            match change {
                ContactChange::Added => {
                    format!("Added {}. They must add you too: `punchline id` shows your link", name(who))
                }
                ContactChange::Renamed => format!("{was} is now called {}", name(who)),
                ContactChange::Known => format!("{} is a contact already", name(who)),
                ContactChange::Removed => format!("Removed {} ({})", name(who), who.peer),
                ContactChange::Listed => {
                    let unread = unread.map(|count| format!("  ({count} unread)")).unwrap_or_default();
                    format!("{}  {}{unread}", who.peer, name(who))
                }
            }
        }
        Event::Status {
            running,
            id,
            rendezvous,
            contacts,
            unread,
            pid,
            state,
            since,
            via,
            observed,
            profile,
            port_mapping,
            relay_only,
            sessions,
        } => {
            let mut lines = vec![format!("you         {id}")];
            lines.push(format!(
                "rendezvous  {}",
                rendezvous.as_deref().unwrap_or("none; join one with `punchline join LINK`")
            ));
            let unread = match unread {
                0 => String::new(),
                1 => ", 1 unread message".to_owned(),
                unread => format!(", {unread} unread messages"),
            };
            lines.push(format!("contacts    {contacts}{unread}"));
            if !running {
                lines.push("node        not running; `punchline run` goes online".to_owned());
                return lines.join("\n");
            }
            let pid = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
            let since = since.map(|since| format!(", since {}", time(since, now, zone))).unwrap_or_default();
            lines.push(format!("node        {}{pid}{since}", state.map_or("running", state_word)));
            if *via == Some(Entrance::Tunnel.word()) {
                lines.push(format!("seen at     {TUNNELLED}"));
            }
            if let Some(observed) = observed {
                lines.push(format!("seen at     {observed}"));
            }
            if let Some(profile) = profile {
                lines.push(format!("nat         {}", nat(profile)));
            }
            if *relay_only {
                lines.push("address     shown to the rendezvous alone (--relay-only)".to_owned());
            }
            if let Some(mapping) = port_mapping {
                lines.push(format!("port        {}", mapped(mapping)));
            }
            if sessions.is_empty() {
                lines.push("sessions    none".to_owned());
            }
            lines.extend(sessions.iter().map(|session| session_line(session, now, zone)));
            lines.join("\n")
        }
        _ => String::new(),
    }
}

/// What happens while online.
fn news(event: &Event) -> String {
    match event {
        Event::Started { id, rendezvous, contacts, who, .. } => match who {
            Some(who) => format!("you are {}; looking for {} through {rendezvous}", id.short(), name(who)),
            None => {
                let contacts = if *contacts == 1 { "1 contact".to_owned() } else { format!("{contacts} contacts") };
                format!("you are {id}, with {contacts}; registering at {rendezvous}. Ctrl-C stops")
            }
        },
        Event::Registered { entrance: Entrance::Udp { observed }, .. } => {
            format!("online; the rendezvous sees you at {observed}")
        }
        Event::Registered { entrance: Entrance::Tunnel, .. } => format!("online {TUNNELLED}"),
        Event::RendezvousLost { reason } => {
            format!("the rendezvous does not answer: {}; trying again", sanitize::line(reason))
        }
        Event::Draining => "the rendezvous is about to stop; connections that stand are not affected".to_owned(),
        Event::Profile { profile } => format!("your NAT: {}", nat(profile)),
        Event::PortMapping { port_mapping: Some(mapping), .. } => {
            format!("your router maps a port: {}", mapped(mapping))
        }
        Event::Introduced { who, by, requested, addresses } => {
            let how = match (by, requested) {
                (Introducer::Rendezvous, true) => "introduced to",
                (Introducer::Rendezvous, false) => "asked for by",
                (Introducer::Lan, true) => "found on your own network:",
                (Introducer::Lan, false) => "asked for on your own network by",
            };
            if addresses.is_empty() {
                return format!("{how} {}", name(who));
            }
            format!("{how} {}, who may be at {}", name(who), list(addresses))
        }
        Event::Refused { who } => {
            format!("{} is offline, or does not have you as a contact; trying again", name(who))
        }
        Event::Punched { who, kind, remote, rtt_ms, after_ms } => format!(
            "first probe through to {} at {remote} ({}) after {after_ms}, round trip {rtt_ms}",
            name(who),
            kind_words(*kind)
        ),
        Event::Path { who, kind, remote, rtt_ms, reason } => {
            format!("{}: {} {remote}, {rtt_ms} ({reason})", name(who), way(*kind))
        }
        Event::NetworkChanged { what } => format!("the network has changed: {}", sanitize::line(what)),
        Event::Lost { who, by_peer: true, .. } => format!("{} has gone offline", name(who)),
        Event::Lost { who, reason, .. } => format!("lost the connection to {}: {}", name(who), sanitize::line(reason)),
        Event::NoPath { who, tried, strategies, because } if tried.is_empty() && strategies.is_empty() => {
            format!("no direct path to {}: {because}", name(who))
        }
        Event::NoPath { who, tried, because, .. } => {
            format!("no direct path to {} (tried {}): {because}; trying again later", name(who), list(tried))
        }
        Event::Hello { who, suggests } => format!("{} calls themself {}", name(who), sanitize::line(suggests)),
        Event::Receipt { who, .. } => format!("delivered to {}", name(who)),
        Event::Waiting { who, receipts, up_to_ms } => {
            let messages = if *receipts == 1 { "a message".to_owned() } else { format!("{receipts} messages") };
            format!("waiting up to {up_to_ms} for {} to receive {messages}", name(who))
        }
        Event::Undelivered { who, text, reason, .. } => {
            let text = text.as_deref().map(|text| format!(" \"{}\"", excerpt(text))).unwrap_or_default();
            format!("not delivered to {}:{text} ({})", name(who), sanitize::line(reason))
        }
        Event::Ping { who, seq, route, remote, rtt_ms, since_start_ms } => {
            let way = way(*route);
            format!("reply {seq} from {}: {way} {remote}, {rtt_ms} ({since_start_ms} after the start)", name(who))
        }
        Event::Summary { who, sent, received, first_reply_ms, direct_ms, route } => {
            let mut line = format!("{}: {received} of {sent} answered", name(who));
            if let Some(first) = first_reply_ms {
                let _ = write!(line, ", first reply after {first}");
            }
            match (direct_ms, route) {
                (Some(direct), _) => _ = write!(line, ", direct after {direct}"),
                (None, _) => line.push_str(", no direct path"),
            }
            line
        }
        Event::Speed { who, route, up_mbps, down_mbps, idle_rtt_ms, loaded_rtt_ms } => format!(
            "{} ({route}): {up_mbps} up, {down_mbps} down; round trip {idle_rtt_ms} idle, {loaded_rtt_ms} loaded",
            name(who)
        ),
        Event::Untrusted { who, expected, seen } => {
            format!("the {who} showed another key than the one expected: expected {expected}, saw {seen}")
        }
        _ => String::new(),
    }
}

/// The lines for standard error.
pub(super) fn failure(failure: &Failure) -> Vec<String> {
    let mut lines: Vec<String> = failure.message.lines().map(sanitize::line).collect();
    if let Some(first) = lines.first_mut() {
        first.insert_str(0, "punchline: ");
    }
    lines
}

pub(super) fn name(who: &Who) -> String {
    label(who.peer, who.name.as_deref())
}

fn ran(who: &Who, id: &str, attempt: u32, status: Option<i32>, again: bool) -> String {
    let id = said::short(id);
    let ended = match status {
        Some(0) => return format!("handled {id} from {}", name(who)),
        Some(code) => format!("ended with {code}"),
        None => "did not run to its end".to_owned(),
    };
    let next = if again { "trying again" } else { "giving up on this message" };
    format!("the command for {id} from {} {ended} (attempt {attempt}); {next}", name(who))
}

fn node(change: NodeChange, pid: Option<u32>) -> String {
    let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    match change {
        NodeChange::Started => format!("up{process}; `punchline status` says more, `punchline down` stops it"),
        NodeChange::Already => format!("already up{process}"),
        NodeChange::Stopped => format!("down{process}"),
        NodeChange::None => "nothing to stop: no punchline is online with this folder".to_owned(),
    }
}

/// The beginning of a text: enough to know it again.
fn excerpt(text: &str) -> String {
    let text = sanitize::line(text);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

pub(super) fn mapped(PortMapping { protocol, external }: &PortMapping) -> String {
    format!("{external} leads here ({protocol})")
}

pub(super) fn list(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "no known address".to_owned();
    }
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn kind_words(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "its own address",
        CandidateKind::ServerReflexive => "its router's address",
        CandidateKind::PeerReflexive => "an address found by its probe",
    }
}

/// In front of an address.
pub(super) fn way(route: Route) -> &'static str {
    match route {
        Route::Relayed => "through the relay",
        Route::Direct => "direct",
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Online => "online",
        State::Lost => "rendezvous lost, trying again",
        State::Draining => "online, the rendezvous is about to stop",
    }
}

fn session_line(session: &SessionLine, now: Timestamp, zone: &TimeZone) -> String {
    format!(
        "session     {}: {}{} {}, {}, since {}",
        name(&session.who),
        way(session.route),
        if session.by == Some(Introducer::Lan) { ", found on your own network," } else { "" },
        session.remote,
        session.rtt_ms,
        time(session.since, now, zone)
    )
}

/// The profile in words.
pub(super) fn nat(profile: &NatProfile) -> String {
    if profile.translated == Some(false) {
        return "none, your address is your own".to_owned();
    }
    let mut parts = Vec::new();
    parts.extend(profile.mapping.map(|mapping| match mapping {
        Mapping::EndpointIndependent => "one external port for all destinations".to_owned(),
        Mapping::AddressDependent => "another external port for each destination address".to_owned(),
        Mapping::AddressAndPortDependent => {
            "another external port for each destination address and port (symmetric)".to_owned()
        }
    }));
    parts.extend(profile.ports.map(|ports| match ports {
        PortAssignment::Preserved => "ports preserved".to_owned(),
        PortAssignment::Sequential { step } => format!("ports in steps of {step}"),
        PortAssignment::Random { low, high } if high.saturating_sub(low) <= WIDEST_BLOCK => {
            format!("random ports, perhaps of a block, {low} to {high} seen")
        }
        PortAssignment::Random { low, high } => format!("random ports, {low} to {high} seen"),
    }));
    parts.extend(profile.filtering.map(|filtering| match filtering {
        Filtering::EndpointIndependent => "lets everybody in".to_owned(),
        Filtering::AddressDependent => "lets in whom you sent to, from any port".to_owned(),
        Filtering::AddressAndPortDependent => "lets in only the ports that you sent to".to_owned(),
    }));
    parts.extend(
        profile.hairpinning.map(
            |hairpinning| {
                if hairpinning { "with loopback".to_owned() } else { "without loopback".to_owned() }
            },
        ),
    );
    match (parts.is_empty(), profile.translated) {
        (true, Some(true)) => "there is one, more is not known yet".to_owned(),
        (true, _) => "not known yet".to_owned(),
        (false, _) => parts.join("; "),
    }
}

/// `12:01:03`, with the date in front if that is not today.
fn time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}
