//! The simulated Internet as its users hold it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::frame::Frame;
use super::host::Host;
use super::lab::Lab;
use super::site::Site;
use crate::model::{Access, Behaviour, Line, Topology};
use crate::netns::{self, Result};

/// A simulated Internet, with no way to any real network.
///
/// All of it lives until the last handle to any part of it is gone: this one, a site, a host. Then sockets and programs
/// that are still in a namespace keep that one, without its interface.
#[derive(Clone)]
pub struct Internet {
    everywhere: Site,
    lab: Arc<Lab>,
}

impl Internet {
    /// An empty one. What is random about it follows from the seed, as far as the hosts' own timing lets it.
    pub fn new(seed: u64) -> Result<Internet> {
        let lab = Arc::new(Lab::new(seed)?);
        Ok(Internet { everywhere: Site::internet(lab.clone()), lab })
    }

    /// A host with public addresses, one of each version of IP.
    pub fn public_host(&self, name: &str) -> Result<Host> {
        self.everywhere.host(name)
    }

    /// A NAT on the Internet, with an empty LAN behind it and a perfect line.
    pub fn router(&self, name: &str, nat: Behaviour) -> Site {
        self.everywhere.router(name, nat)
    }

    /// Such access to the Internet as a [preset](crate::model::presets) has, with this line between each of its routers
    /// and the network above.
    pub fn site(&self, name: &str, access: &Access, line: Line) -> Site {
        self.everywhere.site(name, access, line)
    }

    /// A router of the kernel's own on the Internet: see [`Site::kernel_router`].
    pub fn kernel_router(&self, name: &str, router: netns::Router, line: Line) -> Result<Site> {
        self.everywhere.kernel_router(name, router, line)
    }

    /// The Internet as a place to roam to.
    pub fn everywhere(&self) -> &Site {
        &self.everywhere
    }

    /// Works on the model between two packets: for whatever has no method of its own. Hosts that are added or moved here
    /// have no namespace that knows of it.
    pub fn topology<T>(&self, work: impl FnOnce(&mut Topology<Frame>, Instant) -> T) -> T {
        self.lab.with(|core| work(&mut core.topology, Instant::now()))
    }
}

impl fmt::Debug for Internet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Internet")
    }
}
