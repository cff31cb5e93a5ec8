//! A place to be: the LAN behind a router or several in series, or the Internet itself.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::host::Host;
use super::kernel_box::KernelBox;
use super::lab::Lab;
use super::tap::Tap;
use crate::model::{Access, Behaviour, Families, INTERNET, Line, NetworkId, Place, Router, RouterId};
use crate::netns::{self, Result};

/// A network on which hosts can be, and the routers between it and the Internet. Clones are the same place.
#[derive(Clone)]
pub struct Site {
    name: String,
    network: NetworkId,
    families: Families,
    /// The nearest first.
    routers: Vec<AnyRouter>,
    lab: Arc<Lab>,
}

/// A router between this place and the Internet.
#[derive(Clone)]
enum AnyRouter {
    Model(RouterId),
    /// With the network that it hangs on.
    Kernel(Arc<KernelBox>, NetworkId),
}

impl AnyRouter {
    /// Its outer line, for the topology.
    fn place(&self) -> Place {
        match self {
            AnyRouter::Model(router) => Place::Router(*router),
            AnyRouter::Kernel(kernel, _) => Place::Host(kernel.legs().outside),
        }
    }
}

impl Site {
    pub(super) fn internet(lab: Arc<Lab>) -> Site {
        Site { name: "internet".to_owned(), network: INTERNET, families: Families::Both, routers: vec![], lab }
    }

    /// The name it was made with; for messages only.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A host in this place.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(&self.lab, name, self.network, self.families)
    }

    /// A NAT in this place, with a LAN of its own: a home behind a carrier, a box behind a box.
    pub fn router(&self, name: &str, nat: Behaviour) -> Site {
        self.site(name, &Access { families: Families::Ipv4, routers: vec![Router::ipv4(nat)] }, Line::default())
    }

    /// The same with whatever access a preset has, and with this line between each of its routers and the network above.
    pub fn site(&self, name: &str, access: &Access, line: Line) -> Site {
        let (network, routers) = self.lab.with(|core| access.build(&mut core.topology, self.network, line));
        let routers = routers.into_iter().map(AnyRouter::Model).chain(self.routers.iter().cloned()).collect();
        Site { name: name.to_owned(), network, families: access.families, routers, lab: self.lab.clone() }
    }

    /// A router of the kernel's own in this place, with an IPv4 LAN of its own and this line to the network above: real
    /// NAT, and all that a line of the model can do. Its `wan_address` is the network's choice.
    pub fn kernel_router(&self, name: &str, router: netns::Router, line: Line) -> Result<Site> {
        let kernel = KernelBox::new(&self.lab, self.network, name, &router, line)?;
        let (network, families) = (kernel.legs().lan, Families::Ipv4);
        let mut routers = vec![AnyRouter::Kernel(Arc::new(kernel), self.network)];
        routers.extend(self.routers.iter().cloned());
        Ok(Site { name: name.to_owned(), network, families, routers, lab: self.lab.clone() })
    }

    /// The routers between here and the Internet as the topology knows them, the nearest first: those of the model, and the
    /// outer legs of the kernel's.
    pub fn routers(&self) -> Vec<Place> {
        self.routers.iter().map(AnyRouter::place).collect()
    }

    /// The external addresses of the nearest router, version 4 first; none for a firewall, which translates nothing.
    pub fn wan_addresses(&self) -> Vec<IpAddr> {
        self.routers.first().map_or_else(Vec::new, |nearest| self.addresses_of(nearest))
    }

    /// The first of those of the outermost router: where hosts of this place are seen from the Internet.
    pub fn public_address(&self) -> Option<IpAddr> {
        self.addresses_of(self.routers.last()?).first().copied()
    }

    fn addresses_of(&self, router: &AnyRouter) -> Vec<IpAddr> {
        self.lab.with(|core| match router {
            AnyRouter::Model(router) => core.topology.wan_addresses(*router),
            AnyRouter::Kernel(kernel, _) => core.topology.addresses(kernel.legs().outside).iter().collect(),
        })
    }

    /// The nearest router forgets every mapping, as after a power cut; its addresses stay.
    pub fn reboot(&self) -> Result<()> {
        match self.routers.first() {
            None => {}
            Some(AnyRouter::Model(router)) => self.lab.with(|core| core.topology.reboot(*router)),
            Some(AnyRouter::Kernel(kernel, _)) => kernel.reboot()?,
        }
        Ok(())
    }

    /// The nearest router gets other external addresses, as after the provider's nightly disconnection.
    pub fn renumber(&self) -> Result<()> {
        match self.routers.first() {
            None => {}
            Some(AnyRouter::Model(router)) => self.lab.with(|core| core.topology.renumber(*router)),
            Some(AnyRouter::Kernel(kernel, above)) => kernel.renumber(&self.lab, *above)?,
        }
        Ok(())
    }

    /// Listens at the outer interface of the nearest router if it is of the model; at one of the kernel's, whoever
    /// [enters](Site::enter_router) it.
    pub fn tap(&self) -> Option<Tap> {
        match self.routers.first() {
            Some(AnyRouter::Model(router)) => Some(Tap::new(&self.lab, *router)),
            _ => None,
        }
    }

    /// Ends that, also for somebody who is waiting for more.
    pub fn untap(&self) {
        if let Some(AnyRouter::Model(router)) = self.routers.first() {
            self.lab.with(|core| core.untap(*router));
        }
    }

    /// Runs the closure in the nearest router's namespace if it is the kernel's, in a thread of its own, and waits for it.
    pub fn enter_router<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Option<Result<T>> {
        match self.routers.first() {
            Some(AnyRouter::Kernel(kernel, _)) => Some(kernel.namespace().enter(closure)),
            _ => None,
        }
    }

    /// Where tools find the nearest router if it is the kernel's: `nsenter --net=PATH tcpdump -ni wan`.
    pub fn namespace_path(&self) -> Option<PathBuf> {
        match self.routers.first() {
            Some(AnyRouter::Kernel(kernel, _)) => Some(kernel.namespace().path()),
            _ => None,
        }
    }

    /// The nearest router's line is like this from now on, in both directions.
    pub fn set_line(&self, line: Line) {
        if let Some(nearest) = self.routers.first() {
            self.lab.set_line(nearest.place(), line);
        }
    }

    /// Cuts the nearest router's line; nobody is told, packets vanish.
    pub fn cut(&self) {
        self.set_cut(true);
    }

    /// Mends it.
    pub fn restore(&self) {
        self.set_cut(false);
    }

    fn set_cut(&self, cut: bool) {
        if let Some(nearest) = self.routers.first() {
            self.lab.cut(nearest.place(), cut);
        }
    }

    pub(super) fn network(&self) -> NetworkId {
        self.network
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({} {:?})", self.name, self.wan_addresses())
    }
}
