//! What a NAT of the model does to real sockets.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Hairpinning, Lifetimes, Mapping, PortAssignment};
use netsim::model::{Behaviour, Line, presets};
use netsim::netns::in_namespaces;
use netsim::wire::{Host, Internet};

use crate::voice::Voice;

#[test]
fn a_home_sends_from_its_routers_address_and_hears_the_answer() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", presets::home());
        let alice = Voice::new(&home.host("alice")?, 4000);
        assert_eq!(alice.seen_by(&server), (home.public_address().expect("a NAT"), 4000).into());
        Ok(())
    });
}

#[test]
fn each_cell_of_mapping_and_filtering_is_as_configured() {
    in_namespaces(|| {
        for mapping in Mapping::ALL {
            for filtering in Filtering::ALL {
                assert_eq!(probe(Behaviour::nat(mapping, filtering))?, (mapping, filtering));
            }
        }
        Ok(())
    });
}

/// RFC 5780 in short: from two addresses and two ports, what is seen, and what comes in?
fn probe(nat: Behaviour) -> Result<(Mapping, Filtering), Box<dyn Error>> {
    let net = Internet::new(1)?;
    let server = net.public_host("server")?;
    let (first, second) = (server.address(), server.add_address()?);
    let [main, other_port] = [3478, 3479].map(|port| Voice::at(&server, first, port));
    let other_address = Voice::at(&server, second, 3478);
    let alice = net.router("home", nat).host("alice")?;

    let asking = Voice::new(&alice, 4000);
    let seen = [&main, &other_port, &other_address].map(|far| asking.seen_by(far));
    let mapping = match seen {
        [main, port, _] if main != port => Mapping::AddressAndPortDependent,
        [main, _, address] if main != address => Mapping::AddressDependent,
        _ => Mapping::EndpointIndependent,
    };

    let listening = Voice::new(&alice, 4001);
    let mapped = listening.seen_by(&main);
    other_address.say("other address", mapped);
    other_port.say("other port", mapped);
    // All go one way, in order: when the last one is there, the others would be.
    main.say("last", mapped);
    let filtering = match listening.hear().0.as_str() {
        "last" => Filtering::AddressAndPortDependent,
        "other port" => Filtering::AddressDependent,
        _ => Filtering::EndpointIndependent,
    };
    Ok((mapping, filtering))
}

#[test]
fn two_behind_one_router_meet_at_its_address_only_if_it_hairpins() {
    in_namespaces(|| {
        let seen_from = |hairpinning| -> Result<Seen, Box<dyn Error>> {
            let net = Internet::new(1)?;
            let server = Voice::new(&net.public_host("server")?, 3478);
            let home = net.router("home", presets::full_cone().hairpinning(hairpinning));
            let [alice, bob] = [Voice::new(&home.host("alice")?, 4000), Voice::new(&home.host("bob")?, 4001)];
            let (hers, his) = (alice.seen_by(&server), bob.seen_by(&server));
            bob.say("from inside", hers);
            // What he said before this has been carried, or it never will be.
            bob.seen_by(&server);
            server.say("last", hers);
            Ok(match alice.hear() {
                (text, _) if text == "last" => Seen::Nothing,
                (_, from) if from == his => Seen::FromOutside,
                (_, from) if from == bob.address() => Seen::FromInside,
                (text, from) => return Err(format!("{text} from {from}").into()),
            })
        };
        assert_eq!(seen_from(Hairpinning::Off)?, Seen::Nothing);
        assert_eq!(seen_from(Hairpinning::ExternalSource)?, Seen::FromOutside);
        assert_eq!(seen_from(Hairpinning::InternalSource)?, Seen::FromInside);
        Ok(())
    });
}

/// What Alice sees of Bob's datagram to her external endpoint.
#[derive(Debug, PartialEq)]
enum Seen {
    Nothing,
    FromOutside,
    FromInside,
}

#[test]
fn a_megabyte_passes_over_tcp_in_both_directions() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let alice = net.router("home", presets::symmetric_random()).host("alice")?;
        echo_over_tcp(&server, server.address(), &alice)
    });
}

#[test]
fn tcp_passes_a_line_that_loses_and_reorders() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let home = net.router("home", presets::home());
        let alice = home.host("alice")?;
        home.set_line(Line { loss: 0.01, reordering: 0.01, duplication: 0.01, ..Line::default() });
        echo_over_tcp(&server, server.address(), &alice)
    });
}

#[test]
fn behind_a_firewall_of_ipv6_nobody_is_translated_and_nobody_comes_in_unasked() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let address = server.addresses().ipv6.ok_or("no IPv6")?;
        let [asked, unasked] = [3478, 3479].map(|port| Voice::at(&server, address, port));
        for preset in ["ipv6_firewall", "dual_stack"] {
            let access = presets::named(preset).ok_or("no such preset")?.access;
            let host = net.site(preset, &access, Line::default()).host("alice")?;
            let alice = Voice::at(&host, host.addresses().ipv6.ok_or("no IPv6")?, 4000);
            assert_eq!(alice.seen_by(&asked), alice.address());
            unasked.say("may I?", alice.address());
            asked.say("last", alice.address());
            assert_eq!(alice.count_until_last(), 0);
            echo_over_tcp(&server, address, &host)?;
        }
        Ok(())
    });
}

#[test]
fn a_home_behind_a_carrier_is_translated_twice() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let access = presets::named("home_behind_cgnat").ok_or("no such preset")?.access;
        let home = net.site("home", &access, Line::default());
        let alice = Voice::new(&home.host("alice")?, 4000);
        let seen = alice.seen_by(&server);
        assert_eq!(Some(seen.ip()), home.public_address());
        assert!(!home.wan_addresses().contains(&seen.ip()));
        Ok(())
    });
}

#[test]
fn after_a_reboot_the_old_mapping_leads_nowhere() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.router("home", presets::full_cone().ports(PortAssignment::Random));
        let alice = Voice::new(&home.host("alice")?, 4000);
        let before = alice.seen_by(&server);
        home.reboot()?;
        server.say("to the old mapping", before);
        assert_ne!(alice.seen_by(&server), before);
        Ok(())
    });
}

#[test]
fn a_mapping_lives_as_long_as_it_should_and_not_much_longer() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let lifetime = Duration::from_millis(300);
        let home = net.router("home", presets::full_cone().lifetimes(Lifetimes::fixed(lifetime)));
        let alice = Voice::new(&home.host("alice")?, 4000);

        let asked = Instant::now();
        let mapped = alice.seen_by(&server);
        loop {
            assert!(asked.elapsed() < Duration::from_secs(10), "it lives on");
            server.say("still there?", mapped);
            if alice.listen(Duration::from_millis(100)).is_none() {
                break;
            }
        }
        assert!(asked.elapsed() > lifetime, "it ended early");
        Ok(())
    });
}

/// Alice sends a megabyte, the server sends it back.
pub(crate) fn echo_over_tcp(server: &Host, address: IpAddr, alice: &Host) -> Result<(), Box<dyn Error>> {
    let listener = server.enter(|| TcpListener::bind((address, 443)))??;
    let to = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut got = vec![];
        stream.read_to_end(&mut got)?;
        stream.write_all(&got)
    });
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let mut stream = alice.enter(|| TcpStream::connect(to))??;
    stream.write_all(&sent)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut got = vec![];
    stream.read_to_end(&mut got)?;
    assert!(got == sent, "{} bytes came back", got.len());
    echo.join().map_err(|_| "the server panicked")??;
    Ok(())
}
