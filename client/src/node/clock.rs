//! What time it is, for whoever has to know whether a key is still to be used.

use std::time::Instant;

/// Two clocks that others read: the computer's and the rendezvous'.
#[derive(Debug, Default)]
pub(super) struct Clock {
    own: Option<Reading>,
    server: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    seconds: u64,
    at: Instant,
}

impl Reading {
    fn now_s(self, now: Instant) -> u64 {
        self.seconds.saturating_add(now.saturating_duration_since(self.at).as_secs())
    }
}

impl Clock {
    pub(super) fn set_own(&mut self, seconds: u64, at: Instant) {
        self.own = Some(Reading { seconds, at });
    }

    pub(super) fn set_server(&mut self, seconds: u64, at: Instant) {
        self.server = Some(Reading { seconds, at });
    }

    /// Seconds since 1970 by the clock that is behind; 0 if there is none. A rendezvous that says a year too much, or a computer
    /// that believes it, would have every prekey expire, and mail go to the identity key, which is never forgotten. One that says
    /// a year too little has a key used whose secret may be gone: that is found out, and costs time.
    pub(super) fn now_s(&self, now: Instant) -> u64 {
        self.own.into_iter().chain(self.server).map(|reading| reading.now_s(now)).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_clock_that_is_behind_decides_and_goes_on() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        assert_eq!(clock.now_s(start), 0);
        clock.set_own(1_000, start);
        clock.set_server(9_000, start);
        assert_eq!(clock.now_s(start + Duration::from_secs(5)), 1_005);
        clock.set_server(500, start);
        assert_eq!(clock.now_s(start + Duration::from_secs(5)), 505);
        clock.set_own(u64::MAX, start);
        assert_eq!(clock.now_s(start + Duration::from_secs(5)), 505);
    }
}
