//! A router at work: its namespace between two segments, and what can happen to it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use super::cable::Cable;
use super::error::{Error, Result};
use super::firmware::Firmware;
use super::host::Host;
use super::namespace::Forwarding;
use super::prefix::Prefix;
use super::router::Router;
use super::ruleset::Place;
use super::segment::Segment;
use super::world::World;

/// A router at work. Clones are the same router.
#[derive(Clone)]
pub struct KernelRouter {
    firmware: Arc<Firmware>,
    wan: Arc<Cable>,
    lan: Arc<Segment>,
    world: Arc<World>,
}

impl KernelRouter {
    pub(super) fn new(world: &Arc<World>, upstream: &Arc<Segment>, name: &str, router: Router) -> Result<Self> {
        let prefix = router.lan.unwrap_or_else(|| world.next_lan());
        if prefix.overlaps(upstream.prefix()) {
            return Err(Error::PrefixesOverlap { router: name.to_owned(), lan: prefix, wan: upstream.prefix() });
        }
        let gateway = prefix.hosts().next().ok_or(Error::PrefixFull(prefix))?;
        let address = upstream.claim(router.wan_address)?;
        let namespace = world.namespace(name, Forwarding::On)?;
        // The rules before the cable: not one packet passes without them.
        let place = Place { lan: prefix, lan_address: gateway, wan: upstream.prefix(), wan_address: address };
        let firmware = Arc::new(Firmware::install(&namespace, &router, &place)?);
        let wan = Arc::new(upstream.plug(&namespace, "wan", address)?);
        let lan = Arc::new(Segment::new(namespace, "lan", prefix, gateway)?);
        firmware.start()?;
        world.keep(&firmware);
        Ok(KernelRouter { firmware, wan, lan, world: world.clone() })
    }

    /// The name it was made with; for messages only.
    pub fn name(&self) -> &str {
        self.lan.namespace().name()
    }

    /// A host on this router's LAN, with the lowest free address.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(&self.world, &self.lan, name, None)
    }

    /// A host on this router's LAN, with the caller's choice of address.
    pub fn host_at(&self, name: &str, address: Ipv4Addr) -> Result<Host> {
        Host::new(&self.world, &self.lan, name, Some(address))
    }

    /// A router on this router's LAN: a home behind a carrier's NAT, a box behind a box.
    pub fn router(&self, name: &str, router: Router) -> Result<KernelRouter> {
        KernelRouter::new(&self.world, &self.lan, name, router)
    }

    /// The address the outside sees.
    pub fn wan_address(&self) -> Ipv4Addr {
        self.wan.address()
    }

    /// The address its LAN hosts know it by.
    pub fn lan_address(&self) -> Ipv4Addr {
        self.lan.gateway()
    }

    /// The LAN's prefix.
    pub fn lan_prefix(&self) -> Prefix {
        self.lan.prefix()
    }

    /// Forgets every mapping, as after a power cut; the addresses stay.
    pub fn forget_mappings(&self) -> Result<()> {
        let (lan, lan_address) = (self.lan.prefix(), self.lan.gateway());
        self.firmware.forget_mappings(&Place {
            lan,
            lan_address,
            wan: self.wan.prefix(),
            wan_address: self.wan.address(),
        })
    }

    /// Gets another WAN address, as after the provider's nightly disconnection; every mapping of the old one is gone.
    pub fn change_wan_address(&self) -> Result<Ipv4Addr> {
        let address = self.wan.change_address(None)?;
        self.forget_mappings()?;
        Ok(address)
    }

    /// The line to the provider is cut: nobody on the LAN is told, packets vanish.
    pub fn wan_down(&self) -> Result<()> {
        self.wan.cut(true)
    }

    /// The line is back, with the same address and mappings.
    pub fn wan_up(&self) -> Result<()> {
        self.wan.cut(false)
    }

    /// Runs the closure in this router, in a thread of its own, and waits for it; its interfaces are `lan` and `wan`.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.lan.namespace().enter(closure)
    }

    /// Where tools find this router while it lives: `nsenter --net=PATH tcpdump -ni wan`.
    pub fn namespace_path(&self) -> PathBuf {
        self.lan.namespace().path()
    }

    pub(super) fn lan(&self) -> &Arc<Segment> {
        &self.lan
    }
}

impl fmt::Debug for KernelRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelRouter({} {} | {})", self.name(), self.wan_address(), self.lan_prefix())
    }
}
