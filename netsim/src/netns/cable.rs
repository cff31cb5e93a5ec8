//! One cable from a segment to a host or to a router's WAN side: addresses, default route, and pulling it out.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::prefix::Prefix;
use super::segment::Segment;

/// The kernel reports a carrier within microseconds; a machine that needs seconds is stuck, not slow.
const CARRIER_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at a link that is not there yet.
const CARRIER_POLL: Duration = Duration::from_micros(200);

/// A veth pair between a bridge's port and an interface with addresses; the kernel removes both ends when the namespace
/// of either is gone.
pub(super) struct Cable {
    segment: Arc<Segment>,
    port: u32,
    namespace: Arc<Namespace>,
    addresses: Mutex<Vec<Ipv4Addr>>,
}

impl Cable {
    /// The interface's index in the namespace where the cable ends.
    pub(super) const INDEX: u32 = 2;

    /// Sets up the end of a cable that [`Segment::plug`] has just made.
    pub(super) fn new(segment: Arc<Segment>, port: u32, namespace: Arc<Namespace>, address: Ipv4Addr) -> Result<Cable> {
        let cable = Cable { segment, port, namespace, addresses: Mutex::new(vec![]) };
        cable.put_address(address)?;
        cable.up()?;
        Ok(cable)
    }

    /// The first address: the one packets are sent from unless a socket chose another.
    pub(super) fn address(&self) -> Ipv4Addr {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The prefix in use on the segment it leads to.
    pub(super) fn prefix(&self) -> Prefix {
        self.segment.prefix()
    }

    /// Adds one more address to the interface.
    pub(super) fn add_address(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        let address = self.segment.claim(wanted)?;
        self.put_address(address)?;
        Ok(address)
    }

    /// Gives the interface a new first address; the old one goes, with all NAT mappings made on it.
    pub(super) fn change_address(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        let address = self.segment.claim(wanted)?;
        let prefix = self.segment.prefix();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        for old in addresses.drain(..) {
            self.namespace.link("remove an address", |links| links.remove_address(Self::INDEX, old, prefix))?;
        }
        drop(addresses);
        self.put_address(address)?;
        // The default route went with the last address.
        self.route()?;
        Ok(address)
    }

    fn put_address(&self, address: Ipv4Addr) -> Result<()> {
        let prefix = self.segment.prefix();
        self.namespace.link("add an address", |links| links.add_address(Self::INDEX, address, prefix))?;
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).push(address);
        Ok(())
    }

    /// Brings the interface up and waits until packets pass.
    pub(super) fn up(&self) -> Result<()> {
        self.namespace.link("bring a link up", |links| links.set_link_up(Self::INDEX, true))?;
        self.route()?;
        self.wait_for_carrier()
    }

    /// Takes the interface down: its routes go, sends fail with "network is unreachable".
    pub(super) fn down(&self) -> Result<()> {
        self.namespace.link("take a link down", |links| links.set_link_up(Self::INDEX, false))
    }

    /// Cuts or mends the far side: nobody here is told, packets vanish.
    pub(super) fn cut(&self, cut: bool) -> Result<()> {
        self.segment.connect_port(self.port, !cut)
    }

    /// Removes the cable, both ends.
    pub(super) fn unplug(&self) -> Result<()> {
        self.segment.namespace().link("remove a cable", |links| links.remove_link(self.port))
    }

    fn route(&self) -> Result<()> {
        let gateway = self.segment.gateway();
        self.namespace.link("set the default route", |links| links.add_default_route(Self::INDEX, gateway))
    }

    /// Until both ends and the bridge run, the kernel drops what is sent: the first packet of a story would be lost.
    fn wait_for_carrier(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let here = self.namespace.link("look at a link", |links| links.is_running(Self::INDEX))?;
            if here && self.segment.is_running(self.port)? {
                return Ok(());
            }
            if started.elapsed() > CARRIER_DEADLINE {
                let late = std::io::ErrorKind::TimedOut.into();
                return Err(Error::kernel(self.namespace.name(), "report a carrier in time")(late));
            }
            thread::sleep(CARRIER_POLL);
        }
    }
}
