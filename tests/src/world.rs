//! The Internet of a story: a network, a rendezvous on it, and a folder for everybody's files.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use netsim::netns::{Host, KernelRouter, Network, Router};
use tempfile::TempDir;

use crate::binaries::binary;
use crate::person::{Computer, Person};
use crate::running::Running;

/// How a rendezvous is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct RendezvousOptions {
    /// On two addresses, so that it can judge filtering (RFC 5780).
    pub two_addresses: bool,
}

/// Everything of one story. Gone, with all its processes, when dropped.
pub struct World {
    // The order is that of the end: first the server, then the network under it, then the files.
    rendezvous: Option<Running>,
    join: String,
    listen: Vec<String>,
    server: Host,
    net: Network,
    folder: TempDir,
}

impl World {
    /// A network with a rendezvous on one address.
    pub fn new() -> Result<Self> {
        World::with(RendezvousOptions::default())
    }

    /// A network with a rendezvous as asked for.
    pub fn with(options: RendezvousOptions) -> Result<Self> {
        let net = Network::new()?;
        let server = net.public_host("rendezvous")?;
        let mut listen = vec![format!("{}:3478", server.address())];
        if options.two_addresses {
            listen.push(format!("{}:3478", server.add_address()?));
        }
        let folder = tempfile::tempdir()?;
        let mut world = World { rendezvous: None, join: String::new(), listen, server, net, folder };
        world.start_rendezvous()?;
        Ok(world)
    }

    /// The network.
    pub fn net(&self) -> &Network {
        &self.net
    }

    /// The computer of the rendezvous.
    pub fn server(&self) -> &Host {
        &self.server
    }

    /// The link that it printed.
    pub fn join_link(&self) -> &str {
        &self.join
    }

    /// A place for files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the rendezvous (again), with the data of before.
    pub fn start_rendezvous(&mut self) -> Result<()> {
        let (running, join) = start_rendezvous(&self.server, &self.listen, self.folder.path())?;
        self.join = join;
        self.rendezvous = Some(running);
        Ok(())
    }

    /// The running server.
    ///
    /// # Panics
    /// If it has been stopped.
    pub fn rendezvous(&mut self) -> &mut Running {
        self.rendezvous.as_mut().expect("the rendezvous runs")
    }

    /// Kills the server, as `kill -9` does.
    pub fn kill_rendezvous(&mut self) {
        if let Some(rendezvous) = self.rendezvous.take() {
            rendezvous.kill();
        }
    }

    /// Somebody at a computer, who has joined this rendezvous.
    pub fn person(&self, name: &str, host: &Host) -> Result<Person> {
        Person::new(name, host, self.folder.path(), &self.join)
    }

    /// Alice, who begins.
    pub fn alice(&self, host: &Host) -> Result<Person> {
        self.person("alice", host)
    }

    /// Bob, who answers.
    pub fn bob(&self, host: &Host) -> Result<Person> {
        self.person("bob", host)
    }

    /// Two people exchange their links.
    pub fn acquaint(&self, one: &Person, other: &Person) -> Result<()> {
        one.add(other)?;
        other.add(one)
    }
}

/// Starts a rendezvous with its data and its log in `folder`; also its link.
pub fn start_rendezvous(on: &impl Computer, listen: &[String], folder: &Path) -> Result<(Running, String)> {
    start_rendezvous_with(on, listen, &[], folder)
}

/// The same with further arguments.
pub fn start_rendezvous_with(
    on: &impl Computer,
    listen: &[String],
    arguments: &[&str],
    folder: &Path,
) -> Result<(Running, String)> {
    let stderr = folder.join("rendezvous.log");
    let mut command = Command::new(binary("rendezvous"));
    command.arg("run").arg("--data").arg(folder.join("rendezvous"));
    for address in listen {
        command.args(["--listen", address]);
    }
    command.args(arguments);
    command.env("RENDEZVOUS_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info,quinn_udp=error".into()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::options().create(true).append(true).open(&stderr)?);
    let mut running = Running::spawn("rendezvous", on, command, stderr)?;
    let line = running.expect_that("a join line", Duration::from_secs(20), |line| {
        line.as_str().is_some_and(|line| line.starts_with("join "))
    });
    let join = line.event.as_str().and_then(|line| line.strip_prefix("join ")).context("a link")?.trim().to_owned();
    Ok((running, join))
}

/// A router on the story's Internet.
pub fn router_of(world: &World, name: &str, router: Router) -> Result<KernelRouter> {
    Ok(world.net().router(name, router)?)
}
