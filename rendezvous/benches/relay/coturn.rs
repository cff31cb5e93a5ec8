//! coturn under its own load generator: clients with channels to an echo, so that each message passes the relay twice.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::cpu;

const TURN: &str = "34780";
const PEER: &str = "34790";

/// What one run of coturn showed.
pub(crate) struct Run {
    /// Relayed datagrams a second, as it was reached.
    pub(crate) rate: f64,
    /// Processor time of the server for one.
    pub(crate) cpu: Duration,
}

/// Kills what it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, args: &[&str]) -> Option<Running> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok().map(Running)
}

/// `clients` send a message of this many bytes each millisecond, as nearly as the generator manages. `None` if coturn is
/// not installed.
pub(crate) fn run(clients: usize, size: usize, messages: usize) -> Option<Run> {
    let folder = tempfile::tempdir().expect("a folder");
    let pid_file = folder.path().join("pid");
    let address = ["-L", "127.0.0.1", "-E", "127.0.0.1", "-p", TURN, "--pidfile", pid_file.to_str()?];
    let plain =
        ["-n", "--no-auth", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"];
    let server = start("turnserver", &[&plain[..], &address].concat())?;
    let _peer = start("turnutils_peer", &["-L", "127.0.0.1", "-p", PEER])?;
    // Its own start; nothing of it can be waited for.
    std::thread::sleep(Duration::from_secs(1));
    let before = cpu(server.0.id());
    let (clients, size, messages) = (clients.to_string(), size.to_string(), messages.to_string());
    let load = ["-m", &clients, "-n", &messages, "-l", &size, "-z", "1", "-c"];
    let ways = ["-e", "127.0.0.1", "-r", PEER, "-p", TURN, "127.0.0.1"];
    let output = Command::new("turnutils_uclient").args(load).args(ways).output().ok()?;
    let used = cpu(server.0.id()) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let received = |line: &str| line.split("tot_recv_msgs=").nth(1)?.split(',').next()?.trim().parse::<f64>().ok();
    let seconds = |line: &str| line.split(':').next()?.trim().parse::<f64>().ok();
    let progress: Vec<_> = text.lines().filter_map(|line| Some((seconds(line)?, received(line)?))).collect();
    let (first, last) = (progress.first()?, progress.iter().rev().nth(1).or(progress.last())?);
    let total = 2.0 * progress.last()?.1;
    let rate = 2.0 * (last.1 - first.1) / (last.0 - first.0).max(1.0);
    Some(Run { rate, cpu: used.div_f64(total.max(1.0)) })
}
