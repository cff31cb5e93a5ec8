//! What the network says when something cannot be delivered reaches the socket that sent it, through the NAT.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netsim::model::{Line, presets};
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet};

use crate::voice::Voice;

const SURELY: Duration = Duration::from_secs(5);

#[test]
fn a_closed_port_outside_is_reported_to_the_socket_inside() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = net.router("home", presets::symmetric_random()).host("alice")?.udp(4000)?;
        alice.connect((server.address(), 9))?;
        alice.set_read_timeout(Some(SURELY))?;
        alice.send(b"anybody?")?;
        let refused = alice.recv(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        Ok(())
    });
}

#[test]
fn a_closed_port_inside_is_reported_to_the_socket_outside() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = Voice::new(&net.router("home", presets::symmetric_random()).host("alice")?, 4000);
        let asked = Voice::new(&server, 3478);
        let mapped = alice.seen_by(&asked);
        drop(alice);

        asked.0.connect(mapped)?;
        asked.0.set_read_timeout(Some(Duration::from_millis(100)))?;
        let started = Instant::now();
        // Another test may be about to start a program: until that runs, it holds a copy of the closed socket.
        let refused = loop {
            match asked.0.send(b"still there?").and_then(|_| asked.0.recv(&mut [0; 64])) {
                Err(late) if late.kind() == ErrorKind::WouldBlock && started.elapsed() < SURELY => {}
                answer => break answer.map_err(|error| error.kind()),
            }
        };
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        Ok(())
    });
}

#[test]
fn an_address_that_nobody_has_is_reported_by_the_last_router_and_an_address_elsewhere_by_nobody() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let alice = net.router("home", presets::home()).host("alice")?;
        let said = ping(&alice, &[], "11.1.200.200".parse()?)?;
        assert!(said.contains("From 11.1.255.254 icmp_seq=1 Destination Host Unreachable"), "{said}");
        let said = ping(&alice, &["-W", "0.2"], "12.1.1.1".parse()?)?;
        assert!(!said.contains("From") && said.contains(" 0 received"), "{said}");
        Ok(())
    });
}

#[test]
fn a_router_that_takes_in_strays_says_that_nobody_listens() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?.udp(3478)?;
        let home = net.router("home", presets::home_open());
        server.connect((home.public_address().ok_or("a NAT has one")?, 4000))?;
        server.set_read_timeout(Some(SURELY))?;
        server.send(b"anybody?")?;
        let refused = server.recv(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        Ok(())
    });
}

#[test]
fn a_ping_passes_two_nats_and_dies_at_the_one_where_its_time_runs_out() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let access = presets::named("home_behind_cgnat").ok_or("no such preset")?.access;
        let alice = net.site("home", &access, Line::default()).host("alice")?;
        assert!(ping(&alice, &[], server.address())?.contains("1 received"));
        for (ttl, router) in [("1", "192.168.2.1"), ("2", "100.65.0.1")] {
            let said = ping(&alice, &["-t", ttl], server.address())?;
            let expected = format!("From {router} icmp_seq=1 Time to live exceeded");
            assert!(said.contains(&expected) && said.contains(" 0 received"), "{said}");
        }
        assert!(ping(&alice, &["-t", "3"], server.address())?.contains("1 received"));
        Ok(())
    });
}

#[test]
fn a_ping_of_ipv6_dies_at_the_firewall_where_its_time_runs_out() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?.addresses().ipv6.ok_or("no IPv6")?;
        let access = presets::named("ipv6_firewall").ok_or("no such preset")?.access;
        let alice = net.site("home", &access, Line::default()).host("alice")?;
        assert!(ping(&alice, &[], server)?.contains("1 received"));
        let said = ping(&alice, &["-t", "1"], server)?;
        assert!(said.contains("From 2001:db8:0:1::1 icmp_seq=1 Time exceeded: Hop limit"), "{said}");
        Ok(())
    });
}

#[test]
fn a_box_that_drops_icmp_is_silent_about_what_dies_there() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = net.router("office", presets::corporate()).host("alice")?.udp(4000)?;
        alice.connect((server.address(), 9))?;
        alice.set_ttl(1)?;
        alice.set_read_timeout(Some(Duration::from_millis(100)))?;
        alice.send(b"anybody?")?;
        assert_eq!(alice.recv(&mut [0; 64]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        Ok(())
    });
}

/// What `ping` (Debian: iputils-ping) says about one packet.
fn ping(host: &Host, arguments: &[&str], to: IpAddr) -> Result<String, Box<dyn std::error::Error>> {
    let mut command = Command::new("ping");
    command.args(["-n", "-c", "1", "-W", "5"]).args(arguments).arg(to.to_string()).stdout(Stdio::piped());
    let (mut running, mut said) = (host.spawn(command)?, String::new());
    running.take_stdout().ok_or("no pipe")?.read_to_string(&mut said)?;
    Ok(said)
}
