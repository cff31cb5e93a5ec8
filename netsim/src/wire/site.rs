//! A place to be: the LAN behind a router or several in series, or the Internet itself.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::host::Host;
use super::lab::Lab;
use crate::model::{Access, Behaviour, Families, INTERNET, Line, NetworkId, Place, Router, RouterId};
use crate::netns::Result;

/// A network on which hosts can be, and the routers between it and the Internet. Clones are the same place.
#[derive(Clone)]
pub struct Site {
    name: String,
    network: NetworkId,
    families: Families,
    /// The nearest first.
    routers: Vec<RouterId>,
    lab: Arc<Lab>,
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
        let (network, mut routers) = self.lab.with(|core| access.build(&mut core.topology, self.network, line));
        routers.extend(&self.routers);
        Site { name: name.to_owned(), network, families: access.families, routers, lab: self.lab.clone() }
    }

    /// The routers between here and the Internet, the nearest first.
    pub fn routers(&self) -> &[RouterId] {
        &self.routers
    }

    /// The external addresses of the nearest router, version 4 first; none for a firewall, which translates nothing.
    pub fn wan_addresses(&self) -> Vec<IpAddr> {
        let Some(nearest) = self.routers.first() else { return vec![] };
        self.lab.with(|core| core.topology.wan_addresses(*nearest))
    }

    /// The first of those of the outermost router: where hosts of this place are seen from the Internet.
    pub fn public_address(&self) -> Option<IpAddr> {
        let outermost = self.routers.last()?;
        self.lab.with(|core| core.topology.wan_addresses(*outermost)).first().copied()
    }

    /// The nearest router forgets every mapping, as after a power cut; its addresses stay.
    pub fn reboot(&self) {
        if let Some(nearest) = self.routers.first() {
            self.lab.with(|core| core.topology.reboot(*nearest));
        }
    }

    /// The nearest router gets other external addresses, as after the provider's nightly disconnection.
    pub fn renumber(&self) {
        if let Some(nearest) = self.routers.first() {
            self.lab.with(|core| core.topology.renumber(*nearest));
        }
    }

    /// The nearest router's line is like this from now on, in both directions.
    pub fn set_line(&self, line: Line) {
        if let Some(nearest) = self.routers.first() {
            self.lab.set_line(Place::Router(*nearest), line);
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
            self.lab.cut(Place::Router(*nearest), cut);
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
