//! Which handshakes are begun and which connections are kept, by where they come from.
//!
//! A source address is a claim until a packet has come back from it, so what an unproven source does is never held
//! against its address: it is asked for a proof (a Retry, RFC 9000, section 8.1.2) once there is reason to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use common::introduction::CloseCode;

use crate::limits::{HANDSHAKES, HANDSHAKES_OF_SOURCE, Limits, RETRY_HOLDS, Source, SourceBuckets, UNREGISTERED};

/// What to do with the first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Begin the handshake; call [`Admission::handshake_ended`] when it has ended in any way.
    Accept,
    /// Ask for a proof of the address.
    Retry,
    /// Say no.
    Refuse,
    /// Say nothing: the client repeats itself.
    Ignore,
}

/// Counts handshakes and connections.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    handshakes: usize,
    /// Until then proofs are asked for.
    asking: Option<Instant>,
    unproven: SourceBuckets,
    proven: SourceBuckets,
    connections: BTreeMap<Source, usize>,
    total: usize,
}

impl Admission {
    /// Nobody is here. `key` is random.
    pub fn new(limits: Limits, key: u64) -> Self {
        Admission {
            limits,
            handshakes: 0,
            asking: None,
            unproven: SourceBuckets::new(HANDSHAKES_OF_SOURCE, key),
            proven: SourceBuckets::new(HANDSHAKES_OF_SOURCE, key.rotate_left(32)),
            connections: BTreeMap::new(),
            total: 0,
        }
    }

    /// The first packet of a connection came from `ip`; `proven` if it carries the proof that a Retry asked for.
    pub fn judge(&mut self, ip: IpAddr, proven: bool, now: Instant) -> Verdict {
        let source = Source::of(ip);
        if self.handshakes >= HANDSHAKES {
            return Verdict::Ignore;
        }
        if proven {
            if self.is_crowded(source) || !self.proven.take(source, now) {
                return Verdict::Refuse;
            }
        } else if self.is_asking(now) || self.is_crowded(source) || !self.unproven.take(source, now) {
            return Verdict::Retry;
        }
        self.handshakes += 1;
        Verdict::Accept
    }

    /// Who was asked may have repeated its first packet before it heard the question. Were that one accepted because there
    /// is room again, the server would begin a handshake that nobody goes on with, and keep it for [`PATIENCE`].
    ///
    /// [`PATIENCE`]: crate::limits::PATIENCE
    fn is_asking(&mut self, now: Instant) -> bool {
        if self.handshakes >= self.limits.handshakes_before_retry {
            self.asking = Some(now + RETRY_HOLDS);
        }
        self.asking.is_some_and(|until| now < until)
    }

    /// A handshake that was accepted has succeeded or failed.
    pub fn handshake_ended(&mut self) {
        self.handshakes = self.handshakes.saturating_sub(1);
    }

    /// A handshake succeeded, which proves the address. The code to close with if the source, or this server, has all
    /// the connections that it may have; else call [`Admission::closed`] with the same address when it is closed.
    pub fn connected(&mut self, ip: IpAddr) -> Result<(), CloseCode> {
        let source = Source::of(ip);
        if self.is_crowded(source) {
            return Err(CloseCode::RateLimited);
        }
        if self.total >= self.limits.registrations.saturating_add(UNREGISTERED) {
            return Err(CloseCode::Full);
        }
        *self.connections.entry(source).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    /// A connection is gone.
    pub fn closed(&mut self, ip: IpAddr) {
        let source = Source::of(ip);
        if let Some(count) = self.connections.get_mut(&source) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.connections.remove(&source);
            }
        }
    }

    fn is_crowded(&self, source: Source) -> bool {
        self.connections.get(&source).is_some_and(|count| *count >= source.connections(&self.limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admission(connections_per_ipv4: usize) -> Admission {
        Admission::new(Limits { connections_per_ipv4, ..Limits::default() }, 7)
    }

    #[test]
    fn a_proof_is_asked_for_only_under_load() {
        let now = Instant::now();
        let mut admission = admission(10);
        for n in 0..Limits::default().handshakes_before_retry {
            assert_eq!(admission.judge(ALICE, false, now), Verdict::Accept, "handshake {n}");
        }
        assert_eq!(admission.judge(BOB, false, now), Verdict::Retry);
        assert_eq!(admission.judge(BOB, true, now), Verdict::Accept);
        admission.handshake_ended();
        admission.handshake_ended();
        assert_eq!(admission.judge(BOB, false, now), Verdict::Retry, "what he repeats is not begun a second time");
        assert_eq!(admission.judge(BOB, false, now + RETRY_HOLDS), Verdict::Accept);
    }

    #[test]
    fn an_operator_may_ask_everybody_for_a_proof() {
        let mut admission = Admission::new(Limits { handshakes_before_retry: 0, ..Limits::default() }, 7);
        assert_eq!(admission.judge(ALICE, false, Instant::now()), Verdict::Retry);
        assert_eq!(admission.judge(ALICE, true, Instant::now()), Verdict::Accept);
    }

    #[test]
    fn beyond_all_measure_new_handshakes_are_not_even_answered() {
        let now = Instant::now();
        let mut admission = admission(10);
        let accepted = (0..u32::MAX)
            .map(|n| admission.judge(IpAddr::V4(n.into()), true, now))
            .take_while(|verdict| *verdict == Verdict::Accept)
            .count();
        assert_eq!(accepted, HANDSHAKES);
        assert_eq!(admission.judge(ALICE, true, now), Verdict::Ignore);
    }

    #[test]
    fn one_source_has_only_so_many_connections_and_leaves_room_for_others() {
        let now = Instant::now();
        let mut admission = admission(2);
        assert_eq!([(); 3].map(|()| admission.connected(ALICE)), [Ok(()), Ok(()), Err(CloseCode::RateLimited)]);
        assert_eq!(admission.judge(ALICE, false, now), Verdict::Retry, "perhaps it is not she");
        assert_eq!(admission.judge(ALICE, true, now), Verdict::Refuse, "it is she");
        assert_eq!(admission.judge(BOB, false, now), Verdict::Accept);
        admission.closed(ALICE);
        assert_eq!(admission.connected(ALICE), Ok(()));
    }

    #[test]
    fn all_sources_together_have_little_more_connections_than_there_is_room_to_register() {
        let mut admission = Admission::new(Limits { registrations: 5, ..Limits::default() }, 7);
        let mut come = |n: u32| admission.connected(IpAddr::V4(n.into()));
        assert!((0..5 + UNREGISTERED as u32).all(|n| come(n) == Ok(())));
        assert_eq!(come(u32::MAX), Err(CloseCode::Full));
        admission.closed(IpAddr::V4(0.into()));
        assert_eq!(admission.connected(ALICE), Ok(()));
    }

    #[test]
    fn who_forges_somebodys_address_cannot_lock_the_owner_out() {
        let now = Instant::now();
        let mut admission = admission(10);
        for _ in 0..10 * HANDSHAKES_OF_SOURCE.burst {
            if admission.judge(ALICE, false, now) == Verdict::Accept {
                admission.handshake_ended();
            }
        }
        assert_eq!(admission.judge(ALICE, false, now), Verdict::Retry);
        assert_eq!(admission.judge(ALICE, true, now), Verdict::Accept);
    }
}
