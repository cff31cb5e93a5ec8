//! A route that carries messages: how many it is given, and when a receipt is due.

use std::time::{Duration, Instant};

use common::session::Route;

use super::{LARGEST_WINDOW, WINDOW};

/// How long a receipt may take at least: a busy machine, or a phone that wakes its radio, answers no sooner.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(200);
/// How long it may take at most: longer than a round trip through a full queue (2 s on a bad mobile link), and shorter
/// than a person's patience.
pub(super) const LONGEST_PATIENCE: Duration = Duration::from_secs(3);
/// So many round trips: QUIC repeats a lost packet after about one and a half.
const PATIENCE_IN_RTTS: u32 = 4;

/// The first `in_flight` of the queue were given to it, and if there are any, a receipt is due.
///
/// The window grows by one with each receipt that comes while it is full, and not while it has room to spare: how much a path
/// carries is known only of what it has carried (RFC 7661). It begins anew when a receipt stays out.
#[derive(Debug)]
pub(super) struct Carrier {
    route: Route,
    in_flight: usize,
    window: usize,
    receipt_due: Option<Instant>,
}

impl Carrier {
    pub(super) fn new(route: Route) -> Self {
        Carrier { route, in_flight: 0, window: WINDOW, receipt_due: None }
    }

    pub(super) fn route(&self) -> Route {
        self.route
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn receipt_due(&self) -> Option<Instant> {
        self.receipt_due
    }

    /// It was given one more.
    pub(super) fn given(&mut self, rtt: Duration, now: Instant) {
        self.in_flight += 1;
        self.receipt_due.get_or_insert(now + patience(rtt));
    }

    /// The message at this place of the queue has its receipt.
    pub(super) fn taken_out(&mut self, position: usize, rtt: Duration, now: Instant) {
        // A receipt may also speak of a message that an earlier connection carried and this one has not yet.
        if position < self.in_flight {
            if self.in_flight == self.window {
                self.window = (self.window + 1).min(LARGEST_WINDOW);
            }
            self.in_flight -= 1;
        }
        self.receipt_due = (self.in_flight > 0).then(|| now + patience(rtt));
    }

    /// Did a receipt stay out? The next is waited for as long.
    pub(super) fn is_overdue(&mut self, rtt: Duration, now: Instant) -> bool {
        let overdue = self.receipt_due.is_some_and(|due| due <= now);
        if overdue {
            self.receipt_due = Some(now + patience(rtt));
            self.window = WINDOW;
        }
        overdue
    }
}

fn patience(rtt: Duration) -> Duration {
    (rtt * PATIENCE_IN_RTTS).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    #[test]
    fn the_window_grows_while_it_is_full_and_begins_anew_when_a_receipt_stays_out() {
        let now = Instant::now();
        let mut carrier = Carrier::new(Route::Direct);
        for _ in 0..LARGEST_WINDOW {
            carrier.given(RTT, now);
            carrier.taken_out(0, RTT, now);
        }
        assert_eq!(carrier.window(), WINDOW, "one at a time needs no more");
        for _ in 0..LARGEST_WINDOW {
            while carrier.in_flight() < carrier.window() {
                carrier.given(RTT, now);
            }
            carrier.taken_out(0, RTT, now);
        }
        assert_eq!(carrier.window(), LARGEST_WINDOW);
        let due = carrier.receipt_due().expect("there are others on their way");
        assert!(!carrier.is_overdue(RTT, now));
        assert!(carrier.is_overdue(RTT, due));
        assert_eq!(carrier.window(), WINDOW);
        carrier.taken_out(LARGEST_WINDOW, RTT, now);
        assert_eq!(carrier.in_flight(), LARGEST_WINDOW - 1, "of what it was not given it has nothing less to do");
    }
}
