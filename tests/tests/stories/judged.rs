//! Outside judges: coturn's tools ask our rendezvous from behind a router whose behaviour is known.

use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{RendezvousOptions, World, router_of};
use netsim::netns::{Host, Router, in_namespaces};

/// `turnutils_natdiscovery` waits for answers that a filter keeps from it.
const JUDGING: Duration = Duration::from_secs(30);

#[test]
fn coturn_sees_the_mapped_address_that_the_router_gave() {
    in_namespaces(|| {
        let world = World::new()?;
        let home = router_of(&world, "home", Router::home())?;
        let host = home.host("judge")?;
        let Some(verdict) = judge(&host, "turnutils_stunclient", &[&world.server().address().to_string()])? else {
            return Ok(());
        };
        assert!(verdict.contains(&format!("UDP reflexive addr: {}:", home.wan_address())), "{verdict}");
        Ok(())
    });
}

#[test]
fn coturn_finds_the_mapping_and_the_filtering_of_each_router() {
    in_namespaces(|| {
        let world = World::with(RendezvousOptions { two_addresses: true })?;
        let server = world.server().address().to_string();
        for (name, router, mapping) in [
            ("home", Router::home(), "Endpoint Independent Mapping"),
            ("corporate", Router::corporate(), "Address and Port Dependent Mapping"),
        ] {
            let host = router_of(&world, name, router)?.host(&format!("judge-{name}"))?;
            let Some(verdict) = judge(&host, "turnutils_natdiscovery", &["-m", &server])? else { return Ok(()) };
            assert!(verdict.contains(&format!("NAT with {mapping}!")), "{name}: {verdict}");
            let Some(verdict) = judge(&host, "turnutils_natdiscovery", &["-f", &server])? else { return Ok(()) };
            assert!(verdict.contains("NAT with Address and Port Dependent Filtering!"), "{name}: {verdict}");
        }
        Ok(())
    });
}

#[test]
fn our_own_netcheck_says_what_coturn_says() {
    in_namespaces(|| {
        let world = World::with(RendezvousOptions { two_addresses: true })?;
        for (name, router, mapping) in [
            ("home", Router::home(), "endpoint_independent"),
            ("corporate", Router::corporate(), "address_and_port_dependent"),
        ] {
            let alice = world.person(name, &router_of(&world, name, router)?.host(name)?)?;
            let checked = alice.command(&["netcheck"])?;
            let profile = &checked["profile"];
            assert_eq!((&profile["mapping"], &profile["translated"]), (&mapping.into(), &true.into()), "{checked}");
            assert_eq!(profile["filtering"], "address_and_port_dependent", "{checked}");
            assert_eq!(profile["hairpinning"], false, "{checked}");
        }
        Ok(())
    });
}

/// What the judge says; `None`, with a word about it, where coturn is not installed.
fn judge(host: &Host, tool: &str, arguments: &[&str]) -> anyhow::Result<Option<String>> {
    if Command::new("which").arg(tool).stdout(Stdio::null()).status().is_ok_and(|status| !status.success()) {
        println!("not judged: {tool} is not installed (Debian package coturn)");
        return Ok(None);
    }
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
    host.spawn(command)?.wait_timeout(JUDGING)?;
    Ok(Some(std::fs::read_to_string(log.path())?))
}
