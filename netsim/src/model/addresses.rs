//! Which addresses a network gives out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A host's addresses, one of each version of IP that is spoken where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Version 4.
    pub ipv4: Option<IpAddr>,
    /// Version 6.
    pub ipv6: Option<IpAddr>,
}

impl Addresses {
    /// Those there are, version 4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        [self.ipv4, self.ipv6].into_iter().flatten()
    }

    /// The one of the same version as this.
    pub fn of_family(&self, other: IpAddr) -> Option<IpAddr> {
        if other.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Version 4.
    Ipv4,
    /// Version 6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// Is it among these?
    pub fn is_in(self, families: Families) -> bool {
        match self {
            Family::Ipv4 => families.has_ipv4(),
            Family::Ipv6 => families.has_ipv6(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// The versions of IP that somebody speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// Version 4.
    Ipv4,
    /// Version 6.
    Ipv6,
    /// Both.
    Both,
}

impl Families {
    /// Is version 4 among them?
    pub fn has_ipv4(self) -> bool {
        self != Families::Ipv6
    }

    /// Is version 6 among them?
    pub fn has_ipv6(self) -> bool {
        self != Families::Ipv4
    }
}

/// The prefixes of a network, and how far they have been given out.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    ipv4: Option<(Ipv4Addr, u8)>,
    ipv6: Option<Ipv6Addr>,
    given: [u32; 2],
}

impl Plan {
    /// Not a documentation prefix for version 4: programs such as miniupnpd refuse those as external addresses. The
    /// third octet begins with 1, as the kernel networks' addresses do.
    pub(super) fn internet() -> Self {
        Plan { ipv4: Some((Ipv4Addr::new(11, 1, 0, 0), 16)), ipv6: Some(v6(0)), given: [256, 0] }
    }

    /// The LAN of router number `n` (from 1): homes have 192.168.n.0/24, those beyond the 254th 10.x.y.0/24, carriers
    /// a /16 of 100.64.0.0/10 (RFC 6598).
    pub(super) fn lan(n: usize, carrier: bool, ipv4: bool, ipv6: bool) -> Self {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let [_, b, c, d] = n.to_be_bytes();
        let prefix = match n {
            _ if carrier => (Ipv4Addr::new(100, 64 + d % 64, 0, 0), 16),
            1..=254 => (Ipv4Addr::new(192, 168, d, 0), 24),
            _ => (Ipv4Addr::new(10, b ^ c, d, 0), 24),
        };
        // The first address is the router's.
        Plan { ipv4: ipv4.then_some(prefix), ipv6: ipv6.then(|| v6(n)), given: [1, 1] }
    }

    /// A LAN with this prefix of version 4.
    pub(super) fn of(prefix: (Ipv4Addr, u8)) -> Self {
        Plan { ipv4: Some(prefix), ipv6: None, given: [1, 1] }
    }

    pub(super) fn next_ipv4(&mut self) -> Option<IpAddr> {
        let (first, length) = self.ipv4?;
        // The last address of a prefix is for broadcasts, the one before it for whoever speaks for the network.
        let last = (1_u32 << (32 - length)).saturating_sub(3);
        let number = self.given[0].checked_add(1).filter(|number| *number <= last)?;
        self.given[0] = number;
        Some(IpAddr::V4(Ipv4Addr::from(u32::from(first) + number)))
    }

    pub(super) fn next_ipv6(&mut self) -> Option<IpAddr> {
        let first = self.ipv6?;
        self.given[1] = self.given[1].checked_add(1)?;
        Some(IpAddr::V6(Ipv6Addr::from(u128::from(first) + u128::from(self.given[1]))))
    }

    /// The prefix of version 4, and its length.
    pub(super) fn ipv4(&self) -> Option<(Ipv4Addr, u8)> {
        self.ipv4
    }

    /// The first address, which is the router's on a LAN.
    pub(super) fn first(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4.map(|(first, _)| IpAddr::V4(Ipv4Addr::from(u32::from(first) + 1))),
            Family::Ipv6 => self.ipv6.map(|first| IpAddr::V6(Ipv6Addr::from(u128::from(first) + 1))),
        }
    }

    /// The last address, which no host gets: whoever else speaks for the network has it.
    pub(super) fn last(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4.map(|(first, length)| {
                let last = u32::from(first) | (u32::MAX >> length);
                IpAddr::V4(Ipv4Addr::from(last - 1))
            }),
            Family::Ipv6 => self.ipv6.map(|first| IpAddr::V6(Ipv6Addr::from(u128::from(first) | u128::from(u64::MAX)))),
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                self.ipv4.is_some_and(|(first, length)| (u32::from(v4) ^ u32::from(first)) >> (32 - length) == 0)
            }
            IpAddr::V6(v6) => self.ipv6.is_some_and(|first| (u128::from(v6) ^ u128::from(first)) >> 64 == 0),
        }
    }
}

/// `2001:db8:0:n::/64`
fn v6(n: u32) -> Ipv6Addr {
    let [high, low] = [n >> 16, n & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
    Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 0)
}

/// RFC 1918, and RFC 6598 for carriers; unique local addresses (RFC 4193).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// To many: multicast, or IPv4's limited broadcast.
pub(crate) fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// May all hosts of one link have it? IPv6 says so in the address (RFC 4291, section 2.7), IPv4 leaves it to the routers.
pub(super) fn is_for_this_link(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.segments()[0] & 0xf == 2,
    }
}
