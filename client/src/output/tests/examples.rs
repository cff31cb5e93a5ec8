//! One example of every event, and the test that `docs/json.md` shows exactly these lines.

use common::candidate::CandidateKind;
use common::discovery::Circumstances;
use common::identity::{Identity, PeerId};
use common::lifetime::Span;
use common::link::{Link, Rendezvous};
use common::nat::{Filtering, Mapping, NatProfile, PortAssignment};
use common::path::{Attempt, Checked, Effort, Ending, Strategy, Tried as PathTried};
use common::reach::{AccessKind, reach};
use common::session::Route;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::backup::{BackedUp, Replacing, Restored};
use super::event::*;
use super::kept::Kept;
use super::netcheck::{LifetimeLine, Netcheck, ReachLine};
use super::printer::json;
use super::text;
use super::why::{ConnectionLine, Why};
use crate::data::State;
use crate::exit::{Exit, Failure};
use crate::node::{
    Around, AttemptEnd, Entrance, Introducer, Ipv6Access, LanLink, MappingProtocol, Party, PathAttempt, PortMapping,
    Side,
};
use crate::why::{Evidence, explain};

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer_id()
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn ms(ms: f64) -> Millis {
    std::time::Duration::from_secs_f64(ms / 1e3).into()
}

fn profile() -> NatProfile {
    NatProfile {
        translated: Some(true),
        mapping: Some(Mapping::EndpointIndependent),
        filtering: Some(Filtering::AddressAndPortDependent),
        ports: Some(PortAssignment::Random { low: 33012, high: 60871 }),
        hairpinning: None,
    }
}

fn mapping() -> PortMapping {
    PortMapping { protocol: MappingProtocol::Pcp, external: "11.1.1.7:4000".parse().expect("an address") }
}

/// One of ours, at the server.
fn kept(id: &str) -> Kept {
    Kept {
        place: 7 << 20,
        dir: Direction::Out,
        who: Who { peer: self::id(2), name: Some("Bob".into()) },
        id: id.into(),
        text: "hello".into(),
        at: at("2026-11-21T18:03:04.250Z"),
        state: "server",
        since: Some(at("2026-11-21T18:03:07Z")),
        expires: Some(at("2026-12-21T18:03:04Z")),
        host: Some("desk".into()),
        reply_to: None,
        edited: false,
        deleted: false,
        unread: false,
        missing_before: 0,
        own_reaction: None,
        peer_reaction: None,
    }
}

const NO_PORT: &str = "PCP: no answer; NAT-PMP: no answer; UPnP: no answer";

fn netcheck() -> Netcheck {
    let circumstances = Circumstances { profile: profile(), ipv6: true, ..Circumstances::default() };
    let link = LanLink {
        interface: "eth0".into(),
        address: "192.168.1.7".parse().expect("an address"),
        multicast: true,
        broadcast: Some(true),
    };
    let ipv6 = Ipv6Access { address: "2001:db8::7".parse().ok(), rendezvous: Some(true) };
    let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
    let own = AccessKind::PortFiltered;
    Netcheck {
        entrance: Entrance::Udp { observed: "11.1.1.7:4000".parse().expect("an address") },
        local: vec!["192.168.1.7:4000".parse().expect("an address")],
        profile: profile(),
        port_mapping: None,
        no_port_mapping: Some(NO_PORT.into()),
        around: Around { ipv6, vpn: None, lan: Some(vec![link]) },
        lifetime: Some(LifetimeLine::new(Span { outlived: seconds(25), gone_after: seconds(35) }, None)),
        kind: Some(own),
        reaches: AccessKind::ALL.map(|kind| ReachLine { kind, how: reach(own, kind) }).to_vec(),
        verdict: circumstances.verdict(),
        advice: circumstances.advice(),
        help: circumstances.advice().to_string(),
    }
}

/// Two symmetric NATs.
fn why() -> Why {
    let ports = Some(PortAssignment::Random { low: 2210, high: 61_002 });
    let symmetric = NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ports, ..profile() };
    let side = |seen_at: &str| Side { seen_at: seen_at.parse().ok(), profile: symmetric };
    let checked = |kind, address: &str, packets| Checked {
        kind,
        address: address.parse().expect("an address"),
        packets,
        heard: false,
        rtt: None,
    };
    let tried = |strategy, packets, sockets, ms| PathTried {
        strategy,
        effort: Effort { packets, sockets },
        took: std::time::Duration::from_millis(ms),
    };
    let attempt = PathAttempt {
        by: Introducer::Rendezvous,
        requested: true,
        ended: AttemptEnd::NoPath,
        own: side("11.1.1.7:33012"),
        theirs: side("11.1.1.8:40121"),
        attempt: Attempt {
            checks: vec![
                checked(CandidateKind::Host, "192.168.2.2:4000", 6),
                checked(CandidateKind::ServerReflexive, "11.1.1.8:40121", 18),
            ],
            strategies: vec![tried(Strategy::Plain, 24, 0, 9_900), tried(Strategy::Observation, 33, 32, 210)],
            ending: Ending::BothUnforeseeable,
            found: None,
        },
    };
    let evidence =
        Evidence { name: "Bob", route: Some(Route::Relayed), attempt: Some(&attempt), refused: false, mapped: None };
    let remote = "11.1.1.1:3478".parse().expect("an address");
    let connection = ConnectionLine { route: Route::Relayed, remote, rtt_ms: ms(81.2) };
    let who = Who { peer: id(2), name: Some("Bob".into()) };
    Why::new(who, explain(&evidence), Some(connection), Some((&attempt, at("2026-11-21T18:03:04.25Z"))))
}

/// In the order of the enum. The match has no wildcard: a new event without an example does not compile.
fn examples() -> Vec<Event> {
    let bob = || Who { peer: id(2), name: Some("Bob".into()) };
    let remote = || "11.1.1.7:4000".parse().expect("an address");
    let home = || "192.168.1.7:4000".parse().expect("an address");
    let now = at("2026-11-21T18:03:04.25Z");
    let rendezvous = || "example.org:3478".to_owned();
    let message = "6f1d0c7c0f3d4e5a8b9c0d1e2f3a4b5c";
    let other = "0f3d4e5a8b9c0d1e2f3a4b5c6f1d0c7c";
    let post = "8b9c0d1e2f3a4b5c6f1d0c7c0f3d4e5a";
    let link = Link::Peer {
        rendezvous: Rendezvous { host: "example.org".into(), port: 3478, key: id(9), tunnel: None },
        peer: id(1),
        name: Some("Alice".into()),
    };
    let all = vec![
        Event::Joined {
            id: id(1),
            rendezvous: rendezvous(),
            key: id(9),
            change: JoinChange::Moved,
            was: Some("old.example.org:3478".into()),
            restart_needed: false,
        },
        Event::Id { id: id(1), link: Some(link.to_string()) },
        Event::Contact { change: ContactChange::Renamed, who: bob(), was: Some("Robert".into()), unread: None },
        Event::Started {
            id: id(1),
            rendezvous: rendezvous(),
            pid: 4711,
            contacts: 2,
            who: Some(bob()),
            attached: false,
        },
        Event::Registered { entrance: Entrance::Udp { observed: remote() }, local: vec![home()] },
        Event::Registered { entrance: Entrance::Tunnel, local: vec![home()] },
        Event::RendezvousLost { reason: "tried 11.1.1.1:3478, no answer within 2 s".into() },
        Event::Draining,
        Event::Profile { profile: profile() },
        Event::PortMapping { port_mapping: Some(mapping()), reason: None },
        Event::PortMapping { port_mapping: None, reason: Some(NO_PORT.into()) },
        Event::Netcheck(Box::new(netcheck())),
        Event::Why(Box::new(why())),
        Event::Introduced {
            who: bob(),
            by: Introducer::Rendezvous,
            requested: true,
            addresses: vec![remote(), home()],
        },
        Event::Introduced { who: bob(), by: Introducer::Lan, requested: true, addresses: vec![home()] },
        Event::Refused { who: bob() },
        Event::Punched {
            who: bob(),
            kind: CandidateKind::ServerReflexive,
            remote: remote(),
            rtt_ms: ms(3.127),
            after_ms: ms(41.8),
        },
        Event::Path {
            who: bob(),
            kind: Route::Direct,
            remote: remote(),
            rtt_ms: ms(3.127),
            reason: "the peer answered over it".into(),
        },
        Event::NetworkChanged { what: "the addresses of this machine have changed".into() },
        Event::Lost { who: bob(), reason: "the path fell silent".into(), by_peer: false },
        Event::NoPath {
            who: bob(),
            tried: vec![remote(), home()],
            strategies: vec![
                Tried { strategy: Strategy::Plain, packets: 24, sockets: 0 },
                Tried { strategy: Strategy::Observation, packets: 16, sockets: 16 },
            ],
            because: Ending::BothUnforeseeable.to_string(),
        },
        Event::Hello { who: bob(), suggests: "Robert".into() },
        Event::Message {
            dir: Direction::Out,
            who: bob(),
            id: message.into(),
            text: "hello".into(),
            at: now,
            reply_to: None,
            waiting: Some(true),
        },
        Event::Message {
            dir: Direction::In,
            who: bob(),
            id: other.into(),
            text: "hello yourself".into(),
            at: now,
            reply_to: Some(message.into()),
            waiting: None,
        },
        Event::Edited {
            dir: Direction::In,
            who: bob(),
            id: other.into(),
            post: post.into(),
            text: "at noon".into(),
            at: now,
            waiting: None,
        },
        Event::Deleted {
            dir: Direction::Out,
            who: bob(),
            id: message.into(),
            post: post.into(),
            at: now,
            waiting: Some(true),
        },
        Event::Reaction {
            dir: Direction::In,
            who: bob(),
            id: message.into(),
            post: post.into(),
            emoji: "+1".into(),
            at: now,
            waiting: None,
        },
        Event::Reaction {
            dir: Direction::Out,
            who: bob(),
            id: other.into(),
            post: post.into(),
            emoji: String::new(),
            at: now,
            waiting: None,
        },
        Event::MarkedRead { who: bob(), messages: 3 },
        Event::Kept(Box::new(kept(message))),
        Event::Kept(Box::new(Kept {
            place: 8 << 20,
            dir: Direction::In,
            who: bob(),
            text: "at noon".into(),
            state: "device",
            since: None,
            expires: None,
            host: None,
            reply_to: Some(message.into()),
            edited: true,
            unread: true,
            missing_before: 2,
            own_reaction: Some("+1".into()),
            ..kept(other)
        })),
        Event::Entry { entry: 1207, what: "message", kept: Box::new(kept(message)) },
        Event::Entry { entry: 1208, what: "state", kept: Box::new(Kept { state: "device", ..kept(message) }) },
        Event::Sent { who: bob(), id: message.into(), state: "device" },
        Event::Ran { entry: 1207, who: bob(), id: message.into(), attempt: 1, status: Some(1), again: true },
        Event::Node { change: NodeChange::Started, pid: Some(4711) },
        Event::MailboxFull { who: bob() },
        Event::Clock { ours: now, server: now + std::time::Duration::from_secs(365 * 86_400) },
        Event::progress("looking for a path", 0.25, None),
        Event::Cancelled { who: bob(), id: message.into(), text: "hello".into() },
        Event::BackedUp(BackedUp { file: "punchline.backup".into(), id: id(1), contacts: 2, messages: 130 }),
        Event::Replacing(Replacing {
            files: vec!["identity.key", "config.json", "messages.db"],
            id: Some(id(3)),
            contacts: Some(1),
            messages: None,
            aside: "/home/alice/.local/share/punchline/replaced-20261121T180304Z".into(),
        }),
        Event::Restored(Restored { id: id(1), name: "Alice".into(), contacts: 2, messages: 130, made: now }),
        Event::Receipt { who: bob(), id: message.into(), state: "device" },
        Event::Waiting { who: bob(), receipts: 1, up_to_ms: ms(10_000.0) },
        Event::Undelivered {
            who: bob(),
            id: message.into(),
            text: Some("hello".into()),
            reason: "no receipt came back; it is kept, and goes when you are both online".into(),
        },
        Event::Ping {
            who: bob(),
            seq: 1,
            route: Route::Direct,
            remote: remote(),
            rtt_ms: ms(3.4),
            since_start_ms: ms(187.532),
        },
        Event::Summary {
            who: bob(),
            sent: 1,
            received: 1,
            first_reply_ms: Some(ms(187.532)),
            direct_ms: Some(ms(184.1)),
            route: Some(Route::Direct),
        },
        Event::Speed {
            who: bob(),
            route: Route::Direct,
            up_mbps: 412.345.into(),
            down_mbps: 938.2.into(),
            idle_rtt_ms: ms(3.127),
            loaded_rtt_ms: ms(9.5),
        },
        Event::Status {
            running: true,
            id: id(1),
            rendezvous: Some(rendezvous()),
            contacts: 2,
            unread: 3,
            pid: Some(4711),
            state: Some(State::Online),
            since: Some(now),
            via: Some("udp"),
            observed: Some(remote()),
            profile: Some(profile()),
            port_mapping: Some(mapping()),
            relay_only: false,
            sessions: vec![SessionLine {
                who: bob(),
                route: Route::Direct,
                by: Some(Introducer::Rendezvous),
                remote: remote(),
                rtt_ms: ms(3.127),
                since: now,
            }],
        },
        Event::untrusted(Party::Peer(id(2)), id(3)),
        Event::error(&Failure::new(Exit::Timeout, "the rendezvous did not answer in time; is there a network?")),
    ];
    for event in &all {
        match event {
            Event::Joined { .. }
            | Event::Id { .. }
            | Event::Contact { .. }
            | Event::Started { .. }
            | Event::Registered { .. }
            | Event::RendezvousLost { .. }
            | Event::Draining
            | Event::Profile { .. }
            | Event::PortMapping { .. }
            | Event::Netcheck(_)
            | Event::Why(_)
            | Event::Introduced { .. }
            | Event::Refused { .. }
            | Event::Punched { .. }
            | Event::Path { .. }
            | Event::NetworkChanged { .. }
            | Event::Lost { .. }
            | Event::NoPath { .. }
            | Event::Hello { .. }
            | Event::Message { .. }
            | Event::Edited { .. }
            | Event::Deleted { .. }
            | Event::Reaction { .. }
            | Event::MarkedRead { .. }
            | Event::Kept(_)
            | Event::Entry { .. }
            | Event::Sent { .. }
            | Event::Ran { .. }
            | Event::Node { .. }
            | Event::MailboxFull { .. }
            | Event::Clock { .. }
            | Event::Progress { .. }
            | Event::Cancelled { .. }
            | Event::BackedUp(_)
            | Event::Replacing(_)
            | Event::Restored(_)
            | Event::Receipt { .. }
            | Event::Waiting { .. }
            | Event::Undelivered { .. }
            | Event::Ping { .. }
            | Event::Summary { .. }
            | Event::Speed { .. }
            | Event::Status { .. }
            | Event::Untrusted { .. }
            | Event::Error { .. } => {}
        }
    }
    all
}

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");

#[test]
fn the_documentation_shows_exactly_the_lines_that_are_printed() {
    let docs = std::fs::read_to_string(DOCS).expect("docs/json.md");
    let shown: Vec<&str> = docs.lines().filter(|line| line.starts_with("{\"v\":")).collect();
    let printed: Vec<String> = examples().iter().map(json).collect();
    assert_eq!(shown, printed, "update docs/json.md:\n{}", printed.join("\n"));
}

#[test]
fn the_documentation_names_every_exit_code() {
    let docs = std::fs::read_to_string(DOCS).expect("docs/json.md");
    for exit in Exit::ALL {
        let row = format!("| {} | `{}` | {} |", exit.code(), exit.kind(), exit.meaning());
        assert!(docs.contains(&row), "docs/json.md lacks: {row}");
    }
}

#[test]
fn people_read_this() {
    let now = at("2026-11-21T18:03:05Z");
    let lines: Vec<String> = examples().iter().filter_map(|event| text::render(event, now, &TimeZone::UTC)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_others_say_cannot_command_the_terminal() {
    let evil = "\u{1b}]0;owned\u{07}\u{1b}[2Jhi\nBob: I agree\u{202e}";
    let who = || Who { peer: id(2), name: Some(evil.into()) };
    let now = at("2026-11-21T18:03:05Z");
    let events = [
        Event::Message {
            dir: Direction::In,
            who: who(),
            id: "00".into(),
            text: evil.into(),
            at: now,
            reply_to: Some("00".into()),
            waiting: None,
        },
        Event::Edited {
            dir: Direction::In,
            who: who(),
            id: "00".into(),
            post: "01".into(),
            text: evil.into(),
            at: now,
            waiting: None,
        },
        Event::Deleted { dir: Direction::In, who: who(), id: "00".into(), post: "01".into(), at: now, waiting: None },
        Event::Reaction {
            dir: Direction::In,
            who: who(),
            id: "00".into(),
            post: "01".into(),
            emoji: evil.into(),
            at: now,
            waiting: None,
        },
        Event::Kept(Box::new(Kept {
            who: who(),
            text: evil.into(),
            host: Some(evil.into()),
            peer_reaction: Some(evil.into()),
            ..kept("00")
        })),
        Event::Hello { who: who(), suggests: evil.to_lowercase() },
        Event::Lost { who: who(), reason: evil.into(), by_peer: false },
        Event::RendezvousLost { reason: evil.into() },
        Event::Contact { change: ContactChange::Renamed, who: who(), was: Some(evil.into()), unread: None },
        Event::error(&Failure::other(evil)),
    ];
    let evil_why = Why { who: who(), reason: evil.into(), help: vec![evil.into()], ..why() };
    let page = text::render(&Event::Why(Box::new(evil_why.clone())), now, &TimeZone::UTC).expect("shown");
    assert!(!page.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{page:?}");
    assert!(!json(&Event::Why(Box::new(evil_why))).chars().any(char::is_control));
    for event in events {
        let line = text::render(&event, now, &TimeZone::UTC).expect("shown");
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!json(&event).chars().any(char::is_control));
    }
}
