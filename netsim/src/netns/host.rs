//! A host: a namespace with one cable, on the Internet or behind a router.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cable::Cable;
use super::error::{Error, Result};
use super::kernel_router::KernelRouter;
use super::namespace::{Forwarding, Namespace};
use super::process::Process;
use super::segment::Segment;
use super::world::World;

const INTERFACE: &str = "eth0";

/// A computer in the simulated network. Clones are the same computer.
#[derive(Clone)]
pub struct Host {
    namespace: Arc<Namespace>,
    cable: Arc<Mutex<Cable>>,
    _world: Arc<World>,
}

impl Host {
    pub(super) fn new(
        world: &Arc<World>,
        segment: &Arc<Segment>,
        name: &str,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Host> {
        let address = segment.claim(wanted)?;
        let namespace = world.namespace(name, Forwarding::Off)?;
        let cable = Arc::new(Mutex::new(segment.plug(&namespace, INTERFACE, address)?));
        Ok(Host { namespace, cable, _world: world.clone() })
    }

    /// The name it was made with; for messages only.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its address; the first one if it has several.
    pub fn address(&self) -> Ipv4Addr {
        self.cable().address()
    }

    /// One more address on the same interface: the lowest free one. A STUN server that finds out about mappings needs two.
    pub fn add_address(&self) -> Result<Ipv4Addr> {
        self.cable().add_address(None)
    }

    /// One more address on the same interface, the caller's choice.
    pub fn add_address_at(&self, address: Ipv4Addr) -> Result<Ipv4Addr> {
        self.cable().add_address(Some(address))
    }

    /// Runs the closure in this host, in a thread of its own, and waits for it. Sockets made there stay in this host
    /// wherever they are used later; threads started there (a tokio runtime's too) start in this host.
    ///
    /// # Panics
    /// With the closure's panic.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(closure)
    }

    /// A UDP socket of this host on the given port (0: the kernel's choice) and all of its addresses.
    pub fn udp(&self, port: u16) -> Result<UdpSocket> {
        self.udp_at(Ipv4Addr::UNSPECIFIED, port)
    }

    /// A UDP socket of this host on one of its addresses.
    pub fn udp_at(&self, address: Ipv4Addr, port: u16) -> Result<UdpSocket> {
        self.enter(|| UdpSocket::bind((address, port)))?
            .map_err(Error::kernel(self.name(), format!("bind UDP port {port}")))
    }

    /// Starts a program in this host. It is killed when the [`Process`] is dropped and when this process dies in
    /// whatever way; what *it* starts is its own business.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        Process::spawn(&self.namespace, command)
    }

    /// The network goes away and the host knows: its routes are gone, sends fail.
    pub fn link_down(&self) -> Result<()> {
        self.cable().down()
    }

    /// The network comes back, with the same address; returns when packets pass.
    pub fn link_up(&self) -> Result<()> {
        self.cable().up()
    }

    /// Moves to another router's LAN, as a laptop that leaves home: the old link and its addresses are gone, the new ones
    /// are there when this returns. Sockets stay open. Returns the new address.
    pub fn move_behind(&self, router: &KernelRouter) -> Result<Ipv4Addr> {
        let mut cable = self.cable();
        let address = router.lan().claim(None)?;
        cable.unplug()?;
        *cable = router.lan().plug(&self.namespace, INTERFACE, address)?;
        Ok(address)
    }

    /// Where tools find this host while it lives: `nsenter --net=PATH tcpdump -ni eth0`.
    pub fn namespace_path(&self) -> PathBuf {
        self.namespace.path()
    }

    fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} {})", self.name(), self.address())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use crate::netns::netlink::Netlink;
    use crate::netns::{Network, Router, in_namespaces};

    use super::*;

    #[test]
    fn a_neighbour_that_routes_through_somebodys_home_gets_nowhere() {
        in_namespaces(|| {
            for router in [Router::home(), Router::plain_linux()] {
                let net = Network::new()?;
                let (neighbour, home) = (net.public_host("neighbour")?, net.router("home", router)?);
                let host = home.host("alice")?;
                let alice = host.udp(4000)?;

                let through_home = |links: &Netlink| links.add_default_route(Cable::INDEX, home.wan_address());
                neighbour.namespace.link("route through a home", through_home)?;
                neighbour.udp(4000)?.send_to(b"let me in", (host.address(), 4000))?;
                alice.set_read_timeout(Some(Duration::from_millis(100)))?;
                let late = alice.recv_from(&mut [0; 64]).expect_err("she was reached");
                assert_eq!(late.kind(), ErrorKind::WouldBlock);
            }
            Ok(())
        });
    }
}
