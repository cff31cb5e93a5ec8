//! Guessing within a range: a NAT that chooses at random, opposite a mapping that stands behind a filter by port.
//!
//! The symmetric side opens many sockets, and each sends to the peer's one address: so many mappings, somewhere in the range.
//! The other side probes ports of that range, none twice. One probe that meets a mapping is a path: the mapping is open for
//! the prober, and the prober's filter for the mapping.
//!
//! # Numbers
//!
//! With `m` mappings among `n` ports, `k` probes all miss with probability (1 - m/n)^k.
//!
//! | | n | m | k | all miss |
//! |---|--:|--:|--:|--:|
//! | [`BLOCK`], a carrier's 512 | 545 | 32 | 128 | 0.04 % |
//! | [`BLOCK`], a carrier's 1,024 (RFC 7422) | 1,090 | 32 | 128 | 2.2 % |
//! | [`BIRTHDAY`], all from 1024 on | 64,512 | 256 | 175 | 50 % |
//! | | | | 755 | 5 % |
//! | | | | 1,200 | 0.85 % |
//!
//! `n` of a block is 6 % more than the block: its ends are not known, only the lowest and highest of 35 ports in it.
//!
//! # Who goes first
//!
//! The first time the sockets send soon after the other side's first probes, which is what finds a path earliest. Through a
//! router that accepts input this spoils what it should hit: there a packet that comes before the first one out
//! occupies the pair of ports. So the next time the sockets wait until all probes have left, and the probes come from a
//! fresh socket, because Linux has the later mappings of a socket follow one that had to move.
//!
//! # Bounds
//!
//! A block takes 32 sockets and 32 packets a round, 128 probes on the other side, for at most
//! [`MAX_ROUNDS`](super::rounds::MAX_ROUNDS) rounds; a birthday run 256 sockets and packets, 1,200 probes in 3 s, [`RUNS`]
//! times. One at a time and machine has a birthday run, with the driver's permission, for 12 s. Everything goes to the one
//! IP at which the rendezvous sees the peer.

use std::time::Duration;

use super::foretell::WIDEST_BLOCK;
use super::seeded::Seeded;
use super::shots::{Plan, Shot};
use super::surface::Base;

/// The size of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Mappings in a volley.
    pub sockets: u16,
    /// Probes of the other side.
    pub probes: u16,
    /// Between two of them.
    pub pace: Duration,
    /// When the sockets send, after the other side's first probe: the first time, and later.
    pub volleys: [Duration; 2],
    /// After this nothing more is sent.
    pub over: Duration,
}

/// Into a part of the ports.
pub const BLOCK: Size = Size {
    sockets: 32,
    probes: 128,
    pace: Duration::from_millis(1),
    volleys: [Duration::from_millis(30), Duration::from_millis(140)],
    over: Duration::from_millis(150),
};

/// Into all ports. A home router's table takes 400 new sessions a second for three seconds.
pub const BIRTHDAY: Size = Size {
    sockets: 256,
    probes: 1200,
    pace: Duration::from_micros(2500),
    volleys: [Duration::from_millis(250), Duration::from_millis(3050)],
    over: Duration::from_millis(3100),
};

/// Birthday runs of an attempt.
pub const RUNS: u8 = 2;

/// How long a permission to run lasts, whatever happens.
pub const LONGEST_RUN: Duration = Duration::from_secs(12);
/// Ports below are nobody's choice, unless one was seen there.
const LOWEST: u16 = 1024;

/// The game for a range in which ports were seen.
pub(super) fn size(low: u16, high: u16) -> Size {
    if high - low <= WIDEST_BLOCK { BLOCK } else { BIRTHDAY }
}

/// The range itself, from the lowest and highest of a few dozen ports in it.
fn range(low: u16, high: u16) -> std::ops::RangeInclusive<u16> {
    if high - low > WIDEST_BLOCK {
        return LOWEST.min(low)..=u16::MAX;
    }
    let margin = (high - low) / 32 + 1;
    low.saturating_sub(margin).max(LOWEST.min(low)).max(1)..=high.saturating_add(margin)
}

/// The standing side's probes: random ports of the range, each once.
pub(super) fn plan(base: Base, low: u16, high: u16, random: &mut Seeded) -> Plan {
    let (size, range) = (size(low, high), range(low, high));
    let mut ports: Vec<u16> = range.collect();
    let count = ports.len().min(usize::from(size.probes));
    // The beginning of a shuffle (Fisher and Yates).
    for n in 0..count {
        let other = n + random.below(ports.len() - n);
        ports.swap(n, other);
    }
    let shots = ports[..count].iter().map(|port| Shot { base, port: *port });
    (0..).map(|n| size.pace * n).zip(shots).collect()
}

/// A volley: each of these sockets once, four a millisecond.
pub(super) fn volley(bases: &[Base], port: u16) -> Plan {
    let at = (0..).map(|n| Duration::from_micros(250) * n);
    at.zip(bases.iter().map(|base| Shot { base: *base, port })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_probed_twice_and_none_outside_of_the_range() {
        for (low, high) in [(5000, 5500), (1030, 2040), (65_000, 65_535), (1100, 65_000), (7, 300), (9, 9)] {
            let plan = plan(Base::MAIN, low, high, &mut Seeded::new([1; 32]));
            let mut ports: Vec<u16> = plan.iter().map(|(_, shot)| shot.port).collect();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), plan.len(), "{low}..={high}");
            assert!(plan.len() <= usize::from(size(low, high).probes));
            assert!(ports.iter().all(|port| range(low, high).contains(port) && *port != 0));
        }
    }

    #[test]
    fn the_table_in_the_documentation_is_right() {
        let miss = |n: f64, m: f64, k: i32| (1.0 - m / n).powi(k);
        for (n, m, k, said) in [
            (545.0, 32.0, 128, 0.0004),
            (1090.0, 32.0, 128, 0.022),
            (64_512.0, 256.0, 175, 0.50),
            (64_512.0, 256.0, 755, 0.05),
            (64_512.0, 256.0, 1200, 0.0085),
        ] {
            assert!((miss(n, m, k) / said - 1.0).abs() < 0.09, "{n} {m} {k}: {}", miss(n, m, k));
        }
    }
}
