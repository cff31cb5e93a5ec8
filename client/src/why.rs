//! Why the path to a contact is what it is: from the record of an attempt to a cause, and to words for people. Pure.
//!
//! The cause is looked for from what is certain to what is only likely: what the rendezvous said, where UDP is blocked, what the
//! two have in common, how the attempt says that it ended; and only then what their NAT profiles make one expect. Whatever is left
//! was dropped by somebody whom neither side sees.

use common::candidate::CandidateKind;
use common::path::{Ending, Found, Strategy};
use common::reach::{AccessKind, Reach, reach};
use common::session::Route;
use serde::Serialize;

use crate::node::{AttemptEnd, PathAttempt, PortMapping, Side};

/// What is known of the way to a contact.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What the contact is called.
    pub name: &'a str,
    /// How messages go now, if a connection stands.
    pub route: Option<Route>,
    /// The last attempt at a direct path that was not given up for another one.
    pub attempt: Option<&'a PathAttempt>,
    /// The rendezvous would not introduce us, after that attempt.
    pub refused: bool,
    /// The port that our router gave us.
    pub mapped: Option<PortMapping>,
}

/// How the contact is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Directly.
    Direct,
    /// Through the relay.
    Relayed,
    /// Not at all now.
    Unreached,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Direct: by an address of the peer's own machine, over a network that both are on.
    SameNetwork,
    /// Direct: over IPv6, where nothing is translated.
    Ipv6,
    /// Direct: by the address at which the rendezvous saw the peer, or by a port that its router gave it.
    Standing,
    /// Direct: from where the peer's probe came, which nobody had foretold.
    Heard,
    /// Direct: from fresh sockets, after the first ones were spoilt.
    Fresh,
    /// Direct: by foretelling ports.
    Foretold,
    /// Direct: by trying many ports.
    Guessed,
    /// The rendezvous did not introduce us.
    Refused,
    /// Nobody has tried since this client came online.
    Untried,
    /// Not direct: we show our address to nobody.
    OwnRelayOnly,
    /// Not direct: the peer shows its address to nobody.
    PeerRelayOnly,
    /// Not reached: one of us shows its address to nobody, and the rendezvous does not relay.
    NoRelay,
    /// Not direct: UDP is blocked here.
    OwnUdpBlocked,
    /// Not direct: UDP is blocked there.
    PeerUdpBlocked,
    /// Not direct: one has only IPv4, the other only IPv6.
    NoCommonFamily,
    /// Not direct: both are behind one router that keeps them apart, and does not turn packets round.
    SameRouter,
    /// Not direct: both take another port for each destination, and one port at least cannot be foretold.
    BothUnforeseeable,
    /// Not direct: it would take many sockets, and that is switched off.
    BirthdayOff,
    /// Not direct: it would take many sockets, and others had their turn.
    BirthdayNotGranted,
    /// Not direct: the rendezvous did not answer what had to be known.
    NothingObserved,
    /// Not direct: ports were guessed, and missed.
    Missed,
    /// Not direct: a path was found, and no connection came of it.
    NoSession,
    /// Not direct, though nothing that is known of the two routers forbids it: somebody drops the packets.
    Dropped,
    /// It was direct, and the connection has ended.
    Ended,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// How the contact is reached.
    pub standing: Standing,
    /// Why, for programs.
    pub cause: Cause,
    /// Why, for people.
    pub reason: String,
    /// What would make it better, the best first.
    pub help: Vec<String>,
}

/// Explains it.
pub fn explain(evidence: &Evidence<'_>) -> Explanation {
    let standing = match evidence.route {
        Some(Route::Direct) => Standing::Direct,
        Some(Route::Relayed) => Standing::Relayed,
        None => Standing::Unreached,
    };
    let cause = cause(evidence);
    Explanation { standing, cause, reason: reason(cause, evidence), help: help(cause, evidence) }
}

fn cause(evidence: &Evidence<'_>) -> Cause {
    if evidence.refused && evidence.route.is_none() {
        return Cause::Refused;
    }
    let Some(PathAttempt { ended, own, theirs, attempt, .. }) = evidence.attempt else { return Cause::Untried };
    match (ended, attempt.found) {
        (AttemptEnd::Direct, Some(_)) if evidence.route != Some(Route::Direct) => Cause::Ended,
        (AttemptEnd::Direct, Some(found)) => direct(found),
        (AttemptEnd::NoSession, _) => Cause::NoSession,
        _ => blocked(own, theirs, attempt.ending),
    }
}

fn direct(found: Found) -> Cause {
    match (found.strategy, found.kind) {
        _ if found.address.is_ipv6() => Cause::Ipv6,
        (Strategy::FreshSocket, _) => Cause::Fresh,
        (Strategy::Sequential | Strategy::Sweep, _) => Cause::Foretold,
        (Strategy::Block | Strategy::Birthday, _) => Cause::Guessed,
        (_, CandidateKind::Host) => Cause::SameNetwork,
        (_, CandidateKind::ServerReflexive) => Cause::Standing,
        (_, CandidateKind::PeerReflexive) => Cause::Heard,
    }
}

fn blocked(own: &Side, peer: &Side, ending: Ending) -> Cause {
    let shown = !ending.is_relay_only();
    let (ours, theirs) = (own.seen_at.map(|at| at.ip()), peer.seen_at.map(|at| at.ip()));
    match ending {
        _ if shown && ours.is_none() => Cause::OwnUdpBlocked,
        _ if shown && theirs.is_none() => Cause::PeerUdpBlocked,
        _ if shown && ours == theirs && own.profile.translated != Some(false) => Cause::SameRouter,
        Ending::NoCommonFamily => Cause::NoCommonFamily,
        Ending::BothUnforeseeable => Cause::BothUnforeseeable,
        Ending::BirthdayOff => Cause::BirthdayOff,
        Ending::BirthdayNotGranted => Cause::BirthdayNotGranted,
        Ending::NothingObserved => Cause::NothingObserved,
        Ending::RelayOnly => Cause::OwnRelayOnly,
        Ending::PeerRelayOnly => Cause::PeerRelayOnly,
        Ending::NoRelay => Cause::NoRelay,
        Ending::Exhausted | Ending::OnlyPlain => match kinds(own, peer).map(|(own, peer)| reach(own, peer)) {
            Some(Reach::Relayed) => Cause::BothUnforeseeable,
            Some(Reach::Guessed) => Cause::Missed,
            _ => Cause::Dropped,
        },
    }
}

fn kinds(own: &Side, peer: &Side) -> Option<(AccessKind, AccessKind)> {
    AccessKind::of(&own.profile).zip(AccessKind::of(&peer.profile))
}

fn reason(cause: Cause, Evidence { name, attempt, .. }: &Evidence<'_>) -> String {
    let symmetric = |side: fn(&PathAttempt) -> &Side| {
        attempt.and_then(|attempt| AccessKind::of(&side(attempt).profile)).is_some_and(AccessKind::is_symmetric)
    };
    // Whose router took another port.
    let whose = match (symmetric(|attempt| &attempt.own), symmetric(|attempt| &attempt.theirs)) {
        (true, false) => "your router".to_owned(),
        (false, true) => format!("{name}'s router"),
        _ => "one of the two routers".to_owned(),
    };
    match cause {
        Cause::SameNetwork => format!("you and {name} are on one network, and nothing stands between you"),
        Cause::Ipv6 => "both of you have IPv6, where no address is translated".to_owned(),
        Cause::Standing => {
            "the address that the rendezvous saw was right for everybody, and each side's probes opened its own \
                            router for the other's"
                .to_owned()
        }
        Cause::Heard => format!(
            "{whose} took another port than the rendezvous had seen; a probe that came from there was let in, and told which"
        ),
        Cause::Fresh => {
            "the first sockets were of no use, because a probe that came too early had moved a mapping; from fresh \
                         ones, at the same instant, it worked"
                .to_owned()
        }
        Cause::Foretold => format!("{whose} gives out ports that can be foretold, and they were"),
        Cause::Guessed => {
            format!("{whose} gives out ports that nobody can foretell; so many were tried until one was right")
        }
        Cause::Refused => format!(
            "the rendezvous does not introduce you: {name} is offline, or does not have you as a contact, and it does not say which"
        ),
        Cause::Untried => format!("nobody has asked for a path to {name} since this client came online"),
        Cause::OwnRelayOnly => "you show your address to the rendezvous alone (--relay-only)".to_owned(),
        Cause::PeerRelayOnly => format!("{name} shows no address (--relay-only)"),
        Cause::NoRelay => "one of you shows no address (--relay-only), and this rendezvous does not relay".to_owned(),
        Cause::OwnUdpBlocked => "your network lets no UDP out, and a direct path takes UDP".to_owned(),
        Cause::PeerUdpBlocked => format!("{name}'s network lets no UDP out, and a direct path takes UDP"),
        Cause::NoCommonFamily => {
            "one of you is seen over IPv4, the other over IPv6, and the two do not meet".to_owned()
        }
        Cause::SameRouter => {
            "both of you are behind one router; it keeps your networks apart, and does not turn round what one \
                              sends to its outer address for the other"
                .to_owned()
        }
        Cause::BothUnforeseeable => {
            "both routers choose another port for each destination, and one of them at least at random: \
                                     nobody knows where to send, and nobody can guess both"
                .to_owned()
        }
        Cause::BirthdayOff => {
            format!("{whose} gives out ports at random: it would take hundreds of sockets, and that is switched off")
        }
        Cause::BirthdayNotGranted => {
            format!(
                "{whose} gives out ports at random: it would take hundreds of sockets, and other contacts had their turn"
            )
        }
        Cause::NothingObserved => {
            "the rendezvous did not answer when your router's ports had to be looked at".to_owned()
        }
        Cause::Missed => {
            format!("{whose} gives out ports that nobody can foretell, and of those that were tried none was right")
        }
        Cause::NoSession => {
            "a path was found, but the connection over it did not come about: it may let only small packets \
                             through, or not for long"
                .to_owned()
        }
        Cause::Dropped => {
            "nothing that is known of the two routers is in the way, and yet no probe came through: a firewall on \
                           one of the machines, or a network between, drops them"
                .to_owned()
        }
        Cause::Ended => "there was a direct path, and its connection has ended".to_owned(),
    }
}

fn help(cause: Cause, Evidence { name, mapped, .. }: &Evidence<'_>) -> Vec<String> {
    let port = match mapped {
        None => "on either router, switch on UPnP, NAT-PMP or PCP: one port that is given is enough",
        Some(_) => {
            "on the other router, too, switch on UPnP, NAT-PMP or PCP: yours has given a port, and that did not help"
        }
    };
    let ipv6 = "IPv6 on both sides";
    let words: &[&str] = match cause {
        Cause::SameNetwork
        | Cause::Ipv6
        | Cause::Standing
        | Cause::Heard
        | Cause::Fresh
        | Cause::Foretold
        | Cause::Guessed => &[],
        Cause::Refused => {
            &["`punchline id` shows the link that they need to add you", "ask again when they are online"]
        }
        Cause::Untried => {
            return vec![format!("end the client that is online and ask again, or `punchline chat {name}`")];
        }
        Cause::OwnRelayOnly => &["leave out --relay-only, if your contacts may see your address"],
        Cause::PeerRelayOnly => &[],
        Cause::NoRelay => &["a rendezvous that relays; or that neither of you uses --relay-only"],
        Cause::OwnUdpBlocked => &["another network; or that whoever runs yours lets UDP out"],
        Cause::PeerUdpBlocked => {
            return vec![format!("another network for {name}; or that whoever runs it lets UDP out")];
        }
        Cause::NoCommonFamily => &[ipv6],
        Cause::SameRouter => &[
            "join the same network, rather than a guest network",
            "on the router, switch on NAT loopback (hairpinning), or let the two networks talk",
        ],
        Cause::BothUnforeseeable => &[port, ipv6, "another network for one of you"],
        Cause::BirthdayOff => &["leave out --no-birthday", port, ipv6],
        Cause::BirthdayNotGranted => &["ask again in a minute", port, ipv6],
        Cause::NothingObserved => &["ask again; `punchline netcheck` shows whether the rendezvous answers"],
        Cause::Missed => &["ask again: ninety-nine times in a hundred it is found", port, ipv6],
        Cause::NoSession => &["ask again", ipv6],
        Cause::Dropped => &[
            "let UDP in and out for punchline in the firewalls of both machines",
            "leave a VPN that one of you is in",
            ipv6,
        ],
        Cause::Ended => &["ask again: the client looks for a new path by itself"],
    };
    words.iter().map(|words| (*words).to_owned()).collect()
}

#[cfg(test)]
mod tests;
