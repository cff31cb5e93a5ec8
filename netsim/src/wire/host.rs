//! A host: a namespace whose only interface is a TUN device that netsim holds.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lab::{self, Lab};
use super::site::Site;
use super::tun::ETH0;
use crate::model::{Addresses, Families, HostId, Line, NetworkId, Place};
use crate::netns::{Error, Namespace, Process, Result};

/// A computer in the network. Clones are the same computer.
#[derive(Clone)]
pub struct Host {
    // First, so that its descriptor is closed before the lab closes devices.
    namespace: Arc<Namespace>,
    id: HostId,
    /// What its interface has. Locked while that changes, so that two changes do not mix.
    interface: Arc<Mutex<Vec<IpAddr>>>,
    lab: Arc<Lab>,
}

impl Host {
    pub(super) fn new(lab: &Arc<Lab>, name: &str, network: NetworkId, families: Families) -> Result<Host> {
        let (id, namespace) = lab.add_host(name, network, families, Line::default())?;
        let addresses = lab.with(|core| core.topology.addresses(id)).iter().collect();
        Ok(Host { namespace, id, interface: Arc::new(Mutex::new(addresses)), lab: lab.clone() })
    }

    /// The name it was made with; for messages only.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its number in the topology.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Its first address: version 4 if it has one.
    pub fn address(&self) -> IpAddr {
        self.addresses().iter().next().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Its addresses, the first of each version of IP.
    pub fn addresses(&self) -> Addresses {
        self.lab.with(|core| core.topology.addresses(self.id))
    }

    /// One more IPv4 address. A STUN server that finds out about mappings needs two.
    pub fn add_address(&self) -> Result<IpAddr> {
        let mut interface = self.interface();
        let given = self.lab.with(|core| core.topology.add_address(self.id));
        let none_left = || Error::kernel(self.name(), "add an address")(nix::errno::Errno::EADDRNOTAVAIL.into());
        let address = given.ok_or_else(none_left)?;
        lab::give_address(&self.namespace, address)?;
        interface.push(address);
        Ok(address)
    }

    /// Runs the closure in this host, in a thread of its own, and waits for it. Sockets made there stay in this host
    /// wherever they are used later; threads started there (a tokio runtime's too) start in this host.
    ///
    /// # Panics
    /// With the closure's panic.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(closure)
    }

    /// A UDP socket of this host on the given port (0: the kernel's choice) and all of its addresses: the IPv4 ones, or
    /// of a host that has none, the IPv6 ones.
    pub fn udp(&self, port: u16) -> Result<UdpSocket> {
        match self.address() {
            IpAddr::V4(_) => self.udp_at(Ipv4Addr::UNSPECIFIED, port),
            IpAddr::V6(_) => self.udp_at(Ipv6Addr::UNSPECIFIED, port),
        }
    }

    /// A UDP socket of this host on one of its addresses.
    pub fn udp_at(&self, address: impl Into<IpAddr>, port: u16) -> Result<UdpSocket> {
        let address = address.into();
        self.enter(|| UdpSocket::bind((address, port)))?
            .map_err(Error::kernel(self.name(), format!("bind UDP port {port}")))
    }

    /// Starts a program in this host. It is killed when the [`Process`] is dropped and when this process dies in
    /// whatever way; what *it* starts is its own business.
    pub fn spawn(&self, command: Command) -> Result<Process> {
        Process::spawn(&self.namespace, command)
    }

    /// The host's own line is like this from now on, in both directions.
    pub fn set_line(&self, line: Line) {
        self.lab.set_line(Place::Host(self.id), line);
    }

    /// Cuts the host's own line; nobody is told, packets vanish.
    pub fn cut(&self) {
        self.lab.cut(Place::Host(self.id), true);
    }

    /// Mends it.
    pub fn restore(&self) {
        self.lab.cut(Place::Host(self.id), false);
    }

    /// The network goes away and the host knows: its routes are gone, sends fail.
    pub fn link_down(&self) -> Result<()> {
        self.namespace.link("take a link down", |links| links.set_link_up(ETH0.index, false))
    }

    /// The network comes back, with the same addresses.
    pub fn link_up(&self) -> Result<()> {
        lab::bring_up(&self.namespace, self.lab.with(|core| core.topology.gateway(core.topology.network_of(self.id))))
    }

    /// Goes elsewhere, as a laptop that leaves home: the new addresses are there when this returns, and the old ones are
    /// gone. Sockets stay open. What was under way is lost.
    pub fn roam(&self, to: &Site) -> Result<Addresses> {
        let mut interface = self.interface();
        let (new, gateway) = self.lab.with(|core| {
            core.topology.move_host(self.id, to.network());
            (core.topology.addresses(self.id), core.topology.gateway(to.network()))
        });
        let old = std::mem::replace(&mut *interface, new.iter().collect());
        // The new ones first: with the last address of a version of IP its routes would go.
        for address in interface.iter().filter(|address| !old.contains(address)) {
            lab::give_address(&self.namespace, *address)?;
        }
        for address in old.iter().filter(|address| !interface.contains(address)) {
            lab::take_address(&self.namespace, *address)?;
        }
        // A link that is down has no routes; it gets them when it comes up.
        if self.namespace.link("look at a link", |links| links.is_running(ETH0.index))? {
            lab::route(&self.namespace, gateway)?;
        }
        Ok(new)
    }

    /// Where tools find this host while it lives: `nsenter --net=PATH tcpdump -ni eth0`.
    pub fn namespace_path(&self) -> PathBuf {
        self.namespace.path()
    }

    fn interface(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.interface.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} {})", self.name(), self.address())
    }
}
