//! Each cause once, from the record that leads to it.

use std::time::Duration;

use common::nat::{Filtering, Mapping, NatProfile, PortAssignment};
use common::path::Attempt;

use super::*;
use crate::node::{AttemptEnd, Introducer, PathAttempt, Side};

fn home() -> NatProfile {
    NatProfile {
        translated: Some(true),
        mapping: Some(Mapping::EndpointIndependent),
        filtering: Some(Filtering::AddressAndPortDependent),
        ports: Some(PortAssignment::Preserved),
        hairpinning: Some(false),
    }
}

fn symmetric() -> NatProfile {
    let ports = Some(PortAssignment::Random { low: 1100, high: 64_000 });
    NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ports, ..home() }
}

fn side(seen_at: &str, profile: NatProfile) -> Side {
    Side { seen_at: seen_at.parse().ok(), profile }
}

fn found(address: &str, kind: CandidateKind, strategy: Strategy) -> Option<Found> {
    let address = address.parse().expect("an address");
    Some(Found { kind, address, strategy, rtt: Duration::from_millis(41), after: Duration::from_millis(83) })
}

fn attempt(own: Side, peer: Side, ending: Ending, found: Option<Found>) -> PathAttempt {
    let ended = if found.is_some() { AttemptEnd::Direct } else { AttemptEnd::NoPath };
    let attempt = Attempt { checks: vec![], strategies: vec![], ending, found };
    PathAttempt { by: Introducer::Rendezvous, requested: true, ended, own, theirs: peer, attempt }
}

fn of(attempt: Option<&PathAttempt>, route: Option<Route>) -> Explanation {
    explain(&Evidence { name: "Bob", route, attempt, refused: false, mapped: None })
}

const HERE: &str = "11.1.1.7:4000";
const THERE: &str = "11.1.1.8:4000";

#[test]
fn a_direct_path_is_explained_by_what_found_it() {
    use CandidateKind::*;
    let cases = [
        (found("192.168.1.9:4000", Host, Strategy::Plain), Cause::SameNetwork),
        (found("[2001:db8::9]:4000", Host, Strategy::Plain), Cause::Ipv6),
        (found(THERE, ServerReflexive, Strategy::Plain), Cause::Standing),
        (found(THERE, PeerReflexive, Strategy::Plain), Cause::Heard),
        (found(THERE, PeerReflexive, Strategy::FreshSocket), Cause::Fresh),
        (found(THERE, PeerReflexive, Strategy::Sequential), Cause::Foretold),
        (found(THERE, PeerReflexive, Strategy::Sweep), Cause::Foretold),
        (found(THERE, PeerReflexive, Strategy::Block), Cause::Guessed),
        (found(THERE, PeerReflexive, Strategy::Birthday), Cause::Guessed),
    ];
    for (found, cause) in cases {
        let attempt = attempt(side(HERE, home()), side(THERE, symmetric()), Ending::Exhausted, found);
        let explanation = of(Some(&attempt), Some(Route::Direct));
        assert_eq!((explanation.standing, explanation.cause), (Standing::Direct, cause), "{found:?}");
        assert!(explanation.help.is_empty(), "nothing is missing");
        assert_eq!(of(Some(&attempt), None).cause, Cause::Ended);
    }
}

#[test]
fn the_router_that_took_another_port_is_named() {
    let heard = found(THERE, CandidateKind::PeerReflexive, Strategy::Plain);
    let whose = |own, peer| {
        let attempt = attempt(side(HERE, own), side(THERE, peer), Ending::Exhausted, heard);
        of(Some(&attempt), Some(Route::Direct)).reason
    };
    assert!(whose(home(), symmetric()).starts_with("Bob's router took"));
    assert!(whose(symmetric(), home()).starts_with("your router took"));
    assert!(whose(symmetric(), symmetric()).starts_with("one of the two routers took"));
}

#[test]
fn a_path_that_was_not_found_is_explained_by_what_was_in_the_way() {
    let cases = [
        (side("", home()), side(THERE, home()), Ending::OnlyPlain, Cause::OwnUdpBlocked),
        (side(HERE, home()), side("", home()), Ending::OnlyPlain, Cause::PeerUdpBlocked),
        (side(HERE, home()), side("[2001:db8::9]:4000", home()), Ending::NoCommonFamily, Cause::NoCommonFamily),
        (side(HERE, home()), side("11.1.1.7:5000", home()), Ending::Exhausted, Cause::SameRouter),
        (side(HERE, symmetric()), side(THERE, symmetric()), Ending::BothUnforeseeable, Cause::BothUnforeseeable),
        (side(HERE, symmetric()), side(THERE, symmetric()), Ending::OnlyPlain, Cause::BothUnforeseeable),
        (side(HERE, home()), side(THERE, symmetric()), Ending::BirthdayOff, Cause::BirthdayOff),
        (side(HERE, home()), side(THERE, symmetric()), Ending::BirthdayNotGranted, Cause::BirthdayNotGranted),
        (side(HERE, home()), side(THERE, symmetric()), Ending::Exhausted, Cause::Missed),
        (side(HERE, home()), side(THERE, home()), Ending::NothingObserved, Cause::NothingObserved),
        (side(HERE, home()), side(THERE, home()), Ending::Exhausted, Cause::Dropped),
    ];
    for (own, peer, ending, cause) in cases {
        let attempt = attempt(own, peer, ending, None);
        let explanation = of(Some(&attempt), Some(Route::Relayed));
        assert_eq!((explanation.standing, explanation.cause), (Standing::Relayed, cause));
        assert!(!explanation.help.is_empty(), "{cause:?}: what would help?");
    }
}

#[test]
fn what_the_rendezvous_said_last_counts_as_long_as_nothing_stands() {
    let attempt = attempt(side(HERE, home()), side(THERE, home()), Ending::Exhausted, None);
    let evidence = Evidence { name: "Bob", route: None, attempt: Some(&attempt), refused: true, mapped: None };
    assert_eq!(explain(&evidence).cause, Cause::Refused);
    assert_eq!(explain(&Evidence { route: Some(Route::Relayed), ..evidence }).cause, Cause::Dropped);
    assert_eq!(of(None, None).cause, Cause::Untried);
}
