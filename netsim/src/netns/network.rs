//! The simulated Internet: one segment of public addresses that everything else hangs on.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::error::Result;
use super::host::Host;
use super::kernel_router::KernelRouter;
use super::namespace::Forwarding;
use super::prefix::Prefix;
use super::router::Router;
use super::segment::Segment;
use super::world::World;

/// Not a documentation prefix: programs such as miniupnpd refuse those as external addresses.
const INTERNET: Prefix = Prefix::literal(11, 1, 1, 0, 24);
/// Everybody's default gateway. It forwards nothing, so whatever is not on the segment vanishes without a word, as a
/// private destination does on the real Internet.
const BLACK_HOLE: Ipv4Addr = Ipv4Addr::new(11, 1, 1, 254);

/// A simulated Internet, `11.1.1.0/24`, with no way to any real network.
///
/// All of it lives until the last handle to any part of it is gone: this one, a router, a host. Then sockets and programs
/// that are still in a namespace keep that one, and nothing else.
pub struct Network {
    internet: Arc<Segment>,
    world: Arc<World>,
}

impl Network {
    /// An empty Internet.
    pub fn new() -> Result<Network> {
        let world = Arc::new(World::default());
        let namespace = world.namespace("internet", Forwarding::Off)?;
        let internet = Arc::new(Segment::new(namespace, "internet", INTERNET, BLACK_HOLE)?);
        Ok(Network { internet, world })
    }

    /// A host with the lowest free public address; see [`Host::add_address`] for more of them.
    pub fn public_host(&self, name: &str) -> Result<Host> {
        Host::new(&self.world, &self.internet, name, None)
    }

    /// A host with the caller's choice of public address, inside [`Network::prefix`].
    pub fn public_host_at(&self, name: &str, address: Ipv4Addr) -> Result<Host> {
        Host::new(&self.world, &self.internet, name, Some(address))
    }

    /// A router on the Internet, with an empty LAN behind it.
    pub fn router(&self, name: &str, router: Router) -> Result<KernelRouter> {
        KernelRouter::new(&self.world, &self.internet, name, router)
    }

    /// The public addresses there are.
    pub fn prefix(&self) -> Prefix {
        self.internet.prefix()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({})", self.prefix())
    }
}
