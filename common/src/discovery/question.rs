//! One question of a run: a STUN transaction that is repeated until it is answered or has been silent for long enough
//! (RFC 8489, section 6.2.1, but faster: the answers of a rendezvous are worth waiting for only as long as people wait).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::trace;

use super::{Socket, Transmit, WakeReason, Wakeup};
use crate::stun::{self, Change, TransactionId};

/// The retransmission timeout while nothing is known of the round trip. Hardly anybody is farther from a server than
/// this; RFC 8489 has 500 ms, which would make the silence last four and a half seconds.
pub(super) const MAX_RTO: Duration = Duration::from_millis(200);

/// What settles a question.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// A response from this address.
    Response { from: SocketAddr },
    /// The request itself, at our other socket.
    Arrival { at: Socket },
}

/// What arrived with the question's transaction id.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    Success(SocketAddr),
    Refusal,
    OwnRequest,
}

/// Moved only by [`Question::enter`].
#[derive(Debug, Clone, Copy)]
enum State {
    /// Sent that often; at `next`, once more or no more.
    Asking {
        sent: u32,
        next: Instant,
    },
    Answered {
        mapped: SocketAddr,
        after: Duration,
    },
    Arrived,
    /// The server does not do what was asked.
    Refused,
    /// All tries are out, and nothing came.
    Silent,
    /// Of no interest any more. Not the same as silent: not all tries were made.
    Abandoned,
}

/// What to ask, how often, and what to listen for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) socket: Socket,
    pub(super) destination: SocketAddr,
    pub(super) change: Change,
    pub(super) expected: Expected,
    pub(super) tries: u32,
    pub(super) rto: Duration,
}

#[derive(Debug)]
pub(super) struct Question {
    pub(super) transaction: TransactionId,
    plan: Plan,
    asked: Instant,
    state: State,
}

impl Question {
    pub(super) fn new(transaction: TransactionId, plan: Plan, now: Instant) -> Self {
        Question { transaction, plan, asked: now, state: State::Asking { sent: 0, next: now } }
    }

    /// The next datagram that is due. Four tries leave after 0, 1, 3 and 7 timeouts, and the silence ends after 9. A
    /// late timer postpones what follows, so that silence always means that all tries had their time.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Transmit> {
        let State::Asking { sent, next } = self.state else { return None };
        if now < next {
            return None;
        }
        if sent == self.plan.tries {
            self.enter(State::Silent);
            return None;
        }
        let timeouts = if sent + 1 == self.plan.tries { 2 } else { 1 << sent };
        self.enter(State::Asking { sent: sent + 1, next: now + self.plan.rto * timeouts });
        let Plan { socket, destination, change, .. } = self.plan;
        Some(Transmit { socket, destination, payload: stun::encode_request(self.transaction, change) })
    }

    pub(super) fn wakeup(&self) -> Option<Wakeup> {
        let State::Asking { sent, next } = self.state else { return None };
        let reason = if sent == self.plan.tries { WakeReason::AnswerOverdue } else { WakeReason::Retransmission };
        Some(Wakeup { at: next, reason })
    }

    /// Something with this question's transaction id. Whatever does not fit is left, and the question stays open.
    pub(super) fn hear(&mut self, socket: Socket, source: SocketAddr, reply: Reply, now: Instant) {
        if !matches!(self.state, State::Asking { sent: 1.., .. }) {
            return;
        }
        let asked = socket == self.plan.socket && source == self.plan.destination;
        match (self.plan.expected, reply) {
            (Expected::Response { from }, Reply::Success(mapped)) if socket == self.plan.socket && source == from => {
                let after = now.saturating_duration_since(self.asked);
                self.enter(State::Answered { mapped, after });
            }
            // An error, or an answer from the very address that was asked to let another one answer.
            (Expected::Response { .. }, Reply::Refusal | Reply::Success(_)) if asked => self.enter(State::Refused),
            // From whatever address: NATs differ in what they make of the source of a packet that they turn round.
            (Expected::Arrival { at }, Reply::OwnRequest) if socket == at => self.enter(State::Arrived),
            _ => trace!(%source, ?reply, "not the answer that was expected"),
        }
    }

    pub(super) fn abandon(&mut self) {
        if !self.is_settled() {
            self.enter(State::Abandoned);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.state, State::Asking { .. })
    }

    /// The mapped address, and when it came after the first try: no less than the round-trip time.
    pub(super) fn answer(&self) -> Option<(SocketAddr, Duration)> {
        match self.state {
            State::Answered { mapped, after } => Some((mapped, after)),
            _ => None,
        }
    }

    pub(super) fn has_arrived(&self) -> bool {
        matches!(self.state, State::Arrived)
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent)
    }

    fn enter(&mut self, state: State) {
        trace!(destination = %self.plan.destination, from = ?self.state, to = ?state, "question");
        self.state = state;
    }
}
