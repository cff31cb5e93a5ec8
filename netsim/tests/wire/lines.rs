//! Delay, loss, cut lines, and a laptop that goes elsewhere.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netsim::model::{Line, presets};
use netsim::netns::in_namespaces;
use netsim::wire::Internet;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use crate::nats::echo_over_tcp;
use crate::voice::Voice;

#[test]
fn a_line_delays_each_way() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", presets::home());
        let alice = Voice::new(&home.host("alice")?, 4000);
        home.set_line(Line::delay(Duration::from_millis(20)));

        let started = Instant::now();
        alice.seen_by(&server);
        assert!((Duration::from_millis(40)..Duration::from_secs(1)).contains(&started.elapsed()));
        Ok(())
    });
}

#[test]
fn a_line_loses_half_of_what_it_is_told_to_lose_half_of() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let host = net.router("home", presets::home()).host("alice")?;
        let alice = Voice::new(&host, 4000);
        alice.seen_by(&server);
        // The server's own line would lose the last word, too.
        host.set_line(Line { loss: 0.5, ..Line::default() });
        (0..200).for_each(|number: u32| alice.say(number.to_string(), server.address()));
        let last = std::iter::repeat_with(|| alice.say("last", server.address()));
        last.take(20).for_each(drop);
        assert!((50..150).contains(&server.count_until_last()));
        Ok(())
    });
}

#[test]
fn a_burst_that_a_kernel_hands_out_as_one_arrives_whole_or_packet_by_packet() {
    in_namespaces(|| {
        for (loss, expected) in [(0.0, 40..=40), (0.5, 5..=35)] {
            let net = Internet::new(1)?;
            let server = Voice::new(&net.public_host("server")?, 3478);
            let host = net.router("home", presets::home()).host("alice")?;
            let alice = Voice::new(&host, 4000);
            host.set_line(Line { loss, ..Line::default() });
            let burst: UdpSocket = alice.0.try_clone()?;
            setsockopt(&burst, UdpGsoSegment, &100)?;
            burst.send_to(&[b'x'; 4000], server.address())?;
            setsockopt(&burst, UdpGsoSegment, &0)?;
            let last = std::iter::repeat_with(|| alice.say("last", server.address()));
            last.take(20).for_each(drop);
            let arrived = server.count_until_last();
            assert!(expected.contains(&arrived), "{arrived}");
        }
        Ok(())
    });
}

#[test]
fn when_the_line_is_cut_nobody_at_home_is_told() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", presets::home());
        let [alice, bob] = [Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4000)];
        let mapped = alice.seen_by(&server);

        home.cut();
        alice.say("into the void", server.address());
        // They still have each other, and what she said before this is gone.
        assert_eq!(alice.seen_by(&bob), alice.address());
        home.restore();
        assert_eq!(alice.seen_by(&server), mapped);
        Ok(())
    });
}

#[test]
fn a_host_whose_link_is_down_cannot_send_and_recovers_with_its_old_socket() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let host = net.router("home", presets::home()).host("alice")?;
        let alice = Voice::new(&host, 4000);
        let mapped = alice.seen_by(&server);

        host.link_down()?;
        assert!(alice.0.send_to(b"hello?", server.address()).is_err());
        host.link_up()?;
        assert_eq!(alice.seen_by(&server), mapped);
        Ok(())
    });
}

#[test]
fn a_laptop_roams_from_home_to_the_office_with_its_socket() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let (home, office) = (net.router("home", presets::home()), net.router("office", presets::symmetric_random()));
        let host = home.host("alice")?;
        let alice = Voice(host.udp(4000)?);
        assert_eq!(Some(alice.seen_by(&server).ip()), home.public_address());

        host.roam(&office)?;
        assert_eq!(Some(alice.seen_by(&server).ip()), office.public_address());
        host.roam(&home)?;
        assert_eq!(Some(alice.seen_by(&server).ip()), home.public_address());
        Ok(())
    });
}

#[test]
fn tcp_finds_out_how_big_packets_may_be_wherever_the_line_is_narrow_and_whichever_way() {
    in_namespaces(|| {
        // With a rate every packet travels alone; without one, bursts arrive at the line whole.
        let lines = [None, Some(1_000_000_000)].map(|rate| Line { mtu: Some(1280), rate, ..Line::default() });
        let cases = lines.into_iter().flat_map(|line| (0..3).map(move |place| (line, place)));
        for ((line, place), preset) in cases.flat_map(|case| ["home", "dual_stack"].map(|preset| (case, preset))) {
            let net = Internet::new(1)?;
            let server = net.public_host("server")?;
            let access = presets::named(preset).ok_or("no such preset")?.access;
            let home = net.site("home", &access, Line::default());
            let alice = home.host("alice")?;
            let address = if preset == "home" { Some(server.address()) } else { server.addresses().ipv6 };
            match place {
                0 => alice.set_line(line),
                1 => home.set_line(line),
                _ => server.set_line(line),
            }
            echo_over_tcp(&server, address.ok_or("no such address")?, &alice)?;
        }
        Ok(())
    });
}

#[test]
fn a_datagram_too_big_for_the_line_is_told_to_the_socket_that_sent_it() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let home = net.router("home", presets::home());
        let alice = home.host("alice")?.udp(4000)?;
        home.set_line(Line { mtu: Some(1300), ..Line::default() });
        alice.connect((server.address(), 9000))?;
        alice.send(&[0; 1400])?;
        let started = Instant::now();
        while alice.take_error()?.is_none() {
            assert!(started.elapsed() < Duration::from_secs(5), "nobody has told her");
            std::thread::yield_now();
        }
        Ok(())
    });
}
