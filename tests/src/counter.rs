//! What arrives at a host, counted by its kernel before anything else looks at it.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use netsim::wire::Host;

const TABLE: &str = "inet story_counter";

/// Counts UDP datagrams that come from anybody but one address.
pub struct Counter {
    host: Host,
}

impl Counter {
    /// From now on.
    pub fn of_udp_from_all_but(host: &Host, known: IpAddr) -> Result<Counter> {
        let rule = format!("ip saddr != {known} meta l4proto udp counter");
        let rules = format!("table {TABLE} {{\nchain input {{\ntype filter hook input priority -10;\n{rule}\n}}\n}}\n");
        nft(host, &["-f", "-"], &rules)?;
        Ok(Counter { host: host.clone() })
    }

    /// How many there were.
    pub fn packets(&self) -> Result<u64> {
        let listed = nft(&self.host, &["list", "table", "inet", "story_counter"], "")?;
        let (_, after) = listed.split_once("counter packets ").context("a counter")?;
        Ok(after.split(' ').next().unwrap_or_default().parse()?)
    }
}

fn nft(host: &Host, arguments: &[&str], input: &str) -> Result<String> {
    let output = host.enter(|| -> std::io::Result<_> {
        let mut nft = Command::new("nft").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        nft.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())).transpose()?;
        nft.wait_with_output()
    });
    let output = output?.context("nft does not start")?;
    ensure!(output.status.success(), "nft ended with {} for\n{input}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
