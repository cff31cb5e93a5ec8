//! One Ethernet segment: a bridge in a namespace, the prefix used on it, and who has which address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cable::Cable;
use super::error::{Error, Result};
use super::namespace::Namespace;
use super::netlink::CableEnd;
use super::prefix::Prefix;

/// Interface indices are ours to choose: 1 is `lo`, a cable's far end is 2, a bridge 3, its ports from 10.
const BRIDGE: u32 = 3;
const FIRST_PORT: u32 = 10;

/// A bridge and its IPv4 prefix. The Internet is one, each router's LAN is one.
pub(super) struct Segment {
    namespace: Arc<Namespace>,
    prefix: Prefix,
    gateway: Ipv4Addr,
    taken: Mutex<BTreeSet<Ipv4Addr>>,
    next_port: AtomicU32,
}

impl Segment {
    /// Makes the bridge `name` in the namespace, with the gateway's address on it.
    pub(super) fn new(namespace: Arc<Namespace>, name: &str, prefix: Prefix, gateway: Ipv4Addr) -> Result<Segment> {
        namespace.link("add a bridge", |links| links.add_bridge(BRIDGE, name))?;
        namespace.link("give the bridge an address", |links| links.add_address(BRIDGE, gateway, prefix))?;
        let taken = Mutex::new(BTreeSet::from([gateway]));
        Ok(Segment { namespace, prefix, gateway, taken, next_port: AtomicU32::new(FIRST_PORT) })
    }

    pub(super) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    pub(super) fn prefix(&self) -> Prefix {
        self.prefix
    }

    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Reserves the wanted address, or the lowest free one. Addresses are never given back, so that a stale entry in a
    /// neighbour's ARP table cannot meet a new owner.
    pub(super) fn claim(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let address = match wanted {
            Some(address) if !self.prefix.has_host(address) => {
                return Err(Error::NotInPrefix { address, prefix: self.prefix });
            }
            Some(address) => address,
            None => self.prefix.hosts().find(|host| !taken.contains(host)).ok_or(Error::PrefixFull(self.prefix))?,
        };
        if !taken.insert(address) {
            return Err(Error::AddressTaken(address));
        }
        Ok(address)
    }

    /// Plugs the namespace `there` into this segment with a new cable that ends there as interface `name`.
    pub(super) fn plug(self: &Arc<Self>, there: &Arc<Namespace>, name: &str, address: Ipv4Addr) -> Result<Cable> {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        let here = CableEnd { index: port, name: &format!("port{}", port - FIRST_PORT + 1) };
        let end = CableEnd { index: Cable::INDEX, name };
        self.namespace.link("add a cable", |links| links.add_cable(here, BRIDGE, end, there.descriptor()))?;
        Cable::new(self.clone(), port, there.clone(), address)
    }

    /// Takes a cable's port out of the bridge, or puts it back. Its carrier stays, so the far side notices nothing.
    pub(super) fn connect_port(&self, port: u32, connected: bool) -> Result<()> {
        let bridge = if connected { BRIDGE } else { 0 };
        self.namespace.link("move a cable", |links| links.set_bridge(port, bridge))
    }

    /// The bridge passes packets as soon as one of its ports does.
    pub(super) fn is_running(&self, port: u32) -> Result<bool> {
        let running = |index| self.namespace.link("look at a link", |links| links.is_running(index));
        Ok(running(port)? && running(BRIDGE)?)
    }
}
