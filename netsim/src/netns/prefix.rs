//! An IPv4 prefix such as `192.168.1.0/24`: which addresses one network has to give.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::error::{Error, Result};

/// An IPv4 network, `192.168.1.0/24`; parse it from that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: Ipv4Addr,
    length: u8,
}

impl Prefix {
    /// A prefix of 8 to 30 bits whose host bits are zero; `const`, so that a wrong constant does not compile.
    ///
    /// # Panics
    /// If it is not one. Text from outside goes through [`str::parse`], which returns an error.
    pub const fn literal(a: u8, b: u8, c: u8, d: u8, length: u8) -> Prefix {
        match Prefix::checked(Ipv4Addr::new(a, b, c, d), length) {
            Some(prefix) => prefix,
            None => panic!("an IPv4 prefix has 8 to 30 bits and zero host bits"),
        }
    }

    /// Its first address, and its length in bits.
    pub(crate) fn parts(self) -> (Ipv4Addr, u8) {
        (self.network, self.length)
    }

    pub(crate) const fn checked(network: Ipv4Addr, length: u8) -> Option<Prefix> {
        if length < 8 || length > 30 || network.to_bits() & !mask(length) != 0 {
            return None;
        }
        Some(Prefix { network, length })
    }

    /// Length in bits, 8 to 30.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether the address lies in this network (its network and broadcast addresses included).
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.length) == self.network.to_bits()
    }

    pub(crate) fn overlaps(self, other: Prefix) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The addresses a host may have, in order: all but the network's and the broadcast address.
    pub(super) fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = (self.network.to_bits() + 1, self.broadcast().to_bits() - 1);
        (first..=last).map(Ipv4Addr::from_bits)
    }

    pub(super) fn has_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && address != self.network && address != self.broadcast()
    }

    fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.length))
    }
}

const fn mask(length: u8) -> u32 {
    u32::MAX << (32 - length as u32)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Prefix> {
        text.split_once('/')
            .and_then(|(network, length)| Prefix::checked(network.parse().ok()?, length.parse().ok()?))
            .ok_or_else(|| Error::BadPrefix(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_reads_back_as_it_was_written() {
        for text in ["192.168.1.0/24", "100.64.0.0/10", "10.0.0.0/8", "11.1.1.4/30"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_no_prefix() {
        for text in ["", "192.168.1.0", "192.168.1.7/24", "192.168.1.0/31", "0.0.0.0/0", "192.168.1.0/-1", "a/24"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_network_and_broadcast_addresses_are_nobodys() {
        let prefix = Prefix::literal(192, 168, 1, 0, 30);
        let hosts: Vec<_> = prefix.hosts().map(|host| host.octets()[3]).collect();
        assert_eq!(hosts, [1, 2]);
        assert!(!prefix.has_host(Ipv4Addr::new(192, 168, 1, 0)) && !prefix.has_host(Ipv4Addr::new(192, 168, 1, 3)));
    }
}
