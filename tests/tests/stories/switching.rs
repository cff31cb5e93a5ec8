//! What happens to a conversation when the network changes under it: a thousand numbered lines arrive once and in order,
//! and soon. How soon exactly is the business of `cargo bench -p e2e --bench switching`.

use std::time::Duration;

use anyhow::Result;
use e2e::{Flow, Running, Town, sleep_and_wake};
use netsim::model::{Behaviour, presets};
use netsim::netns::in_namespaces;

use crate::SOON;

/// A thousand lines in three seconds.
const LINES: (usize, Duration) = (1000, Duration::from_millis(3));
/// Whatever it was, on a busy machine; not one of the many seconds that connections take that only time out.
const RECOVERED: Duration = Duration::from_secs(3);
/// Who only listens asks for a sign of life when the relay falls silent, and does not wait for its next keepalive, for which
/// three seconds would not do.
const RENDEZVOUS_FOUND_AGAIN: Duration = Duration::from_secs(2);
/// After a goodbye everybody comes back after a random moment, at first 0.4 s at most, and the server has to be up.
const RENDEZVOUS_UPDATED: Duration = Duration::from_secs(4);

fn homes() -> [Behaviour; 2] {
    [presets::home(), presets::home()]
}

/// Alice and Bob talk; lines flow from her to him, something happens, and they flow on.
fn flows_on(town: &mut Town, happens: impl FnOnce(&mut Town) -> Result<()>) -> Result<(Running, Running)> {
    flows_on_by("direct", RECOVERED, town, happens)
}

fn flows_on_by(
    route: &str,
    within: Duration,
    town: &mut Town,
    happens: impl FnOnce(&mut Town) -> Result<()>,
) -> Result<(Running, Running)> {
    let mut bobs = town.bob.chat(&town.alice)?;
    bobs.expect("registered", SOON);
    let mut alices = town.alice.chat(&town.bob)?;
    for side in [&mut alices, &mut bobs] {
        side.expect_that(route, SOON, |event| event["event"] == "path" && event["kind"] == route);
    }
    let (flow, happened) = Flow::run(&mut alices, &mut bobs, LINES, 300, || happens(town), SOON * 3)?;
    let recovery = flow.recovery(happened)?;
    assert!(recovery < within, "after {recovery:?}\n{}{}", alices.transcript(), bobs.transcript());
    Ok((alices, bobs))
}

#[test]
fn when_the_direct_path_is_cut_the_relay_carries_on() {
    in_namespaces(|| {
        let mut town = Town::new(1, homes(), 0.0)?;
        let (mut alices, _bobs) = flows_on(&mut town, |town| town.cut_direct_path())?;
        let path = alices.said().iter().rfind(|said| said.event["event"] == "path").map(|said| said.event.clone());
        assert_eq!(path.unwrap_or_default()["kind"], "relayed", "{}", alices.transcript());
        Ok(())
    });
}

#[test]
fn a_laptop_that_roams_in_the_middle_of_a_thousand_lines_loses_none() {
    in_namespaces(|| {
        let mut town = Town::new(1, homes(), 0.0)?;
        let roam = |town: &mut Town| Ok(town.alice.host().roam(&town.cafe).map(drop)?);
        let (mut alices, _bobs) = flows_on(&mut town, roam)?;
        let at = |alices: &mut Running, kind: &str| {
            alices.said().iter().rfind(|said| said.event["event"] == kind).map(|said| said.at)
        };
        assert!(at(&mut alices, "punched") > at(&mut alices, "network_changed"), "{}", alices.transcript());
        Ok(())
    });
}

#[test]
fn a_router_that_reboots_in_the_middle_of_a_thousand_lines_costs_none() {
    in_namespaces(|| {
        let mut town = Town::new(1, homes(), 0.0)?;
        flows_on(&mut town, |town| Ok(town.alices.reboot()?)).map(drop)?;
        Ok(())
    });
}

#[test]
fn a_direct_conversation_does_not_notice_that_the_rendezvous_restarts() {
    in_namespaces(|| {
        let mut town = Town::new(1, homes(), 0.0)?;
        flows_on(&mut town, Town::restart_rendezvous).map(drop)?;
        Ok(())
    });
}

#[test]
fn a_relayed_conversation_goes_on_when_the_rendezvous_is_back() {
    in_namespaces(|| {
        let mut town = Town::new(1, [presets::corporate(), presets::corporate()], 0.0)?;
        flows_on_by("relayed", RENDEZVOUS_FOUND_AGAIN, &mut town, Town::restart_rendezvous).map(drop)?;
        Ok(())
    });
}

#[test]
fn a_relayed_conversation_goes_on_when_the_rendezvous_was_updated() {
    in_namespaces(|| {
        let mut town = Town::new(1, [presets::corporate(), presets::corporate()], 0.0)?;
        let (mut alices, mut bobs) = flows_on_by("relayed", RENDEZVOUS_UPDATED, &mut town, Town::update_rendezvous)?;
        for side in [&mut alices, &mut bobs] {
            assert_eq!(side.count("draining"), 1, "it was told\n{}", side.transcript());
        }
        Ok(())
    });
}

#[test]
fn a_laptop_that_slept_until_all_had_given_it_up_has_every_line_when_it_wakes_and_is_direct_again() {
    in_namespaces(|| {
        let town = Town::new(1, homes(), 0.0)?;
        let mut bobs = town.bob.chat(&town.alice)?;
        bobs.expect("registered", SOON);
        let mut alices = town.alice.chat(&town.bob)?;
        for side in [&mut alices, &mut bobs] {
            side.expect_direct(SOON);
        }
        let slept = sleep_and_wake(&town, &mut alices, &mut bobs, SOON)?;
        let in_time = slept.last < RECOVERED && slept.direct < RECOVERED;
        assert!(in_time, "{slept:?}\n{}{}", alices.transcript(), bobs.transcript());
        Ok(())
    });
}
