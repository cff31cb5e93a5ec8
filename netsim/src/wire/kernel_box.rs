//! A router of the kernel's own on the wire: a namespace whose two interfaces are devices that netsim holds.
//!
//! The NAT is real, the lines are the model's: so there is delay between real routers. To the topology the box is two hosts
//! ([`Legs`]); what its kernel makes of a packet between them is its own business.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::lab::{self, Lab};
use super::tun::{Interface, LAN, WAN};
use crate::model::{Legs, Line, NetworkId, Topology};
use crate::netns::{Error, Firmware, Namespace, Place, Prefix, Result, Router};
use crate::wire::Frame;

/// A kernel's router at work.
pub(super) struct KernelBox {
    firmware: Arc<Firmware>,
    legs: Legs,
    /// Locked while its address changes.
    place: Mutex<Place>,
}

impl KernelBox {
    pub(super) fn new(lab: &Lab, above: NetworkId, name: &str, router: &Router, line: Line) -> Result<KernelBox> {
        if router.wan_address.is_some() {
            return Err(Error::AddressNotChosen(name.to_owned()));
        }
        if let Some((lan, wan)) = router.lan.zip(lab.with(|core| prefix_of(&core.topology, above)))
            && lan.overlaps(wan)
        {
            return Err(Error::PrefixesOverlap { router: name.to_owned(), lan, wan });
        }
        let namespace = Arc::new(Namespace::of_a_router(name)?);
        let (legs, place) = lab.with(|core| {
            let legs = core.topology.add_box(above, router.lan.map(Prefix::parts), line);
            (legs, place_of(&core.topology, above, &legs))
        });
        let place = place.ok_or_else(|| none_left(name))?;
        // The rules first: not one packet passes without them.
        let firmware = Arc::new(Firmware::install(&namespace, router, &place)?);
        let devices = [(LAN, legs.inside), (WAN, legs.outside)];
        for (interface, leg) in devices {
            lab.plug(leg, lab::device(&namespace, interface)?, &namespace)?;
        }
        give_address(&namespace, LAN, place.lan_address, place.lan)?;
        give_address(&namespace, WAN, place.wan_address, place.wan)?;
        for (interface, _) in devices {
            namespace.link("bring a link up", |links| links.set_link_up(interface.index, true))?;
        }
        route(&namespace)?;
        firmware.start()?;
        lab.keep(&namespace);
        lab.keep_running(&firmware);
        Ok(KernelBox { firmware, legs, place: Mutex::new(place) })
    }

    pub(super) fn legs(&self) -> Legs {
        self.legs
    }

    pub(super) fn namespace(&self) -> &Arc<Namespace> {
        self.firmware.namespace()
    }

    /// Forgets every mapping; the addresses stay.
    pub(super) fn reboot(&self) -> Result<()> {
        self.firmware.forget_mappings(&self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gets another address outside.
    pub(super) fn renumber(&self, lab: &Lab, above: NetworkId) -> Result<()> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = self.namespace();
        let new = lab.with(|core| {
            core.topology.move_host(self.legs.outside, above);
            place_of(&core.topology, above, &self.legs)
        });
        let (old, new) = (*place, new.ok_or_else(|| none_left(namespace.name()))?);
        namespace.link("remove an address", |links| links.remove_address(WAN.index, old.wan_address, old.wan))?;
        give_address(namespace, WAN, new.wan_address, new.wan)?;
        // The default route may have gone with the last address.
        route(namespace)?;
        *place = new;
        self.firmware.forget_mappings(&place)
    }
}

fn prefix_of(topology: &Topology<Frame>, network: NetworkId) -> Option<Prefix> {
    topology.prefix(network).and_then(|(network, length)| Prefix::checked(network, length))
}

/// Where a box stands; `None` if there was no address for it.
fn place_of(topology: &Topology<Frame>, above: NetworkId, legs: &Legs) -> Option<Place> {
    let address = |leg| match topology.addresses(leg).ipv4 {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    Some(Place {
        lan: prefix_of(topology, legs.lan)?,
        lan_address: address(legs.inside)?,
        wan: prefix_of(topology, above)?,
        wan_address: address(legs.outside)?,
    })
}

fn give_address(namespace: &Namespace, interface: Interface, address: Ipv4Addr, prefix: Prefix) -> Result<()> {
    namespace.link("add an address", |links| links.add_address(interface.index, address, prefix))
}

/// What is for nobody here goes out.
fn route(namespace: &Namespace) -> Result<()> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    namespace.link("set the default route", |links| links.route_everything(WAN.index, any))
}

fn none_left(name: &str) -> Error {
    Error::kernel(name, "add an address")(nix::errno::Errno::EADDRNOTAVAIL.into())
}
