//! Routers of the kernel's own between lines of the model: real NAT, and delay.

use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Line, presets};
use netsim::netns::{self, PortMapping, Router, in_namespaces, survey_between};
use netsim::wire::{Host, Internet, Site};

use crate::nats::echo_over_tcp;
use crate::voice::Voice;

#[test]
fn two_homes_punch_through_to_each_other_and_the_round_trip_is_what_their_lines_take() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let [(alice, hers), (bob, his)] = [("alice", 20), ("bob", 30)].map(|(name, delay)| {
            let home = net.kernel_router(name, Router::home(), Line::delay(ms(delay)));
            let host = home.and_then(|home| home.host(name)).expect("a home");
            let voice = Voice::new(&host, 4000);
            let outside = voice.seen_by(&server);
            (voice, outside)
        });
        alice.say("opens her filter", his);
        // 50 ms to his router, which stops it; 80 ms until the server has answered twice.
        assert_eq!([(); 2].map(|()| alice.seen_by(&server)), [hers; 2]);
        let started = Instant::now();
        bob.say("opens his, and gets in", hers);
        assert_eq!(alice.hear(), ("opens his, and gets in".to_owned(), his));
        alice.say("hello", his);
        assert_eq!(bob.hear(), ("hello".to_owned(), hers));
        is_about(started.elapsed(), ms(100))
    });
}

#[test]
fn a_company_behind_a_carrier_has_two_kernels_and_two_lines_between_it_and_the_world() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = net.public_host("server")?;
        let carrier = net.kernel_router("carrier", Router::carrier(), Line::delay(ms(15)))?;
        let office = carrier.kernel_router("office", Router::corporate(), Line::delay(ms(25)))?;
        let host = office.host("alice")?;
        let (alice, main, other) = (Voice::new(&host, 4000), Voice::new(&server, 3478), Voice::new(&server, 3479));
        let started = Instant::now();
        let seen = [&main, &other].map(|server| alice.seen_by(server));
        is_about(started.elapsed(), ms(160))?;
        assert_ne!(seen[0].port(), seen[1].port());
        assert!(seen.iter().all(|seen| Some(seen.ip()) == carrier.public_address()), "{seen:?}");
        assert!(office.wan_addresses()[0].to_string().starts_with("100.64."), "{office:?}");
        Ok(())
    });
}

#[test]
fn cells_are_what_they_are_without_lines() {
    in_namespaces(|| {
        let cells = [
            (Mapping::EndpointIndependent, Filtering::AddressDependent),
            (Mapping::AddressAndPortDependent, Filtering::EndpointIndependent),
        ];
        for (mapping, filtering) in cells {
            let (net, router) = (Internet::new(1)?, Router::cell(mapping, filtering));
            let outside = [net.public_host("one")?, net.public_host("two")?];
            let site = net.kernel_router("router", router, Line::delay(ms(5)))?;
            let found = survey_between(&[site.host("alice")?, site.host("bob")?], &outside)?;
            assert_eq!(found, router.promised());
        }
        Ok(())
    });
}

#[test]
fn kernels_and_models_hang_on_each_other() {
    in_namespaces(|| {
        for kernel_above in [true, false] {
            let net = Internet::new(1)?;
            let server = net.public_host("server")?;
            let kernel = |site: &Site| site.kernel_router("kernel", Router::home(), Line::default());
            let model = |site: &Site| site.router("model", presets::home());
            let all = net.everywhere();
            let site = if kernel_above { model(&kernel(all)?) } else { kernel(&model(all))? };
            let host = site.host("alice")?;
            let seen = Voice::new(&host, 4000).seen_by(&Voice::new(&server, 3478));
            assert_eq!(Some(seen.ip()), site.public_address());
            echo_over_tcp(&server, server.address(), &host)?;
        }
        Ok(())
    });
}

#[test]
fn a_kernels_box_is_rebooted_renumbered_and_cut_off_like_others() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let server = Voice::new(&net.public_host("server")?, 3478);
        let home = net.kernel_router(
            "home",
            Router::cell(Mapping::EndpointIndependent, Filtering::EndpointIndependent),
            Line::default(),
        )?;
        let alice = Voice::new(&home.host("alice")?, 4000);
        let before = alice.seen_by(&server);
        home.reboot()?;
        server.say("to the old mapping", before);
        let rebooted = alice.seen_by(&server);
        assert_ne!(rebooted, before);

        home.renumber()?;
        let renumbered = alice.seen_by(&server);
        assert_ne!(renumbered.ip(), rebooted.ip());
        assert_eq!(Some(renumbered.ip()), home.public_address());

        home.cut();
        alice.say("into the void", server.address());
        assert_eq!(server.listen(ms(50)), None);
        home.restore();
        assert_eq!(alice.seen_by(&server), renumbered);
        Ok(())
    });
}

#[test]
fn tcp_finds_out_through_a_kernels_box_how_big_packets_may_be() {
    in_namespaces(|| {
        let narrow = Line { mtu: Some(1280), ..Line::default() };
        for place in 0..3 {
            let net = Internet::new(1)?;
            let server = net.public_host("server")?;
            let home = net.kernel_router("home", Router::home(), if place == 1 { narrow } else { Line::default() })?;
            let alice = home.host("alice")?;
            match place {
                0 => alice.set_line(narrow),
                1 => {}
                _ => server.set_line(narrow),
            }
            echo_over_tcp(&server, server.address(), &alice)?;
        }
        Ok(())
    });
}

#[test]
fn a_box_far_from_the_world_gives_ports_to_who_asks_for_them() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let stranger = net.public_host("stranger")?;
        let router = Router { port_mapping: PortMapping::ALL, ..Router::home() };
        let home = net.kernel_router("home", router, Line::delay(ms(20)))?;
        let host = home.host("alice")?;
        let outside = home.public_address().ok_or("a NAT has one")?;
        let alice = Voice::new(&host, 4000);
        // upnpc looks for the router by multicast, natpmpc takes the default route.
        let own = host.address().to_string();
        let said = run(&host, "upnpc", &["-a", &own, "4000", "5001", "UDP"])?;
        assert!(said.contains(&format!("external {outside}:5001 UDP is redirected to internal {own}:4000")), "{said}");
        let said = run(&host, "natpmpc", &["-a", "5002", "4000", "udp", "60"])?;
        assert!(said.contains("Mapped public port 5002 protocol UDP to local port 4000"), "{said}");
        for port in [5001, 5002] {
            // One source for both would be two sessions that look the same inside, and the kernel would change one.
            let stranger = Voice::new(&stranger, port);
            let started = Instant::now();
            stranger.say("hello", (outside, port).into());
            assert_eq!(alice.hear(), ("hello".to_owned(), stranger.address()));
            is_about(started.elapsed(), ms(20))?;
        }
        home.reboot()?;
        Voice::new(&stranger, 5003).say("too late", (outside, 5001).into());
        assert_eq!(alice.listen(ms(100)), None);
        Ok(())
    });
}

/// What a program says.
fn run(host: &Host, program: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut running, mut said) = (host.spawn(command)?, String::new());
    running.take_stdout().ok_or("no pipe")?.read_to_string(&mut said)?;
    Ok(said)
}

#[test]
fn what_cannot_be_is_refused_when_the_box_is_built() {
    in_namespaces(|| {
        let net = Internet::new(1)?;
        let chosen = Router { wan_address: Some([11, 1, 1, 77].into()), ..Router::home() };
        let refused = net.kernel_router("home", chosen, Line::default()).map(drop);
        assert!(matches!(refused, Err(netns::Error::AddressNotChosen(_))), "{refused:?}");
        let carrier = net.kernel_router("carrier", Router::carrier(), Line::default())?;
        let refused = carrier.kernel_router("inner", Router::carrier(), Line::default()).map(drop);
        assert!(matches!(refused, Err(netns::Error::PrefixesOverlap { .. })), "{refused:?}");
        Ok(())
    });
}

/// As long as the lines take, and not much longer.
fn is_about(took: Duration, lines: Duration) -> Result<(), Box<dyn Error>> {
    if (lines..lines + ms(800)).contains(&took) { Ok(()) } else { Err(format!("{took:?}, not {lines:?}").into()) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
