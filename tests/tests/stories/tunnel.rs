//! Where UDP is blocked, the rendezvous is reached over TCP, and everything goes on.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Firewall, Flow, Person, Running, start_rendezvous_with};
use netsim::model::Line;
use netsim::model::presets;
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet, Site};
use tempfile::TempDir;

use crate::{SOON, say_both};

/// One way from a house to the Internet: a tunnel is several round trips, which should be seen.
const DELAY: Duration = Duration::from_millis(20);
/// Each attempt over UDP takes 2.5 s, and comes 2, 4, 8 s after the one before: in the story a dozen seconds are over by then.
const NEXT_ATTEMPT: Duration = Duration::from_secs(16);
/// A TCP connection that is silent is given up after 3.5 s at most, and a new tunnel stands half a second later.
const TUNNEL_AGAIN: Duration = Duration::from_secs(6);

/// An Internet with a rendezvous that has a tunnel.
struct Stage {
    // The order is that of the end.
    _rendezvous: Running,
    join: String,
    server: Host,
    net: Internet,
    folder: TempDir,
}

impl Stage {
    fn new(tunnel_port: u16) -> Result<Stage> {
        let net = Internet::new(1)?;
        let server = net.public_host("rendezvous")?;
        let folder = tempfile::tempdir()?;
        let listen = [format!("{}:3478", server.address())];
        let tunnel = format!("{}:{tunnel_port}", server.address());
        let (running, join) = start_rendezvous_with(&server, &listen, &["--tunnel", &tunnel], folder.path())?;
        Ok(Stage { _rendezvous: running, join, server, net, folder })
    }

    fn site(&self, name: &str, preset: &str) -> Result<Site> {
        let line = Line { delay: DELAY, ..Line::default() };
        Ok(self.net.site(name, &presets::named(preset).context("a preset")?.access, line))
    }

    fn person(&self, name: &str, preset: &str) -> Result<Person<Host>> {
        let host = self.site(&format!("{name}-{preset}"), preset)?.host(name)?;
        Person::new(name, &host, self.folder.path(), &self.join)
    }

    /// Alice and Bob, who know each other, behind these.
    fn two(&self, alices: &str, bobs: &str) -> Result<(Person<Host>, Person<Host>)> {
        let (alice, bob) = (self.person("alice", alices)?, self.person("bob", bobs)?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        Ok((alice, bob))
    }
}

/// How the rendezvous is reached from now on.
#[track_caller]
fn expect_registered(running: &mut Running, via: &str, within: Duration) -> serde_json::Value {
    let what = format!("a registration via {via}");
    running.expect_that(&what, within, |e| e["event"] == "registered" && e["via"] == via).event
}

#[test]
fn two_who_can_send_no_udp_talk_through_the_rendezvous_over_tcp() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let (alice, bob) = stage.two("udp_blocked", "udp_blocked")?;
        let mut bobs = bob.chat(&alice)?;
        let registered = expect_registered(&mut bobs, "tunnel", SOON);
        assert!(registered.get("observed").is_none(), "nobody could probe it: {registered}");
        let mut alices = alice.chat(&bob)?;
        expect_registered(&mut alices, "tunnel", SOON);
        let relayed = alices.expect_that("a relayed path", SOON, |e| e["event"] == "path").event;
        assert_eq!(
            (&relayed["kind"], &relayed["remote"]),
            (&"relayed".into(), &format!("{}:443", stage.server.address()).into())
        );
        say_both(&mut alices, &mut bobs);
        let introduced =
            alices.said().iter().find(|said| said.event["event"] == "introduced").map(|said| said.event.clone());
        let addresses = introduced.context("an introduction")?["addresses"].to_string();
        assert!(!addresses.contains("fd50:"), "no address of a tunnel: {addresses}");
        assert_eq!(bob.command(&["status"])?["via"], "tunnel");
        alices.end_of_input();
        assert_eq!(alices.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn one_who_can_send_no_udp_talks_with_one_at_home_and_the_link_may_name_the_port() {
    in_namespaces(|| {
        let stage = Stage::new(8443)?;
        assert!(stage.join.contains("/join?tunnel=8443#"), "{}", stage.join);
        let (alice, bob) = stage.two("udp_blocked", "home")?;
        assert!(bob.link.contains("&tunnel=8443#"), "{}", bob.link);
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "udp", SOON);
        let mut alices = alice.chat(&bob)?;
        expect_registered(&mut alices, "tunnel", SOON);
        say_both(&mut alices, &mut bobs);
        Ok(())
    });
}

#[test]
fn a_laptop_that_leaves_the_network_without_udp_is_on_udp_at_once_and_direct() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let (alice, bob) = stage.two("udp_blocked", "home")?;
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "udp", SOON);
        let mut alices = alice.chat(&bob)?;
        say_both(&mut alices, &mut bobs);
        alice.host().roam(&stage.site("cafe", "home")?)?;
        expect_registered(&mut alices, "udp", SOON);
        for side in [&mut alices, &mut bobs] {
            side.expect_direct(SOON);
        }
        // And into a hotel.
        alice.host().roam(&stage.site("hotel", "udp_blocked")?)?;
        expect_registered(&mut alices, "tunnel", SOON);
        say_both(&mut alices, &mut bobs);
        assert_eq!(alices.count("lost") + bobs.count("lost"), 0, "{}", alices.transcript());
        Ok(())
    });
}

#[test]
fn when_udp_works_again_the_client_goes_back_to_it_by_itself_and_is_no_other_client() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let (alice, bob) = stage.two("home", "home")?;
        let firewall = Firewall::against_udp(alice.host())?;
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "udp", SOON);
        let mut alices = alice.chat(&bob)?;
        expect_registered(&mut alices, "tunnel", SOON);
        say_both(&mut alices, &mut bobs);
        // By then the attempt over UDP that follows the tunnel at once has failed.
        alices.expect("no_path", SOON * 2);
        firewall.lift()?;
        expect_registered(&mut alices, "udp", NEXT_ATTEMPT);
        for side in [&mut alices, &mut bobs] {
            side.expect_direct(SOON);
        }
        say_both(&mut alices, &mut bobs);
        // It has not taken itself for somebody else, and nothing was lost on the way.
        for kind in ["error", "lost", "rendezvous_lost"] {
            assert_eq!(alices.count(kind) + bobs.count(kind), 0, "{}", alices.transcript());
        }
        Ok(())
    });
}

#[test]
fn a_tunnel_whose_tcp_connection_is_forgotten_is_given_up_within_seconds_and_no_line_is_lost() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let (alice, bob) = stage.two("udp_blocked", "udp_blocked")?;
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "tunnel", SOON);
        let mut alices = alice.chat(&bob)?;
        expect_registered(&mut alices, "tunnel", SOON);
        say_both(&mut alices, &mut bobs);
        // The office's firewall restarts. Nobody is told: what belongs to the old connection is dropped.
        let mut forgotten = None;
        let forget = || {
            forgotten = Some(Firewall::against_connections_to(alice.host(), 443)?);
            Ok(())
        };
        let lines = (200, Duration::from_millis(10));
        let (flow, happened) = Flow::run(&mut alices, &mut bobs, lines, 50, forget, SOON)?;
        let reason = alices.expect("rendezvous_lost", SOON).event["reason"].to_string();
        assert!(reason.contains("fell silent"), "{reason}\n{}", alices.transcript());
        let recovery = flow.recovery(happened)?;
        assert!(recovery < TUNNEL_AGAIN, "{recovery:?}\n{}{}", alices.transcript(), bobs.transcript());
        Ok(())
    });
}

#[test]
fn a_tunnel_in_which_nothing_is_said_stays() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let (alice, bob) = stage.two("udp_blocked", "udp_blocked")?;
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "tunnel", SOON);
        let mut alices = alice.chat(&bob)?;
        say_both(&mut alices, &mut bobs);
        // Longer than any tunnel whose pings are not answered: the punching, in vain, takes ten seconds.
        alices.expect("no_path", SOON * 2);
        say_both(&mut alices, &mut bobs);
        for side in [&mut alices, &mut bobs] {
            assert_eq!((side.count("registered"), side.count("rendezvous_lost")), (1, 0), "{}", side.transcript());
        }
        Ok(())
    });
}

#[test]
fn who_took_the_tunnel_because_udp_was_slow_is_back_in_a_moment() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let alice = stage.person("alice", "home")?;
        let firewall = Firewall::against_udp(alice.host())?;
        let mut alices = alice.run()?;
        expect_registered(&mut alices, "tunnel", SOON);
        firewall.lift()?;
        let observed = expect_registered(&mut alices, "udp", SOON)["observed"].to_string();
        assert!(!observed.contains("fd50:"), "{observed}");
        Ok(())
    });
}

#[test]
fn a_network_that_lets_out_nothing_but_its_proxy_is_left_through_that() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        // The office's computers can reach the proxy and nothing else: they have no way to the rendezvous.
        let office = stage.site("office", "udp_blocked")?;
        let proxy = office.host("proxy")?;
        let (passed, at) = serve_proxy(&proxy, "Basic YWxpY2U6c2VjcmV0")?;
        let host = office.host("alice")?;
        let alice = Person::new("alice", &host, stage.folder.path(), &stage.join)?;
        let _only_the_proxy = Firewall::toward(&host, stage.server.address())?;
        let bob = stage.person("bob", "home")?;
        alice.add(&bob)?;
        bob.add(&alice)?;
        let mut bobs = bob.chat(&alice)?;
        expect_registered(&mut bobs, "udp", SOON);

        let mut refused = alice.start_with(&["run"], &[("HTTPS_PROXY", &format!("http://alice:wrong@{at}"))])?;
        let reason = refused.expect("rendezvous_lost", SOON).event["reason"].to_string();
        assert!(reason.contains(&at) && reason.contains("NAME:PASSWORD") && !reason.contains("wrong"), "{reason}");
        drop(refused);

        let mut alices =
            alice.start_with(&["chat", "bob"], &[("HTTPS_PROXY", &format!("http://alice:secret@{at}"))])?;
        expect_registered(&mut alices, "tunnel", SOON);
        say_both(&mut alices, &mut bobs);
        assert!(passed.load(Ordering::Relaxed) > 0);
        assert!(!alices.transcript().contains("secret"));
        Ok(())
    });
}

#[test]
fn without_a_tunnel_it_is_said_what_was_tried_over_udp_and_over_tcp() {
    in_namespaces(|| {
        let stage = Stage::new(8443)?;
        // A link from before there was a tunnel at another port.
        let join = stage.join.replace("?tunnel=8443", "");
        let host = stage.site("hotel", "udp_blocked")?.host("alice")?;
        let alice = Person::new("alice", &host, stage.folder.path(), &join)?;
        let mut alices = alice.run()?;
        let reason = alices.expect("rendezvous_lost", SOON).event["reason"].to_string();
        let server = stage.server.address();
        assert!(
            reason.contains(&format!("UDP: {server}:3478")) && reason.contains(&format!("{server}:443")),
            "{reason}"
        );
        Ok(())
    });
}

#[test]
fn netcheck_says_that_udp_is_blocked() {
    in_namespaces(|| {
        let stage = Stage::new(443)?;
        let alice = stage.person("alice", "udp_blocked")?;
        let check = alice.command(&["netcheck"])?;
        assert_eq!((&check["event"], &check["via"]), (&"netcheck".into(), &"tunnel".into()));
        assert!(check["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("UDP is blocked")), "{check}");
        Ok(())
    });
}

/// An HTTP proxy of a few lines in this host, for whoever shows these credentials: how many it let through, and its address.
fn serve_proxy(host: &Host, credentials: &'static str) -> Result<(Arc<AtomicUsize>, String)> {
    let passed = Arc::new(AtomicUsize::new(0));
    let listener = host.enter(|| TcpListener::bind((host.address(), 3128)))??;
    let at = listener.local_addr()?.to_string();
    let counted = passed.clone();
    // Threads that start in the host stay in it.
    host.enter(move || {
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = counted.clone();
                thread::spawn(move || proxy_one(client, credentials, &counted));
            }
        });
    })?;
    Ok((passed, at))
}

fn proxy_one(mut client: TcpStream, credentials: &str, passed: &AtomicUsize) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let Some(to) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else { return Ok(()) };
    if !head.contains(&format!("Proxy-Authorization: {credentials}\r\n")) {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let server = TcpStream::connect(to)?;
    passed.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut &server, &mut client).map(drop)
}
