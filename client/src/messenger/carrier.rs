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
/// What was given to a connection arrives in order, or the connection ends. A receipt for it may be lost all the same: where the peer
/// sees two connections come up, it may answer over the one that we have left. So when the peer has answered something later, and the
/// receipt stays out, all is given once more; the peer acknowledges a copy as well.
///
/// The window grows by one with each receipt that comes while it is full, and not while it has room to spare: how much a path
/// carries is known only of what it has carried (RFC 7661). It begins anew when a receipt stays out.
#[derive(Debug)]
pub(super) struct Carrier {
    route: Route,
    in_flight: usize,
    window: usize,
    receipt_due: Option<Instant>,
    /// The peer has answered something that came later than the first of them.
    passed: bool,
}

impl Carrier {
    pub(super) fn new(route: Route) -> Self {
        Carrier { route, in_flight: 0, window: WINDOW, receipt_due: None, passed: false }
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

    /// The peer answers: what was given before has arrived, and should have its receipt.
    pub(super) fn answered(&mut self) {
        self.passed = self.in_flight > 0;
    }

    /// The message at this place of the queue has its receipt, which came over this route or another way.
    pub(super) fn taken_out(&mut self, position: usize, here: bool, rtt: Duration, now: Instant) {
        self.passed |= here && (1..self.in_flight).contains(&position);
        // A receipt may also speak of a message that an earlier connection carried and this one has not yet.
        if position < self.in_flight {
            if self.in_flight == self.window {
                self.window = (self.window + 1).min(LARGEST_WINDOW);
            }
            self.in_flight -= 1;
        }
        self.receipt_due = (self.in_flight > 0).then(|| now + patience(rtt));
    }

    /// Did a receipt stay out? The next is waited for as long. Of what was passed over nothing counts as given any more.
    pub(super) fn is_overdue(&mut self, rtt: Duration, now: Instant) -> bool {
        let overdue = self.receipt_due.is_some_and(|due| due <= now);
        if overdue {
            self.receipt_due = Some(now + patience(rtt));
            self.window = WINDOW;
            if std::mem::take(&mut self.passed) {
                (self.in_flight, self.receipt_due) = (0, None);
            }
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
            carrier.taken_out(0, true, RTT, now);
        }
        assert_eq!(carrier.window(), WINDOW, "one at a time needs no more");
        for _ in 0..LARGEST_WINDOW {
            while carrier.in_flight() < carrier.window() {
                carrier.given(RTT, now);
            }
            carrier.taken_out(0, true, RTT, now);
        }
        assert_eq!(carrier.window(), LARGEST_WINDOW);
        let due = carrier.receipt_due().expect("there are others on their way");
        assert!(!carrier.is_overdue(RTT, now));
        assert!(carrier.is_overdue(RTT, due));
        assert_eq!(carrier.window(), WINDOW);
        carrier.taken_out(LARGEST_WINDOW, true, RTT, now);
        assert_eq!(carrier.in_flight(), LARGEST_WINDOW - 1, "of what it was not given it has nothing less to do");
    }

    #[test]
    fn what_was_passed_over_is_given_again_and_once() {
        let now = Instant::now();
        let later = now + LONGEST_PATIENCE;
        let given = || {
            let mut carrier = Carrier::new(Route::Direct);
            (0..3).for_each(|_| carrier.given(RTT, now));
            carrier
        };
        let mut lost = given();
        assert!(lost.is_overdue(RTT, later));
        assert_eq!(lost.in_flight(), 3, "the path is silent: QUIC repeats what is lost on it");
        let mut elsewhere = given();
        elsewhere.taken_out(2, false, RTT, now);
        assert!(elsewhere.is_overdue(RTT, later));
        assert_eq!(elsewhere.in_flight(), 2, "a receipt by mail says nothing of this route");
        let mut passed = given();
        passed.taken_out(2, true, RTT, now);
        assert_eq!(passed.in_flight(), 2);
        assert!(passed.is_overdue(RTT, later));
        assert_eq!(passed.in_flight(), 0);
        passed.given(RTT, later);
        assert!(passed.is_overdue(RTT, later + LONGEST_PATIENCE));
        assert_eq!(passed.in_flight(), 1, "nothing was answered since");
        passed.answered();
        assert!(passed.is_overdue(RTT, later + 2 * LONGEST_PATIENCE));
        assert_eq!(passed.in_flight(), 0);
    }
}
