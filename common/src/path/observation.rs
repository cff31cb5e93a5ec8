//! A look at our own NAT: STUN Bindings from fresh sockets to the rendezvous, one behind the other, repeated until answered.
//! The order of the questions is that of the mappings: a lost answer is asked for again from the same socket, whose mapping
//! stands.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::surface::Base;
use crate::stun::TransactionId;

/// Tries of a question: with one packet in ten lost each way, one answer in 150 stays out, and a look does without it.
const TRIES: u8 = 3;
/// Before any answer has shown how far the server is; the far end of most homes.
const FIRST_RTO: Duration = Duration::from_millis(250);
/// Jitter of a busy home network.
const MIN_RTO: Duration = Duration::from_millis(40);

#[derive(Debug)]
struct Question {
    base: Base,
    destination: SocketAddr,
    transaction: TransactionId,
    /// Not before.
    first: Instant,
    tries: u8,
    /// The first try, and the last one.
    begun: Option<Instant>,
    asked: Option<Instant>,
    mapped: Option<SocketAddr>,
}

/// An answer, or that there was none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) base: Base,
    pub(super) by: SocketAddr,
    pub(super) mapped: Option<SocketAddr>,
}

/// Questions under way and their answers.
#[derive(Debug)]
pub(super) struct Observation {
    seed: [u8; 32],
    drawn: u32,
    questions: Vec<Question>,
    /// The fastest answer so far.
    rtt: Option<Duration>,
}

impl Observation {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Observation { seed, drawn: 0, questions: Vec::new(), rtt: None }
    }

    /// Forgets the questions of before; the round trip stays.
    pub(super) fn clear(&mut self) {
        self.questions.clear();
    }

    pub(super) fn ask(&mut self, base: Base, destination: SocketAddr, first: Instant) {
        self.drawn += 1;
        let digest = Sha256::new()
            .chain_update(b"observation")
            .chain_update(self.seed)
            .chain_update(self.drawn.to_be_bytes())
            .finalize();
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        let transaction = TransactionId(id);
        self.questions.push(Question {
            base,
            destination,
            transaction,
            first,
            tries: 0,
            begun: None,
            asked: None,
            mapped: None,
        });
    }

    fn rto(&self) -> Duration {
        self.rtt.map_or(FIRST_RTO, |rtt| (rtt * 2).max(MIN_RTO))
    }

    /// When it is asked, or asked again, or given up.
    fn due(&self, question: &Question) -> Instant {
        question.asked.map_or(question.first, |at| at + self.rto())
    }

    /// The next request, if it is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Base, SocketAddr, TransactionId)> {
        let open = |question: &&Question| question.mapped.is_none() && question.tries < TRIES;
        let due = |question: &Question| self.due(question);
        let index = self.questions.iter().position(|question| open(&question) && due(question) <= now)?;
        let question = &mut self.questions[index];
        question.tries += 1;
        question.begun.get_or_insert(now);
        question.asked = Some(now);
        Some((question.base, question.destination, question.transaction))
    }

    /// When there is something to ask, or nothing more to wait for. One that was given up before the others makes nobody wake.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waiting = || self.questions.iter().filter(|question| question.mapped.is_none());
        let due = |question: &Question| self.due(question);
        let to_ask = waiting().filter(|question| question.tries < TRIES).map(due).min();
        to_ask.or_else(|| waiting().map(due).max())
    }

    /// An answer; `false` if it is to none of these questions.
    pub(super) fn answered(
        &mut self,
        transaction: TransactionId,
        (base, source): (Base, SocketAddr),
        mapped: SocketAddr,
        now: Instant,
    ) -> bool {
        let mine = |q: &&mut Question| q.transaction == transaction && q.base == base && q.destination == source;
        let Some(question) = self.questions.iter_mut().find(mine) else { return false };
        if question.mapped.is_none() {
            question.mapped = Some(mapped);
            // Since the first try: to a server that is further than the timeout every question is asked twice, and of several
            // answers one at least belongs to a first try.
            let rtt = question.begun.map(|at| now.saturating_duration_since(at));
            self.rtt = self.rtt.into_iter().chain(rtt).min();
        }
        true
    }

    /// Is there nothing more to come?
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.questions
            .iter()
            .all(|question| question.mapped.is_some() || (question.tries >= TRIES && now >= self.due(question)))
    }

    /// What was seen, in the order of the questions.
    pub(super) fn answers(&self) -> impl Iterator<Item = Seen> {
        let seen = |q: &Question| Seen { base: q.base, by: q.destination, mapped: q.mapped };
        self.questions.iter().map(seen)
    }

    /// The round trip to the server, if anything was answered at once.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}
