//! Which pairs of a base and a remote address are probed, when, and which probes are still out: the check list of RFC 8445,
//! section 6.1.2, for one component. What is offered is probed from the main socket; other pairs are those at which the
//! peer was heard, or answered, when ports were guessed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::candidate::{Candidate, CandidateKind, canonical, may_probe};
use crate::pairing::ProbeKey;
use crate::stun::TransactionId;

use super::attempt::Checked;
use super::scatter::BLOCK;
use super::surface::Base;

/// Probes of one attempt, all candidates together.
pub const BUDGET: u32 = 50;
/// Candidates of one attempt. A peer with more interfaces than this reaches us by its reflexive address.
pub const MAX_CANDIDATES: usize = 8;
/// What host candidates may take of the budget, so that a peer with many interfaces cannot starve the punching.
const HOST_SHARE: u32 = 30;
/// Pairs found by guessing, besides the candidates: all mappings of a volley into a block. Of those seven or eight are hit at
/// once in a block of 512; whoever had no room for more could not follow if the other side chose one of them.
const MAX_FOUND: usize = BLOCK.sockets as usize;
/// Probes of all pairs found by guessing: each is there because the peer was heard, and most answer to the first.
pub const FOUND_BUDGET: u32 = 50;
/// Probes that a pair may have that the peer has chosen: all of the schedule's.
const CHOSEN: u32 = SCHEDULE.len() as u32;
/// Guesses remembered as unanswered: those of the last three seconds of the largest strategy.
const MAX_GUESSES: usize = 1280;
/// A host on our LAN answers at once or never: six rounds, 160 ms.
const HOST_ROUNDS: usize = 6;
/// When a candidate is probed, in milliseconds after it became known. Dense at first, because both sides' first probes
/// race for each other's filters and each repeat closes a gap of its own size; then once a second against loss.
const SCHEDULE: [u64; 18] =
    [0, 10, 20, 40, 80, 160, 320, 640, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 9900];
/// All who were heard are together probed at least this often while the schedule runs: our probe or its answer was lost, and
/// a peer that has its path by then says nothing more by itself. Heard after 2 s this is 33 probes; with the ten before that, and
/// six to a host candidate, it is what [`BUDGET`] has.
const HEARD_GAP: Duration = Duration::from_millis(250);
/// Probes remembered as unanswered: an attempt's worth, and keepalives.
const MAX_OUTSTANDING: usize = 64;
/// A source that sends many probes at once is probed back once. What was sent to it before it was heard from does not
/// count: that probably met a closed filter, which is open now.
const TRIGGER_GAP: Duration = Duration::from_millis(5);

/// An answer to one of our probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answer {
    pub(super) base: Base,
    pub(super) candidate: Candidate,
    pub(super) rtt: Duration,
    /// The probe said that this is the path that we have chosen.
    pub(super) to_nomination: bool,
}

/// A probe to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) base: Base,
    pub(super) destination: SocketAddr,
    pub(super) transaction: TransactionId,
    pub(super) nominates: bool,
}

/// Whose schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Everybody,
    /// Candidates of the other version of IP than this address.
    OtherFamily(IpAddr),
    /// The pair that the peer has chosen.
    Chosen(Base, SocketAddr),
    Nobody,
}

impl Scope {
    pub(super) fn covers(self, base: Base, address: SocketAddr) -> bool {
        match self {
            Scope::Chosen(chosen, remote) => (chosen, remote) == (base, address),
            Scope::Everybody => true,
            Scope::OtherFamily(ip) => ip.is_ipv4() != address.is_ipv4(),
            Scope::Nobody => false,
        }
    }
}

/// Asked for outside of the schedule.
#[derive(Debug, Clone, Copy)]
struct Ready {
    base: Base,
    destination: SocketAddr,
    nominates: bool,
}

#[derive(Debug)]
struct Check {
    base: Base,
    candidate: Candidate,
    /// Not offered, but found by guessing.
    found: bool,
    start: Instant,
    round: usize,
    /// Probes, and which of all the list's was the first.
    sent: u32,
    first: u64,
    last_sent: Option<Instant>,
    /// Of the fastest answer.
    rtt: Option<Duration>,
    triggered: Option<Instant>,
    /// The peer has shown that this address is its own: it answered, or sent an authentic probe from there.
    authentic: bool,
}

impl Check {
    fn new(base: Base, candidate: Candidate, now: Instant) -> Self {
        let (start, round, triggered) = (now, 0, None);
        let (sent, first, last_sent, rtt) = (0, u64::MAX, None, None);
        Check { base, candidate, found: false, start, round, sent, first, last_sent, rtt, triggered, authentic: false }
    }

    fn is(&self, base: Base, address: SocketAddr) -> bool {
        self.base == base && self.candidate.address == address
    }

    fn is_host(&self) -> bool {
        self.candidate.kind == CandidateKind::Host
    }

    fn scheduled_at(&self) -> Option<Instant> {
        let rounds = if self.is_host() && !self.authentic { HOST_ROUNDS } else { SCHEDULE.len() };
        SCHEDULE[..rounds].get(self.round).map(|ms| self.start + Duration::from_millis(*ms))
    }

    /// The next round, or sooner if whoever is heard is probed again after this gap.
    fn next_at(&self, heard_gap: Option<Duration>) -> Option<Instant> {
        let scheduled = self.scheduled_at()?;
        let again = heard_gap.filter(|_| self.authentic).and_then(|gap| Some(self.last_sent? + gap));
        Some(again.map_or(scheduled, |again| again.min(scheduled)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    base: Base,
    destination: SocketAddr,
    sent: Instant,
    nominates: bool,
}

#[derive(Debug)]
pub(super) struct Checklist {
    key: ProbeKey,
    own_reflexive: Option<IpAddr>,
    /// The address whose ports are guessed.
    guessed: Option<IpAddr>,
    checks: Vec<Check>,
    sent: u32,
    sent_to_hosts: u32,
    sent_to_found: u32,
    last_sent: Option<Instant>,
    counter: u64,
    outstanding: BTreeMap<TransactionId, Outstanding>,
    guesses: BTreeMap<TransactionId, Outstanding>,
    /// The guesses in the order in which they left.
    guesses_by_age: VecDeque<TransactionId>,
    /// Triggered checks and keepalives.
    ready: VecDeque<Ready>,
}

impl Checklist {
    pub(super) fn new(key: ProbeKey, own_reflexive: Option<IpAddr>, guessed: Option<IpAddr>) -> Self {
        Checklist {
            key,
            own_reflexive,
            guessed,
            checks: Vec::new(),
            sent: 0,
            sent_to_hosts: 0,
            sent_to_found: 0,
            last_sent: None,
            counter: 0,
            outstanding: BTreeMap::new(),
            guesses: BTreeMap::new(),
            guesses_by_age: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Adds a candidate unless it is known, not allowed or one too many.
    pub(super) fn add(&mut self, candidate: Candidate, now: Instant) {
        let candidate = Candidate { address: canonical(candidate.address), ..candidate };
        let known = self.checks.iter().any(|check| check.is(Base::MAIN, candidate.address));
        if !known && self.offered() < MAX_CANDIDATES && may_probe(candidate.address, self.own_reflexive) {
            self.checks.push(Check::new(Base::MAIN, candidate, now));
        }
    }

    fn offered(&self) -> usize {
        self.checks.iter().filter(|check| !check.found).count()
    }

    /// Makes a pair at which the peer was heard or answered. A new address takes the place of a host candidate that never
    /// answered, should the list be full; what was found by guessing has places of its own.
    fn find(&mut self, base: Base, source: SocketAddr, now: Instant) -> Option<&mut Check> {
        if let Some(known) = self.checks.iter().position(|check| check.is(base, source)) {
            return self.checks.get_mut(known);
        }
        let candidate = Candidate { kind: CandidateKind::PeerReflexive, address: source };
        let mut check = Check::new(base, candidate, now);
        if !may_probe(source, self.own_reflexive) {
            return None;
        }
        let guessed = self.guessed == Some(source.ip()) && (base != Base::MAIN || self.offered() >= MAX_CANDIDATES);
        if guessed {
            check.found = true;
            if self.checks.len() - self.offered() >= MAX_FOUND {
                return None;
            }
        } else if self.offered() >= MAX_CANDIDATES {
            let silent = self.checks.iter().rposition(|check| check.is_host() && !check.authentic)?;
            self.checks.remove(silent);
        }
        self.checks.push(check);
        self.checks.last_mut()
    }

    /// An authentic probe came from this address. While probing, it is probed back. `false`: there is no room for it.
    pub(super) fn heard_from(&mut self, base: Base, source: SocketAddr, probing: bool, now: Instant) -> bool {
        let Some(check) = self.find(base, source, now) else { return false };
        check.authentic = true;
        let fresh = check.triggered.is_some_and(|last| now < last + TRIGGER_GAP);
        let scheduled = check.scheduled_at().is_some_and(|at| at <= now);
        if probing && !fresh && !scheduled {
            check.triggered = Some(now);
            self.ready.push_back(Ready { base, destination: source, nominates: false });
        }
        true
    }

    /// Asks once, whatever the schedule says; the answer shows whether the path is alive.
    pub(super) fn ask(&mut self, base: Base, destination: SocketAddr, nominates: bool) {
        // A question costs nothing of the attempt's budget: the agent asks one at a time.
        self.sent = self.sent.min(BUDGET - 1);
        self.sent_to_found = self.sent_to_found.min(FOUND_BUDGET - 1);
        self.ready.push_back(Ready { base, destination, nominates });
    }

    /// Starts the schedule of all candidates again, with a new budget.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.sent, self.sent_to_hosts, self.sent_to_found) = (0, 0, 0);
        for check in &mut self.checks {
            (check.start, check.round) = (now, 0);
        }
    }

    /// The peer has chosen this pair: its schedule begins again, and has what it takes.
    pub(super) fn choose(&mut self, base: Base, source: SocketAddr, now: Instant) {
        if let Some(check) = self.checks.iter_mut().find(|check| check.is(base, source)) {
            (check.start, check.round) = (now, 0);
        }
        self.sent = self.sent.min(BUDGET - CHOSEN);
        self.sent_to_found = self.sent_to_found.min(FOUND_BUDGET - CHOSEN);
    }

    /// The next probe that is due, counted as sent. Those of this pair nominate.
    pub(super) fn poll_probe(
        &mut self,
        scope: Scope,
        choice: Option<(Base, SocketAddr)>,
        now: Instant,
    ) -> Option<Probe> {
        loop {
            let Ready { base, destination, nominates } = match self.ready.pop_front() {
                Some(ready) => ready,
                None => self.poll_schedule(scope, now)?,
            };
            let found = self.checks.iter().any(|check| check.found && check.is(base, destination));
            let (sent, budget) = if found { (&mut self.sent_to_found, FOUND_BUDGET) } else { (&mut self.sent, BUDGET) };
            if *sent >= budget {
                continue;
            }
            *sent += 1;
            let nominates = nominates || choice == Some((base, destination));
            let transaction = self.next_transaction();
            if let Some(check) = self.checks.iter_mut().find(|check| check.is(base, destination)) {
                check.first = check.first.min(self.counter);
                check.sent += 1;
                check.last_sent = Some(now);
            }
            self.last_sent = Some(now);
            if self.outstanding.len() == MAX_OUTSTANDING {
                let oldest = self.outstanding.iter().min_by_key(|(_, out)| out.sent).map(|(id, _)| *id);
                oldest.and_then(|id| self.outstanding.remove(&id));
            }
            self.outstanding.insert(transaction, Outstanding { base, destination, sent: now, nominates });
            return Some(Probe { base, destination, transaction, nominates });
        }
    }

    /// A probe of a strategy that guesses: the strategy has counted it.
    pub(super) fn guess(&mut self, base: Base, destination: SocketAddr, now: Instant) -> Probe {
        let transaction = self.next_transaction();
        if self.guesses_by_age.len() == MAX_GUESSES {
            let oldest = self.guesses_by_age.pop_front();
            oldest.and_then(|id| self.guesses.remove(&id));
        }
        self.guesses_by_age.push_back(transaction);
        self.guesses.insert(transaction, Outstanding { base, destination, sent: now, nominates: false });
        Probe { base, destination, transaction, nominates: false }
    }

    fn poll_schedule(&mut self, scope: Scope, now: Instant) -> Option<Ready> {
        let (open, gap) = (self.open(), self.heard_gap(scope));
        let allowed = |check: &Check| scope.covers(check.base, check.candidate.address) && open.allows(check);
        let due = |check: &&mut Check| check.next_at(gap).is_some_and(|at| at <= now) && allowed(check);
        let check = self.checks.iter_mut().filter(due).min_by_key(|check| check.candidate)?;
        // After a pause (a suspended machine, a late timer) the rounds that were missed are not made up for.
        while check.scheduled_at().is_some_and(|at| at <= now) {
            check.round += 1;
        }
        if check.is_host() {
            self.sent_to_hosts += 1;
        }
        Some(Ready { base: check.base, destination: check.candidate.address, nominates: false })
    }

    /// When the schedule has its next probe.
    pub(super) fn next_at(&self, scope: Scope) -> Option<Instant> {
        let (open, gap) = (self.open(), self.heard_gap(scope));
        let allowed = |check: &&Check| scope.covers(check.base, check.candidate.address) && open.allows(check);
        self.checks.iter().filter(allowed).filter_map(|check| check.next_at(gap)).min()
    }

    /// After how long each of those who were heard is probed again, while a path is looked for.
    fn heard_gap(&self, scope: Scope) -> Option<Duration> {
        let heard = self.checks.iter().filter(|check| check.authentic).count();
        (scope == Scope::Everybody).then(|| HEARD_GAP * u32::try_from(heard).unwrap_or(u32::MAX))
    }

    fn open(&self) -> Open {
        let offered = self.sent < BUDGET;
        Open { offered, hosts: offered && self.sent_to_hosts < HOST_SHARE, found: self.sent_to_found < FOUND_BUDGET }
    }

    pub(super) fn is_outstanding(&self, transaction: TransactionId) -> bool {
        self.outstanding.contains_key(&transaction) || self.guesses.contains_key(&transaction)
    }

    /// An authentic answer. It counts only from where the probe went, and where it left (RFC 8445, section 7.2.5.2.1).
    pub(super) fn answered(
        &mut self,
        transaction: TransactionId,
        base: Base,
        source: SocketAddr,
        now: Instant,
    ) -> Option<Answer> {
        let out = self.outstanding.remove(&transaction).or_else(|| self.guesses.remove(&transaction))?;
        if (out.base, out.destination) != (base, source) {
            return None;
        }
        let check = self.find(base, source, now)?;
        check.authentic = true;
        let rtt = now.saturating_duration_since(out.sent);
        check.rtt = check.rtt.into_iter().chain([rtt]).min();
        Some(Answer { base, candidate: check.candidate, rtt, to_nomination: out.nominates })
    }

    /// Only what stands on open bases is probed.
    pub(super) fn forget(&mut self, closed: &[Base]) {
        self.checks.retain(|check| !closed.contains(&check.base));
        self.ready.retain(|ready| !closed.contains(&ready.base));
    }

    pub(super) fn is_authentic(&self, address: SocketAddr) -> bool {
        self.checks.iter().any(|check| check.authentic && check.candidate.address == address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.checks.iter().map(|check| check.candidate.address)
    }

    /// Probes of this attempt.
    pub(super) fn sent(&self) -> u32 {
        self.sent + self.sent_to_found
    }

    /// When the last of them left.
    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    /// What became of each pair, in the order in which they were tried.
    pub(super) fn record(&self) -> Vec<Checked> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.sort_by_key(|check| check.first);
        let record = |check: &&Check| Checked {
            kind: check.candidate.kind,
            address: check.candidate.address,
            packets: check.sent,
            heard: check.authentic,
            rtt: check.rtt,
        };
        checks.iter().map(record).collect()
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

/// For whom there is still something in the budget.
#[derive(Debug, Clone, Copy)]
struct Open {
    offered: bool,
    hosts: bool,
    found: bool,
}

impl Open {
    fn allows(self, check: &Check) -> bool {
        match (check.found, check.is_host()) {
            (true, _) => self.found,
            (false, true) => self.hosts,
            (false, false) => self.offered,
        }
    }
}
