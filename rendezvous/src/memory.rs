//! Which strategy of punching has found a path for which pair of NATs, lately: so that the next such pair begins with it.
//!
//! Clients say how each introduction ended. What is kept of that is a ballot: for a pair of [classes](Class), one of 32 slots, the
//! strategy, and when. The slot is drawn from the network that the reporter is in, with a key that this process alone knows; no address,
//! no id and no time of a meeting can be read from it, because thousands of networks share each slot. A second ballot of the same
//! network takes the place of the first. So nobody has more than one voice for a pair of classes, however many keys, introductions or
//! addresses of one network; and a hint is given only if five voices are there and most of them agree.
//!
//! Nothing of it is written to a disk. What is old counts half after a day and nothing after four, because carriers change their
//! NATs. A false hint costs a client a moment ([`common::path::rounds`]), so this is all the protection that it needs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::nat::{Filtering, Mapping, NatProfile, PortAssignment};
use common::path::Strategy;

use crate::limits::mix;

/// Slots of a pair of classes. Five voices out of 32 slots share none six times in ten; with more voices it matters less.
const SLOTS: u64 = 32;
/// Voices without which nothing is said, the old ones counted for less: two pairs cannot decide for all.
const ENOUGH: f64 = 5.0;
/// After this a voice counts half.
const HALF_LIFE: Duration = Duration::from_secs(24 * 3600);
/// And after this nothing.
const FORGOTTEN: Duration = Duration::from_secs(4 * 24 * 3600);
/// A wider range of ports was not seen within a carrier's block (see [`common::path::scatter`]).
const WIDEST_BLOCK: u16 = 8192;

/// How ports are chosen, as coarse as strategies differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ports {
    Preserved,
    Sequential,
    Block,
    Random,
}

/// A kind of NAT, as its client describes it. There are 80 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    mapping: Option<Mapping>,
    ports: Option<Ports>,
    filtering: Option<Filtering>,
}

impl From<&NatProfile> for Class {
    fn from(profile: &NatProfile) -> Self {
        let ports = profile.ports.map(|ports| match ports {
            PortAssignment::Preserved => Ports::Preserved,
            PortAssignment::Sequential { .. } => Ports::Sequential,
            PortAssignment::Random { low, high } if high.saturating_sub(low) <= WIDEST_BLOCK => Ports::Block,
            PortAssignment::Random { .. } => Ports::Random,
        });
        Class { mapping: profile.mapping, ports, filtering: profile.filtering }
    }
}

/// Two kinds, whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Classes(Class, Class);

impl Classes {
    /// Of these two.
    pub fn of(one: &NatProfile, other: &NatProfile) -> Self {
        let (one, other) = (Class::from(one), Class::from(other));
        Classes(one.min(other), one.max(other))
    }
}

#[derive(Debug, Clone, Copy)]
struct Ballot {
    won: Option<Strategy>,
    at: Instant,
}

impl Ballot {
    fn weight(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        if age >= FORGOTTEN { 0.0 } else { 0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64()) }
    }
}

/// All that is remembered: at most 3,240 pairs of classes with 32 ballots of 24 bytes, 2.5 MB.
#[derive(Debug)]
pub struct Memory {
    key: u64,
    ballots: BTreeMap<Classes, BTreeMap<u8, Ballot>>,
    reports: u64,
    hints: u64,
}

impl Memory {
    /// Of nothing. `key` is random.
    pub fn new(key: u64) -> Self {
        Memory { key, ballots: BTreeMap::new(), reports: 0, hints: 0 }
    }

    /// Somebody at this address says what has found a path between two of these classes, or that nothing has.
    pub fn record(&mut self, classes: Classes, reporter: IpAddr, won: Option<Strategy>, now: Instant) {
        self.reports += 1;
        let slot = self.slot(reporter);
        self.ballots.entry(classes).or_default().insert(slot, Ballot { won, at: now });
    }

    /// What two of these classes should begin with; `None` if they should as always.
    pub fn hint(&mut self, classes: Classes, now: Instant) -> Option<Strategy> {
        let ballots = self.ballots.get(&classes)?;
        let weight = |of: Option<Option<Strategy>>| -> f64 {
            let counted = ballots.values().filter(|ballot| of.is_none_or(|won| ballot.won == won));
            counted.map(|ballot| ballot.weight(now)).sum()
        };
        let all = weight(None);
        let most = Strategy::ALL.into_iter().find(|strategy| weight(Some(Some(*strategy))) * 2.0 > all)?;
        // Plain probing begins at once in any case, and a look at one's own NAT finds no path.
        let of_use = all >= ENOUGH && !matches!(most, Strategy::Plain | Strategy::Observation);
        self.hints += u64::from(of_use);
        of_use.then_some(most)
    }

    /// Forgets what counts for nothing.
    pub fn expire(&mut self, now: Instant) {
        self.ballots.retain(|_, ballots| {
            ballots.retain(|_, ballot| now < ballot.at + FORGOTTEN);
            !ballots.is_empty()
        });
    }

    /// Pairs of classes of which something is known.
    pub fn len(&self) -> usize {
        self.ballots.len()
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.ballots.is_empty()
    }

    /// How many reports counted, and how many hints were given.
    pub fn counts(&self) -> (u64, u64) {
        (self.reports, self.hints)
    }

    /// A network is an IPv4 /24 or an IPv6 /32: what one customer of a provider can get for little money is within one.
    fn slot(&self, reporter: IpAddr) -> u8 {
        let network = match reporter.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                u64::from_be_bytes([4, 0, 0, 0, 0, a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                u64::from_be_bytes([6, 0, 0, 0, a, b, c, d])
            }
        };
        (mix(mix(network ^ self.key).wrapping_add(self.key)) % SLOTS) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(mapping: Mapping, ports: PortAssignment) -> NatProfile {
        NatProfile { mapping: Some(mapping), ports: Some(ports), ..NatProfile::default() }
    }

    fn classes() -> Classes {
        let symmetric = profile(Mapping::AddressAndPortDependent, PortAssignment::Sequential { step: 1 });
        Classes::of(&symmetric, &profile(Mapping::EndpointIndependent, PortAssignment::Preserved))
    }

    fn network(n: u16) -> IpAddr {
        let [a, b] = n.to_be_bytes();
        IpAddr::from([11, a, b, 7])
    }

    /// Networks that share no slot with each other.
    fn networks(memory: &Memory) -> Vec<IpAddr> {
        let mut by_slot = BTreeMap::new();
        (0..2000).for_each(|n| _ = by_slot.entry(memory.slot(network(n))).or_insert(network(n)));
        by_slot.into_values().collect()
    }

    #[test]
    fn what_most_of_enough_networks_say_is_the_hint_for_both_orders_of_the_pair() {
        let now = Instant::now();
        let mut memory = Memory::new(1);
        let networks = networks(&memory);
        for (n, network) in networks.iter().take(5).enumerate() {
            assert_eq!(memory.hint(classes(), now), None, "after {n}");
            memory.record(classes(), *network, Some(Strategy::Sequential), now);
        }
        assert_eq!(memory.hint(classes(), now), Some(Strategy::Sequential));
        let (one, other) = (NatProfile::default(), profile(Mapping::AddressDependent, PortAssignment::Preserved));
        assert_eq!(Classes::of(&one, &other), Classes::of(&other, &one));
        assert_eq!(memory.hint(Classes::of(&one, &other), now), None, "of others nothing is known");
        for network in &networks[5..10] {
            memory.record(classes(), *network, None, now);
        }
        assert_eq!(memory.hint(classes(), now), None, "half of them found nothing");
    }

    #[test]
    fn where_plain_probing_wins_there_is_no_hint() {
        let now = Instant::now();
        let mut memory = Memory::new(1);
        for network in networks(&memory) {
            memory.record(classes(), network, Some(Strategy::Plain), now);
        }
        assert_eq!(memory.hint(classes(), now), None);
    }

    #[test]
    fn one_who_reports_a_million_times_from_one_network_has_one_voice() {
        let now = Instant::now();
        let mut memory = Memory::new(1);
        for n in 0..1_000_000_u32 {
            let [_, _, _, last] = n.to_be_bytes();
            memory.record(classes(), IpAddr::from([192, 0, 2, last]), Some(Strategy::Birthday), now);
        }
        assert_eq!(memory.hint(classes(), now), None);
        let honest: Vec<IpAddr> =
            networks(&memory).into_iter().filter(|ip| memory.slot(*ip) != memory.slot([192, 0, 2, 1].into())).collect();
        for network in &honest[..5] {
            memory.record(classes(), *network, Some(Strategy::Sequential), now);
        }
        assert_eq!(memory.hint(classes(), now), Some(Strategy::Sequential));
    }

    #[test]
    fn a_whole_ipv6_allocation_has_one_voice() {
        let memory = Memory::new(9);
        let at = |text: &str| memory.slot(text.parse().expect("an address"));
        assert_eq!(at("2001:db8:1::1"), at("2001:db8:ffff:ffff::9"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.200"));
    }

    #[test]
    fn voices_fade_and_are_forgotten() {
        let now = Instant::now();
        let mut memory = Memory::new(1);
        for network in networks(&memory).iter().take(6) {
            memory.record(classes(), *network, Some(Strategy::Block), now);
        }
        assert_eq!(memory.hint(classes(), now + HALF_LIFE / 8), Some(Strategy::Block));
        assert_eq!(memory.hint(classes(), now + HALF_LIFE), None, "six count for three");
        memory.expire(now + FORGOTTEN - Duration::from_secs(1));
        assert_eq!(memory.len(), 1);
        memory.expire(now + FORGOTTEN);
        assert!(memory.is_empty());
    }

    #[test]
    fn whatever_profiles_are_claimed_the_memory_is_bounded() {
        use Filtering as F;
        let now = Instant::now();
        let mut memory = Memory::new(1);
        let (mappings, filterings) = (
            [
                None,
                Some(Mapping::EndpointIndependent),
                Some(Mapping::AddressDependent),
                Some(Mapping::AddressAndPortDependent),
            ],
            [None, Some(F::EndpointIndependent), Some(F::AddressDependent), Some(F::AddressAndPortDependent)],
        );
        let ports = (0..40_u16).map(|n| match n % 4 {
            0 => None,
            1 => Some(PortAssignment::Preserved),
            2 => Some(PortAssignment::Sequential { step: n as i16 }),
            _ => Some(PortAssignment::Random { low: n, high: n.wrapping_mul(1600) }),
        });
        let profiles: Vec<NatProfile> = ports
            .flat_map(|ports| mappings.map(|mapping| (ports, mapping)))
            .flat_map(|(ports, mapping)| {
                filterings.map(|filtering| NatProfile { mapping, filtering, ports, ..NatProfile::default() })
            })
            .collect();
        for (n, one) in profiles.iter().enumerate() {
            for other in profiles.iter() {
                memory.record(Classes::of(one, other), network(n as u16), None, now);
            }
        }
        let most = memory.ballots.values().map(BTreeMap::len).max();
        assert!(memory.len() <= 3240 && most <= Some(32), "{} {most:?}", memory.len());
    }
}
