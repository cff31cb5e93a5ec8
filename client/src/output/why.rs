//! The answer to "why is the path what it is?".

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use common::candidate::CandidateKind;
use common::nat::NatProfile;
use common::path::{Checked, Strategy, Tried};
use common::reach::AccessKind;
use common::session::Route;
use jiff::Timestamp;
use serde::Serialize;

use super::event::{Millis, Who};
use super::sanitize;
use super::text::{kind_words, name, nat, way};
use crate::node::{Introducer, PathAttempt, Side};
use crate::why::{Cause, Explanation, Standing};

/// All of it. The field names and their order are the JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// Whom it is about.
    #[serde(flatten)]
    pub who: Who,
    /// How they are reached.
    pub result: Standing,
    /// Why, in a word.
    pub cause: Cause,
    /// The connection that stands.
    pub connection: Option<ConnectionLine>,
    /// When the attempt ended that all of this is about.
    pub at: Option<Timestamp>,
    /// Our router then.
    pub own: Option<SideLine>,
    /// The peer's.
    pub theirs: Option<SideLine>,
    /// The addresses that were probed, in order.
    pub candidates: Vec<CandidateLine>,
    /// What was tried, and what that took.
    pub strategies: Vec<StrategyLine>,
    /// The path that was found.
    pub path: Option<PathLine>,
    /// Why, in plain words.
    pub reason: String,
    /// What would make it better, the best first.
    pub help: Vec<String>,
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConnectionLine {
    /// How it goes.
    pub route: Route,
    /// Where to: the peer's address, or the relay's.
    pub remote: SocketAddr,
    /// There and back.
    pub rtt_ms: Millis,
}

/// One side's access to the Internet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SideLine {
    /// Where the rendezvous saw it; `null` where UDP is blocked.
    pub seen_at: Option<SocketAddr>,
    /// What it amounts to.
    pub kind: Option<AccessKind>,
    /// RFC 4787's words.
    pub profile: NatProfile,
}

/// An address that was probed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CandidateLine {
    /// RFC 8445's word.
    pub kind: CandidateKind,
    /// Where it is.
    pub address: SocketAddr,
    /// Probes that went there.
    pub packets: u32,
    /// One was answered.
    pub answered: bool,
    /// Something of the peer's came from there.
    pub heard: bool,
    /// Of the fastest answer.
    pub rtt_ms: Option<Millis>,
}

/// A strategy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StrategyLine {
    /// Which.
    pub strategy: Strategy,
    /// Datagrams that left.
    pub packets: u32,
    /// Sockets that were opened.
    pub sockets: u32,
    /// How long it went on.
    pub took_ms: Millis,
}

/// A path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PathLine {
    /// Where the peer is.
    pub remote: SocketAddr,
    /// RFC 8445's word for that address.
    pub kind: CandidateKind,
    /// What found it.
    pub strategy: Strategy,
    /// Of the probe.
    pub rtt_ms: Millis,
    /// Since the introduction.
    pub after_ms: Millis,
}

impl Why {
    /// The answer about this contact.
    pub fn new(
        who: Who,
        explanation: Explanation,
        connection: Option<ConnectionLine>,
        attempt: Option<(&PathAttempt, Timestamp)>,
    ) -> Why {
        let Explanation { standing, cause, reason, help } = explanation;
        let side = |side: Side| SideLine {
            seen_at: side.seen_at,
            kind: if side.seen_at.is_some() { AccessKind::of(&side.profile) } else { Some(AccessKind::UdpBlocked) },
            profile: side.profile,
        };
        let record = attempt.map(|(attempt, _)| attempt);
        Why {
            who,
            result: standing,
            cause,
            connection,
            at: attempt.map(|(_, at)| at),
            own: record.map(|attempt| side(attempt.own)),
            // On the LAN nobody says what the other's router is like.
            theirs: record.filter(|attempt| attempt.by != Introducer::Lan).map(|attempt| side(attempt.theirs)),
            candidates: record.iter().flat_map(|attempt| &attempt.attempt.checks).map(candidate).collect(),
            strategies: record.iter().flat_map(|attempt| &attempt.attempt.strategies).map(strategy).collect(),
            path: record.and_then(|attempt| attempt.attempt.found).map(|found| PathLine {
                remote: found.address,
                kind: found.kind,
                strategy: found.strategy,
                rtt_ms: found.rtt.into(),
                after_ms: found.after.into(),
            }),
            reason,
            help,
        }
    }
}

fn candidate(checked: &Checked) -> CandidateLine {
    let Checked { kind, address, packets, heard, rtt } = *checked;
    CandidateLine { kind, address, packets, answered: rtt.is_some(), heard, rtt_ms: rtt.map(Millis::from) }
}

fn strategy(tried: &Tried) -> StrategyLine {
    let Tried { strategy, effort, took } = *tried;
    StrategyLine { strategy, packets: effort.packets, sockets: effort.sockets, took_ms: took.into() }
}

/// In words: a page, with its parts in a column.
pub(super) fn render(why: &Why) -> String {
    let who = name(&why.who);
    let mut page = Page::default();
    page.line("", &headline(&who, why));
    for (whose, side) in [("your router".to_owned(), &why.own), (format!("{who}'s router"), &why.theirs)] {
        side.iter().for_each(|side| page.line(&whose, &side_words(side)));
    }
    for (number, candidate) in why.candidates.iter().enumerate() {
        page.line(if number == 0 { "tried" } else { "" }, &format!("{}. {}", number + 1, candidate_words(candidate)));
    }
    for (number, strategy) in why.strategies.iter().enumerate() {
        page.line(if number == 0 { "how" } else { "" }, &strategy_words(strategy));
    }
    page.line("why", &sanitize::line(&why.reason));
    for (number, help) in why.help.iter().enumerate() {
        page.line(if number == 0 { "what helps" } else { "" }, &sanitize::line(help));
    }
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, words: &str) {
        if self.0.is_empty() {
            self.0.push_str(words);
        } else {
            let _ = write!(self.0, "\n{label:14} {words}");
        }
    }
}

fn headline(who: &str, why: &Why) -> String {
    match (&why.connection, why.result, why.cause) {
        (Some(ConnectionLine { route, remote, rtt_ms }), ..) => {
            let found = why.path.as_ref().filter(|_| *route == Route::Direct);
            let found = found.map(|path| {
                format!("; found by {}, {} after the introduction", strategy_name(path.strategy), path.after_ms)
            });
            let found = found.unwrap_or_default();
            format!("{who}: {} {remote}, {rtt_ms} there and back{found}", way(*route))
        }
        (None, _, Cause::Refused) => format!("{who}: not reached, the rendezvous does not introduce you"),
        (None, _, Cause::Untried) => format!("{who}: nothing is known"),
        (None, Standing::Direct | Standing::Relayed | Standing::Unreached, _) => {
            format!("{who}: no connection stands")
        }
    }
}

fn side_words(side: &SideLine) -> String {
    match side.seen_at {
        None => "UDP is blocked; it is reached over TCP".to_owned(),
        Some(seen_at) => format!("seen at {seen_at}: {}", nat(&side.profile)),
    }
}

fn candidate_words(candidate: &CandidateLine) -> String {
    let CandidateLine { kind, address, packets, heard, rtt_ms, .. } = candidate;
    let probes = if *packets == 1 { "1 probe".to_owned() } else { format!("{packets} probes") };
    let answer = match (rtt_ms, heard) {
        (Some(rtt), _) => format!("answered after {rtt}"),
        (None, true) => "heard from, but no answer".to_owned(),
        (None, false) => "no answer".to_owned(),
    };
    format!("{address} ({}): {probes}, {answer}", kind_words(*kind))
}

fn strategy_words(line: &StrategyLine) -> String {
    let StrategyLine { strategy, packets, sockets, took_ms } = line;
    let from = match sockets {
        0 => String::new(),
        1 => " from 1 fresh socket".to_owned(),
        more => format!(" from {more} fresh sockets"),
    };
    let packets = if *packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") };
    // Questions that leave at once took no time worth a word.
    let took = if *took_ms < Duration::from_millis(1).into() { String::new() } else { format!(" in {took_ms}") };
    format!("{}: {packets}{from}{took}", strategy_name(*strategy))
}

fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Plain => "plain probing",
        Strategy::Observation => "looks at the own router",
        Strategy::FreshSocket => "starting again from fresh sockets",
        Strategy::Sequential => "foretelling the next ports",
        Strategy::Sweep => "sweeping across rows of ports",
        Strategy::Block => "guessing within a block of ports",
        Strategy::Birthday => "guessing among all ports",
    }
}
