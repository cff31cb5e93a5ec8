//! The LANs that we are on.

use std::net::{IpAddr, Ipv4Addr};

use if_addrs::IfAddr;

/// One of our IPv4 addresses, on a network where many hear at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) own: Ipv4Addr,
    netmask: Ipv4Addr,
    /// All of this network.
    pub(super) broadcast: Ipv4Addr,
}

impl Place {
    /// Is this address on the same network?
    pub(super) fn has(&self, other: IpAddr) -> bool {
        let network = |ip: Ipv4Addr| ip.to_bits() & self.netmask.to_bits();
        matches!(other.to_canonical(), IpAddr::V4(other) if network(other) == network(self.own))
    }
}

/// Not loopback, where nobody else is, and no tunnel to one other end: nothing is said there.
pub(super) fn places() -> Vec<Place> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let up = interfaces.into_iter().filter(|one| one.is_oper_up() && !one.is_loopback() && !one.is_p2p());
    let mut places: Vec<Place> = Vec::new();
    for interface in up {
        let IfAddr::V4(v4) = interface.addr else { continue };
        let Some(broadcast) = v4.broadcast.filter(|_| v4.prefixlen < 31 && !v4.ip.is_link_local()) else { continue };
        places.push(Place { own: v4.ip, netmask: v4.netmask, broadcast });
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_shares_the_prefix() {
        let place = Place {
            own: Ipv4Addr::new(192, 168, 1, 7),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            broadcast: Ipv4Addr::new(192, 168, 1, 255),
        };
        for (address, here) in [
            ("192.168.1.9", true),
            ("::ffff:192.168.1.9", true),
            ("192.168.2.9", false),
            ("11.1.1.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(place.has(address.parse().expect("an address")), here, "{address}");
        }
    }

    #[test]
    fn nothing_is_said_on_loopback() {
        assert!(places().iter().all(|place| !place.own.is_loopback() && !place.broadcast.is_loopback()));
    }
}
