//! An outside judge: coturn's NAT discovery names each cell in its own words.

use std::error::Error;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netsim::model::Behaviour;
use netsim::model::behaviour::{Filtering, Mapping};
use netsim::netns::{Process, in_namespaces};
use netsim::wire::{Host, Internet};

use crate::voice::Voice;

/// A STUN binding request (RFC 8489, section 5): type, length 0, magic cookie, and a transaction id of our choice.
const BINDING_REQUEST: &[u8; 20] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!";

#[test]
fn coturn_finds_each_cell_of_mapping_and_filtering_as_configured() {
    in_namespaces(|| {
        let cells = Mapping::ALL.into_iter().flat_map(|mapping| Filtering::ALL.map(|filtering| (mapping, filtering)));
        // Side by side: coturn waits six seconds for what a filter keeps out.
        thread::scope(|scope| {
            let judges = cells.map(|(mapping, filtering)| {
                scope.spawn(move || judge(mapping, filtering).map_err(|error| error.to_string()))
            });
            let judges: Vec<_> = judges.collect();
            judges.into_iter().try_for_each(|judge| judge.join().map_err(|_| "a judgement failed")?)
        })?;
        Ok(())
    });
}

fn judge(mapping: Mapping, filtering: Filtering) -> Result<(), Box<dyn Error>> {
    let net = Internet::new(1)?;
    let server = net.public_host("server")?;
    let (first, second) = (server.address(), server.add_address()?);
    let alice = net.router("home", Behaviour::nat(mapping, filtering)).host("alice")?;
    let Some(_coturn) = start_coturn(&server, first, second)? else {
        eprintln!("not judged: coturn is not installed (apt-get install coturn)");
        return Ok(());
    };
    wait_until_it_answers(&alice, first);
    let mapped = verdict(&alice, "-m", first)?;
    assert!(mapped.contains(mapping_in_its_words(mapping)), "{mapping} x {filtering}: {mapped}");
    let filtered = verdict(&alice, "-f", first)?;
    assert!(filtered.contains(filtering_in_its_words(filtering)), "{mapping} x {filtering}: {filtered}");
    Ok(())
}

fn start_coturn(server: &Host, first: IpAddr, second: IpAddr) -> Result<Option<Process>, Box<dyn Error>> {
    let mut command = Command::new("turnserver");
    command
        .args(["-n", "-S", "--no-cli", "--no-tls", "--no-dtls", "--no-auth", "--pidfile", "/dev/null"])
        .args(["--log-file", "stdout", "-p", "3478", "--alt-listening-port", "3479"])
        .args(["-L", &first.to_string(), "-L", &second.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match server.spawn(command) {
        Ok(running) => Ok(Some(running)),
        Err(netsim::netns::Error::Spawn { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn wait_until_it_answers(host: &Host, server: IpAddr) {
    let (voice, started) = (Voice::new(host, 4000), Instant::now());
    loop {
        voice.say(BINDING_REQUEST, (server, 3478).into());
        if voice.listen(Duration::from_millis(100)).is_some() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "coturn does not answer");
    }
}

/// The last line of coturn's NAT discovery.
fn verdict(host: &Host, question: &str, server: IpAddr) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new("turnutils_natdiscovery");
    command.args([question, &server.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut said = String::new();
    host.spawn(command)?.take_stdout().ok_or("no pipe")?.read_to_string(&mut said)?;
    Ok(said.lines().rfind(|line| line.contains("NAT with")).unwrap_or(&said).trim().to_owned())
}

fn mapping_in_its_words(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::EndpointIndependent => "NAT with Endpoint Independent Mapping!",
        Mapping::AddressDependent => "NAT with Address Dependent Mapping!",
        Mapping::AddressAndPortDependent => "NAT with Address and Port Dependent Mapping!",
    }
}

fn filtering_in_its_words(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "NAT with Endpoint Independent Filtering!",
        Filtering::AddressDependent => "NAT with Address Dependent Filtering!",
        Filtering::AddressAndPortDependent => "NAT with Address and Port Dependent Filtering!",
    }
}
