//! What every handle of one network shares: the engine, and all namespaces; and how it all ends.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::engine::{self, Core, Shared};
use super::tun::{ETH0, Interface, Tun};
use crate::model::{Families, HostId, Line, NetworkId, Place, Topology};
use crate::netns::{Error, Firmware, Namespace, Netlink, Result};

/// Devices that are closed at the same time. Closing one takes the kernel a grace period of some 30 ms, in which it does
/// nothing: so many of them take one.
const CLOSERS: usize = 64;

/// Packets that wait in a device while our thread has not its turn. Losing packets is the lines' business: 8192 are there
/// after 80 ms at 100,000 a second, and the usual 500 after 5 ms, which is a moment on a busy machine.
const QUEUE: u32 = 8192;

/// The owner of a network. While one handle to any part of it lives, all of it does.
pub(super) struct Lab {
    shared: Arc<Shared>,
    firmwares: Mutex<Vec<Arc<Firmware>>>,
    namespaces: Mutex<Vec<Arc<Namespace>>>,
    engine: Option<JoinHandle<()>>,
}

impl Lab {
    pub(super) fn new(seed: u64) -> Result<Lab> {
        let start = || {
            let shared = Arc::new(Shared::new(Topology::new(seed))?);
            let engine = thread::Builder::new().name("netsim-internet".to_owned());
            let running = engine.spawn({
                let shared = shared.clone();
                move || engine::run(&shared)
            })?;
            Ok((shared, running))
        };
        let (shared, engine) = start().map_err(Error::kernel("internet", "start the thread that carries packets"))?;
        Ok(Lab { shared, firmwares: Mutex::default(), namespaces: Mutex::default(), engine: Some(engine) })
    }

    /// Works on the network between two packets.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        self.shared.with(work)
    }

    /// A line is like this from now on, in both directions.
    pub(super) fn set_line(&self, of: Place, line: Line) {
        self.with(|core| core.topology.links(of).into_iter().flatten().for_each(|link| link.change(line)));
    }

    /// Cuts a line in both directions, or mends it.
    pub(super) fn cut(&self, of: Place, cut: bool) {
        self.with(|core| core.topology.links(of).into_iter().flatten().for_each(|link| link.cut(cut)));
    }

    /// A host on a network: a namespace, its device, its addresses.
    pub(super) fn add_host(
        &self,
        name: &str,
        network: NetworkId,
        families: Families,
        line: Line,
    ) -> Result<(HostId, Arc<Namespace>)> {
        let namespace = Arc::new(Namespace::of_both_families(name)?);
        let tun = device(&namespace, ETH0)?;
        let (id, addresses, gateway) = self.with(|core| {
            let id = core.topology.add_host(network, families, line);
            (id, core.topology.addresses(id), core.topology.gateway(network))
        });
        bring_up(&namespace, gateway)?;
        for address in addresses.iter() {
            give_address(&namespace, address)?;
        }
        self.plug(id, tun, &namespace)?;
        self.keep(&namespace);
        Ok((id, namespace))
    }

    /// From now on, what comes out of this device is carried.
    pub(super) fn plug(&self, id: HostId, tun: Tun, namespace: &Namespace) -> Result<()> {
        self.shared.plug(id, tun).map_err(Error::kernel(namespace.name(), "watch a TUN device"))
    }

    /// A namespace lives as long as the network.
    pub(super) fn keep(&self, namespace: &Arc<Namespace>) {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(namespace.clone());
    }

    /// What runs in a router runs as long as the network.
    pub(super) fn keep_running(&self, firmware: &Arc<Firmware>) {
        self.firmwares.lock().unwrap_or_else(PoisonError::into_inner).push(firmware.clone());
    }
}

/// A device whose queue has room for the moments when our thread has not its turn.
pub(super) fn device(namespace: &Namespace, interface: Interface) -> Result<Tun> {
    let tun = Tun::new(namespace, interface)?;
    namespace.link("make a queue longer", |links| links.set_queue_length(interface.index, QUEUE))?;
    Ok(tun)
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(engine) = self.engine.take() {
            // It has nothing to say, and its panic was printed.
            drop(engine.join());
        }
        self.firmwares.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // A namespace that goes takes its device along, all of them together; what is left of a device then goes at once.
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let tuns = self.with(|core| std::mem::take(&mut core.tuns));
        let shares = tuns.len().div_ceil(CLOSERS).max(1);
        let mut tuns = tuns.into_values();
        thread::scope(|scope| {
            loop {
                let share: Vec<Tun> = tuns.by_ref().take(shares).collect();
                if share.is_empty() {
                    break;
                }
                scope.spawn(move || drop(share));
            }
        });
    }
}

/// The kernel is done with an address within a millisecond; a machine that needs seconds is stuck, not slow.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at an address that is not there yet.
const ADDRESS_POLL: Duration = Duration::from_micros(100);

/// Adds an address to a host's interface and, if that is up, waits until it is there: the kernel answers before it has done
/// all of its work for an IPv6 address, and the first packet to it would be lost.
pub(super) fn give_address(namespace: &Namespace, address: IpAddr) -> Result<()> {
    namespace.link("add an address", |links| links.add_lone_address(ETH0.index, address))?;
    let started = Instant::now();
    let is_late = |links: &Netlink| Ok(!links.is_local(address)? && links.is_running(ETH0.index)?);
    while namespace.link("look at an address", is_late)? {
        if started.elapsed() > ADDRESS_DEADLINE {
            return Err(Error::kernel(namespace.name(), "add an address in time")(ErrorKind::TimedOut.into()));
        }
        thread::sleep(ADDRESS_POLL);
    }
    Ok(())
}

/// Removes one.
pub(super) fn take_address(namespace: &Namespace, address: IpAddr) -> Result<()> {
    namespace.link("remove an address", |links| links.remove_lone_address(ETH0.index, address))
}

/// Brings a host's interface up.
pub(super) fn bring_up(namespace: &Namespace, gateway: Option<Ipv4Addr>) -> Result<()> {
    namespace.link("bring a link up", |links| links.set_link_up(ETH0.index, true))?;
    route(namespace, gateway)
}

/// Gives a host a default route for each version of IP. On a LAN that of IPv4 names the router: programs that want
/// something of it look there.
pub(super) fn route(namespace: &Namespace, gateway: Option<Ipv4Addr>) -> Result<()> {
    let set = |request: &dyn Fn(&Netlink) -> std::io::Result<()>| namespace.link("set the default route", request);
    match gateway {
        Some(gateway) => set(&|links| links.route_everything_to(ETH0.index, gateway))?,
        None => set(&|links| links.route_everything(ETH0.index, Ipv4Addr::UNSPECIFIED.into()))?,
    }
    if let Err(refused) = set(&|links| links.route_everything(ETH0.index, Ipv6Addr::UNSPECIFIED.into())) {
        // A kernel without IPv6.
        tracing::debug!(%refused, "no default route");
    }
    Ok(())
}
