//! The agent of one introduction: its path's state, and what each input does to it.

mod choosing;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use super::attempt::{Attempt, Found, Tried};
use super::checklist::{Checklist, Probe, Scope};
use super::keepalive::Keepalive;
use super::report::{Report, Strategy};
use super::rounds::{Rounds, Sending};
use super::surface::{Base, Command, Config, Event, Received, Request, Transmit, WakeReason, Wakeup};
use super::throttle::Throttle;
use super::validated::Path;
use crate::candidate::canonical;
use crate::introduction::IntroductionId;
use crate::pairing::Pairing;
use crate::stun::{self, Credential, Message};

/// How long an attempt to punch lasts. The slowest introduction that people would wait for, twice over.
pub const PUNCHING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it lasts at most, if a birthday run has begun: a permission for one is worth 12 s.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(16);
/// How long a path that fell silent is looked for.
pub const RECHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that came through our own router's hairpin waits for one that came over the LAN, which is what
/// two behind one router would rather use.
const SETTLE: Duration = Duration::from_millis(50);
/// How long sockets stay open of which the one who leads may still choose one. Its word is repeated within a second if
/// it was lost.
const LINGER: Duration = Duration::from_secs(5);
/// The shortest time after which a missing answer to a keepalive means something: jitter of a busy home network.
const MIN_ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

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

/// Punches, keeps and watches the path of one introduction.
#[derive(Debug)]
pub struct Agent {
    username: String,
    own: Credential,
    peer: Credential,
    own_reflexive: Option<IpAddr>,
    leads: bool,
    born: Instant,
    state: State,
    checks: Checklist,
    rounds: Option<Box<Rounds>>,
    /// Until then sockets stay open at which the peer was heard: it has not yet said which of them it uses.
    linger: Option<Instant>,
    /// Until then the other version of IP has its chance.
    comparing: Option<Instant>,
    /// We have chosen among two, and the peer has to know.
    choosing: bool,
    /// The pair that the peer has chosen.
    nominated: Option<(Base, SocketAddr)>,
    keepalive: Keepalive,
    answers: Throttle,
    heard: bool,
    /// The first path.
    found: Option<Found>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Agent {
    /// An agent that starts now, with no candidates yet.
    pub fn new(config: Config, pairing: &Pairing, now: Instant) -> Self {
        let own_key = pairing.own_probe_key(config.introduction);
        let rounds = config.guessing.and_then(|guessing| Rounds::new(guessing, pairing.leads(), now)).map(Box::new);
        let guessed = rounds.as_ref().and(config.guessing).map(|guessing| guessing.peer.ip().to_canonical());
        Agent {
            username: username(config.introduction),
            own: Credential::new(&own_key),
            peer: Credential::new(&pairing.peer_probe_key(config.introduction)),
            own_reflexive: config.own_reflexive,
            leads: pairing.leads(),
            born: now,
            state: State::Punching { give_up: now + PUNCHING_TIMEOUT },
            checks: Checklist::new(own_key, config.own_reflexive, guessed),
            rounds,
            linger: None,
            comparing: None,
            choosing: false,
            nominated: None,
            keepalive: config.keepalive,
            answers: Throttle::new(now),
            heard: false,
            found: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Acts on a command.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        self.stop_comparing(now);
        match (command, &mut self.rounds) {
            (Command::AddCandidates(candidates), _) => {
                for candidate in candidates {
                    self.checks.add(candidate, now);
                }
            }
            (Command::Verify, _) => {
                if let State::Open { path, .. } = self.state {
                    self.ask(path, false, now);
                }
            }
            (Command::Predict(prediction), Some(rounds)) => rounds.handle_prediction(prediction, now),
            (Command::Opened(base, port), Some(rounds)) => rounds.sockets.opened(base, port),
            (Command::GrantBirthday, Some(rounds)) => rounds.handle_granted(now),
            (Command::Predict(_) | Command::Opened(..) | Command::GrantBirthday, None) => {}
        }
        self.send_due(now);
    }

    /// Takes a STUN datagram. `false`: it is not for this agent, offer it to the next one.
    pub fn handle_datagram(&mut self, received: Received<'_>, now: Instant) -> bool {
        self.stop_comparing(now);
        let (base, source) = (received.base, canonical(received.source));
        let mine = match stun::decode(received.payload) {
            Ok(Message::Request(request)) if request.username.as_deref() == Some(&self.username) => {
                // A request that carries our own signature is our own probe, reflected; it verifies under the wrong key.
                let authentic = stun::decode_authenticated(received.payload, &self.peer).is_ok();
                if authentic && self.state != State::Closed {
                    self.answer(&request, base, source, now);
                } else {
                    debug!("a probe that the peer did not make");
                }
                true
            }
            Ok(Message::Response(response)) if self.checks.is_outstanding(response.transaction) => {
                if stun::decode_authenticated(received.payload, &self.own).is_ok()
                    && let Some(answer) = self.checks.answered(response.transaction, base, source, now)
                {
                    self.validated(answer, response.mapped, now);
                }
                true
            }
            Ok(Message::Response(response)) => match &mut self.rounds {
                Some(rounds) => rounds.handle_answer(response.transaction, (base, source), response.mapped, now),
                None => false,
            },
            _ => false,
        };
        self.send_due(now);
        mine
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.stop_comparing(now);
        match self.state {
            State::Punching { give_up } if now >= self.end(give_up) => self.close(Event::Failed(self.report())),
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
        if self.linger.is_some_and(|until| now >= until) {
            self.settle_on_path();
        }
        self.send_due(now);
    }

    /// The next thing that only the driver can do. Drained before the datagrams.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.rounds.as_mut()?.requests.pop_front()
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
            State::Punching { give_up } => (self.end(give_up), WakeReason::GiveUp),
            State::Settling { until, .. } => (until, WakeReason::Settle),
            State::Open { ask, .. } => (ask, WakeReason::Keepalive),
            State::Asked { overdue, .. } => (overdue, WakeReason::AnswerOverdue),
            State::Recheck { since, .. } => (since + RECHECK_TIMEOUT, WakeReason::GiveUp),
            State::Closed => return None,
        };
        let probe = self
            .checks
            .next_at(self.scope())
            .filter(|at| self.probing() || self.nominated.is_some() || self.comparing > Some(*at));
        let strategy = self.rounds.as_ref().filter(|_| self.punching()).and_then(|rounds| rounds.next_at());
        let also = [(probe, WakeReason::Probe), (strategy, WakeReason::Strategy), (self.linger, WakeReason::Linger)];
        let also = also.into_iter().filter_map(|(at, reason)| Some(Wakeup { at: at?, reason }));
        also.chain([Wakeup { at, reason }]).min()
    }

    /// Is this an address that the peer has shown to be its own in this introduction? An acceptor of connections asks.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.checks.is_authentic(canonical(address))
    }

    /// What this path has taught about the lifetime of mappings, for the next one's [`Config`].
    pub fn keepalive(&self) -> Keepalive {
        self.keepalive
    }

    /// The addresses that were probed, but for guesses.
    pub fn candidates(&self) -> impl Iterator<Item = SocketAddr> {
        self.checks.addresses()
    }

    /// What was tried so far, and what it took.
    pub fn report(&self) -> Report {
        let mut report = self.rounds.as_ref().map_or_else(Report::new, |rounds| rounds.report);
        report.sent(Strategy::Plain, self.checks.sent());
        report
    }

    /// What was tried so far, address by address, and what came of it.
    pub fn attempt(&self) -> Attempt {
        let report = self.report();
        let took = |strategy| match (strategy, &self.rounds) {
            (Strategy::Plain, _) => self.checks.last_sent().map(|last| last.saturating_duration_since(self.born)),
            (_, rounds) => rounds.as_ref().and_then(|rounds| rounds.times.took(strategy)),
        };
        let tried = |(strategy, effort)| Tried { strategy, effort, took: took(strategy).unwrap_or_default() };
        let strategies = report.tried().map(tried).collect();
        Attempt { checks: self.checks.record(), strategies, ending: report.ending, found: self.found }
    }

    fn stop_comparing(&mut self, now: Instant) {
        self.comparing = self.comparing.filter(|until| now < *until);
    }

    /// What found the first path, if there was one.
    pub fn won(&self) -> Option<Strategy> {
        self.found.map(|found| found.strategy)
    }

    fn punching(&self) -> bool {
        matches!(self.state, State::Punching { .. })
    }

    fn probing(&self) -> bool {
        matches!(self.state, State::Punching { .. } | State::Settling { .. } | State::Recheck { .. })
    }

    /// Whose probes are due by themselves.
    fn scope(&self) -> Scope {
        match self.state {
            State::Punching { .. } | State::Settling { .. } | State::Recheck { .. } => Scope::Everybody,
            State::Open { .. } | State::Asked { .. } if let Some((base, remote)) = self.nominated => {
                Scope::Chosen(base, remote)
            }
            State::Open { path, .. } | State::Asked { path, .. } if self.comparing.is_some() => {
                Scope::OtherFamily(path.remote.address.ip())
            }
            _ => Scope::Nobody,
        }
    }

    /// A birthday run may take a little longer.
    fn end(&self, give_up: Instant) -> Instant {
        let busy = self.rounds.as_ref().and_then(|rounds| rounds.busy_until());
        busy.map_or(give_up, |busy| busy.min(self.born + LONGEST_ATTEMPT).max(give_up))
    }

    fn enter(&mut self, state: State) {
        trace!(from = ?self.state, to = ?state, "path");
        self.state = state;
    }

    fn close(&mut self, event: Event) {
        self.events.push_back(event);
        self.close_sockets(|_, _| false);
        self.linger = None;
        self.enter(State::Closed);
    }

    fn close_sockets(&mut self, keep: impl Fn(Base, bool) -> bool) {
        if let Some(rounds) = &mut self.rounds {
            rounds.stop();
            let closed = rounds.sockets.retain(&mut rounds.requests, keep);
            self.checks.forget(&closed);
        }
    }

    /// Both know which socket it is: the others are closed.
    fn settle_on_path(&mut self) {
        (self.linger, self.nominated) = (None, None);
        if let State::Open { path, .. } | State::Asked { path, .. } | State::Recheck { path, .. } = self.state {
            self.close_sockets(|base, _| base == path.base);
        }
    }

    /// Answers an authentic probe at its source, and checks that source if it is news.
    fn answer(&mut self, request: &stun::Request, base: Base, source: SocketAddr, now: Instant) {
        if !self.answers.take(now) {
            return;
        }
        let payload = stun::encode_probe_response(request.transaction, source, &self.peer);
        self.transmits.push_back(Transmit { base, destination: source, payload });
        if let Some(rounds) = &mut self.rounds {
            rounds.sockets.touch(base);
        }
        let chosen = request.nominates && !self.leads;
        let probed = self.scope().covers(base, source);
        let known = self.checks.heard_from(base, source, probed, now);
        if self.punching() && !self.heard && self.own_reflexive != Some(source.ip()) {
            self.heard = true;
            self.events.push_back(Event::Heard { base, remote: source });
        }
        match self.state {
            State::Open { path, .. } | State::Asked { path, .. } | State::Recheck { path, .. }
                if chosen && path.is(base, source) =>
            {
                self.settle_on_path();
            }
            _ if chosen && known => {
                let before = self.nominated.replace((base, source));
                // Nothing else is probed any more; this is until it has answered.
                if !probed && before != self.nominated {
                    self.checks.choose(base, source, now);
                }
            }
            // A probe from elsewhere while the path stands: the peer may have moved, which the old address will tell.
            State::Open { path, .. } if !path.is(base, source) && self.linger.is_none() && !probed => {
                self.ask(path, false, now);
            }
            _ => {}
        }
    }

    fn rest(&mut self, path: Path, now: Instant) {
        self.enter(State::Open { path, ask: now + self.keepalive.interval() });
    }

    fn ask(&mut self, path: Path, routine: bool, now: Instant) {
        let nominates = self.nominates();
        self.checks.ask(path.base, path.remote.address, nominates);
        let overdue = now + (path.rtt * 3).max(MIN_ANSWER_TIMEOUT);
        self.enter(State::Asked { path, overdue, routine });
    }

    fn send_due(&mut self, now: Instant) {
        let (scope, choice) = (self.scope(), self.choice());
        while let Some(probe) = self.checks.poll_probe(scope, choice, now) {
            self.send(probe);
        }
        if !self.punching() {
            return;
        }
        let Some(mut rounds) = self.rounds.take() else { return };
        rounds.advance(now);
        while let Some(sending) = rounds.poll(now) {
            match sending {
                Sending::Probe { base, destination } => {
                    let probe = self.checks.guess(base, destination, now);
                    self.send(probe);
                }
                Sending::Question { base, destination, transaction } => {
                    let payload = stun::encode_request(transaction, stun::Change::default());
                    self.transmits.push_back(Transmit { base, destination, payload });
                }
            }
        }
        self.rounds = Some(rounds);
    }

    fn send(&mut self, probe: Probe) {
        let Probe { base, destination, transaction, nominates } = probe;
        let encode = if nominates { stun::encode_nomination } else { stun::encode_probe };
        trace!(?base, %destination, "probe");
        self.transmits.push_back(Transmit {
            base,
            destination,
            payload: encode(transaction, &self.username, &self.own),
        });
    }
}

/// What probes of this introduction carry as USERNAME.
pub(super) fn username(introduction: IntroductionId) -> String {
    format!("{:016x}", introduction.0)
}

#[cfg(test)]
mod families_tests;
#[cfg(test)]
mod transitions_tests;
