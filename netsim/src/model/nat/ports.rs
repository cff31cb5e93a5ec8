//! Which external port a new mapping gets (RFC 4787, section 4.2).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::model::behaviour::PortAssignment;
use crate::model::random::Random;

/// What the assignment of ports remembers from one mapping to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports {
    /// The last sequential one.
    last: Option<u16>,
    /// The first port of the block that an internal host has at an external address.
    blocks: BTreeMap<(IpAddr, IpAddr), u16>,
}

impl Ports {
    /// A port at the external address `outside` for `internal`; `None` if all that it may have are taken.
    pub(super) fn choose(
        &mut self,
        assignment: PortAssignment,
        range: &RangeInclusive<u16>,
        internal: SocketAddr,
        outside: IpAddr,
        random: &mut Random,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        match assignment {
            PortAssignment::Preserving | PortAssignment::PreservingOverloading => {
                let own = internal.port();
                if range.contains(&own) && is_free(own) { Some(own) } else { any(range, 1, random, is_free) }
            }
            PortAssignment::Random => any(range, 1, random, is_free),
            PortAssignment::Sequential { step, noise } => self.next(step, noise, range, random, is_free),
            PortAssignment::Block { size } => {
                let first = self.block(size, range, internal.ip(), outside, random)?;
                any(&(first..=first.saturating_add(size.max(1) - 1)), 1, random, is_free)
            }
            PortAssignment::Parity => {
                let first = *range.start() + (range.start() ^ internal.port()) % 2;
                if first > *range.end() { None } else { any(&(first..=*range.end()), 2, random, is_free) }
            }
        }
    }

    fn next(
        &mut self,
        step: i16,
        noise: u16,
        range: &RangeInclusive<u16>,
        random: &mut Random,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let (low, count) = (i64::from(*range.start()), i64::try_from(range.len()).ok().filter(|count| *count > 0)?);
        let within = |offset: i64| u16::try_from(low + offset.rem_euclid(count)).ok();
        let others = i64::try_from(random.below(u64::from(noise) + 1)).unwrap_or(0);
        let mut offset = match self.last {
            Some(last) => i64::from(last) - low + i64::from(step) * (1 + others),
            None => i64::try_from(random.below(count.unsigned_abs())).unwrap_or(0),
        };
        for _ in 0..count {
            let port = within(offset)?;
            if is_free(port) {
                self.last = Some(port);
                return Some(port);
            }
            offset += i64::from(step);
        }
        // A step that divides the range's size does not come by every port.
        any(range, 1, random, is_free).inspect(|port| self.last = Some(*port))
    }

    fn block(
        &mut self,
        size: u16,
        range: &RangeInclusive<u16>,
        internal: IpAddr,
        outside: IpAddr,
        random: &mut Random,
    ) -> Option<u16> {
        if let Some(first) = self.blocks.get(&(internal, outside)) {
            return Some(*first);
        }
        let size = size.max(1);
        let blocks = u16::try_from(range.len() / usize::from(size)).unwrap_or(u16::MAX);
        let taken: Vec<u16> =
            self.blocks.iter().filter(|((_, at), _)| *at == outside).map(|(_, first)| *first).collect();
        let number =
            any(&(0..=blocks.checked_sub(1)?), 1, random, |number| !taken.contains(&(range.start() + number * size)))?;
        let first = range.start() + number * size;
        self.blocks.insert((internal, outside), first);
        Some(first)
    }
}

/// A free number of the range, every `stride`th from its start, all equally likely while few are taken.
fn any(
    range: &RangeInclusive<u16>,
    stride: u16,
    random: &mut Random,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<u16> {
    if range.is_empty() {
        return None;
    }
    let count = u64::from((range.end() - range.start()) / stride) + 1;
    let at = |index: u64| u16::try_from(index % count).ok().map(|index| range.start() + index * stride);
    let begin = random.below(count);
    (0..count).filter_map(|offset| at(begin + offset)).find(|port| is_free(*port))
}
