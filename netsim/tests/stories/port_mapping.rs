//! Routers that map ports for whoever asks, asked by the programs that people ask with.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::netns::{Host, Network, PortMapping, Router, in_namespaces};

use crate::voice::Voice;

#[test]
fn a_port_asked_for_by_nat_pmp_lets_a_stranger_in() {
    in_namespaces(|| {
        let asked_of = [
            Router::home(),
            Router::corporate(),
            Router::cell(Mapping::EndpointIndependent, Filtering::AddressDependent),
        ];
        for router in asked_of {
            let net = Network::new()?;
            let stranger = Voice::new(&net.public_host("stranger")?, 5000);
            let home = net.router("home", Router { port_mapping: PortMapping::ALL, ..router })?;
            let host = home.host("alice")?;
            let alice = Voice::new(&host, 4000);
            stranger.say("too early", (home.wan_address(), 5353).into());
            let said = run(&host, "natpmpc", &["-a", "5353", "4000", "udp", "60"])?;
            assert!(said.contains(&format!("Public IP address : {}", home.wan_address())), "{said}");
            assert!(said.contains("Mapped public port 5353 protocol UDP to local port 4000"), "{said}");
            stranger.say("hello", (home.wan_address(), 5353).into());
            assert_eq!(alice.hear(), ("hello".to_owned(), stranger.address()));

            home.forget_mappings()?;
            Voice::new(&net.public_host("another")?, 5000).say("too late", (home.wan_address(), 5353).into());
            assert!(alice.hears_nothing());
        }
        Ok(())
    });
}

#[test]
fn a_port_asked_for_by_upnp_lets_a_stranger_in_and_is_given_back() {
    in_namespaces(|| {
        let net = Network::new()?;
        let stranger = Voice::new(&net.public_host("stranger")?, 5000);
        let home = net.router("home", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let host = home.host("alice")?;
        let alice = Voice::new(&host, 4000);
        let said = run(&host, "upnpc", &["-a", &host.address().to_string(), "4000", "5353", "UDP"])?;
        assert!(
            said.contains(&format!(
                "external {}:5353 UDP is redirected to internal {}:4000",
                home.wan_address(),
                host.address()
            )),
            "{said}"
        );
        stranger.say("hello", (home.wan_address(), 5353).into());
        assert_eq!(alice.hear(), ("hello".to_owned(), stranger.address()));

        run(&host, "upnpc", &["-d", "5353", "UDP"])?;
        Voice::new(&net.public_host("another")?, 5000).say("too late", (home.wan_address(), 5353).into());
        assert!(alice.hears_nothing());
        Ok(())
    });
}

#[test]
fn after_a_nightly_disconnection_the_new_address_is_given_out() {
    in_namespaces(|| {
        let net = Network::new()?;
        let home = net.router("home", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let alice = home.host("alice")?;
        let address = home.change_wan_address()?;
        let said = run(&alice, "natpmpc", &[])?;
        assert!(said.contains(&format!("Public IP address : {address}")), "{said}");
        Ok(())
    });
}

#[test]
fn a_router_understands_what_it_was_told_to_and_no_more() {
    in_namespaces(|| {
        // A request for the external address of NAT-PMP (RFC 6886, section 3.2), and an announcement of PCP (RFC 6887, section 14.1).
        let nat_pmp = vec![0, 0];
        let pcp = |from: Host| [&[2, 0, 0, 0, 0, 0, 0, 0][..], &from.address().to_ipv6_mapped().octets()].concat();
        let mappings = [
            PortMapping { nat_pmp: true, ..PortMapping::NONE },
            PortMapping { pcp: true, ..PortMapping::NONE },
            PortMapping { upnp: true, ..PortMapping::NONE },
            PortMapping::NONE,
        ];
        for port_mapping in mappings {
            let net = Network::new()?;
            let home = net.router("home", Router { port_mapping, ..Router::home() })?;
            let host = home.host("alice")?;
            for (request, spoken) in [(nat_pmp.clone(), port_mapping.nat_pmp), (pcp(host.clone()), port_mapping.pcp)] {
                // Without anybody there, a socket of the router's would say so; then the next one cannot send.
                let alice = host.udp(0)?;
                alice.set_read_timeout(Some(Duration::from_millis(if spoken { 5000 } else { 100 })))?;
                alice.send_to(&request, (home.lan_address(), 5351))?;
                assert_eq!(alice.recv_from(&mut [0; 64]).is_ok(), spoken, "{request:?} {port_mapping:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn what_maps_ports_ends_with_its_network_and_not_with_the_handle_of_its_router() {
    in_namespaces(|| {
        let net = Network::new()?;
        let home = net.router("home", Router { port_mapping: PortMapping::ALL, ..Router::home() })?;
        let alice = home.host("alice")?;
        let mappers = || children("miniupnpd");
        let inside = home.namespace_path();
        let inside = fs::read_link(&inside)?;
        let running: Vec<u32> = mappers().into_iter().filter(|id| namespace_of(*id) == Some(inside.clone())).collect();
        assert_eq!(running.len(), 1);
        drop((net, home));
        assert!(run(&alice, "natpmpc", &[])?.contains("Public IP address"));
        drop(alice);
        let started = Instant::now();
        while running.iter().any(|id| children("miniupnpd").contains(id)) {
            assert!(started.elapsed() < Duration::from_secs(10), "it lives on");
            std::thread::yield_now();
        }
        Ok(())
    });
}

/// Processes of this name that this one has started.
fn children(name: &str) -> Vec<u32> {
    let own = std::process::id().to_string();
    let all =
        fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // Number, (name), state, parent.
        let words: Vec<&str> = stat.split(' ').collect();
        words.get(1) == Some(&&*format!("({name})")) && words.get(3) == Some(&&*own) && words.get(2) != Some(&"Z")
    })
    .collect()
}

fn namespace_of(process: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

/// What a program says.
fn run(host: &Host, program: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut running, mut said) = (host.spawn(command)?, String::new());
    running.take_stdout().ok_or("no pipe")?.read_to_string(&mut said)?;
    Ok(said)
}
