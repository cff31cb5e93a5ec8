//! How long a mapping may rest: learned by trying, because NATs do not say. RFC 4787 (REQ-5) asks for two minutes, many
//! home routers give 30 to 60 s, some less.

use std::time::Duration;

/// The first rest. Shorter than all but a few percent of NATs hold a mapping, and the default of other programs.
pub const FIRST: Duration = Duration::from_secs(15);
/// The longest rest: a NAT that follows RFC 4787 holds 120 s, and both sides' clocks and packets need some of it.
pub const LONGEST: Duration = Duration::from_secs(100);
/// The shortest rest; where this does not hold a mapping, nothing that spares a battery would.
pub const SHORTEST: Duration = Duration::from_secs(5);

/// The rest between two keepalives. It belongs to the network that a client is in, not to one path: hand what one path
/// has learned to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    rest: Duration,
    /// What has been too long, less a third, is never tried again.
    ceiling: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { rest: FIRST, ceiling: LONGEST }
    }
}

impl Keepalive {
    /// How long to rest now.
    pub fn interval(&self) -> Duration {
        self.rest
    }

    /// The mapping lived through the rest: half as much again next time.
    pub fn held(&mut self) {
        self.rest = (self.rest * 3 / 2).min(self.ceiling);
    }

    /// The mapping was gone after the rest.
    pub fn expired(&mut self) {
        self.rest = (self.rest * 2 / 3).max(SHORTEST);
        self.ceiling = self.rest;
    }

    /// The path was gone after the rest, and did not say why: perhaps the mapping had expired, perhaps the peer has
    /// left. Taken for the former, but no shorter than the first rest, so that peers who leave cost nothing.
    pub fn lost(&mut self) {
        self.rest = (self.rest * 2 / 3).max(FIRST.min(self.rest));
        self.ceiling = self.rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_grows_to_its_limit_and_no_further() {
        let mut keepalive = Keepalive::default();
        let rests: Vec<u64> = (0..8)
            .map(|_| {
                let rest = keepalive.interval().as_secs();
                keepalive.held();
                rest
            })
            .collect();
        assert_eq!(rests, [15, 22, 33, 50, 75, 100, 100, 100]);
    }

    #[test]
    fn a_rest_that_was_too_long_is_not_tried_again() {
        // A NAT that forgets after 40 s.
        let mut keepalive = Keepalive::default();
        let mut failures = 0;
        for _ in 0..100 {
            if keepalive.interval() >= Duration::from_secs(40) {
                failures += 1;
                keepalive.expired();
            } else {
                keepalive.held();
            }
        }
        assert_eq!(failures, 1);
        assert!(keepalive.interval() > Duration::from_secs(30), "and the time that holds is used");
    }

    #[test]
    fn peers_who_leave_do_not_make_us_ask_more_than_at_first() {
        let mut keepalive = Keepalive::default();
        (0..100).for_each(|_| keepalive.lost());
        assert_eq!(keepalive.interval(), FIRST);
    }

    #[test]
    fn a_nat_that_forgets_at_once_does_not_make_us_flood_it() {
        let mut keepalive = Keepalive::default();
        (0..100).for_each(|_| keepalive.expired());
        assert_eq!(keepalive.interval(), SHORTEST);
    }
}
