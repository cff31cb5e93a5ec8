//! The punching machine: one [`Agent`] for each introduction, from the first probe to the day the path is lost.
//!
//! # The life of a path
//!
//! The rendezvous has introduced us to a peer. The driver makes an [`Agent`] with the keys of this introduction and
//! gives it the peer's candidates. At once, and then densely repeated, a **probe** leaves for each of them: a STUN
//! Binding request that only the two of us can make. It opens our NAT's filter for the peer's address; the peer's
//! probes open theirs. As soon as one probe of each side has crossed, the next one gets through.
//!
//! A probe that arrives is answered at its *source*, and probed back (a triggered check, RFC 8445, section 7.3.1.4):
//! when the peer's NAT has used another port than the one we were told, this is how we learn it, without a word from
//! the server. That is the peer-reflexive strategy, and it costs nothing.
//!
//! An authentic probe tells more than where the peer is: that it arrived shows that our filter is open for it, and it was
//! sent through the mapping at which our packets will arrive. So the driver may dial at once ([`Event::Heard`]), one way
//! before the answer to our own probe makes the path certain ([`Event::Punched`]). From now on the agent keeps the mapping alive: it asks again after 15 s of rest, and as long as the answers come at once
//! it lengthens the rest ([`keepalive`]). An answer that stays out starts the dense probing once more, toward all the
//! candidates that are known; either the path recovers, or it has moved ([`Event::Moved`]), or it is [`Event::Lost`]. A
//! rest that was too long can cost the path: both NATs may have given it a new port meanwhile, and only another
//! introduction helps. Hence what was learned is handed on, and the same network costs one path at most.
//!
//! # Bounds
//!
//! A peer can make us send at most [`BUDGET`] probes per attempt, to at most [`MAX_CANDIDATES`] addresses, none of them
//! on our own machine or a group; and answers only to packets that are authenticated and no faster than
//! [`ANSWERS_PER_SECOND`]. Whoever cannot make a probe gets nothing back at all.
//!
//! # Surface
//!
//! Inputs: [`Agent::handle_command`], [`Agent::handle_datagram`], [`Agent::handle_timeout`], each with `now`. After each
//! of them the driver drains [`Agent::poll_transmit`] and [`Agent::poll_event`] and sets its timer to
//! [`Agent::poll_wakeup`].

mod checklist;
pub mod keepalive;
mod throttle;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy_net;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use crate::candidate::{Candidate, CandidateKind, canonical};
use crate::introduction::IntroductionId;
use crate::pairing::Pairing;
use crate::stun::{self, Credential, Message};
use checklist::{Answer, Checklist};
pub use checklist::{BUDGET, MAX_CANDIDATES};
use keepalive::Keepalive;
use throttle::Throttle;
pub use throttle::{ANSWERS_PER_SECOND, BURST as ANSWER_BURST};

/// How long an attempt to punch lasts. The slowest introduction that people would wait for, twice over.
pub const PUNCHING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a path that fell silent is looked for.
pub const RECHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that came through our own router's hairpin waits for one that came over the LAN, which is what
/// two behind one router would rather use.
const SETTLE: Duration = Duration::from_millis(50);
/// The shortest time after which a missing answer to a keepalive means something: jitter of a busy home network.
const MIN_ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// What an agent needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The introduction that it acts on.
    pub introduction: IntroductionId,
    /// Where the rendezvous sees us: a path to that very IP runs through our own router.
    pub own_reflexive: Option<IpAddr>,
    /// What earlier paths of this network have taught about the lifetime of mappings.
    pub keepalive: Keepalive,
}

/// From the driver.
#[derive(Debug, Clone)]
pub enum Command {
    /// Addresses of the peer, at the start or trickled in. Those beyond the limits are left out.
    AddCandidates(Vec<Candidate>),
    /// Something on this path should have been answered and was not: ask now.
    Verify,
}

/// A datagram that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A datagram to send, from the socket that the peer was told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// A STUN message of at most 120 bytes.
    pub payload: Vec<u8>,
}

/// What the driver should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The first authentic probe of the peer arrived, from here, and not through our own router's hairpin: most likely the
    /// path, and certain as soon as [`Event::Punched`] follows. Comes at most once, and before that one.
    Heard {
        /// Where the peer is.
        remote: SocketAddr,
    },
    /// A path: a probe went there and its answer came back.
    Punched {
        /// Where the peer is.
        remote: Candidate,
        /// The probe's round-trip time.
        rtt: Duration,
        /// Since the agent was made.
        after: Duration,
    },
    /// The peer answers, but somewhere else than before.
    Moved {
        /// Where the peer is now.
        remote: Candidate,
        /// Round-trip time.
        rtt: Duration,
    },
    /// No path was found in [`PUNCHING_TIMEOUT`]. The agent does nothing any more.
    Failed,
    /// The path fell silent and was not found again. The agent does nothing any more.
    Lost,
}

/// When to call [`Agent::handle_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wakeup {
    /// Not before.
    pub at: Instant,
    /// What will be done then.
    pub reason: WakeReason,
}

/// Why an agent wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// The next probe of the schedule.
    Probe,
    /// To stop waiting for a better path.
    Settle,
    /// To keep the mapping alive.
    Keepalive,
    /// A keepalive was not answered.
    AnswerOverdue,
    /// To give up.
    GiveUp,
}

/// Where the life of the path stands. Moved only by [`Agent::enter`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// No answer yet.
    Punching { give_up: Instant },
    /// Answered over the hairpin; a LAN path may still come.
    Settling { best: Path, until: Instant },
    /// A path; nothing asked.
    Open { path: Path, ask: Instant },
    /// A keepalive or a verification is out.
    Asked { path: Path, overdue: Instant, routine: bool },
    /// It was not answered: dense probing everywhere.
    Recheck { path: Path, since: Instant, routine: bool },
    /// Failed or lost.
    Closed,
}

/// A validated path.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Path {
    remote: Candidate,
    rtt: Duration,
    /// Where the peer sees us: if it changes, our mapping had expired.
    mapped: SocketAddr,
}

/// Punches, keeps and watches the path of one introduction.
#[derive(Debug)]
pub struct Agent {
    username: String,
    own: Credential,
    peer: Credential,
    own_reflexive: Option<IpAddr>,
    born: Instant,
    state: State,
    checks: Checklist,
    keepalive: Keepalive,
    answers: Throttle,
    heard: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Agent {
    /// An agent that starts now, with no candidates yet.
    pub fn new(config: Config, pairing: &Pairing, now: Instant) -> Self {
        let own_key = pairing.own_probe_key(config.introduction);
        Agent {
            username: username(config.introduction),
            own: Credential::new(&own_key),
            peer: Credential::new(&pairing.peer_probe_key(config.introduction)),
            own_reflexive: config.own_reflexive,
            born: now,
            state: State::Punching { give_up: now + PUNCHING_TIMEOUT },
            checks: Checklist::new(own_key, config.own_reflexive),
            keepalive: config.keepalive,
            answers: Throttle::new(now),
            heard: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Acts on a command.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::AddCandidates(candidates) => {
                for candidate in candidates {
                    self.checks.add(candidate, now);
                }
            }
            Command::Verify => {
                if let State::Open { path, .. } = self.state {
                    self.ask(path, false, now);
                }
            }
        }
        self.send_due(now);
    }

    /// Takes a STUN datagram. `false`: it is not for this agent, offer it to the next one.
    pub fn handle_datagram(&mut self, received: Received<'_>, now: Instant) -> bool {
        let source = canonical(received.source);
        let mine = match stun::decode(received.payload) {
            Ok(Message::Request(request)) if request.username.as_deref() == Some(&self.username) => {
                // A request that carries our own signature is our own probe, reflected; it verifies under the wrong key.
                let authentic = stun::decode_authenticated(received.payload, &self.peer).is_ok();
                if authentic && self.state != State::Closed {
                    self.answer(request.transaction, source, now);
                } else {
                    debug!("a probe that the peer did not make");
                }
                true
            }
            Ok(Message::Response(response)) if self.checks.is_outstanding(response.transaction) => {
                if stun::decode_authenticated(received.payload, &self.own).is_ok()
                    && let Some(answer) = self.checks.answered(response.transaction, source, now)
                {
                    self.validated(answer, response.mapped, now);
                }
                true
            }
            _ => false,
        };
        self.send_due(now);
        mine
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Punching { give_up } if now >= give_up => self.close(Event::Failed),
            State::Settling { best, until, .. } if now >= until => self.punched(best, now),
            State::Open { path, ask } if now >= ask => self.ask(path, true, now),
            State::Asked { path, overdue, routine } if now >= overdue => {
                self.checks.restart(now);
                self.enter(State::Recheck { path, since: now, routine });
            }
            State::Recheck { since, routine, .. } if now >= since + RECHECK_TIMEOUT => {
                if routine {
                    self.keepalive.lost();
                }
                self.close(Event::Lost);
            }
            _ => {}
        }
        self.send_due(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to come back; `None` once closed.
    pub fn poll_wakeup(&self) -> Option<Wakeup> {
        let (at, reason) = match self.state {
            State::Punching { give_up } => (give_up, WakeReason::GiveUp),
            State::Settling { until, .. } => (until, WakeReason::Settle),
            State::Open { ask, .. } => (ask, WakeReason::Keepalive),
            State::Asked { overdue, .. } => (overdue, WakeReason::AnswerOverdue),
            State::Recheck { since, .. } => (since + RECHECK_TIMEOUT, WakeReason::GiveUp),
            State::Closed => return None,
        };
        let probe = self.probing().then(|| self.checks.next_at()).flatten();
        let probe = probe.map(|at| Wakeup { at, reason: WakeReason::Probe });
        Some(Wakeup { at, reason }).into_iter().chain(probe).min()
    }

    /// Is this an address that the peer has shown to be its own in this introduction? An acceptor of connections asks.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.checks.is_authentic(canonical(address))
    }

    /// What this path has taught about the lifetime of mappings, for the next one's [`Config`].
    pub fn keepalive(&self) -> Keepalive {
        self.keepalive
    }

    /// The addresses that were probed.
    pub fn candidates(&self) -> impl Iterator<Item = SocketAddr> {
        self.checks.addresses()
    }

    fn probing(&self) -> bool {
        matches!(self.state, State::Punching { .. } | State::Settling { .. } | State::Recheck { .. })
    }

    fn enter(&mut self, state: State) {
        trace!(from = ?self.state, to = ?state, "path");
        self.state = state;
    }

    fn close(&mut self, event: Event) {
        self.events.push_back(event);
        self.enter(State::Closed);
    }

    /// Answers an authentic probe at its source, and checks that source if it is news.
    fn answer(&mut self, transaction: stun::TransactionId, source: SocketAddr, now: Instant) {
        if !self.answers.take(now) {
            return;
        }
        let payload = stun::encode_probe_response(transaction, source, &self.peer);
        self.transmits.push_back(Transmit { destination: source, payload });
        self.checks.heard_from(source, self.probing(), now);
        if matches!(self.state, State::Punching { .. }) && !self.heard && self.own_reflexive != Some(source.ip()) {
            self.heard = true;
            self.events.push_back(Event::Heard { remote: source });
        }
        // A probe from elsewhere while the path stands: the peer may have moved, which the old address will tell.
        if let State::Open { path, .. } = self.state
            && path.remote.address != source
        {
            self.ask(path, false, now);
        }
    }

    fn validated(&mut self, answer: Answer, mapped: SocketAddr, now: Instant) {
        let found = Path { remote: answer.candidate, rtt: answer.rtt, mapped };
        match self.state {
            State::Punching { .. } => {
                let hairpin = self.own_reflexive == Some(found.remote.address.ip());
                if hairpin && found.remote.kind != CandidateKind::Host {
                    self.enter(State::Settling { best: found, until: now + SETTLE });
                } else {
                    self.punched(found, now);
                }
            }
            State::Settling { best, .. } if self.own_reflexive != Some(found.remote.address.ip()) => {
                debug!(over = ?best.rtt, "a path that stays behind the router");
                self.punched(found, now);
            }
            State::Asked { path, routine, .. } if path.remote.address == found.remote.address => {
                if routine {
                    self.keepalive.held();
                }
                self.rest(found, now);
            }
            State::Recheck { path, since, routine } if path.remote.address == found.remote.address => {
                // One lost packet is answered by the next one. A mapping that had expired shows in our new address, or
                // in that the answer had to wait for the peer's own probes.
                let expired = path.mapped != mapped || now >= since + Duration::from_secs(1);
                if routine && expired {
                    self.keepalive.expired();
                }
                self.rest(found, now);
            }
            State::Recheck { since, .. } if now >= since + MIN_ANSWER_TIMEOUT => {
                // The old address had its chance.
                self.events.push_back(Event::Moved { remote: found.remote, rtt: found.rtt });
                self.rest(found, now);
            }
            _ => {}
        }
    }

    fn punched(&mut self, path: Path, now: Instant) {
        let after = now.saturating_duration_since(self.born);
        self.events.push_back(Event::Punched { remote: path.remote, rtt: path.rtt, after });
        self.rest(path, now);
    }

    fn rest(&mut self, path: Path, now: Instant) {
        self.enter(State::Open { path, ask: now + self.keepalive.interval() });
    }

    fn ask(&mut self, path: Path, routine: bool, now: Instant) {
        self.checks.ask(path.remote.address);
        let overdue = now + (path.rtt * 3).max(MIN_ANSWER_TIMEOUT);
        self.enter(State::Asked { path, overdue, routine });
    }

    fn send_due(&mut self, now: Instant) {
        let scheduled = self.probing();
        while let Some((transaction, destination)) = self.checks.poll_probe(scheduled, now) {
            let payload = stun::encode_probe(transaction, &self.username, &self.own);
            trace!(%destination, "probe");
            self.transmits.push_back(Transmit { destination, payload });
        }
    }
}

/// What probes of this introduction carry as USERNAME.
fn username(introduction: IntroductionId) -> String {
    format!("{:016x}", introduction.0)
}
