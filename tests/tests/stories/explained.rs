//! What a person is told who asks why, and what the own router does.

use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Person, World, router_of, start_rendezvous, start_rendezvous_with};
use netsim::model::presets;
use netsim::netns::{Router, Signal, UdpTimeouts, in_namespaces};
use netsim::wire::{Host, Internet, Site};
use serde_json::Value;

use crate::{SOON, in_two_homes};

/// An attempt that finds nothing takes ten seconds, and the relay's connection one or two.
const ATTEMPT: Duration = Duration::from_secs(25);

#[test]
fn a_direct_path_is_explained_by_the_address_and_the_strategy_that_found_it() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_two_homes(&world)?;
        let mut bobs = bob.run()?;
        // What he knows of his router is what she is told of it.
        bobs.expect("profile", SOON);
        let mut asking = alice.start(&["why", "bob"])?;
        let why = asking.expect("why", ATTEMPT).event;
        assert_eq!(asking.exit_code(SOON), 0, "{}", asking.transcript());
        assert_eq!((&why["result"], &why["cause"]), (&"direct".into(), &"standing".into()), "{why}");
        let (path, connection) = (&why["path"], &why["connection"]);
        assert_eq!((&path["strategy"], &path["kind"]), (&"plain".into(), &"server_reflexive".into()), "{why}");
        assert_eq!(path["remote"], connection["remote"], "{why}");
        // In his own home he is not there for her; at his router he is.
        let tried = why["candidates"].as_array().context("candidates")?;
        let answered = |kind: &str| tried.iter().find(|one| one["kind"] == kind).map(|one| one["answered"].clone());
        assert_eq!(answered("server_reflexive"), Some(true.into()), "{why}");
        assert!(answered("host").is_none_or(|answered| answered == false), "{why}");
        for side in ["own", "theirs"] {
            assert_eq!(why[side]["kind"], "port_filtered", "{why}");
        }
        assert_eq!(why["help"], serde_json::json!([]));

        // What clients that are online say of their own.
        bobs.expect("lost", SOON);
        assert_eq!(bob.command(&["why", "alice"])?["cause"], "ended");
        let mut alices = alice.chat(&bob)?;
        alices.expect_direct(SOON);
        let asked = [(&alice, "bob"), (&bob, "alice")];
        bobs.expect_direct(SOON);
        for (who, whom) in asked {
            let why = who.command(&["why", whom])?;
            assert_eq!((&why["result"], &why["cause"]), (&"direct".into(), &"standing".into()), "{why}");
        }
        Ok(())
    });
}

#[test]
fn two_random_symmetric_nats_stay_with_the_relay_and_why_says_so_and_nobody_goes_on_probing() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = rendezvous(&net, folder.path())?;
        let sites = ["a", "b"].map(|name| net.router(name, presets::symmetric_random()));
        let person = |name: &str, site: &Site| Person::new(name, &site.host(name)?, folder.path(), &join);
        let (alice, bob) = (person("alice", &sites[0])?, person("bob", &sites[1])?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        let theirs = sites[1].public_address().context("a router has an address")?;

        let mut bobs = bob.run()?;
        // What he knows of his router is what she is told of it.
        bobs.expect("profile", SOON);
        let (mut alices, probes) = packets_with(&sites[0], theirs, || {
            let mut alices = alice.chat(&bob)?;
            alices.expect("no_path", ATTEMPT);
            Ok(alices)
        })?;
        assert!(probes > 10, "{probes} packets between them while they tried");

        // Asked beside the client that is online.
        let why = alice.command(&["why", "bob"])?;
        assert_eq!((&why["result"], &why["cause"]), (&"relayed".into(), &"both_unforeseeable".into()), "{why}");
        for side in ["own", "theirs"] {
            assert_eq!(why[side]["kind"], "symmetric_random", "{why}");
        }
        let strategies = why["strategies"].as_array().context("strategies")?;
        assert!(strategies.iter().any(|one| one["strategy"] == "observation" && one["sockets"] != 0), "{why}");
        assert!(why["help"][0].as_str().is_some_and(|help| help.contains("UPnP")), "{why}");

        let ((), probes) = packets_with(&sites[0], theirs, || {
            // Longer than the pauses of those who have a prospect.
            thread::sleep(Duration::from_secs(15));
            Ok(())
        })?;
        assert_eq!(probes, 0, "packets between the two after the attempt\n{}", alices.transcript());
        alices.say("By the relay, then.");
        assert_eq!(bobs.expect_message(SOON)["text"], "By the relay, then.");
        Ok(())
    });
}

#[test]
fn where_udp_is_blocked_both_sides_are_told_at_whose_end() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let folder = tempfile::tempdir()?;
        let server = net.public_host("rendezvous")?;
        let (listen, tunnel) = (format!("{}:3478", server.address()), format!("{}:443", server.address()));
        let (_rendezvous, join) = start_rendezvous_with(&server, &[listen], &["--tunnel", &tunnel], folder.path())?;
        let sites = [("a", presets::udp_blocked()), ("b", presets::home())].map(|(name, nat)| net.router(name, nat));
        let person = |name: &str, site: &Site| Person::new(name, &site.host(name)?, folder.path(), &join);
        let (alice, bob) = (person("alice", &sites[0])?, person("bob", &sites[1])?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        let mut bobs = bob.run()?;
        bobs.expect("profile", SOON);
        let mut asking = alice.start(&["why", "bob"])?;
        let hers = asking.expect("why", ATTEMPT).event;
        assert_eq!((&hers["result"], &hers["cause"]), (&"relayed".into(), &"own_udp_blocked".into()), "{hers}");
        assert_eq!((&hers["own"]["kind"], &hers["own"]["seen_at"]), (&"udp_blocked".into(), &Value::Null), "{hers}");
        assert_eq!(asking.exit_code(SOON), 0, "an answer is an answer");
        bobs.expect("no_path", SOON);
        let his = bob.command(&["why", "alice"])?;
        assert_eq!(
            (&his["cause"], &his["theirs"]["kind"]),
            (&"peer_udp_blocked".into(), &"udp_blocked".into()),
            "{his}"
        );
        let netcheck = alice.command(&["netcheck"])?;
        assert_eq!(
            (&netcheck["advice"], &netcheck["kind"]),
            (&"other_network".into(), &"udp_blocked".into()),
            "{netcheck}"
        );
        Ok(())
    });
}

#[test]
fn somebody_who_is_not_there_is_said_not_to_be_whether_the_node_was_online_before_or_not() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, _bob) = in_two_homes(&world)?;
        let mut asking = alice.start(&["why", "bob"])?;
        let why = asking.expect("why", SOON).event;
        assert_eq!((&why["result"], &why["cause"]), (&"unreached".into(), &"refused".into()), "{why}");
        assert_eq!(asking.exit_code(SOON), 3);
        let mut alices = alice.run()?;
        alices.expect("registered", SOON);
        let mut asking = alice.start(&["why", "bob"])?;
        assert_eq!(asking.expect("started", SOON).event["attached"], true);
        assert_eq!(asking.expect("why", SOON).event["cause"], "refused", "it had not tried, and does");
        assert_eq!(asking.exit_code(SOON), 3);
        Ok(())
    });
}

#[test]
fn netcheck_measures_how_long_the_router_remembers_and_tells_what_it_knows_when_interrupted() {
    in_namespaces(|| {
        let world = World::new()?;
        let (unreplied, stream) = (Duration::from_secs(5), Duration::from_secs(15));
        let forgetful = Router { udp_timeouts: UdpTimeouts { unreplied, stream }, ..Router::home() };
        let alice = world.alice(&router_of(&world, "a", forgetful)?.host("alice")?)?;
        let bob = world.bob(&router_of(&world, "b", Router::home())?.host("bob")?)?;
        let mut measuring = alice.start(&["netcheck", "--lifetime"])?;
        let mut stopped = bob.start(&["netcheck", "--lifetime"])?;
        stopped.expect("profile", SOON);
        stopped.expect("port_mapping", SOON);
        // The silence of ten seconds ends after thirteen; this one is not asked for that.
        stopped.signal(Signal::SIGINT);
        let netcheck = stopped.expect("netcheck", SOON).event;
        assert_eq!(stopped.exit_code(SOON), 0, "{}", stopped.transcript());
        assert!(netcheck["lifetime"]["trouble"].as_str().is_some_and(|why| why.contains("early")), "{netcheck}");

        let netcheck = measuring.expect("netcheck", Duration::from_secs(60)).event;
        let lifetime = &netcheck["lifetime"];
        assert_eq!((&lifetime["outlived_s"], &lifetime["gone_after_s"]), (&10.0.into(), &20.0.into()), "{netcheck}");
        assert_eq!(measuring.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn netcheck_looks_at_ipv6_and_at_the_lan_and_says_what_would_help() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let folder = tempfile::tempdir()?;
        let (_rendezvous, join) = rendezvous(&net, folder.path())?;
        let dual = presets::named("dual_stack").context("a preset")?.access;
        let sites = [net.site("dual", &dual, Default::default()), net.router("office", presets::corporate())];
        let person = |name: &str, site: &Site| Person::<Host>::new(name, &site.host(name)?, folder.path(), &join);
        let (alice, bob) = (person("alice", &sites[0])?, person("bob", &sites[1])?);
        // Nothing is sent to a LAN where that is switched off, as it is for everybody in stories who does not ask for it.
        let (dual, bob) = (alice.command(&["netcheck"])?, bob.on_lan());
        let office = bob.command(&["netcheck"])?;
        assert_eq!(dual["lan"], Value::Null, "{dual}");
        assert!(dual["ipv6"]["address"].as_str().is_some_and(|address| address.starts_with("2001:db8:")), "{dual}");
        assert_eq!(dual["ipv6"]["rendezvous"], Value::Null, "its link names an IPv4 address: {dual}");
        assert_eq!((&office["ipv6"]["address"], &office["vpn"]), (&Value::Null, &Value::Null), "{office}");
        assert_eq!(office["lan"][0]["multicast"], true, "{office}");
        assert_eq!(office["advice"], "port_mapping", "{office}");
        assert_eq!(office["kind"], "symmetric_random", "{office}");
        let relayed = office["reaches"].as_array().context("reaches")?;
        assert!(relayed.contains(&serde_json::json!({"kind": "symmetric_random", "how": "relayed"})), "{office}");
        // Beside the client that is online, from what that knows.
        let mut bobs = bob.run()?;
        bobs.expect("port_mapping", SOON);
        let beside = bob.command(&["netcheck"])?;
        for field in ["kind", "lan", "ipv6", "advice", "verdict", "no_port_mapping"] {
            assert_eq!(beside[field], office[field], "{field}: {beside}");
        }
        Ok(())
    });
}

fn rendezvous(net: &Internet, folder: &Path) -> Result<(e2e::Running, String)> {
    let server = net.public_host("rendezvous")?;
    // Two addresses: of the five mappings that a client sees then, none looks like what it is not.
    let listen = [server.address(), server.add_address()?].map(|address| format!("{address}:3478"));
    start_rendezvous(&server, &listen, folder)
}

/// What is done meanwhile, and how many packets to or from this address pass the outer interface of this place's router.
fn packets_with<T>(site: &Site, other: IpAddr, meanwhile: impl FnOnce() -> Result<T>) -> Result<(T, usize)> {
    let IpAddr::V4(other) = other else { anyhow::bail!("{other} is not of version 4") };
    let tap = site.tap().context("a router of the model")?;
    thread::scope(|scope| {
        // The addresses of an IPv4 header stand at its bytes 12 and 16.
        let is = |packet: &[u8], at: usize| packet.get(at..at + 4) == Some(&other.octets()[..]);
        let counting =
            scope.spawn(move || tap.iter().filter(|heard| is(&heard.bytes, 12) || is(&heard.bytes, 16)).count());
        let done = meanwhile();
        site.untap();
        let count = counting.join().map_err(|_| anyhow::anyhow!("the count broke off"))?;
        Ok((done?, count))
    })
}
