//! Which addresses are probed, when, and which probes are still out: the check list of RFC 8445, section 6.1.2, for one
//! component and one local socket.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::candidate::{Candidate, CandidateKind, canonical, may_probe};
use crate::pairing::ProbeKey;
use crate::stun::TransactionId;

/// Probes of one attempt, all candidates together.
pub const BUDGET: u32 = 50;
/// Candidates of one attempt. A peer with more interfaces than this reaches us by its reflexive address.
pub const MAX_CANDIDATES: usize = 8;
/// What host candidates may take of the budget, so that a peer with many interfaces cannot starve the punching.
const HOST_SHARE: u32 = 30;
/// A host on our LAN answers at once or never: six rounds, 160 ms.
const HOST_ROUNDS: usize = 6;
/// When a candidate is probed, in milliseconds after it became known. Dense at first, because both sides' first probes
/// race for each other's filters and each repeat closes a gap of its own size; then once a second against loss.
const SCHEDULE: [u64; 18] =
    [0, 10, 20, 40, 80, 160, 320, 640, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 9900];
/// Probes remembered as unanswered: an attempt's worth, and keepalives.
const MAX_OUTSTANDING: usize = 64;
/// A source that sends many probes at once is probed back once. What was sent to it before it was heard from does not
/// count: that probably met a closed filter, which is open now.
const TRIGGER_GAP: Duration = Duration::from_millis(5);

/// An answer to one of our probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answer {
    pub(super) candidate: Candidate,
    pub(super) rtt: Duration,
}

#[derive(Debug)]
struct Check {
    candidate: Candidate,
    start: Instant,
    round: usize,
    triggered: Option<Instant>,
    /// The peer has shown that this address is its own: it answered, or sent an authentic probe from there.
    authentic: bool,
}

impl Check {
    fn new(candidate: Candidate, now: Instant) -> Self {
        Check { candidate, start: now, round: 0, triggered: None, authentic: false }
    }

    fn is_host(&self) -> bool {
        self.candidate.kind == CandidateKind::Host
    }

    fn next_at(&self) -> Option<Instant> {
        let rounds = if self.is_host() && !self.authentic { HOST_ROUNDS } else { SCHEDULE.len() };
        SCHEDULE[..rounds].get(self.round).map(|ms| self.start + Duration::from_millis(*ms))
    }
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    destination: SocketAddr,
    sent: Instant,
}

#[derive(Debug)]
pub(super) struct Checklist {
    key: ProbeKey,
    own_reflexive: Option<IpAddr>,
    checks: Vec<Check>,
    sent: u32,
    sent_to_hosts: u32,
    counter: u64,
    outstanding: BTreeMap<TransactionId, Outstanding>,
    /// Asked for outside of the schedule: triggered checks and keepalives.
    ready: VecDeque<SocketAddr>,
}

impl Checklist {
    pub(super) fn new(key: ProbeKey, own_reflexive: Option<IpAddr>) -> Self {
        Checklist {
            key,
            own_reflexive,
            checks: Vec::new(),
            sent: 0,
            sent_to_hosts: 0,
            counter: 0,
            outstanding: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Adds a candidate unless it is known, not allowed or one too many.
    pub(super) fn add(&mut self, candidate: Candidate, now: Instant) {
        let candidate = Candidate { address: canonical(candidate.address), ..candidate };
        let known = self.checks.iter().any(|check| check.candidate.address == candidate.address);
        if !known && self.checks.len() < MAX_CANDIDATES && may_probe(candidate.address, self.own_reflexive) {
            self.checks.push(Check::new(candidate, now));
        }
    }

    /// An authentic probe came from this address. While probing, it is probed back; a new address takes the place of a
    /// host candidate that never answered, should the list be full.
    pub(super) fn heard_from(&mut self, source: SocketAddr, probing: bool, now: Instant) {
        if !self.checks.iter().any(|check| check.candidate.address == source) {
            if self.checks.len() == MAX_CANDIDATES {
                let Some(silent) = self.checks.iter().rposition(|check| check.is_host() && !check.authentic) else {
                    return;
                };
                self.checks.remove(silent);
            }
            self.add(Candidate { kind: CandidateKind::PeerReflexive, address: source }, now);
        }
        let Some(check) = self.checks.iter_mut().find(|check| check.candidate.address == source) else { return };
        check.authentic = true;
        let fresh = check.triggered.is_some_and(|last| now < last + TRIGGER_GAP);
        let scheduled = check.next_at().is_some_and(|at| at <= now);
        if probing && !fresh && !scheduled {
            check.triggered = Some(now);
            self.ready.push_back(source);
        }
    }

    /// Asks once, whatever the schedule says; the answer shows whether the path is alive.
    pub(super) fn ask(&mut self, destination: SocketAddr) {
        // A question costs nothing of the attempt's budget: the agent asks one at a time.
        self.sent = self.sent.min(BUDGET - 1);
        self.ready.push_back(destination);
    }

    /// Starts the schedule of all candidates again, with a new budget.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.sent, self.sent_to_hosts) = (0, 0);
        for check in &mut self.checks {
            (check.start, check.round) = (now, 0);
        }
    }

    /// The next probe that is due, counted as sent.
    pub(super) fn poll_probe(&mut self, scheduled: bool, now: Instant) -> Option<(TransactionId, SocketAddr)> {
        if self.sent >= BUDGET {
            self.ready.clear();
            return None;
        }
        let destination = match self.ready.pop_front() {
            Some(destination) => destination,
            None if scheduled => self.poll_schedule(now)?,
            None => return None,
        };
        self.sent += 1;
        let transaction = self.next_transaction();
        if self.outstanding.len() == MAX_OUTSTANDING {
            let oldest = self.outstanding.iter().min_by_key(|(_, out)| out.sent).map(|(id, _)| *id);
            oldest.and_then(|id| self.outstanding.remove(&id));
        }
        self.outstanding.insert(transaction, Outstanding { destination, sent: now });
        Some((transaction, destination))
    }

    fn poll_schedule(&mut self, now: Instant) -> Option<SocketAddr> {
        let hosts = self.sent_to_hosts < HOST_SHARE;
        let due = |check: &&mut Check| check.next_at().is_some_and(|at| at <= now) && (hosts || !check.is_host());
        let check = self.checks.iter_mut().filter(due).min_by_key(|check| check.candidate)?;
        // After a pause (a suspended machine, a late timer) the rounds that were missed are not made up for.
        while check.next_at().is_some_and(|at| at <= now) {
            check.round += 1;
        }
        if check.is_host() {
            self.sent_to_hosts += 1;
        }
        Some(check.candidate.address)
    }

    /// When the schedule has its next probe.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.sent >= BUDGET {
            return None;
        }
        let hosts = self.sent_to_hosts < HOST_SHARE;
        self.checks.iter().filter(|check| hosts || !check.is_host()).filter_map(Check::next_at).min()
    }

    pub(super) fn is_outstanding(&self, transaction: TransactionId) -> bool {
        self.outstanding.contains_key(&transaction)
    }

    /// An authentic answer. It counts only from where the probe went (RFC 8445, section 7.2.5.2.1).
    pub(super) fn answered(&mut self, transaction: TransactionId, source: SocketAddr, now: Instant) -> Option<Answer> {
        let out = self.outstanding.remove(&transaction)?;
        if out.destination != source {
            return None;
        }
        let check = self.checks.iter_mut().find(|check| check.candidate.address == source)?;
        check.authentic = true;
        Some(Answer { candidate: check.candidate, rtt: now.saturating_duration_since(out.sent) })
    }

    pub(super) fn is_authentic(&self, address: SocketAddr) -> bool {
        self.checks.iter().any(|check| check.authentic && check.candidate.address == address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.checks.iter().map(|check| check.candidate.address)
    }

    /// A transaction id that nobody without the key can guess, without drawing randomness: a hash of key and counter.
    fn next_transaction(&mut self) -> TransactionId {
        self.counter += 1;
        let digest =
            Sha256::new().chain_update(self.key.as_bytes()).chain_update(self.counter.to_be_bytes()).finalize();
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        TransactionId(id)
    }
}
