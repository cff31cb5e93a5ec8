//! Two houses, a cafe and a rendezvous with the distances of a country between them: 20 ms one way from each house to the
//! server, 15 ms between the houses.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use netsim::model::{Behaviour, Line, presets};
use netsim::netns::Signal;
use netsim::wire::{Host, Internet, Site};
use tempfile::TempDir;

use crate::firewall::Firewall;
use crate::person::Person;
use crate::running::Running;
use crate::world::start_rendezvous_with;

/// From a house to the Internet.
const HOUSE: Duration = Duration::from_micros(7_500);
/// From the server to the Internet.
const SERVER: Duration = Duration::from_micros(12_500);

/// A server that is told to stop takes a second at most, and a busy machine its time.
const STOPPED: Duration = Duration::from_secs(10);

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
    tunnel: bool,
    folder: TempDir,
}

impl Town {
    /// Both behind such routers; each line loses this share of its packets, in each direction.
    pub fn new(seed: u64, nats: [Behaviour; 2], loss: f64) -> Result<Town> {
        Town::build(seed, nats, loss, false)
    }

    /// The same, where the rendezvous has a tunnel as well.
    pub fn with_tunnel(seed: u64, nats: [Behaviour; 2]) -> Result<Town> {
        Town::build(seed, nats, 0.0, true)
    }

    fn build(seed: u64, [alices, bobs]: [Behaviour; 2], loss: f64, tunnel: bool) -> Result<Town> {
        let net = Internet::new(seed)?;
        let server = net.public_host("rendezvous")?;
        server.set_line(Line { delay: SERVER, loss, ..Line::default() });
        let folder = tempfile::tempdir()?;
        let (rendezvous, join) = start(&server, tunnel, folder.path())?;
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
        Ok(Town { rendezvous: Some(rendezvous), join, alice, bob, alices, bobs, cafe, server, tunnel, folder })
    }

    /// Kills the server, as `kill -9` does, and starts it again with the data of before.
    pub fn restart_rendezvous(&mut self) -> Result<()> {
        self.rendezvous.take().into_iter().for_each(Running::kill);
        self.rendezvous = Some(start(&self.server, self.tunnel, self.folder.path())?.0);
        Ok(())
    }

    /// Stops the server in good order, as an update does, and starts it again.
    pub fn update_rendezvous(&mut self) -> Result<()> {
        if let Some(mut rendezvous) = self.rendezvous.take() {
            rendezvous.signal(Signal::SIGTERM);
            rendezvous.exit_code(STOPPED);
        }
        self.restart_rendezvous()
    }

    /// The address of the server.
    pub fn server(&self) -> IpAddr {
        self.server.address()
    }

    /// From now on nothing goes between the two houses but by the server. Nobody is told.
    pub fn cut_direct_path(&self) -> Result<()> {
        for (host, toward) in [(self.alice.host(), &self.bobs), (self.bob.host(), &self.alices)] {
            let _stays = Firewall::against(host, toward.public_address().context("a house has an address")?)?;
        }
        Ok(())
    }

    /// A place for files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn start(server: &Host, tunnel: bool, folder: &Path) -> Result<(Running, String)> {
    let address = server.address();
    let offered = ["--tunnel".to_owned(), format!("{address}:443")];
    let arguments: Vec<&str> = offered.iter().filter(|_| tunnel).map(String::as_str).collect();
    start_rendezvous_with(server, &[format!("{address}:3478")], &arguments, folder)
}
