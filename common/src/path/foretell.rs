//! What a look at our own NAT foretells of its next ports. A profile is believed only where the answers that matter were lost:
//! it was written some time ago, perhaps behind another router, and a misread one must not cost a path.

use std::net::SocketAddr;

use crate::nat::Mapping;
pub(super) use crate::reach::WIDEST_BLOCK;

/// The widest step between two mappings that were made at once and pass for neighbours: a carrier's other subscribers
/// take some ports in between. Five random ports are that close, in order, once in 10^11 times, those of a block of 512 once
/// in 3,000; then the next round looks again.
const MAX_STEP: i32 = 64;

/// What our ports do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// One mapping serves all.
    Stands { port: u16 },
    /// A fresh socket keeps its port for the first whom it speaks to, and for nobody else.
    Exact,
    /// One after the other. `stride` is how many steps lie between two of ours, on average.
    Next { last: u16, step: i16, stride: f32 },
    /// Nobody knows, in this range.
    Among { low: u16, high: u16 },
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Our main socket, by the server at the registration.
    pub(super) observed: SocketAddr,
    /// Own and external ports of fresh sockets, in the order in which they asked.
    pub(super) fresh: &'a [(Option<u16>, SocketAddr)],
    /// How some of them look to the server, and then to another of its addresses or ports. Not the main socket: strays may have
    /// spoilt that one's mappings, and make a router that keeps one for all look as if it did not.
    pub(super) twice: &'a [(SocketAddr, SocketAddr)],
    /// What is believed if no socket has both answers.
    pub(super) presumed: Option<Mapping>,
    /// May an endpoint that looks the same from two of the server's ports be taken for one that is the same for all?
    pub(super) trusting: bool,
}

/// What it means; `None` if too little was answered.
pub(super) fn look(seen: &Seen<'_>) -> Option<Look> {
    let here = |mapped: &SocketAddr| mapped.ip() == seen.observed.ip();
    let fresh: Vec<(Option<u16>, u16)> =
        seen.fresh.iter().filter(|(_, mapped)| here(mapped)).map(|(own, mapped)| (*own, mapped.port())).collect();
    let (_, last) = *fresh.last()?;
    let twice = seen.twice.iter().filter(|(once, again)| here(once) && here(again));
    let twice: Vec<(u16, u16)> = twice.map(|(once, again)| (once.port(), again.port())).collect();
    let stands = match twice[..] {
        [] => seen.presumed == Some(Mapping::EndpointIndependent),
        _ => seen.trusting && twice.iter().all(|(once, again)| once == again),
    };
    if stands {
        return Some(Look::Stands { port: last });
    }
    if fresh.iter().all(|(own, external)| *own == Some(*external)) {
        return Some(Look::Exact);
    }
    let other = twice.iter().filter(|(once, again)| once != again).map(|(_, again)| *again);
    let ports: Vec<u16> = fresh.iter().map(|(_, external)| *external).chain(other).collect();
    sequence(&ports).or_else(|| {
        let all = || ports.iter().copied().chain([seen.observed.port()]);
        Some(Look::Among { low: all().min()?, high: all().max()? })
    })
}

/// Do they all go the same way in small steps? The step is what divides them all: ports in between are other people's.
fn sequence(ports: &[u16]) -> Option<Look> {
    let differences: Vec<i32> = ports.windows(2).map(|pair| i32::from(difference(pair[0], pair[1]))).collect();
    let up = differences.iter().all(|d| (1..=MAX_STEP).contains(d));
    let down = differences.iter().all(|d| (-MAX_STEP..=-1).contains(d));
    let divisor = differences.iter().fold(0, |a, b| greatest_common_divisor(a, b.abs()));
    if divisor == 0 || !(up || down) {
        return None;
    }
    let step = i16::try_from(if up { divisor } else { -divisor }).ok()?;
    let taken: i32 = differences.iter().map(|d| d / i32::from(step)).sum();
    let stride = f32::from(i16::try_from(taken).ok()?) / f32::from(u16::try_from(differences.len()).ok()?);
    Some(Look::Next { last: *ports.last()?, step, stride })
}

/// From one port to another, the short way round.
pub(super) fn difference(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from) as i16
}

fn greatest_common_divisor(a: i32, b: i32) -> i32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([11, 1, 1, 1], port))
    }

    fn seen(fresh: &[(u16, u16)], again: u16, trusting: bool) -> Option<Look> {
        let fresh: Vec<(Option<u16>, SocketAddr)> = fresh.iter().map(|(own, port)| (Some(*own), at(*port))).collect();
        let twice = [(fresh[0].1, at(again))];
        look(&Seen { observed: at(4000), twice: &twice, presumed: None, fresh: &fresh, trusting })
    }

    #[test]
    fn each_kind_of_nat_is_told_by_a_few_fresh_sockets() {
        let random = [(1, 9000), (2, 60_000), (3, 30_000)];
        assert_eq!(seen(&random, 9000, true), Some(Look::Stands { port: 30_000 }));
        assert_eq!(seen(&random, 9000, false), Some(Look::Among { low: 4000, high: 60_000 }), "perhaps by address");
        assert_eq!(seen(&random, 777, true), Some(Look::Among { low: 777, high: 60_000 }));
        assert_eq!(seen(&[(1, 1), (2, 2), (3, 3)], 777, true), Some(Look::Exact));
        let next = |fresh: [u16; 3], again| seen(&fresh.map(|port| (1, port)), again, true);
        assert_eq!(next([9000, 9001, 9002], 9003), Some(Look::Next { last: 9003, step: 1, stride: 1.0 }));
        assert_eq!(next([9000, 9001, 9004], 9006), Some(Look::Next { last: 9006, step: 1, stride: 2.0 }));
        assert_eq!(next([9000, 8998, 8994], 8992), Some(Look::Next { last: 8992, step: -2, stride: 4.0 / 3.0 }));
        assert_eq!(next([65_534, 65_535, 0], 1), Some(Look::Next { last: 1, step: 1, stride: 1.0 }), "round the end");
        assert_eq!(next([9000, 9100, 9050], 9120), Some(Look::Among { low: 4000, high: 9120 }));
    }

    #[test]
    fn a_mapping_stands_if_every_socket_that_was_seen_twice_says_so_and_if_none_was_the_profile_decides() {
        let fresh = [(Some(2), at(60_000)), (Some(3), at(30_000))];
        let seen =
            |twice: &[_], presumed| look(&Seen { observed: at(4000), twice, presumed, fresh: &fresh, trusting: true });
        let (same, other) = ((at(60_000), at(60_000)), (at(30_000), at(777)));
        let (stands, among) = (Some(Look::Stands { port: 30_000 }), |low| Some(Look::Among { low, high: 60_000 }));
        let believed = Some(Mapping::EndpointIndependent);
        assert_eq!(seen(&[same], None), stands);
        assert_eq!(seen(&[same, other], believed), among(777));
        assert_eq!(seen(&[other], believed), among(777), "an answer counts for more than a profile");
        assert_eq!(seen(&[], believed), stands);
        assert_eq!(seen(&[], None), among(4000));
        assert_eq!(seen(&[], Some(Mapping::AddressDependent)), among(4000));
    }

    #[test]
    fn too_little_is_nothing_and_another_address_does_not_count() {
        let elsewhere = SocketAddr::from(([11, 1, 1, 2], 9000));
        let fresh = [(Some(1), elsewhere)];
        let seen = Seen { observed: at(4000), twice: &[], presumed: None, fresh: &[], trusting: true };
        assert_eq!(look(&seen), None);
        assert_eq!(look(&Seen { fresh: &fresh, ..seen }), None);
    }
}
