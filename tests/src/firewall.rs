//! What a host is kept from hearing and saying, for a time. Whoever sends is not told.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use netsim::wire::Host;

use crate::person::Computer;

/// A rule of the host's own kernel, until it is lifted or the host goes.
#[must_use = "it stands until it is lifted; `let _rule` keeps the name"]
pub struct Firewall<C: Computer = Host> {
    host: C,
    table: String,
}

impl<C: Computer> Firewall<C> {
    /// No UDP comes in.
    pub fn against_udp(host: &C) -> Result<Self> {
        Firewall::set(host, "udp", "chain input { type filter hook input priority 0; meta l4proto udp drop; }")
    }

    /// No UDP comes in over this version of IP.
    pub fn against_udp_over(host: &C, ipv6: bool) -> Result<Self> {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let rule = format!("meta nfproto {family} meta l4proto udp drop;");
        Firewall::set(host, family, &format!("chain input {{ type filter hook input priority 0; {rule} }}"))
    }

    /// Nothing goes to this UDP port, whoever has it, nor comes to ours.
    pub fn against_port(host: &C, port: u16) -> Result<Self> {
        let chain = |hook| format!("chain {hook} {{ type filter hook {hook} priority 0; udp dport {port} drop; }}");
        Firewall::set(host, &format!("port_{port}"), &format!("{}\n{}", chain("input"), chain("output")))
    }

    /// Nothing comes in from this address.
    pub fn against(host: &C, address: IpAddr) -> Result<Self> {
        let rule = format!("chain input {{ type filter hook input priority 0; ip saddr {address} drop; }}");
        Firewall::set(host, "address", &rule)
    }

    /// Nothing goes to this address.
    pub fn toward(host: &C, address: IpAddr) -> Result<Self> {
        let rule = format!("chain output {{ type filter hook output priority 0; ip daddr {address} drop; }}");
        Firewall::set(host, "toward", &rule)
    }

    /// The TCP connections that the host has to this port now are forgotten by everything between their ends: nothing of them
    /// gets through any more. New ones do.
    pub fn against_connections_to(host: &C, port: u16) -> Result<Self> {
        let ours = host.within(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
        let ports: Vec<String> = ours.lines().filter_map(|line| connected_to(line, port)).collect();
        ensure!(!ports.is_empty(), "no connection to port {port}\n{ours}");
        let ports = ports.join(", ");
        let input = format!("tcp sport {port} tcp dport {{ {ports} }} drop;");
        let output = format!("tcp dport {port} tcp sport {{ {ports} }} drop;");
        Firewall::set(
            host,
            "connections",
            &format!(
                "chain input {{ type filter hook input priority 0; {input} }}\n\
                 chain output {{ type filter hook output priority 0; {output} }}"
            ),
        )
    }

    fn set(host: &C, name: &str, chains: &str) -> Result<Self> {
        let table = format!("inet story_{name}");
        nft(host, &format!("table {table} {{\n{}\n}}\n", chains.replace("; }", ";\n}")))?;
        Ok(Firewall { host: host.clone(), table })
    }

    /// Everything gets through again.
    pub fn lift(self) -> Result<()> {
        nft(&self.host, &format!("delete table {}\n", self.table))
    }
}

/// The local port of a line of proc_pid_net(5) that tells of a connection that stands, to this port.
fn connected_to(line: &str, port: u16) -> Option<String> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let number = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    (number(remote) == Some(port) && state == ESTABLISHED).then(|| number(local).map(|port| port.to_string())).flatten()
}

fn nft(host: &impl Computer, rules: &str) -> Result<()> {
    let status = host.within(|| -> std::io::Result<_> {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes())).transpose()?;
        nft.wait()
    });
    let status = status?.context("nft does not start")?;
    ensure!(status.success(), "nft ended with {status} for\n{rules}");
    Ok(())
}
