//! How much one key may still send: a token bucket of bytes and one of packets.

use std::time::{Duration, Instant};

use crate::limits::RELAY_BURST;

/// What a key may send in a second, sustained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of frames.
    pub bytes: u32,
    /// Frames.
    pub packets: u32,
}

/// What is left of a [`Quota`].
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    bytes: Bucket,
    packets: Bucket,
}

impl Allowance {
    /// All of it.
    pub fn new(quota: Quota, now: Instant) -> Self {
        Allowance { bytes: Bucket::full(quota.bytes, now), packets: Bucket::full(quota.packets, now) }
    }

    /// Takes as many of `count` frames of up to `size` bytes as it has room for, and says how many.
    pub fn take(&mut self, quota: Quota, count: usize, size: usize, now: Instant) -> usize {
        let (count, size) = (count as u64, size.max(1) as u64);
        let packets = self.packets.refill(quota.packets, now);
        let bytes = self.bytes.refill(quota.bytes, now);
        let taken = count.min(packets).min(bytes / size);
        self.packets.spend(taken);
        self.bytes.spend(taken * size);
        taken as usize
    }
}

/// Tokens in billionths, so that no time is lost between two frames that follow each other closely.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    billionths: u64,
    since: Instant,
}

const BILLION: u64 = 1_000_000_000;

impl Bucket {
    fn full(rate: u32, now: Instant) -> Self {
        Bucket { billionths: Self::capacity(rate), since: now }
    }

    /// Never less than one token: a quota of one packet a second is one, not none.
    fn capacity(rate: u32) -> u64 {
        (u64::from(rate) * RELAY_BURST.as_nanos() as u64).max(BILLION)
    }

    /// Whole tokens at this moment.
    fn refill(&mut self, rate: u32, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since).min(Duration::from_secs(1));
        let gained = u64::from(rate) * elapsed.as_nanos() as u64;
        self.billionths = (self.billionths + gained).min(Self::capacity(rate));
        self.since = self.since.max(now);
        self.billionths / BILLION
    }

    fn spend(&mut self, tokens: u64) {
        self.billionths -= tokens * BILLION;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUOTA: Quota = Quota { bytes: 100_000, packets: 100 };

    #[test]
    fn half_a_second_at_once_and_then_the_rate() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(QUOTA, now);
        assert_eq!(allowance.take(QUOTA, 1000, 100, now), 50, "packets are scarce");
        assert_eq!(allowance.take(QUOTA, 1, 100, now), 0);
        now += Duration::from_millis(10);
        assert_eq!(allowance.take(QUOTA, 1000, 100, now), 1);
        now += Duration::from_secs(60);
        assert_eq!(allowance.take(QUOTA, 1000, 1250, now), 40, "bytes are scarce");
    }

    #[test]
    fn a_frame_larger_than_the_burst_never_passes_and_a_tiny_quota_is_no_nothing() {
        let now = Instant::now();
        let tiny = Quota { bytes: 2000, packets: 1 };
        let mut allowance = Allowance::new(tiny, now);
        assert_eq!(allowance.take(tiny, 1, 1001, now), 0);
        assert_eq!(allowance.take(tiny, 1, 1000, now), 1);
    }

    proptest! {
        #[test]
        fn in_any_time_it_gives_the_burst_and_the_rate_and_no_more(
            asks in proptest::collection::vec((0u64..50_000_000, 1usize..64, 1usize..1452), 1..200)
        ) {
            let start = Instant::now();
            let (mut now, mut packets, mut bytes) = (start, 0u64, 0u64);
            let mut allowance = Allowance::new(QUOTA, start);
            for (wait, count, size) in asks {
                now += Duration::from_nanos(wait);
                let taken = allowance.take(QUOTA, count, size, now);
                prop_assert!(taken <= count);
                packets += taken as u64;
                bytes += (taken * size) as u64;
                let seconds = (now - start + RELAY_BURST).as_secs_f64();
                prop_assert!(packets as f64 <= seconds * f64::from(QUOTA.packets) + 1.0);
                prop_assert!(bytes as f64 <= seconds * f64::from(QUOTA.bytes) + 1.0);
            }
        }
    }
}
