//! An outside judge: coturn's STUN server and its NAT discovery say what our routers do, in their own words.

use std::error::Error;
use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::netns::{Host, Network, Process, Router, in_namespaces};

use crate::wire::Voice;

/// A STUN binding request (RFC 8489, section 5): type, length 0, magic cookie, and a transaction id of our choice.
const BINDING_REQUEST: &[u8; 20] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!";

#[test]
fn coturn_judges_all_nine_cells_and_the_kernels_own_nat_as_we_do() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let (first, second) = (server.address(), server.add_address()?);
        let Some(_coturn) = start_coturn(&server, first, second)? else {
            eprintln!("not judged: coturn is not installed (apt-get install coturn)");
            return Ok(());
        };
        wait_until_it_answers(&server, first);

        let cells = Mapping::ALL.into_iter().flat_map(|mapping| Filtering::ALL.map(|f| Router::cell(mapping, f)));
        let routers: Vec<_> = cells.chain([Router::home(), Router::plain_linux(), Router::corporate()]).collect();
        // Side by side, and both questions at once: coturn waits six seconds for what a filter keeps out.
        thread::scope(|scope| {
            let judges: Vec<_> = routers
                .into_iter()
                .map(|router| {
                    let net = &net;
                    scope.spawn(move || judge(net, first, router).map_err(|error| format!("{router:?}: {error}")))
                })
                .collect();
            judges.into_iter().try_for_each(|judge| judge.join().map_err(|_| "a judgement failed")?)
        })?;
        Ok(())
    });
}

fn judge(net: &Network, server: Ipv4Addr, router: Router) -> Result<(), Box<dyn Error>> {
    let alice = net.router("home", router)?.host("alice")?;
    let mapping = ask(&alice, "-m", server)?;
    let filtering = ask(&alice, "-f", server)?;
    let promised = router.promised().observed;
    assert_eq!(verdict(mapping)?, mapping_in_its_words(promised.mapping), "{router:?}");
    assert_eq!(verdict(filtering)?, filtering_in_its_words(promised.filtering), "{router:?}");
    println!("coturn agrees: {} mapping, {} filtering", promised.mapping, promised.filtering);
    Ok(())
}

fn start_coturn(server: &Host, first: Ipv4Addr, second: Ipv4Addr) -> Result<Option<Process>, Box<dyn Error>> {
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

fn wait_until_it_answers(host: &Host, server: Ipv4Addr) {
    let (voice, started) = (Voice::new(host, 4000), Instant::now());
    loop {
        voice.say(BINDING_REQUEST, (server, 3478).into());
        if !voice.hears_nothing() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "coturn does not answer");
    }
}

/// Starts coturn's NAT discovery.
fn ask(host: &Host, question: &str, server: Ipv4Addr) -> Result<Process, Box<dyn Error>> {
    let mut command = Command::new("turnutils_natdiscovery");
    command.args([question, &server.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(host.spawn(command)?)
}

/// The last line of what it says.
fn verdict(mut discovery: Process) -> Result<String, Box<dyn Error>> {
    let mut said = String::new();
    discovery.take_stdout().ok_or("no pipe")?.read_to_string(&mut said)?;
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
