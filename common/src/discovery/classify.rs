//! What a handful of observations says about a NAT, and what it does not.

use std::net::SocketAddr;

use crate::nat::{Filtering, Mapping, PortAssignment};

/// The widest step between two mappings that passes for "the next port": busy carriers hand out some ports in between.
/// Two random ports are that close once in 500 times.
const MAX_STEP: i32 = 64;

/// Our external endpoints, as seen from the server's addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observations {
    /// Of the main socket, from the primary address.
    pub(super) observed: SocketAddr,
    /// From the alternate port.
    pub(super) alternate_port: Option<SocketAddr>,
    /// From the second address.
    pub(super) second: Option<SocketAddr>,
    /// From the second address' alternate port.
    pub(super) second_alternate_port: Option<SocketAddr>,
    /// Of the fresh socket, from the primary address.
    pub(super) fresh: Option<SocketAddr>,
}

/// Did something get in that nobody had let in?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Open,
    Shut,
    /// Not asked, refused by the server, or the place that should have answered may be dead.
    Unknown,
}

/// Is the address translated? Unknown without an own address of that family.
pub(super) fn translated(local: &[SocketAddr], observed: SocketAddr) -> Option<bool> {
    let mut own = local.iter().filter(|own| own.is_ipv4() == observed.is_ipv4()).peekable();
    own.peek()?;
    Some(own.all(|own| own.ip() != observed.ip()))
}

/// The mildest behaviour that explains what was seen (RFC 5780, section 4.3). Independence needs the second address' word
/// for it, or that nothing is translated.
pub(super) fn mapping(seen: &Observations, translated: Option<bool>) -> Option<Mapping> {
    let differ = |a: Option<SocketAddr>, b: Option<SocketAddr>| a.zip(b).is_some_and(|(a, b)| a != b);
    let first = Some(seen.observed);
    let far = [seen.second, seen.second_alternate_port];
    if differ(first, seen.alternate_port) || differ(seen.second, seen.second_alternate_port) {
        Some(Mapping::AddressAndPortDependent)
    } else if far.iter().any(|far| differ(first, *far)) {
        Some(Mapping::AddressDependent)
    } else {
        let independent = translated == Some(false) || far.iter().any(Option::is_some);
        independent.then_some(Mapping::EndpointIndependent)
    }
}

/// RFC 5780, section 4.4.
pub(super) fn filtering(address_and_port: Passage, port: Passage) -> Option<Filtering> {
    match (address_and_port, port) {
        (Passage::Open, _) => Some(Filtering::EndpointIndependent),
        (Passage::Shut, Passage::Open) => Some(Filtering::AddressDependent),
        (_, Passage::Shut) => Some(Filtering::AddressAndPortDependent),
        (Passage::Unknown, Passage::Open) | (_, Passage::Unknown) => None,
    }
}

/// How the ports of different mappings follow each other. A single mapping can show that the port is preserved (it would
/// be so by accident once in 65,000 times), but nothing else.
pub(super) fn ports(seen: &Observations, main_port: Option<u16>, fresh_port: u16) -> Option<PortAssignment> {
    // In the order in which they were made.
    let mut main: Vec<SocketAddr> = Vec::new();
    let later = [seen.alternate_port, seen.second, seen.second_alternate_port];
    for mapped in [Some(seen.observed)].into_iter().chain(later).flatten() {
        if !main.contains(&mapped) {
            main.push(mapped);
        }
    }
    let preserved = main.iter().all(|mapped| Some(mapped.port()) == main_port)
        && seen.fresh.is_none_or(|mapped| mapped.port() == fresh_port);
    if preserved {
        return Some(PortAssignment::Preserved);
    }
    let external: Vec<u16> = main.iter().chain(&seen.fresh).map(SocketAddr::port).collect();
    if external.len() < 2 {
        return None;
    }
    if let Some(step) = step(&external) {
        return Some(PortAssignment::Sequential { step });
    }
    let (low, high) = (external.iter().min()?, external.iter().max()?);
    Some(PortAssignment::Random { low: *low, high: *high })
}

/// The median step, if all are small and lead the same way. The first may be anything, if there are others: between the
/// registration and this run, other programs may have made mappings.
fn step(external: &[u16]) -> Option<i16> {
    let all: Vec<i32> = external.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    let mut steps = if all.len() > 1 { all[1..].to_vec() } else { all };
    steps.sort_unstable();
    let (least, most) = (*steps.first()?, *steps.last()?);
    let up = least > 0 && most <= MAX_STEP;
    let down = most < 0 && least >= -MAX_STEP;
    if up || down { i16::try_from(steps[(steps.len() - 1) / 2]).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([11, 1, 1, 1], port))
    }

    fn seen(main: [u16; 4], fresh: u16) -> Observations {
        Observations {
            observed: at(main[0]),
            alternate_port: Some(at(main[1])),
            second: Some(at(main[2])),
            second_alternate_port: Some(at(main[3])),
            fresh: Some(at(fresh)),
        }
    }

    #[test]
    fn steps_with_a_little_noise_are_still_steps() {
        let ports = |main, fresh| ports(&seen(main, fresh), Some(4000), 5000);
        let sequential = |step| Some(PortAssignment::Sequential { step });
        assert_eq!(ports([20_000, 20_001, 20_002, 20_003], 20_004), sequential(1));
        assert_eq!(ports([20_000, 20_900, 20_902, 20_907], 20_909), sequential(2), "a pause after the first");
        assert_eq!(ports([20_000, 19_998, 19_996, 19_994], 19_992), sequential(-2));
        assert_eq!(ports([20_000; 4], 20_003), sequential(3), "one mapping a socket");
        let random = Some(PortAssignment::Random { low: 20_000, high: 20_009 });
        assert_eq!(ports([20_000, 20_009, 20_002, 20_003], 20_001), random, "up and down");
        assert_eq!(ports([4000; 4], 5000), Some(PortAssignment::Preserved));
        let random = Some(PortAssignment::Random { low: 4000, high: 31_000 });
        assert_eq!(ports([4000; 4], 31_000), random, "preserved for one of two");
    }

    #[test]
    fn a_single_mapping_tells_of_ports_only_when_it_preserves_them() {
        let alone = Observations {
            observed: at(4000),
            alternate_port: Some(at(4000)),
            second: None,
            second_alternate_port: None,
            fresh: None,
        };
        assert_eq!(ports(&alone, Some(4000), 5000), Some(PortAssignment::Preserved));
        assert_eq!(ports(&alone, Some(4001), 5000), None);
        assert_eq!(ports(&alone, None, 5000), None);
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        let all = seen([1, 2, 3, 4], 9);
        let only_port = Observations { second: None, second_alternate_port: None, ..all };
        assert_eq!(mapping(&only_port, Some(true)), Some(Mapping::AddressAndPortDependent));
        let only_far = Observations { alternate_port: None, second_alternate_port: None, ..all };
        assert_eq!(mapping(&only_far, Some(true)), Some(Mapping::AddressDependent), "it may depend on ports too");
        let same_port = Observations { alternate_port: Some(at(1)), ..only_port };
        assert_eq!(mapping(&same_port, Some(true)), None);
        assert_eq!(mapping(&same_port, Some(false)), Some(Mapping::EndpointIndependent));
        use Passage::*;
        for (both, port) in [(Unknown, Open), (Unknown, Unknown), (Shut, Unknown)] {
            assert_eq!(filtering(both, port), None, "{both:?} {port:?}");
        }
    }

    #[test]
    fn an_address_of_another_family_does_not_show_that_ours_is_translated() {
        let v6 = "[2001:db8::1]:4000".parse().expect("an address");
        assert_eq!(translated(&[], at(1)), None);
        assert_eq!(translated(&[v6], at(1)), None);
        assert_eq!(translated(&[v6, at(4000)], at(1)), Some(false));
        assert_eq!(translated(&["192.168.1.7:4000".parse().expect("an address")], at(4000)), Some(true));
    }
}
