//! Versions of IP: who has which, and what becomes of the two.

use std::time::{Duration, Instant};

use common::session::Route;
use netsim::model::presets;

use crate::world::{Step, Who, World};

const SOON: Duration = Duration::from_secs(60);

fn talk(alice: &str, bob: &str) -> World {
    let [alice, bob] = [alice, bob].map(|name| presets::named(name).expect("a preset"));
    let mut world = World::new(&alice, &bob, 7, Instant::now());
    world.record();
    world.step(Step::Say(Who::Alice));
    world.step(Step::Say(Who::Bob));
    assert!(world.run_until(SOON, World::is_on_the_best_route).is_some(), "{}", world.report());
    assert!(world.run_until(SOON, World::is_settled).is_some(), "{}", world.report());
    world
}

#[test]
fn two_behind_ipv6_firewalls_are_direct_and_so_is_who_has_both_versions() {
    for (alice, bob) in [
        ("ipv6_firewall", "ipv6_firewall"),
        ("ipv6_firewall", "dual_stack"),
        ("dual_stack", "ipv6_firewall"),
        ("dual_stack", "dual_stack"),
        ("dual_stack", "home"),
        ("open", "dual_stack"),
    ] {
        let world = talk(alice, bob);
        for who in [Who::Alice, Who::Bob] {
            assert_eq!(world.person(who).route(), Some(Route::Direct), "{alice} and {bob}: {}", world.report());
        }
    }
}

#[test]
fn ipv4_alone_and_ipv6_alone_talk_through_the_rendezvous_and_are_told_why() {
    for (alice, bob) in [("home", "ipv6_firewall"), ("ipv6_firewall", "open")] {
        let mut world = talk(alice, bob);
        world.step(Step::Wait(Duration::from_secs(30)));
        for who in [Who::Alice, Who::Bob] {
            assert_eq!(world.person(who).route(), Some(Route::Relayed), "{}", world.report());
        }
        let told = world.report().matches("one has IPv4 alone, and the other IPv6").count();
        assert!(told >= 2, "{told}: {}", world.report());
    }
}

#[test]
fn who_has_both_versions_stays_direct_when_the_path_has_been_compared() {
    let mut world = talk("dual_stack", "dual_stack");
    // Whatever was compared is decided, and keepalives have been asked.
    world.step(Step::Wait(Duration::from_secs(120)));
    world.step(Step::Say(Who::Alice));
    assert!(world.run_until(Duration::from_secs(1), World::is_settled).is_some(), "{}", world.report());
    for who in [Who::Alice, Who::Bob] {
        let person = world.person(who);
        assert_eq!(person.route(), Some(Route::Direct), "{}", world.report());
        let direct = person.seen.paths.iter().filter(|(_, route, _)| *route == Route::Direct).count();
        assert!(direct <= 2, "one change at most: {}", world.report());
        assert_eq!((person.sockets(), person.sessions()), (0, 2), "{}", world.report());
    }
}
