//! IPv6: hosts that have nothing else, hosts that have both, and a rendezvous whose name has both.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Firewall, Person, Running, start_rendezvous};
use netsim::model::{Line, presets};
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet};
use tempfile::TempDir;

use crate::SOON;

const NAME: &str = "rendezvous.example";
const LINE: Duration = Duration::from_millis(10);

/// An Internet of both versions, and a rendezvous on it.
struct Street {
    // The order is that of the end.
    _rendezvous: Running,
    join: String,
    server: Host,
    net: Internet,
    folder: TempDir,
}

impl Street {
    /// The rendezvous has these versions of IP.
    fn new(ipv4: bool, ipv6: bool) -> Result<Street> {
        let net = Internet::new(6)?;
        let server = net.public_host("rendezvous")?;
        server.set_line(Line::delay(LINE));
        let folder = tempfile::tempdir()?;
        let addresses = server.addresses();
        let listen = addresses.iter().filter(|ip| if ip.is_ipv4() { ipv4 } else { ipv6 });
        let listen: Vec<String> = listen.map(|ip| std::net::SocketAddr::new(ip, 3478).to_string()).collect();
        let (rendezvous, join) = start_rendezvous(&server, &listen, folder.path())?;
        Ok(Street { _rendezvous: rendezvous, join, server, net, folder })
    }

    /// Somebody with such access, who knows the rendezvous by its name.
    fn person(&self, name: &str, kind: &str) -> Result<Person<Host>> {
        let access = presets::named(kind).context("a preset")?.access;
        let host = self.net.site(&format!("{name}-home"), &access, Line::delay(LINE)).host(name)?;
        let (_, key) = self.join.rsplit_once('#').context("a key")?;
        let join = format!("punchline://{NAME}:3478/join#{key}");
        Person::new(name, &host, self.folder.path(), &join)?.who_knows(&self.names(self.server.addresses().iter()))
    }

    fn names(&self, addresses: impl Iterator<Item = IpAddr>) -> String {
        addresses.map(|ip| format!("{ip} {NAME}\n")).collect()
    }

    fn two(&self, alices: &str, bobs: &str) -> Result<(Person<Host>, Person<Host>)> {
        let (alice, bob) = (self.person("alice", alices)?, self.person("bob", bobs)?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        Ok((alice, bob))
    }
}

/// Both open their chats and end on this route; a line of each reaches the other.
fn talk(alice: &Person<Host>, bob: &Person<Host>, route: &str) -> Result<(Running, Running)> {
    let mut bobs = bob.chat(alice)?;
    bobs.expect("registered", SOON);
    let mut alices = alice.chat(bob)?;
    for side in [&mut alices, &mut bobs] {
        side.expect_that(route, SOON, |event| event["event"] == "path" && event["kind"] == route);
    }
    e2e::talking::say_both(&mut alices, &mut bobs);
    Ok((alices, bobs))
}

/// Where the last path led.
fn remote(running: &mut Running) -> String {
    let paths = running.said().iter().filter(|said| said.event["event"] == "path");
    paths.filter_map(|said| said.event["remote"].as_str()).next_back().unwrap_or_default().to_owned()
}

#[test]
fn two_who_have_ipv6_alone_behind_firewalls_talk_directly_by_an_ipv6_rendezvous() {
    in_namespaces(|| {
        let street = Street::new(false, true)?;
        let (alice, bob) = street.two("ipv6_firewall", "ipv6_firewall")?;
        let (mut alices, mut bobs) = talk(&alice, &bob, "direct")?;
        for (running, other) in [(&mut alices, &bob), (&mut bobs, &alice)] {
            let wanted = format!("[{}]:", other.host().address());
            let remote = remote(running);
            assert!(remote.starts_with(&wanted), "{remote} is not at {wanted}");
        }
        Ok(())
    });
}

#[test]
fn who_has_ipv6_alone_and_who_has_both_talk_directly_whoever_begins() {
    in_namespaces(|| {
        let street = Street::new(true, true)?;
        let (alice, bob) = street.two("ipv6_firewall", "dual_stack")?;
        drop(talk(&alice, &bob, "direct")?);
        drop(talk(&bob, &alice, "direct")?);
        Ok(())
    });
}

#[test]
fn two_who_have_both_talk_directly_and_keep_one_path() {
    in_namespaces(|| {
        let street = Street::new(true, true)?;
        let (alice, bob) = street.two("dual_stack", "dual_stack")?;
        let (mut alices, mut bobs) = talk(&alice, &bob, "direct")?;
        e2e::talking::say_both(&mut alices, &mut bobs);
        for running in [&mut alices, &mut bobs] {
            let direct = |said: &&e2e::Said| said.event["event"] == "path" && said.event["kind"] == "direct";
            let changes = running.said().iter().filter(direct).count();
            assert!(changes <= 2, "one comparison, one change at most: {}", running.transcript());
        }
        Ok(())
    });
}

#[test]
fn ipv4_alone_and_ipv6_alone_talk_through_a_rendezvous_with_both_and_are_told_why() {
    in_namespaces(|| {
        let street = Street::new(true, true)?;
        let (alice, bob) = street.two("home", "ipv6_firewall")?;
        let (mut alices, mut bobs) = talk(&alice, &bob, "relayed")?;
        for running in [&mut alices, &mut bobs] {
            let event = running.expect("no_path", SOON * 2).event;
            let because = event["because"].as_str().unwrap_or_default();
            assert!(because.contains("IPv4") && because.contains("IPv6"), "{event}");
        }
        e2e::talking::say_both(&mut alices, &mut bobs);
        Ok(())
    });
}

#[test]
fn a_version_of_ip_over_which_the_rendezvous_is_silent_costs_a_moment_and_no_more() {
    in_namespaces(|| {
        let street = Street::new(true, true)?;
        let alice = street.person("alice", "dual_stack")?;
        for silent_is_ipv6 in [true, false] {
            let silence = Firewall::against_udp_over(&street.server, silent_is_ipv6)?;
            let mut alices = alice.run()?;
            let registered = alices.expect("registered", SOON);
            let took = registered.at - alices.started;
            println!("{} is silent: registered after {took:?}", if silent_is_ipv6 { "IPv6" } else { "IPv4" });
            assert!(took < Duration::from_secs(2), "one address after the other would take 2.5 s, and this {took:?}");
            let observed = registered.event["observed"].as_str().unwrap_or_default().to_owned();
            assert_eq!(observed.starts_with('['), !silent_is_ipv6, "{}", registered.event);
            silence.lift()?;
        }
        Ok(())
    });
}
