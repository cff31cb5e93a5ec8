//! The names that templates may use: places with their addresses, and what was saved on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A folder for the programs' files, gone at the end.
pub(super) const FOLDER: &str = "folder";
/// The folder of the scenario's file.
pub(super) const HERE: &str = "here";
/// The seed of the network's luck.
pub(super) const SEED: &str = "seed";

/// What is there in place of a name such as `server.address`, `server.address2` or `server.ipv6`.
pub(super) fn address(name: &str, addresses: impl Fn(&str) -> Vec<IpAddr>) -> Option<String> {
    let (place, which) = name.rsplit_once('.')?;
    let mut addresses = addresses(place).into_iter();
    let address = match which {
        "address" => addresses.next(),
        "ipv6" => addresses.find(IpAddr::is_ipv6),
        numbered => {
            let number: usize = numbered.strip_prefix("address")?.parse().ok()?;
            addresses.nth(number.checked_sub(1)?)
        }
    };
    address.map(|address| address.to_string())
}

/// Could this name have a value?
pub(super) fn is_known(name: &str, places: &BTreeMap<String, u8>, saved: &BTreeSet<String>) -> bool {
    let of_place = || {
        let (place, which) = name.rsplit_once('.')?;
        let addresses = *places.get(place)?;
        let number = match which {
            "address" | "ipv6" => 1,
            numbered => numbered.strip_prefix("address")?.parse().ok()?,
        };
        Some((1..=addresses).contains(&number))
    };
    name == FOLDER || name == HERE || name == SEED || saved.contains(name) || of_place() == Some(true)
}
