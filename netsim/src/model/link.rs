//! One direction of a line: when does a packet arrive, if it does?

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::dropped::DropReason;
use super::random::Random;

/// Loss that comes in bursts: the model of Gilbert and Elliott, a line that is well or ill. Both chances of change are
/// per packet, so an illness lasts `1 / recover` packets on average.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BurstLoss {
    /// The chance that it falls ill.
    pub fall_ill: f64,
    /// The chance that it recovers.
    pub recover: f64,
    /// The chance that a packet is lost while it is ill.
    pub loss_when_ill: f64,
}

/// How a line is, in one direction. The default is a perfect one. Chances are from 0 to 1, per packet.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Line {
    /// What every packet takes.
    #[serde(with = "super::seconds")]
    pub delay: Duration,
    /// Up to so much more, evenly. It never makes one packet overtake another.
    #[serde(with = "super::seconds")]
    pub jitter: Duration,
    /// The chance that a packet is lost.
    pub loss: f64,
    /// Loss in bursts, besides.
    pub burst_loss: BurstLoss,
    /// The chance that a packet is held back by `reordered_by`, so that others overtake it.
    pub reordering: f64,
    /// For so long.
    #[serde(with = "super::seconds")]
    pub reordered_by: Duration,
    /// The chance that a packet arrives twice.
    pub duplication: f64,
    /// Bits a second; none is as many as you like.
    pub rate: Option<u64>,
    /// Bytes that may wait for their turn where there is a rate; the rest is dropped at the tail. None is as many as
    /// you like.
    pub queue: Option<usize>,
    /// The largest packet. Larger ones are dropped, and the sender is told if a router there speaks: there are no fragments
    /// here, as behind most NATs.
    pub mtu: Option<usize>,
}

impl Line {
    /// A line on which nothing goes wrong.
    pub fn delay(delay: Duration) -> Self {
        Line { delay, ..Line::default() }
    }
}

/// One direction of a line at work.
#[derive(Debug, Clone)]
pub struct Link {
    line: Line,
    random: Random,
    ill: bool,
    /// When the last bit of what waits has been sent.
    busy_until: Option<Instant>,
    /// When the last packet arrives that was not held back.
    last_arrival: Option<Instant>,
    cut: bool,
}

/// When a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The packet.
    pub at: Instant,
    /// Its double.
    pub again: Option<Instant>,
}

impl Link {
    /// A line, and its luck.
    pub fn new(line: Line, random: Random) -> Self {
        Link { line, random, ill: false, busy_until: None, last_arrival: None, cut: false }
    }

    /// From now on the line is like this. What is under way arrives as it would have.
    pub fn change(&mut self, line: Line) {
        self.line = line;
    }

    /// How it is.
    pub fn line(&self) -> Line {
        self.line
    }

    /// Cuts the line, or mends it.
    pub fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// A packet of so many bytes, the largest of them that large, enters the line.
    pub fn carry(&mut self, length: usize, largest: usize, now: Instant) -> Result<Carried, DropReason> {
        let Link { line, random, .. } = self;
        if self.cut {
            return Err(DropReason::LinkCut);
        }
        if line.mtu.is_some_and(|mtu| largest > mtu) {
            return Err(DropReason::TooBig);
        }
        let sent = match line.rate {
            None => now,
            Some(rate) => {
                let free = self.busy_until.unwrap_or(now).max(now);
                let waiting = bytes_in(free.saturating_duration_since(now), rate);
                if line.queue.is_some_and(|queue| waiting.saturating_add(length as u64) > queue as u64) && free > now {
                    return Err(DropReason::QueueFull);
                }
                free + time_of(length, rate)
            }
        };
        if line.rate.is_some() {
            self.busy_until = Some(sent);
        }
        // What is lost has been sent all the same.
        let change = if self.ill { line.burst_loss.recover } else { line.burst_loss.fall_ill };
        self.ill ^= random.chance(change);
        if random.chance(line.loss) || (self.ill && random.chance(line.burst_loss.loss_when_ill)) {
            return Err(DropReason::Lost);
        }
        let jitter = match u64::try_from(line.jitter.as_nanos()) {
            Ok(0) | Err(_) => Duration::ZERO,
            Ok(nanos) => Duration::from_nanos(random.below(nanos + 1)),
        };
        let due = sent + line.delay + jitter;
        let at = if random.chance(line.reordering) {
            due + line.reordered_by
        } else {
            let at = self.last_arrival.map_or(due, |last| due.max(last));
            self.last_arrival = Some(at);
            at
        };
        Ok(Carried { at, again: random.chance(line.duplication).then_some(at) })
    }
}

/// How long so many bytes take.
fn time_of(length: usize, rate: u64) -> Duration {
    let nanos = (length as u128) * 8 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
}

/// How many bytes fit into so long.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / 8_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "virtual time has to start somewhere, and only the clock makes an Instant"
    )]

    use super::*;

    #[test]
    fn a_perfect_line_delays_and_does_no_more() {
        let (mut link, now) = link(Line::delay(ms(20)));
        for _ in 0..100 {
            assert_eq!(link.carry(1500, 1500, now), Ok(Carried { at: now + ms(20), again: None }));
        }
    }

    #[test]
    fn jitter_delays_and_never_reorders() {
        let (mut link, start) = link(Line { jitter: ms(30), ..Line::delay(ms(20)) });
        let mut last = start;
        for n in 0..1000 {
            let now = start + ms(n);
            let at = link.carry(100, 100, now).expect("nothing is lost").at;
            assert!(at >= last && at >= now + ms(20) && at <= now + ms(50));
            last = at;
        }
    }

    #[test]
    fn reordering_lets_others_overtake() {
        let (mut link, start) = link(Line { reordering: 0.1, reordered_by: ms(5), ..Line::delay(ms(20)) });
        let at: Vec<Instant> =
            (0..1000).map(|n| link.carry(100, 100, start + ms(n)).expect("nothing is lost").at).collect();
        assert!((50..150).contains(&at.windows(2).filter(|pair| pair[0] > pair[1]).count()));
    }

    #[test]
    fn loss_comes_evenly_or_in_bursts() {
        let lost = |line: Line| -> Vec<bool> {
            let (mut link, now) = link(line);
            (0..20_000).map(|_| link.carry(100, 100, now).is_err()).collect()
        };
        let even = lost(Line { loss: 0.1, ..Line::default() });
        let burst = BurstLoss { fall_ill: 0.01, recover: 0.09, loss_when_ill: 1.0 };
        let bursts = lost(Line { burst_loss: burst, ..Line::default() });
        let count = |losses: &[bool]| losses.iter().filter(|lost| **lost).count();
        let runs = |losses: &[bool]| losses.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((1800..2200).contains(&count(&even)), "{}", count(&even));
        assert!((1500..2500).contains(&count(&bursts)), "{}", count(&bursts));
        assert!(runs(&even) > 5 * runs(&bursts), "as many are lost, but together");
    }

    #[test]
    fn a_rate_makes_packets_wait_and_a_full_queue_drops_them() {
        // 1500 bytes at 12 Mb/s are a millisecond.
        let (mut link, now) = link(Line { rate: Some(12_000_000), queue: Some(4500), ..Line::default() });
        let at: Vec<_> = (0..5).map(|_| link.carry(1500, 1500, now).map(|carried| carried.at - now)).collect();
        assert_eq!(at, [Ok(ms(1)), Ok(ms(2)), Ok(ms(3)), Err(DropReason::QueueFull), Err(DropReason::QueueFull)]);
        assert_eq!(link.carry(1500, 1500, now + ms(1)).map(|carried| carried.at - now), Ok(ms(4)));
    }

    #[test]
    fn what_is_too_big_does_not_pass_and_a_cut_line_carries_nothing() {
        let (mut link, now) = link(Line { mtu: Some(1280), ..Line::default() });
        assert_eq!(link.carry(1281, 1281, now), Err(DropReason::TooBig));
        assert!(link.carry(40_000, 1280, now).is_ok(), "many packets in one, by offloading");
        link.cut(true);
        assert_eq!(link.carry(100, 100, now), Err(DropReason::LinkCut));
        link.cut(false);
        assert!(link.carry(100, 100, now).is_ok());
    }

    #[test]
    fn duplicates_arrive_twice() {
        let (mut link, now) = link(Line { duplication: 1.0, ..Line::delay(ms(1)) });
        assert_eq!(link.carry(100, 100, now), Ok(Carried { at: now + ms(1), again: Some(now + ms(1)) }));
    }

    fn link(line: Line) -> (Link, Instant) {
        (Link::new(line, Random::new(1)), Instant::now())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
