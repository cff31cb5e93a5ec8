//! Sequential prediction: a NAT that gives each new destination the next port, opposite a mapping that stands behind a
//! filter by port.
//!
//! The symmetric side has just asked the rendezvous from fresh sockets, and so knows the counter, P. It says so, waits until
//! that has arrived (see [`super::rounds`]), and at that instant sends from a fresh socket to the peer: the mapping gets one of
//! the ports after P, the very next one if nobody else behind the same NAT opened a flow meanwhile. At the same instant the
//! other side probes a window of ports after P, and so opens its filter for whichever it is.
//!
//! # Numbers
//!
//! Between the look and the shot lies one round trip to the rendezvous and one trickle, some 80 ms at 20 ms a way: with
//! five new flows a second on the NAT, 0.4 of them, and more than the first [`LIKELY`] ports hold once in 10^9 times. The
//! rest of the [`WINDOW`] follows when those had their chance, for NATs that are busier: 32 ports in 80 ms are 400 flows a
//! second. If what divides the steps seen is 2 or more, they may still have been other people's ports in between, so
//! that those between are probed as well. All of it twice, against loss: at most [`MAX_PACKETS`] on the standing side, 8 on
//! the other.

use std::time::Duration;

use super::shots::{Plan, Shot};
use super::surface::Base;

/// Ports after the last one, in steps.
pub const WINDOW: u16 = 32;
/// Those that are probed first.
pub const LIKELY: usize = 8;
/// Ports between the steps, where they are wider than one.
const BETWEEN: usize = 16;
/// What a round takes at most, on the side that probes a window.
pub const MAX_PACKETS: u32 = 2 * (WINDOW as u32 + BETWEEN as u32);
/// Four a millisecond: a home router's queue holds them.
const PACE: Duration = Duration::from_micros(250);
/// The others.
const LATER: Duration = Duration::from_millis(60);
/// All a second time, against loss.
const AGAIN: Duration = Duration::from_millis(200);

/// The ports that come next, the likeliest first.
fn window(last: u16, step: i16) -> Vec<u16> {
    let ahead = |n: i16, step: i16| last.wrapping_add_signed(n.wrapping_mul(step));
    let count = i16::try_from(WINDOW).unwrap_or(i16::MAX);
    let mut ports: Vec<u16> = (1..=count).map(|n| ahead(n, step)).collect();
    let between = (1..count).map(|n| ahead(n, step.signum())).filter(|port| !ports.contains(port));
    let between: Vec<u16> = between.take(if step.unsigned_abs() > 1 { BETWEEN } else { 0 }).collect();
    ports.extend(between);
    ports
}

/// The standing side's probes.
pub(super) fn plan(base: Base, last: u16, step: i16) -> Plan {
    let ports = window(last, step);
    let from = |begin: Duration, ports: &[u16]| {
        let shots = ports.iter().map(|port| Shot { base, port: *port });
        shots.scan(begin, |at, shot| Some((std::mem::replace(at, *at + PACE), shot))).collect::<Plan>()
    };
    let (likely, others) = ports.split_at(LIKELY);
    [from(Duration::ZERO, likely), from(LATER, others), from(AGAIN, &ports)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_leads_in_the_direction_of_the_step_and_round_the_end() {
        assert_eq!(window(65_534, 1)[..3], [65_535, 0, 1]);
        assert_eq!(window(5000, -1)[..2], [4999, 4998]);
        let wide = window(5000, 2);
        assert_eq!(wide[..2], [5002, 5004]);
        assert!(wide.contains(&5001) && wide.contains(&5003), "the step may have been noise");
        for step in [1, -1, 2, 7, -64, i16::MAX, i16::MIN] {
            assert!(plan(Base::MAIN, 5000, step).len() <= MAX_PACKETS as usize);
        }
    }
}
