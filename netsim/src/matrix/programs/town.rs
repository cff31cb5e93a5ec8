//! An Internet with a server, and room for houses.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regex_lite::Regex;
use serde_json::Value;

use super::neighbour::{self, Neighbour};
use super::{Error, How, Programs};
use crate::model::{Line, Preset, Random};
use crate::netns;
use crate::scenario::{Capture, Driver, Found, HostPlan, Lab, Made, RouterPlan, Running};

/// The host of the server, also in placeholders: `{server.address}`.
const SERVER: &str = "server";
/// Where the flows of others go.
const SINK: &str = "sink";
/// A server that does not stand by then will not.
const SOON: Duration = Duration::from_secs(20);

/// The network of one round of meetings.
pub(super) struct Town<'a> {
    // The order is that of the end: the server, then the network under it.
    _server: Option<Running>,
    neighbours: Mutex<Vec<Neighbour>>,
    lab: Mutex<Box<dyn Lab + Send>>,
    pub(super) programs: &'a Programs,
    pub(super) how: &'a How,
    /// Of each house.
    line: Line,
    pub(super) seed: u64,
    /// What the server said about itself.
    variables: BTreeMap<String, String>,
    /// Where programs are looked for.
    path: OsString,
    pub(super) folder: PathBuf,
}

impl<'a> Town<'a> {
    /// Builds the network, and starts the server if there is one.
    pub(super) fn build(
        programs: &'a Programs,
        how: &'a How,
        [line, servers_line]: [Line; 2],
        seed: u64,
        files: &Path,
    ) -> Result<Town<'a>, Error> {
        // Of its own: who keeps files may run several matrices with the same seed.
        let folder = fresh_folder(files, seed)?;
        let (tools, servers) = (folder.join("bin"), folder.join(SERVER));
        fs::create_dir_all(&tools)?;
        fs::create_dir_all(&servers)?;
        for (name, binary) in &programs.binaries {
            symlink(binary, tools.join(name))?;
        }
        let mut path = tools.into_os_string();
        if let Some(others) = env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        let mut lab = how.carrier().real_lab(seed)?;
        lab.add_host(SERVER, &HostPlan { at: 0, behind: None, addresses: 1, line: servers_line })?;
        if how.flows > 0 {
            lab.add_host(SINK, &HostPlan { at: 0, behind: None, addresses: 1, line: servers_line })?;
        }
        let (lab, variables, neighbours) = (Mutex::new(lab), BTreeMap::new(), Mutex::default());
        let mut town = Town { _server: None, neighbours, lab, programs, how, line, seed, variables, path, folder };
        if let Some(command) = &programs.server {
            let values = town.values(true, &servers);
            let mut running = town.start(SERVER, command.filled(&values, &servers)?)?;
            town.variables = stands(&mut running, programs.server_says.as_ref())?;
            town._server = Some(running);
        }
        Ok(town)
    }

    /// A host in a house of its own; gives its name.
    pub(super) fn settle(&self, kind: &Preset, name: &str) -> Result<String, Error> {
        let line = self.line;
        let (house, host) = (house_of(name), name.to_owned());
        // The model's Internet speaks both versions of IP, and a house without routers may speak one.
        let is_house = self.how.carrier() == Driver::Wire || !kind.access.routers.is_empty();
        let made_of = (self.how.has_kernel_routers() && self.how.has_lines()).then_some(Made::Kernel);
        let mut lab = self.lab();
        if is_house {
            let access = kind.access.clone();
            lab.add_router(&house, &RouterPlan { at: 0, access, made_of, port_mapping: None, behind: None, line })?;
        }
        // Nobody's way to the Internet is shorter for having no router.
        let line = if kind.access.routers.is_empty() { line } else { Line::default() };
        let plan = HostPlan { at: 0, behind: is_house.then_some(house), addresses: 1, line };
        lab.add_host(&host, &plan)?;
        let translates = kind.access.routers.iter().any(|router| router.ipv4.is_some());
        if self.how.flows > 0 && translates {
            let neighbour = format!("{name}-neighbour");
            lab.add_host(&neighbour, &HostPlan { line: Line::default(), ..plan })?;
            drop(lab);
            self.open_flows(&neighbour)?;
        }
        Ok(host)
    }

    /// Somebody in this host opens flows from now on.
    fn open_flows(&self, host: &str) -> Result<(), Error> {
        let bind = || (0..neighbour::SOCKETS).map(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).collect();
        let mut sockets: io::Result<Vec<UdpSocket>> = Ok(vec![]);
        let lab = self.lab();
        lab.enter(host, &mut || sockets = bind())?;
        let sink = lab.addresses(SINK).into_iter().find(IpAddr::is_ipv4);
        drop(lab);
        let mut neighbours = self.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        let luck = Random::new(self.seed).fork(neighbours.len() as u64);
        if let Some(sink) = sink {
            neighbours.push(Neighbour::new(sockets?, sink, self.how.flows, luck));
        }
        Ok(())
    }

    /// Writes what a host and the outer interface of its router send and receive to this folder, until what it gives is
    /// dropped.
    pub(super) fn capture(&self, host: &str, folder: &Path) -> Result<Vec<Capture>, Error> {
        let (lab, house) = (self.lab(), house_of(host));
        let mut captures = vec![Capture::start(&**lab, host, false, folder)?];
        if !lab.addresses(&house).is_empty() {
            captures.push(Capture::start(&**lab, &house, true, folder)?);
        }
        Ok(captures)
    }

    /// Starts a program in a host; its input is empty.
    pub(super) fn start(&self, host: &str, mut command: Command) -> Result<Running, Error> {
        command.env("PATH", &self.path);
        let mut running = Running::spawn(&**self.lab(), host, command, &self.how.interrupt)?;
        running.close();
        Ok(running)
    }

    /// What every command may use. `{server.address}` is of a version of IP that the host speaks.
    pub(super) fn values(&self, ipv4: bool, folder: &Path) -> BTreeMap<String, String> {
        let mut values = self.variables.clone();
        let server = self.lab().addresses(SERVER);
        let address = server.iter().find(|ip| ip.is_ipv4() == ipv4);
        values.extend(address.map(|ip| ("server.address".to_owned(), ip.to_string())));
        let ipv6 = server.iter().find(|ip| ip.is_ipv6());
        values.extend(ipv6.map(|ip| ("server.ipv6".to_owned(), ip.to_string())));
        values.insert("folder".to_owned(), folder.display().to_string());
        values.insert("seed".to_owned(), self.seed.to_string());
        values
    }

    pub(super) fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.lab().addresses(host)
    }

    /// The UDP datagrams that a host has sent since it was made, as its kernel counts them.
    pub(super) fn datagrams(&self, host: &str) -> Result<u64, netns::Error> {
        let mut sent = 0;
        // Not /proc/net: that is the network of our first thread.
        self.lab().enter(host, &mut || {
            let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
            sent = ipv4_datagrams(&read("snmp")).unwrap_or(0) + ipv6_datagrams(&read("snmp6")).unwrap_or(0);
        })?;
        Ok(sent)
    }

    fn lab(&self) -> MutexGuard<'_, Box<dyn Lab + Send>> {
        self.lab.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn house_of(host: &str) -> String {
    format!("{host}-house")
}

/// `SEED`, or the first of `SEED-2`, `SEED-3` and so on that is not there yet.
fn fresh_folder(files: &Path, seed: u64) -> io::Result<PathBuf> {
    fs::create_dir_all(files)?;
    for number in 1_u32.. {
        let folder = files.join(if number == 1 { seed.to_string() } else { format!("{seed}-{number}") });
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.and_then(|()| folder.canonicalize()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Waits until the server says that it stands; what it says about itself.
fn stands(server: &mut Running, says: Option<&Regex>) -> Result<BTreeMap<String, String>, Error> {
    let read = |line: &str| match says {
        Some(pattern) => {
            let captures = pattern.captures(line)?;
            let named = pattern.capture_names().flatten();
            Some(named.filter_map(|name| Some((name.to_owned(), captures.name(name)?.as_str().to_owned()))).collect())
        }
        None => Some(about_itself(line)),
    };
    let began = Instant::now();
    let what = match server.find_output(SOON, read) {
        Err(_) => return Err(Error::Interrupted),
        Ok(Found::Yes(variables)) => return Ok(variables),
        Ok(Found::Late) => format!("did not say within {} s that it stands", began.elapsed().as_secs()),
        Ok(Found::Ended) => "ended and never said that it stands".to_owned(),
    };
    Err(Error::Server { what, transcript: server.transcript() })
}

/// The fields of a JSON object, or the line as it is, as `{line}`.
fn about_itself(line: &str) -> BTreeMap<String, String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return BTreeMap::from([("line".to_owned(), line.to_owned())]);
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    fields.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

/// `OutDatagrams` of the two lines `Udp: …`, names and numbers.
fn ipv4_datagrams(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|name| name == "OutDatagrams")?;
    numbers.split(' ').nth(column)?.parse().ok()
}

fn ipv6_datagrams(snmp6: &str) -> Option<u64> {
    let line = snmp6.lines().find_map(|line| line.strip_prefix("Udp6OutDatagrams"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_found_by_their_names() {
        let snmp =
            "Ip: A B\nIp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 9 0 0 17\nUdpLite: OutDatagrams\n";
        assert_eq!(ipv4_datagrams(snmp), Some(17));
        assert_eq!(ipv6_datagrams("Udp6InDatagrams   \t3\nUdp6OutDatagrams                \t5\n"), Some(5));
        assert_eq!((ipv4_datagrams(""), ipv6_datagrams("")), (None, None));
    }

    #[test]
    fn what_a_server_says_about_itself_can_be_used_by_name() {
        let said = about_itself(r#"{"event":"ready","port":7,"join":"x","more":{}}"#);
        assert_eq!(said["port"], "7");
        assert_eq!(said["join"], "x");
        assert!(!said.contains_key("more"));
        assert_eq!(about_itself("listening")["line"], "listening");
    }
}
