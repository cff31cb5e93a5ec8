//! How long the model's boxes remember a session in which nothing moves, with real packets.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Lifetimes, Refresh};
use netsim::model::observed::ObservedLifetimes;
use netsim::model::{Access, Behaviour, Families, Family, Line, Router, presets};
use netsim::netns::{Patient, in_namespaces, lifetimes};
use netsim::wire::Internet;

#[test]
fn boxes_forget_when_they_were_told_to_and_are_reminded_by_what_they_were_told() {
    in_namespaces(|| {
        let home = || lifetimes_of(presets::home(), 1.0, 3.0, 1.0, Refresh::BothWays);
        let chains = [
            (vec![home()], Family::Ipv4),
            (vec![lifetimes_of(presets::symmetric_random(), 2.0, 2.0, 0.0, Refresh::OutboundOnly)], Family::Ipv4),
            (vec![home(), lifetimes_of(presets::cgnat(), 2.5, 2.5, 0.0, Refresh::OutboundOnly)], Family::Ipv4),
            (vec![lifetimes_of(presets::ipv6_firewall(), 1.0, 2.0, 0.0, Refresh::BothWays)], Family::Ipv6),
        ];
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let mut hosts = vec![];
        for (chain, family) in &chains {
            let expected = ObservedLifetimes::of_chain(&chain.iter().collect::<Vec<_>>()).ok_or("boxes forget")?;
            let host = net.site("site", &access(chain, *family), Line::default()).host("alice")?;
            hosts.push((host, *family, expected));
        }
        let patients: Vec<Patient<'_, _>> = (3478..)
            .zip(&hosts)
            .map(|(port, (inside, family, expected))| Patient {
                inside,
                outside: (&server, port),
                family: *family,
                expected: *expected,
            })
            .collect();
        let seen = lifetimes(&patients, |_| ControlFlow::Continue(()))?.ok_or("nobody stopped it")?;
        for ((_, _, expected), seen) in hosts.iter().zip(seen) {
            assert!(expected.agrees(&seen), "{expected:?}: {seen:?}");
        }
        Ok(())
    });
}

#[test]
fn a_box_that_remembers_otherwise_than_it_was_told_is_found_out() {
    in_namespaces(|| {
        let told = lifetimes_of(presets::home(), 1.0, 2.0, 0.0, Refresh::BothWays);
        let does = [
            lifetimes_of(presets::home(), 2.0, 2.0, 0.0, Refresh::BothWays),
            lifetimes_of(presets::home(), 1.0, 1.0, 0.0, Refresh::BothWays),
            lifetimes_of(presets::home(), 1.0, 2.0, 0.0, Refresh::OutboundOnly),
        ];
        let expected = ObservedLifetimes::of_chain(&[&told]).ok_or("boxes forget")?;
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let hosts = does.map(|nat| net.router("home", nat).host("alice"));
        let hosts = hosts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let patient = |(port, inside)| Patient { inside, outside: (&server, port), family: Family::Ipv4, expected };
        let patients: Vec<Patient<'_, _>> = (3478..).zip(&hosts).map(patient).collect();
        for seen in lifetimes(&patients, |_| ControlFlow::Continue(()))?.ok_or("nobody stopped it")? {
            assert!(!expected.agrees(&seen), "{seen:?}");
        }
        Ok(())
    });
}

#[test]
fn whoever_does_not_want_to_wait_does_not_wait() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let (server, alice) = (net.public_host("server")?, net.router("home", presets::home()).host("alice")?);
        let expected = ObservedLifetimes::of_chain(&[&presets::home()]).ok_or("boxes forget")?;
        let patient = Patient { inside: &alice, outside: (&server, 3478), family: Family::Ipv4, expected };
        let (started, mut left_at_first) = (Instant::now(), None);
        let seen = lifetimes(&[patient], |left| {
            let first = *left_at_first.get_or_insert(left);
            // Stopped when a second of the minutes is over.
            if first - left > Duration::from_secs(1) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        assert!(seen.is_none() && started.elapsed() < Duration::from_secs(20));
        assert!(left_at_first > Some(Duration::from_secs(120)));
        Ok(())
    });
}

fn lifetimes_of(nat: Behaviour, unreplied: f64, replied: f64, settles_after: f64, refresh: Refresh) -> Behaviour {
    let [unreplied, replied, settles_after] = [unreplied, replied, settles_after].map(Duration::from_secs_f64);
    nat.lifetimes(Lifetimes { unreplied, replied, settles_after, refresh })
}

fn access(chain: &[Behaviour], family: Family) -> Access {
    let router = |nat: &Behaviour| match family {
        Family::Ipv4 => Router::ipv4(nat.clone()),
        Family::Ipv6 => Router { ipv4: None, ipv6: Some(nat.clone()), carrier: false, isolates: false },
    };
    let families = if family == Family::Ipv4 { Families::Ipv4 } else { Families::Ipv6 };
    Access { families, routers: chain.iter().map(router).collect() }
}
