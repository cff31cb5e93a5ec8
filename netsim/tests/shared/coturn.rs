//! An outside judge: coturn's STUN server, and its NAT discovery, which names what it finds in its own words.

use std::error::Error;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Observed, Survey};
use netsim::netns::{Process, Vantage};

use crate::voice::Voice;

/// A STUN binding request (RFC 8489, section 5): type, length 0, magic cookie, and a transaction id of our choice.
const BINDING_REQUEST: &[u8; 20] = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction!";

/// Somebody who is asked, and what must come out.
pub(crate) struct Case<V> {
    pub(crate) name: String,
    pub(crate) host: V,
    pub(crate) expected: Survey,
}

/// Coturn, on both addresses of this host; `None`, and a word about it, if it is not installed.
pub(crate) fn start(server: &impl Vantage, addresses: [IpAddr; 2]) -> Result<Option<Process>, Box<dyn Error>> {
    let [first, second] = addresses.map(|address| address.to_string());
    let mut command = Command::new("turnserver");
    command
        .args(["-n", "-S", "--no-cli", "--no-tls", "--no-dtls", "--no-auth", "--pidfile", "/dev/null"])
        .args(["--log-file", "stdout", "-p", "3478", "--alt-listening-port", "3479"])
        .args(["-L", &first, "-L", &second])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match server.spawn(command) {
        Ok(running) => {
            wait_until_it_answers(server, addresses[0]);
            Ok(Some(running))
        }
        Err(netsim::netns::Error::Spawn { source, .. }) if source.kind() == ErrorKind::NotFound => {
            eprintln!("not judged: coturn is not installed (apt-get install coturn)");
            Ok(None)
        }
        Err(other) => Err(other.into()),
    }
}

/// Asks it about all of them and expects its word to be ours. Side by side: it waits six seconds for what a filter keeps out.
pub(crate) fn judge<V: Vantage + Send>(server: IpAddr, cases: Vec<Case<V>>) -> Result<(), Box<dyn Error>> {
    thread::scope(|scope| {
        let judges: Vec<_> = cases
            .into_iter()
            .map(|case| scope.spawn(move || one(server, &case).map_err(|error| format!("{}: {error}", case.name))))
            .collect();
        judges.into_iter().try_for_each(|judge| judge.join().map_err(|_| "a judgement failed")?)
    })?;
    Ok(())
}

fn one(server: IpAddr, case: &Case<impl Vantage>) -> Result<(), Box<dyn Error>> {
    let Observed { mapping, filtering, .. } = *case.expected.observed().ok_or("it can ask over UDP only")?;
    let questions = [ask(&case.host, "-m", server)?, ask(&case.host, "-f", server)?];
    let [mapped, filtered] = questions.map(verdict);
    assert_eq!(mapped?, mapping_in_its_words(mapping), "{}", case.name);
    assert_eq!(filtered?, filtering_in_its_words(filtering), "{}", case.name);
    println!("coturn agrees on {}: {mapping} mapping, {filtering} filtering", case.name);
    Ok(())
}

fn wait_until_it_answers(host: &impl Vantage, server: IpAddr) {
    let (voice, started) = (Voice::new(host, 4000), Instant::now());
    loop {
        voice.say(BINDING_REQUEST, (server, 3478).into());
        if voice.listen(Duration::from_millis(100)).is_some() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "coturn does not answer");
    }
}

/// Starts coturn's NAT discovery.
fn ask(host: &impl Vantage, question: &str, server: IpAddr) -> Result<Process, Box<dyn Error>> {
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
