//! Beyond plain probing: both sides look at their own NATs, tell each other, and act on it at the same instant. The strategies
//! themselves stand in files of their own; here is who looks, when both fire, and which strategy fits.
//!
//! # A round
//!
//! A side asks the rendezvous from a few fresh sockets, one question behind the other, and from the first two of them once more by
//! way of another of the server's addresses or ports (`observation`). From the answers follows what its
//! next ports are (`foretell`): old observations are worth nothing, because a counter has moved since. It tells
//! the peer, through the rendezvous. Each word says, too, how far its sender is from the server, so that both know
//! how long a word travels; and both fire when the *later* of the two words has arrived. No further message is needed for that.
//!
//! Whose profile says that its NAT keeps one mapping for all does not look in the first round: it is taken to stand where the
//! server sees it. Everybody else looks at once, beside the plain probing. From the second round on, and after
//! [`SILENCE`], both look, whatever their profiles say: a profile orders, it rules nothing out.
//!
//! The rendezvous may say what helped others with such NATs. Where both sides would be quiet in the first round, a hint that plain
//! probing will not do makes both look at once instead; where one looks anyway, a hint that ports will have to be guessed
//! makes it ask from many sockets at once. Plain probing goes on meanwhile, and all that would have been tried without a
//! hint follows, with as many rounds: a false one costs a moment.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::debug;

use super::attempt::Times;
use super::foretell::{Look, Seen, WIDEST_BLOCK, look};
use super::observation::Observation;
use super::report::{Ending, Report, Strategy};
use super::seeded::Seeded;
use super::shots::{Shot, Shots};
use super::sockets::Sockets;
use super::surface::{Base, Guessing, Request};
use super::sweep::Sweep;
use super::{scatter, sweep};
use crate::candidate::may_probe;
use crate::nat::{Mapping, NatProfile, PortAssignment};
use crate::prediction::{Foretold, Prediction};
use crate::stun::TransactionId;

/// Rounds of an attempt. Eight trickles of an introduction pass the rendezvous: candidates, four words, three of rows.
pub const MAX_ROUNDS: u8 = 4;
/// So many rounds in which both NATs look unforeseeable end it.
pub(super) const HOPELESS: u8 = 2;
/// Plain probing has this long for itself where both mappings stand: a round trip across the world, and a half.
pub const SILENCE: Duration = Duration::from_millis(400);
/// How long a word that should come is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Fresh sockets that ask: with the second questions they have five neighbours, whose four steps are no accident.
const A_FEW: usize = 3;
/// So many of them ask twice. Where 15 % are lost each way a socket lacks one of its two answers in every 25th look, and a
/// mapping that stands would pass for one that does not.
const TWICE: usize = 2;
/// And so many show a range, and are there to send from it.
const MANY: usize = scatter::BLOCK.sockets as usize;

/// Where a round stands.
#[derive(Debug)]
enum Phase {
    /// Our mapping stands, says our profile: let plain probing do it.
    Quiet { until: Instant },
    /// Questions are out.
    Looking { many: bool },
    /// Our word is out, to be acted on when both have the other's.
    Told { own: Look, sent: Instant },
    /// Fired.
    Acting { act: Act, until: Instant },
    /// Nothing more will be tried.
    Over,
}

/// What happens after firing.
#[derive(Debug)]
pub(super) enum Act {
    /// All is planned.
    Shooting,
    /// Rows are being laid; the other side will want to know where they lie.
    Laying { targets: sweep::Targets, step: i16 },
    /// The other side lays rows.
    Awaiting { step: i16, stride: f32 },
    /// The counter was asked for.
    Sweeping(Box<Sweep>),
    /// A birthday run waits for its turn: with this range if we guess, with sockets if we don't.
    Wanting { range: Option<(u16, u16)> },
}

/// A datagram of a strategy.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sending {
    Probe { base: Base, destination: SocketAddr },
    Question { base: Base, destination: SocketAddr, transaction: TransactionId },
}

#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) config: Guessing,
    pub(super) leads: bool,
    pub(super) random: Seeded,
    pub(super) sockets: Sockets,
    pub(super) shots: Shots,
    pub(super) observation: Observation,
    pub(super) requests: VecDeque<Request>,
    pub(super) report: Report,
    pub(super) times: Times,
    pub(super) number: u8,
    phase: Phase,
    /// Those that asked, in order.
    pub(super) fresh: Vec<Base>,
    /// One that has sent nothing yet.
    pub(super) virgin: Option<Base>,
    /// The peer's word of this round.
    peer: Option<(Prediction, Instant)>,
    /// Two mappings that stood did not meet: perhaps one only looks as if it did.
    pub(super) doubtful: bool,
    pub(super) birthday: Birthday,
    /// How often many sockets have sent.
    pub(super) volleys: u8,
    /// When they did last, or would have.
    pub(super) volley_at: Option<Instant>,
    /// Rounds in which there was nothing to try.
    pub(super) hopeless: u8,
    /// The first round is there for a hint alone.
    extra: bool,
}

/// Where we stand with birthday runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Birthday {
    /// None was needed.
    Unasked,
    /// We wait for our turn.
    Asked,
    /// It is our turn.
    Granted { since: Instant, runs: u8 },
    /// We had it.
    Had,
}

impl Rounds {
    /// `None` if the peer's address is none to be guessed at, or the server is of another version of IP.
    pub(super) fn new(config: Guessing, leads: bool, now: Instant) -> Option<Self> {
        let one_family = config.peer.is_ipv4() == config.server.is_ipv4();
        if !one_family || !may_probe(config.peer, Some(config.observed.ip())) {
            return None;
        }
        let mut rounds = Rounds {
            config,
            leads,
            random: Seeded::new(config.seed),
            sockets: Sockets::default(),
            shots: Shots::default(),
            observation: Observation::new(config.seed),
            requests: VecDeque::new(),
            report: Report::new(),
            times: Times::default(),
            number: 0,
            phase: Phase::Quiet { until: now + SILENCE },
            fresh: Vec::new(),
            virgin: None,
            peer: None,
            doubtful: false,
            birthday: Birthday::Unasked,
            volleys: 0,
            volley_at: None,
            hopeless: 0,
            extra: false,
        };
        rounds.report.ending = Ending::Exhausted;
        let hint = config.hint.filter(|hint| !matches!(hint, Strategy::Plain | Strategy::Observation));
        if looks_at_once(&config.profile) {
            rounds.begin(0, now);
        } else if let Some(hint) = hint.filter(|_| !looks_at_once(&config.peer_profile)) {
            rounds.extra = true;
            // Mappings that others like us took for standing were none.
            rounds.doubtful = hint != Strategy::FreshSocket;
            rounds.begin(0, now);
        }
        Some(rounds)
    }

    /// Looks at our own NAT.
    fn begin(&mut self, number: u8, now: Instant) {
        debug!(number, "a round of predictions");
        self.number = number;
        self.peer = None;
        // The peer was a round ahead: a volley that has not left does not count.
        if self.volley_at.take_if(|at| *at > now).is_some() {
            self.volleys -= 1;
            if let Birthday::Granted { runs, .. } = &mut self.birthday {
                *runs = runs.saturating_sub(1);
            }
        }
        self.shots.clear();
        self.observation.clear();
        self.sockets.retain(&mut self.requests, |_, touched| touched);
        self.fresh.clear();
        self.virgin = self.open(Strategy::Observation);
        let guessed = number == 0 && matches!(self.config.hint, Some(Strategy::Block | Strategy::Birthday));
        let many = guessed || matches!(self.config.profile.ports, Some(PortAssignment::Random { .. }));
        self.ask_from_fresh(if many { MANY } else { A_FEW }, now);
        let other = self.other_server();
        for base in self.fresh.iter().take(TWICE) {
            self.observation.ask(*base, other, now);
        }
        self.phase = Phase::Looking { many };
    }

    /// After the first round everything is as if there had been no hint; but a volley that has left counts, as its birthday run
    /// does: the next one has to come at another time.
    fn forget_hint(&mut self) {
        if std::mem::take(&mut self.extra) {
            (self.doubtful, self.hopeless) = (false, 0);
        }
    }

    fn ask_from_fresh(&mut self, count: usize, now: Instant) {
        for _ in 0..count {
            let Some(base) = self.open(Strategy::Observation) else { return };
            self.fresh.push(base);
            self.observation.ask(base, self.config.server, now);
        }
    }

    pub(super) fn open(&mut self, strategy: Strategy) -> Option<Base> {
        let base = self.sockets.open(&mut self.requests)?;
        self.report.opened(strategy);
        Some(base)
    }

    /// The server's second address, from which a mapping by address shows, or at least its other port.
    pub(super) fn other_server(&self) -> SocketAddr {
        let Guessing { server, endpoints, .. } = self.config;
        let second = endpoints.alternate.filter(|second| second.is_ipv4() == server.is_ipv4());
        second.unwrap_or(SocketAddr::new(server.ip(), endpoints.alternate_port))
    }

    /// Does what is due, without sending anything.
    pub(super) fn advance(&mut self, now: Instant) {
        match &self.phase {
            Phase::Quiet { until } if now >= *until => self.begin(1, now),
            Phase::Looking { many } if self.observation.is_settled(now) => self.looked(*many, now),
            Phase::Told { own, sent } if now >= self.fire_at(*sent) => self.fire(*own, now),
            Phase::Acting { until, .. } if now >= *until => self.next_round(now),
            Phase::Acting { .. } => self.go_on(now),
            _ => {}
        }
    }

    fn next_round(&mut self, now: Instant) {
        self.forget_hint();
        let ran = match self.birthday {
            Birthday::Granted { .. } => !self.may_run(now),
            birthday => birthday != Birthday::Unasked,
        };
        if ran || self.number + 1 >= MAX_ROUNDS || self.hopeless >= HOPELESS {
            self.stop();
        } else {
            self.begin(self.number + 1, now);
        }
    }

    /// Is one more birthday run allowed? Asked before each, because a peer's word may begin a round, too.
    pub(super) fn may_run(&self, now: Instant) -> bool {
        let Birthday::Granted { since, runs } = self.birthday else { return false };
        runs < scatter::RUNS && now + scatter::BIRTHDAY.over <= since + scatter::LONGEST_RUN
    }

    fn looked(&mut self, many: bool, now: Instant) {
        let other = self.other_server();
        let answers = self.observation.answers().filter(|seen| seen.by != other);
        let fresh: Vec<(Option<u16>, SocketAddr)> =
            answers.filter_map(|seen| Some((self.sockets.port(seen.base), seen.mapped?))).collect();
        let mapped = |base, elsewhere| {
            let mut answers = self.observation.answers().filter(|seen| seen.base == base);
            answers.find(|seen| (seen.by == other) == elsewhere).and_then(|seen| seen.mapped)
        };
        let twice =
            self.fresh.iter().take(TWICE).filter_map(|base| Some((mapped(*base, false)?, mapped(*base, true)?)));
        let twice: Vec<(SocketAddr, SocketAddr)> = twice.collect();
        // Two of the server's ports do not tell a mapping by address from one for all.
        let presumed = self.config.profile.mapping;
        let sure = self.config.endpoints.alternate.is_some() || presumed == Some(Mapping::EndpointIndependent);
        let (observed, trusting) = (self.config.observed, sure || !self.doubtful);
        let seen = Seen { observed, fresh: &fresh, twice: &twice, presumed, trusting };
        let own = look(&seen).unwrap_or_else(|| {
            self.report.ending = Ending::NothingObserved;
            self.fresh.clear();
            Look::Stands { port: self.config.observed.port() }
        });
        let of_use = self.peer.as_ref().is_none_or(|(word, _)| matches!(word.ports, Foretold::Stands { .. }));
        if matches!(own, Look::Among { .. }) && !many && of_use {
            self.ask_from_fresh(MANY - A_FEW, now);
            self.phase = Phase::Looking { many: true };
            return;
        }
        debug!(?own, "our own ports");
        self.observation.clear();
        self.tell(own);
        self.phase = Phase::Told { own, sent: now };
    }

    fn tell(&mut self, own: Look) {
        let ports = match own {
            Look::Stands { port } => Foretold::Stands { port },
            Look::Exact => match self.virgin.and_then(|base| self.sockets.port(base)) {
                Some(port) => Foretold::Exact { port },
                None => return,
            },
            Look::Next { last, step, .. } => Foretold::Next { last, step },
            Look::Among { low, high } => Foretold::Among { low, high },
        };
        self.trickle(ports);
    }

    pub(super) fn trickle(&mut self, ports: Foretold) {
        let rtt = self.rtt().as_millis();
        let prediction = Prediction { round: self.number, rtt_ms: u16::try_from(rtt).unwrap_or(u16::MAX), ports };
        self.requests.push_back(Request::Trickle(prediction));
    }

    pub(super) fn rtt(&self) -> Duration {
        self.observation.rtt().unwrap_or(Duration::from_millis(50))
    }

    /// What a word takes from one to the other. Without the peer's, our own server is taken to be as far as its. Nobody
    /// makes us wait for longer than [`PATIENCE`].
    pub(super) fn travel(&self) -> Duration {
        let theirs = self.peer.as_ref().map_or(self.rtt(), |(word, _)| Duration::from_millis(word.rtt_ms.into()));
        ((self.rtt() + theirs) / 2).min(PATIENCE)
    }

    /// When both words have arrived.
    fn fire_at(&self, sent: Instant) -> Instant {
        match &self.peer {
            Some((_, arrived)) => (sent + self.travel()).max(*arrived),
            None if self.number == 0 && !self.extra && !looks_at_once(&self.config.peer_profile) => {
                sent + self.travel()
            }
            None => sent + self.travel() + PATIENCE,
        }
    }

    fn fire(&mut self, own: Look, now: Instant) {
        let peer = self.peer.as_ref().map(|(word, _)| word.ports.clone());
        let (act, until) = self.act_on(own, peer, now);
        self.phase = Phase::Acting { act, until };
    }

    /// Where the peer stands, if it does.
    pub(super) fn standing(&self) -> u16 {
        match &self.peer {
            Some((Prediction { ports: Foretold::Stands { port }, .. }, _)) => *port,
            _ => self.config.peer.port(),
        }
    }

    fn go_on(&mut self, now: Instant) {
        let Phase::Acting { act, until } = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let (act, until) = self.continue_act(act, until, now);
        self.phase = Phase::Acting { act, until };
    }

    /// The peer's word.
    pub(super) fn handle_prediction(&mut self, word: Prediction, now: Instant) {
        if !word.is_sane() || word.round < self.number || word.round >= MAX_ROUNDS || matches!(self.phase, Phase::Over)
        {
            debug!("a prediction out of its time");
            return;
        }
        if let Foretold::Laid { first, gap, step, marks } = &word.ports {
            if word.round == self.number
                && let Phase::Acting { act: Act::Awaiting { step: own, stride }, .. } = self.phase
            {
                let rows = sweep::Rows::new(sweep::Targets { first: *first, gap: *gap }, *step, marks);
                let (act, until) = self.begin_sweep(rows, own, stride, now);
                self.phase = Phase::Acting { act, until };
            }
            return;
        }
        if word.round > self.number {
            self.forget_hint();
            self.begin(word.round, now);
        }
        if self.peer.is_some() {
            return;
        }
        let quiet = matches!(self.phase, Phase::Quiet { .. });
        let stands = matches!(word.ports, Foretold::Stands { .. });
        self.peer = Some((word, now));
        // Our mapping stands, and the peer waits for nothing more from us.
        if quiet && !stands {
            self.fire(Look::Stands { port: self.config.observed.port() }, now);
        }
    }

    pub(super) fn handle_granted(&mut self, now: Instant) {
        if self.birthday != Birthday::Asked {
            return;
        }
        self.birthday = Birthday::Granted { since: now, runs: 0 };
        self.report.ending = Ending::Exhausted;
        if let Phase::Acting { act: Act::Wanting { range }, .. } = self.phase {
            let (act, until) = self.want_birthday(range, now);
            self.phase = Phase::Acting { act, until };
        }
    }

    /// An answer to one of our questions; `false` if it is none.
    pub(super) fn handle_answer(
        &mut self,
        transaction: TransactionId,
        from: (Base, SocketAddr),
        mapped: SocketAddr,
        now: Instant,
    ) -> bool {
        self.observation.answered(transaction, from, mapped, now)
    }

    /// The next datagram that is due, counted as sent. What comes first in time goes first, questions before probes: rows
    /// lie between the questions.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Sending> {
        let (question, shot) = (self.observation.next_at(), self.shots.next_at());
        if question.is_some_and(|question| shot.is_none_or(|shot| question <= shot))
            && let Some((base, destination, transaction)) = self.observation.poll(now)
        {
            self.report.sent(Strategy::Observation, 1);
            self.times.sent(Strategy::Observation, now);
            return Some(Sending::Question { base, destination, transaction });
        }
        let (strategy, Shot { base, port }) = self.shots.poll(now)?;
        self.report.sent(strategy, 1);
        self.times.sent(strategy, now);
        Some(Sending::Probe { base, destination: SocketAddr::new(self.config.peer.ip(), port) })
    }

    /// When there is something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Quiet { until } => Some(*until),
            Phase::Looking { .. } | Phase::Over => None,
            Phase::Told { sent, .. } => Some(self.fire_at(*sent)),
            Phase::Acting { until, .. } => Some(*until),
        };
        phase.into_iter().chain(self.observation.next_at()).chain(self.shots.next_at()).min()
    }

    /// Until when something may still come of it.
    pub(super) fn busy_until(&self) -> Option<Instant> {
        match self.birthday {
            Birthday::Granted { since, .. } => Some(since + scatter::LONGEST_RUN),
            _ => None,
        }
    }

    /// Has anything beyond plain probing happened? Then the two may see several paths, and have to agree on one.
    pub(super) fn happened(&self) -> bool {
        self.sockets.ever_opened() || self.peer.is_some()
    }

    /// Nothing more is tried. Sockets stay.
    pub(super) fn stop(&mut self) {
        if matches!(self.birthday, Birthday::Asked | Birthday::Granted { .. }) {
            self.birthday = Birthday::Had;
            self.requests.push_back(Request::BirthdayOver);
        }
        self.shots.clear();
        self.observation.clear();
        self.phase = Phase::Over;
    }
}

/// Is there a reason to look before plain probing has failed?
fn looks_at_once(profile: &NatProfile) -> bool {
    profile.mapping != Some(Mapping::EndpointIndependent)
}

/// Is this the range of a block?
pub(super) fn is_block(low: u16, high: u16) -> bool {
    high - low <= WIDEST_BLOCK
}

#[cfg(test)]
mod transitions_tests;
