//! Two houses, a cafe and a rendezvous with the distances of a country between them: 20 ms one way from each house to the
//! server, 15 ms between the houses.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsim::model::{Behaviour, Line, presets};
use netsim::wire::{Host, Internet, Site};
use tempfile::TempDir;

use crate::person::Person;
use crate::running::Running;
use crate::world::start_rendezvous;

/// From a house to the Internet.
const HOUSE: Duration = Duration::from_micros(7_500);
/// From the server to the Internet.
const SERVER: Duration = Duration::from_micros(12_500);

/// All of it. The order is that of the end.
pub struct Town {
    /// The running server, until it is killed.
    rendezvous: Option<Running>,
    /// Its link.
    pub join: String,
    /// Alice, at home.
    pub alice: Person<Host>,
    /// Bob, at home.
    pub bob: Person<Host>,
    /// Where she lives.
    pub alices: Site,
    /// Where he lives.
    pub bobs: Site,
    /// Where she may go.
    pub cafe: Site,
    server: Host,
    folder: TempDir,
}

impl Town {
    /// Both behind such routers; each line loses this share of its packets, in each direction.
    pub fn new(seed: u64, [alices, bobs]: [Behaviour; 2], loss: f64) -> Result<Town> {
        let net = Internet::new(seed)?;
        let server = net.public_host("rendezvous")?;
        server.set_line(Line { delay: SERVER, loss, ..Line::default() });
        let folder = tempfile::tempdir()?;
        let (rendezvous, join) = start_rendezvous(&server, &[format!("{}:3478", server.address())], folder.path())?;
        let house = |name: &str, nat: Behaviour| {
            let site = net.router(name, nat);
            site.set_line(Line { delay: HOUSE, loss, ..Line::default() });
            site
        };
        let (alices, bobs, cafe) = (house("a", alices), house("b", bobs), house("cafe", presets::home()));
        let person = |name: &str, site: &Site| Person::new(name, &site.host(name)?, folder.path(), &join);
        let (alice, bob) = (person("alice", &alices)?, person("bob", &bobs)?);
        alice.add(&bob)?;
        bob.add(&alice)?;
        Ok(Town { rendezvous: Some(rendezvous), join, alice, bob, alices, bobs, cafe, server, folder })
    }

    /// Kills the server, as `kill -9` does, and starts it again with the data of before.
    pub fn restart_rendezvous(&mut self) -> Result<()> {
        self.rendezvous.take().into_iter().for_each(Running::kill);
        let listen = [format!("{}:3478", self.server.address())];
        self.rendezvous = Some(start_rendezvous(&self.server, &listen, self.folder.path())?.0);
        Ok(())
    }

    /// From now on nothing goes between the two houses but by the server. Nobody is told.
    pub fn cut_direct_path(&self) -> Result<()> {
        deafen(self.alice.host(), self.bobs.public_address())?;
        deafen(self.bob.host(), self.alices.public_address())
    }

    /// A place for files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The host does not hear this address any more.
fn deafen(host: &Host, toward: Option<IpAddr>) -> Result<()> {
    let address = toward.context("a house has an address")?;
    let rules = format!(
        "table ip deaf {{\n chain input {{\n type filter hook input priority 0\n ip saddr {address} drop\n }}\n}}\n"
    );
    let status = host.enter(|| -> std::io::Result<_> {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes())).transpose()?;
        nft.wait()
    })??;
    ensure!(status.success(), "nft ended with {status}");
    Ok(())
}
