//! What all attempts of a machine may send together. Each attempt has a budget of its own, but how many attempts there are is
//! the rendezvous' word, and a contact's: whoever introduces a thousand times a second, with another address each time,
//! must not make this machine a source of traffic.
//!
//! Every datagram of every agent is paid from here: probes, answers and questions alike. What is not granted is not sent, as if the
//! network had lost it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many at once, and one more after each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// One more after this.
    pub interval: Duration,
}

impl Rate {
    /// The most that can be taken in such a time.
    pub fn most_in(self, time: Duration) -> u64 {
        u64::from(self.burst) + u64::try_from(time.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

/// Datagrams of all agents to everybody: the eight dense probes of an attempt for each of 1,024 contacts, when a network
/// comes back; in the long run 12 kB/s.
pub const TO_ALL: Rate = Rate { burst: 8192, interval: Duration::from_millis(10) };
/// To the one IP at which the rendezvous sees a peer, and to the rendezvous itself: an attempt with two birthday runs, of
/// 1,200 probes each, and all that comes before them; then another such run each minute.
pub const TO_PEER: Rate = Rate { burst: 3000, interval: Duration::from_millis(50) };
/// To any other address, which a peer has named, or which has spoken with its key: two attempts, or a path that is asked for
/// again and again.
pub const TO_OTHERS: Rate = Rate { burst: 100, interval: Duration::from_millis(200) };
/// Introductions to one contact that are acted on: what an honest rendezvous grants both sides, twice over. Beyond
/// it the attempt under way goes on.
pub const INTRODUCTIONS: Rate = Rate { burst: 40, interval: Duration::from_secs(1) };
/// Looks at our NAT, about ten STUN requests each to addresses that the rendezvous names. A network changes at most so often.
pub const LOOKS: Rate = Rate { burst: 20, interval: Duration::from_secs(3) };

/// Addresses with less than everything left that are remembered: as many as there can be datagrams at once.
const MAX_ADDRESSES: usize = TO_ALL.burst as usize;

/// What is left of a [`Rate`] (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one, if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.interval;
        let granted = full_at <= now + rate.interval * rate.burst;
        if granted {
            self.full_at = Some(full_at);
        }
        granted
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// Who an address belongs to, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The rendezvous sees the peer there, or it is the rendezvous.
    Known,
    /// Somebody said so.
    Named,
}

/// What is left for everybody, and for each.
#[derive(Debug, Default)]
pub struct Purse {
    all: Bucket,
    each: BTreeMap<IpAddr, Bucket>,
}

impl Purse {
    /// May a datagram be sent there?
    pub fn take(&mut self, to: IpAddr, owner: Owner, now: Instant) -> bool {
        let to = target(to);
        if self.each.len() >= MAX_ADDRESSES && !self.each.contains_key(&to) {
            self.each.retain(|_, bucket| !bucket.is_full(now));
            if self.each.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let rate = match owner {
            Owner::Known => TO_PEER,
            Owner::Named => TO_OTHERS,
        };
        // What one address is not granted is not taken from the others.
        let bucket = self.each.entry(to).or_default();
        let before = *bucket;
        let granted = bucket.take(rate, now);
        if granted && !self.all.take(TO_ALL, now) {
            *bucket = before;
            return false;
        }
        granted
    }
}

/// An IPv6 home is its /56 (RFC 6177): each has more addresses than could be counted.
fn target(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !(u128::MAX >> 56)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time has to start somewhere, and only the clock makes an Instant"
        )]
        Instant::now()
    }

    /// How many of so many datagrams a millisecond get out within a minute.
    fn granted(mut to: impl FnMut(u32) -> IpAddr, owner: Owner, each_ms: u32) -> u64 {
        let (mut purse, start, mut granted) = (Purse::default(), start(), 0);
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(u64::from(ms));
            for n in 0..each_ms {
                granted += u64::from(purse.take(to(ms * each_ms + n), owner, now));
            }
            assert!(purse.each.len() <= MAX_ADDRESSES);
        }
        granted
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4((0x0b00_0000 + n).into())
    }

    #[test]
    fn an_address_gets_its_share_and_no_more() {
        let others = granted(|_| v4(1), Owner::Named, 3);
        assert_eq!(others, TO_OTHERS.most_in(MINUTE - Duration::from_millis(1)));
        assert_eq!(granted(|_| v4(1), Owner::Known, 3), TO_PEER.most_in(MINUTE - Duration::from_millis(1)));
    }

    #[test]
    fn all_addresses_together_get_no_more_than_one_machine_may_send() {
        assert_eq!(granted(v4, Owner::Named, 5), TO_ALL.most_in(MINUTE - Duration::from_millis(1)));
    }

    #[test]
    fn a_home_with_a_prefix_is_one_address() {
        let of_home = |n: u32| IpAddr::V6((0x2001_0db8_0000_0100u128 << 64 | u128::from(n)).into());
        assert_eq!(granted(of_home, Owner::Named, 3), TO_OTHERS.most_in(MINUTE - Duration::from_millis(1)));
    }

    #[test]
    fn who_is_refused_takes_nothing_from_anybody_else() {
        let (mut purse, now) = (Purse::default(), start());
        assert_eq!((0..100_000).filter(|_| purse.take(v4(1), Owner::Named, now)).count(), 100);
        assert!((0..3000).all(|_| purse.take(v4(2), Owner::Known, now)));
    }
}
