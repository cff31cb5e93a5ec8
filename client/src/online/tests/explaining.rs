//! `netcheck` and `why`: what they wait for, and when they end.

use common::lifetime::Span;
use common::nat::{Mapping, NatProfile, PortAssignment};
use common::path::{Attempt, Ending, Found, Strategy};

use super::*;
use crate::commands::{Netcheck, Why};
use crate::node::{Around, AttemptEnd, Entrance, Introducer, LifetimeReport, PathAttempt, Side};
use crate::output;
use crate::why::{Cause, Standing};

fn netcheck(lifetime: bool) -> World {
    asked(lifetime, false)
}

fn asked(lifetime: bool, relay_only: bool) -> World {
    let arguments = cli::Netcheck { lifetime, timeout: Duration::from_secs(5) };
    World::new(Netcheck::new(&arguments, true, relay_only)).0
}

fn registered() -> NodeEvent {
    NodeEvent::Registered { entrance: Entrance::Udp { observed: remote() }, local: vec![remote()] }
}

/// Everything but the NAT's memory.
fn look(world: &mut World, profile: NatProfile) -> Heard {
    let asked = world.node(registered()).commands;
    assert!(matches!(asked[..], [NodeCommand::LookAround { lan: true }]), "{asked:?}");
    assert!(world.node(NodeEvent::Profile(profile)).end.is_none(), "the router has not answered yet");
    assert!(world.node(NodeEvent::Around(Around::default())).end.is_none());
    world.node(NodeEvent::PortMapping(Err("nothing is translated".to_owned())))
}

fn page(out: &Heard) -> &output::Netcheck {
    let page = out.events.iter().find_map(|event| if let Event::Netcheck(page) = event { Some(page) } else { None });
    page.expect("an answer")
}

#[test]
fn a_netcheck_ends_with_the_profile_its_verdict_and_what_the_router_says() {
    let mut world = netcheck(false);
    let out = look(&mut world, NatProfile { translated: Some(false), ..NatProfile::default() });
    assert_eq!(exit(&out), Exit::Done);
    assert!(page(&out).verdict.contains("No router"), "{}", page(&out).verdict);
    assert_eq!(page(&out).lifetime, None);
}

#[test]
fn a_netcheck_that_shows_no_address_looks_at_no_router_and_says_so() {
    let mut world = asked(true, true);
    world.node(registered());
    world.node(NodeEvent::Around(Around::default()));
    let out = world.node(NodeEvent::PortMapping(Err("not asked for".to_owned())));
    assert_eq!(exit(&out), Exit::Done);
    assert!(page(&out).verdict.contains("--relay-only"), "{}", page(&out).verdict);
    assert!(page(&out).reaches.is_empty());
    let lifetime = page(&out).lifetime.clone().expect("it was asked for");
    assert!(lifetime.trouble.is_some_and(|words| words.contains("--relay-only")));
}

#[test]
fn a_netcheck_without_a_rendezvous_says_what_was_tried() {
    let mut world = netcheck(false);
    world.node(NodeEvent::RendezvousLost { reason: "tried 11.1.1.1:3478".into() });
    let out = world.sleep();
    assert_eq!(exit(&out), Exit::Timeout);
    assert!(matches!(&out.end, Some(Err(failure)) if failure.message.contains("11.1.1.1:3478")));
    assert_eq!(out.events.len(), 0);
}

#[test]
fn the_nats_memory_is_measured_last_and_takes_as_long_as_it_takes() {
    let mut world = netcheck(true);
    let out = look(&mut world, NatProfile::default());
    assert!(matches!(out.commands[..], [NodeCommand::MeasureLifetime]) && out.end.is_none(), "{out:?}");
    assert_eq!(world.engine.poll_wakeup(), None, "nothing gives up on it");
    let span = Span { outlived: Some(Duration::from_secs(25)), gone_after: None };
    assert!(world.node(NodeEvent::Lifetime(LifetimeReport::Progress { share: 0.1, span })).end.is_none());
    let span = Span { gone_after: Some(Duration::from_secs(35)), ..span };
    let out = world.node(NodeEvent::Lifetime(LifetimeReport::Done(span)));
    assert_eq!(exit(&out), Exit::Done);
    let lifetime = page(&out).lifetime.clone().expect("measured");
    assert_eq!((lifetime.outlived_s, lifetime.gone_after_s, lifetime.trouble), (Some(25.0), Some(35.0), None));
}

#[test]
fn whoever_interrupts_the_measurement_gets_what_is_known_by_then() {
    let mut world = netcheck(true);
    look(&mut world, NatProfile::default());
    let span = Span { outlived: Some(Duration::from_secs(20)), gone_after: None };
    world.node(NodeEvent::Lifetime(LifetimeReport::Progress { share: 0.1, span }));
    let out = world.feed(Happening::Interrupted(FIRST));
    assert_eq!(exit(&out), Exit::Done);
    let lifetime = page(&out).lifetime.clone().expect("a part of it");
    assert_eq!((lifetime.outlived_s, lifetime.gone_after_s), (Some(20.0), None));
    assert!(lifetime.trouble.is_some_and(|trouble| trouble.contains("ended early")));
}

#[test]
fn an_interruption_before_anything_is_known_is_a_failure() {
    let out = netcheck(true).feed(Happening::Interrupted(FIRST));
    assert_eq!((exit(&out), out.events.len()), (Exit::Other, 0));
}

fn symmetric(seen_at: &str) -> Side {
    let profile = NatProfile {
        mapping: Some(Mapping::AddressAndPortDependent),
        ports: Some(PortAssignment::Random { low: 1100, high: 60_000 }),
        ..NatProfile::default()
    };
    Side { seen_at: seen_at.parse().ok(), profile }
}

fn attempted(ended: AttemptEnd) -> NodeEvent {
    let found = Found {
        kind: CandidateKind::ServerReflexive,
        address: remote(),
        strategy: Strategy::Plain,
        rtt: RTT,
        after: RTT,
    };
    let found = Some(found).filter(|_| ended == AttemptEnd::Direct);
    let attempt = Attempt { checks: vec![], strategies: vec![], ending: Ending::BothUnforeseeable, found };
    let (own, theirs) = (symmetric("11.1.1.8:4000"), symmetric("11.1.1.7:4000"));
    let attempt = Box::new(PathAttempt { by: Introducer::Rendezvous, requested: true, ended, own, theirs, attempt });
    NodeEvent::Attempted { peer: bob(), attempt }
}

fn why() -> World {
    World::new(Why::new(bob(), Duration::from_secs(30))).0
}

fn relayed() -> NodeEvent {
    NodeEvent::Up { peer: bob(), session: SessionId(2), route: Route::Relayed, by: None, remote: remote(), rtt: RTT }
}

fn answer(out: &Heard) -> &output::Why {
    let answer = out.events.iter().find_map(|event| if let Event::Why(answer) = event { Some(answer) } else { None });
    answer.expect("an answer")
}

#[test]
fn why_ends_with_the_first_attempt_that_came_to_its_end() {
    let mut world = why();
    let asked = |out: Heard| matches!(out.commands[..], [NodeCommand::Want(_)]);
    assert!(!asked(world.node(registered())), "its own NAT is not known yet");
    assert!(asked(world.node(NodeEvent::Profile(NatProfile::default()))));
    world.node(relayed());
    assert!(world.node(attempted(AttemptEnd::Superseded)).end.is_none(), "another one goes on");
    let out = world.node(attempted(AttemptEnd::NoPath));
    assert_eq!(exit(&out), Exit::Done, "it was asked why, and there is an answer");
    let answer = answer(&out);
    assert_eq!((answer.result, answer.cause), (Standing::Relayed, Cause::BothUnforeseeable));
    assert!(answer.path.is_none() && answer.own.is_some() && answer.theirs.is_some());

    let mut world = why();
    world.direct();
    let out = world.node(attempted(AttemptEnd::Direct));
    assert_eq!((super::exit(&out), self::answer(&out).cause), (Exit::Done, Cause::Standing));
}

#[test]
fn why_waits_a_moment_for_the_relays_connection_after_an_attempt_that_found_nothing() {
    let mut world = why();
    assert!(world.node(attempted(AttemptEnd::NoPath)).end.is_none());
    let out = world.node(relayed());
    assert_eq!(answer(&out).result, Standing::Relayed);

    let mut world = why();
    world.node(attempted(AttemptEnd::NoPath));
    let end = loop {
        let out = world.sleep();
        if out.end.is_some() {
            break out;
        }
    };
    assert_eq!((exit(&end), answer(&end).result), (Exit::Done, Standing::Unreached));
    assert!(world.elapsed < Duration::from_secs(3));
}

#[test]
fn why_says_that_somebody_is_not_there_and_ends_with_a_code_of_its_own() {
    let out = why().node(NodeEvent::Refused { peer: bob() });
    assert_eq!((exit(&out), answer(&out).cause), (Exit::PeerOffline, Cause::Refused));
}

#[test]
fn why_ends_in_time_when_nothing_is_heard_at_all() {
    let mut world = why();
    let end = loop {
        let out = world.sleep();
        if out.end.is_some() {
            break out;
        }
    };
    assert_eq!((exit(&end), world.elapsed), (Exit::Timeout, Duration::from_secs(30)));
}
