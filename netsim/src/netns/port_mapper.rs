//! A router that maps ports for whoever asks it to: the program `miniupnpd` in its namespace.
//!
//! It gets its configuration on its standard input and writes no file; what it grants, it enters into chains of a table
//! of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::nft;
use super::process::Process;
use super::programs;

/// Which ways of asking a router for a port it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PortMapping {
    /// UPnP's Internet Gateway Device (IGD).
    pub upnp: bool,
    /// NAT-PMP (RFC 6886).
    pub nat_pmp: bool,
    /// PCP (RFC 6887).
    pub pcp: bool,
}

impl PortMapping {
    /// As most boxes come out of theirs.
    pub const ALL: PortMapping = PortMapping { upnp: true, nat_pmp: true, pcp: true };
    /// Nobody is given a port.
    pub const NONE: PortMapping = PortMapping { upnp: false, nat_pmp: false, pcp: false };

    /// What the router takes in on its LAN side that is not to its own address, and what it does not understand.
    pub(super) fn input_rules(self) -> String {
        let mut rules = String::new();
        if self.upnp {
            rules += "iifname \"lan\" ip daddr 239.255.255.250 udp dport 1900 accept\n  ";
        }
        // Both have one port; the first byte of a request is the version: 0 is NAT-PMP's, 2 is PCP's.
        for (spoken, version) in [(self.nat_pmp, 0), (self.pcp, 2)] {
            if self != PortMapping::NONE && !spoken {
                rules += &format!("iifname \"lan\" udp dport 5351 @th,64,8 {version} drop\n  ");
            }
        }
        rules
    }
}

/// Names the program to use in place of the `miniupnpd` in the search path.
const OVERRIDE: &str = "NETSIM_MINIUPNPD";
/// It is there within milliseconds; a machine that needs longer than this is stuck, not slow.
const DEADLINE: Duration = Duration::from_secs(20);
/// Before the router's own chains, so that what was mapped on purpose comes before what is remembered.
const TABLE: &str = "table inet filter
delete table inet filter
table inet filter {
 chain forward {
  type filter hook forward priority -1
  jump miniupnpd
 }
 chain prerouting {
  type nat hook prerouting priority -101
  jump prerouting_miniupnpd
 }
 chain postrouting {
  type nat hook postrouting priority 99
  jump postrouting_miniupnpd
 }
 chain miniupnpd {
 }
 chain prerouting_miniupnpd {
 }
 chain postrouting_miniupnpd {
 }
}
";
/// A place where no file can be: what would be there is of no use, and two routers would take each other for one.
const NO_PID_FILE: &str = "/dev/null/miniupnpd.pid";

/// The program at work; it ends with this.
pub(super) struct PortMapper(#[expect(dead_code, reason = "it is held, and killed when dropped")] Process);

impl PortMapper {
    /// Starts it without any mapping, between interfaces that are up, and waits until it listens.
    pub(super) fn start(namespace: &Namespace, mapping: PortMapping) -> Result<PortMapper> {
        let program =
            programs::find("miniupnpd", OVERRIDE).map_err(|looked_in| Error::MiniupnpdMissing { looked_in })?;
        nft::load(namespace, TABLE)?;
        let mut command = Command::new(program);
        command.args(["-d", "-f", "/dev/stdin", "-P", NO_PID_FILE]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Process::spawn(namespace, command)?;
        let told = running.take_stdin().map_or(Ok(()), |mut stdin| stdin.write_all(configuration(mapping).as_bytes()));
        told.map_err(Error::kernel(namespace.name(), "talk to miniupnpd"))?;
        // The last that it says of each: with both, the second stands behind the first.
        let last = if mapping.nat_pmp || mapping.pcp { "Listening for NAT-PMP" } else { "HTTP listening on port" };
        let refused = |said: String| Error::MiniupnpdRefused { router: namespace.name().to_owned(), said };
        let Some(stderr) = running.take_stderr() else { return Err(refused("nothing".to_owned())) };
        listen(namespace.name(), stderr, last).map_err(refused)?;
        Ok(PortMapper(running))
    }
}

fn configuration(PortMapping { upnp, nat_pmp, pcp }: PortMapping) -> String {
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
    format!(
        "ext_ifname=wan\nlistening_ip=lan\nipv6_disable=yes\nsecure_mode=yes\nnotify_interval=900\n\
         enable_upnp={}\nenable_natpmp={}\nupnp_table_name=filter\nupnp_nat_table_name=filter\n\
         uuid=6e657473-696d-4e41-9054-000000000001\nallow 1024-65535 0.0.0.0/0 1-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
        yes_or_no(upnp),
        yes_or_no(nat_pmp || pcp),
    )
}

/// Until the program says this; what it said if it ends before. A thread goes on listening, so that it can go on speaking.
fn listen(router: &str, stderr: ChildStderr, last: &'static str) -> std::result::Result<(), String> {
    let (say, said) = mpsc::channel();
    let name = router.to_owned();
    let listening = thread::Builder::new().name(format!("miniupnpd {router}")).spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
            tracing::debug!(router = name, "{line}");
            // Once it listens nobody waits for its words any more.
            let _ = say.send(line);
        }
    });
    listening.map_err(|error| error.to_string())?;
    let mut before = String::new();
    loop {
        match said.recv_timeout(DEADLINE) {
            Ok(line) if line.contains(last) => return Ok(()),
            Ok(line) => before = format!("{before}{line}; "),
            Err(RecvTimeoutError::Disconnected) => return Err(format!("{before}and ended")),
            Err(RecvTimeoutError::Timeout) => return Err(format!("{before}and no more")),
        }
    }
}
