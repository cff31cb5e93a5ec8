//! How long the NAT in front of us remembers a silent UDP socket (RFC 5780, section 4.6). One [`Measurement`] is one run, asked
//! for by a person: it takes minutes.
//!
//! Each of the run's sockets speaks with the server until its mapping counts as settled, then is silent for a while of its own,
//! all of them side by side. After that the **control** socket asks the server to answer at the
//! port where the silent one was seen (RESPONSE-PORT). What comes in shows that the mapping lives. What does not come in, while the
//! control socket's own question is answered, shows that it is gone, or that the network lost three packets in a row.
//!
//! The silence is that of a session with answers, as a connection has, and of the filter with the mapping: what a path's keepalive
//! has to beat. Linux counts a session as settled after two seconds.
//!
//! A run ends when two silences beyond the longest one that was outlived were not, at the latest after the longest. Whoever stops
//! earlier asks for what is known by then ([`Measurement::span`]).
//!
//! # Bounds
//!
//! At most [`MAX_SILENCES`] sockets and [`MAX_PACKETS`] datagrams, to the server alone.
//!
//! # Limits
//!
//! Nothing is found out from a server that does not serve RESPONSE-PORT, nor behind a NAT that shows several external addresses at
//! once. What only a packet from inside keeps alive is not told from what any packet keeps.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::debug;

use crate::candidate::canonical;
use crate::stun::{self, Change, Message, TransactionId};

/// So many silences are measured at most.
pub const MAX_SILENCES: usize = 24;
/// The most datagrams of a run: three exchanges and the knocks of each socket, with all their repetitions.
pub const MAX_PACKETS: usize =
    MAX_SILENCES * (EXCHANGES as usize * TRIES as usize + 2 * KNOCKS as usize) + TRIES as usize;
/// What is measured if nobody says otherwise, in seconds: closer around what NATs are built with (30 s, 60 s, two minutes, three),
/// and no longer than people wait. A mapping that outlives four minutes is no trouble to anybody.
pub const SILENCES: [u64; 16] = [10, 20, 25, 35, 45, 55, 65, 80, 95, 115, 125, 150, 175, 190, 220, 240];

/// Exchanges before the silence, and the pause between them: 2.6 s in all, more than the two seconds after which Linux gives a
/// session its longer time.
const EXCHANGES: u8 = 3;
const BETWEEN: Duration = Duration::from_millis(1300);
/// Tries of an exchange, and how long each waits.
const TRIES: u8 = 4;
const RTO: Duration = Duration::from_millis(500);
/// Tries of a knock. Three packets of a hundred lost: one answer in 5,000 is wrong.
const KNOCKS: u8 = 3;
const KNOCK_RTO: Duration = Duration::from_millis(700);
/// The sockets begin one after the other: the server answers so many of one address at once, and no router likes a burst.
const STAGGER: Duration = Duration::from_millis(60);
/// A knock that comes this late says nothing of its silence.
const LATE: Duration = Duration::from_secs(2);
/// Silences beyond the longest outlived one that end a run.
const SURE: usize = 2;

/// One of the sockets of a run; the driver opens [`Measurement::sockets`] of them, of the server's version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket(pub u8);

impl Socket {
    /// The one that asks on behalf of the others.
    pub const CONTROL: Socket = Socket(0);
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the rendezvous answers STUN.
    pub server: SocketAddr,
    /// What to measure, of which the first [`MAX_SILENCES`] are.
    pub silences: Vec<Duration>,
    /// Random, and not used twice.
    pub seed: [u8; 32],
}

/// Between which times a mapping ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The longest silence that was outlived.
    pub outlived: Option<Duration>,
    /// The shortest beyond it that was not.
    pub gone_after: Option<Duration>,
}

/// Why nothing was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No answers at all.
    #[error("the rendezvous does not answer STUN from here")]
    Silence,
    /// Error 420.
    #[error("the rendezvous does not answer at another port (RESPONSE-PORT), which this takes; it may need an update")]
    Unsupported,
    /// The sockets are seen at several addresses.
    #[error("the router shows several addresses at once, so that its ports cannot be told apart")]
    SeveralAddresses,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From where.
    pub socket: Socket,
    /// A STUN message for the server.
    pub payload: Vec<u8>,
}

/// Where one silent socket stands. Moved only by [`Patient::enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It speaks, so that its mapping settles.
    Speaking { exchange: u8, tries: u8, next: Instant },
    /// Silent until then; its mapping is at this port.
    Silent { port: u16, until: Instant },
    /// The server was asked to knock.
    Knocking { port: u16, tries: u8, next: Instant },
    /// The knock was heard.
    Outlived,
    /// It was not, and the server was there.
    Gone,
    /// Nothing can be said.
    Unknown,
}

#[derive(Debug)]
struct Patient {
    silence: Duration,
    state: State,
    /// Of the question that is out, or the knock.
    transaction: TransactionId,
    /// The control socket's own question beside the knock, and whether it was answered.
    control: (TransactionId, bool),
}

impl Patient {
    fn enter(&mut self, state: State) {
        debug!(silence = ?self.silence, from = ?self.state, to = ?state, "a silent socket");
        self.state = state;
    }

    fn is_settled(&self) -> bool {
        matches!(self.state, State::Outlived | State::Gone | State::Unknown)
    }

    fn wakeup(&self) -> Option<Instant> {
        match self.state {
            State::Speaking { next, .. } | State::Knocking { next, .. } => Some(next),
            State::Silent { until, .. } => Some(until),
            State::Outlived | State::Gone | State::Unknown => None,
        }
    }
}

/// One run.
#[derive(Debug)]
pub struct Measurement {
    server: SocketAddr,
    seed: [u8; 32],
    drawn: u64,
    began: Instant,
    ends: Instant,
    patients: Vec<Patient>,
    /// The one address at which all sockets are seen.
    seen_at: Option<std::net::IpAddr>,
    over: Option<Result<Span, Trouble>>,
    transmits: VecDeque<Transmit>,
}

impl Measurement {
    /// Starts a run: there is something to transmit at once.
    pub fn new(config: Config, now: Instant) -> Self {
        let Config { server, mut silences, seed } = config;
        silences.sort_unstable();
        silences.dedup();
        silences.truncate(MAX_SILENCES);
        let longest = silences.last().copied().unwrap_or_default();
        let speaking = BETWEEN * u32::from(EXCHANGES) + RTO * u32::from(TRIES) + STAGGER * silences.len() as u32;
        let mut run = Measurement {
            server: canonical(server),
            seed,
            drawn: 0,
            began: now,
            ends: now + speaking + longest + KNOCK_RTO * u32::from(KNOCKS),
            patients: Vec::new(),
            seen_at: None,
            over: None,
            transmits: VecDeque::new(),
        };
        // The longest first: all of them end one after the other.
        for (number, silence) in silences.iter().enumerate() {
            let place = (silences.len() - 1 - number) as u32;
            let state = State::Speaking { exchange: 0, tries: 0, next: now + STAGGER * place };
            let (transaction, control) = (run.draw(), (run.draw(), false));
            run.patients.push(Patient { silence: *silence, state, transaction, control });
        }
        run.advance(now);
        run
    }

    /// How many sockets it needs, the control socket among them.
    pub fn sockets(&self) -> u8 {
        u8::try_from(self.patients.len() + 1).unwrap_or(u8::MAX)
    }

    /// Takes a datagram that came to this socket.
    pub fn handle_datagram(&mut self, socket: Socket, source: SocketAddr, payload: &[u8], now: Instant) {
        if canonical(source) != self.server || self.over.is_some() {
            return;
        }
        match stun::decode(payload) {
            Ok(Message::Response(response)) => self.answered(socket, response.transaction, response.mapped, now),
            Ok(Message::Error { transaction, .. }) if socket == Socket::CONTROL => {
                let knocking = |patient: &Patient| matches!(patient.state, State::Knocking { .. });
                if self.patients.iter().any(|patient| knocking(patient) && patient.transaction == transaction) {
                    self.over = Some(Err(Trouble::Unsupported));
                }
            }
            _ => {}
        }
        self.advance(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to come back; `None` once it is over.
    pub fn poll_wakeup(&self) -> Option<Instant> {
        if self.over.is_some() { None } else { self.patients.iter().filter_map(Patient::wakeup).min() }
    }

    /// What came of it, once it is over.
    pub fn outcome(&self) -> Option<Result<Span, Trouble>> {
        self.over
    }

    /// What is known by now.
    pub fn span(&self) -> Span {
        let of =
            |state| self.patients.iter().filter(move |patient| patient.state == state).map(|patient| patient.silence);
        let outlived = of(State::Outlived).max();
        Span { outlived, gone_after: of(State::Gone).filter(|gone| Some(*gone) > outlived).min() }
    }

    /// How much of the longest possible run is over, from 0 to 1.
    pub fn share(&self, now: Instant) -> f64 {
        let (past, all) = (now.saturating_duration_since(self.began), self.ends.saturating_duration_since(self.began));
        (past.as_secs_f64() / all.as_secs_f64().max(f64::EPSILON)).min(1.0)
    }

    fn answered(&mut self, socket: Socket, transaction: TransactionId, mapped: SocketAddr, now: Instant) {
        if socket == Socket::CONTROL {
            let asked = self.patients.iter_mut().find(|patient| patient.control.0 == transaction);
            asked.into_iter().for_each(|patient| patient.control.1 = true);
            if self.seen_at.is_some_and(|seen_at| seen_at != mapped.ip()) {
                self.over = Some(Err(Trouble::SeveralAddresses));
            }
            return;
        }
        let Some(patient) = self.patients.get_mut(usize::from(socket.0) - 1) else { return };
        if patient.transaction != transaction {
            return;
        }
        match patient.state {
            State::Speaking { exchange, tries, .. } if tries > 0 => {
                if *self.seen_at.get_or_insert(mapped.ip()) != mapped.ip() {
                    self.over = Some(Err(Trouble::SeveralAddresses));
                    return;
                }
                let exchange = exchange + 1;
                if exchange == EXCHANGES {
                    let until = now + patient.silence;
                    patient.enter(State::Silent { port: mapped.port(), until });
                } else {
                    patient.enter(State::Speaking { exchange, tries: 0, next: now + BETWEEN });
                }
                self.renew(socket);
            }
            State::Knocking { .. } => patient.enter(State::Outlived),
            _ => {}
        }
    }

    /// Another question has another name.
    fn renew(&mut self, socket: Socket) {
        let transaction = self.draw();
        if let Some(patient) = self.patients.get_mut(usize::from(socket.0) - 1) {
            patient.transaction = transaction;
        }
    }

    fn advance(&mut self, now: Instant) {
        for (number, patient) in self.patients.iter_mut().enumerate() {
            if patient.wakeup().is_none_or(|at| at > now) {
                continue;
            }
            let own = Socket(u8::try_from(number + 1).unwrap_or(u8::MAX));
            match patient.state {
                State::Speaking { tries: TRIES, .. } => patient.enter(State::Unknown),
                State::Speaking { exchange, tries, .. } => {
                    let payload = stun::encode_request(patient.transaction, Change::default());
                    self.transmits.push_back(Transmit { socket: own, payload });
                    patient.enter(State::Speaking { exchange, tries: tries + 1, next: now + RTO });
                }
                State::Knocking { tries: KNOCKS, .. } => {
                    patient.enter(if patient.control.1 { State::Gone } else { State::Unknown });
                }
                // The machine has slept: this socket was silent for longer than it says.
                State::Silent { until, .. } if now > until + LATE => patient.enter(State::Unknown),
                State::Silent { port, .. } | State::Knocking { port, .. } => {
                    let tries = if let State::Knocking { tries, .. } = patient.state { tries + 1 } else { 1 };
                    let own_question = stun::encode_request(patient.control.0, Change::default());
                    let knock = stun::encode_request_for_port(patient.transaction, port);
                    let both = [own_question, knock].map(|payload| Transmit { socket: Socket::CONTROL, payload });
                    self.transmits.extend(both);
                    patient.enter(State::Knocking { port, tries, next: now + KNOCK_RTO });
                }
                State::Outlived | State::Gone | State::Unknown => {}
            }
        }
        self.conclude();
    }

    fn conclude(&mut self) {
        let span = self.span();
        let beyond = self.patients.iter().filter(|p| p.state == State::Gone && Some(p.silence) > span.outlived);
        let sure = beyond.count() >= SURE && self.shorter_are_settled(span);
        if self.over.is_none() && (sure || self.patients.iter().all(Patient::is_settled)) {
            let nothing = self.patients.iter().all(|patient| patient.state == State::Unknown);
            self.over = Some(if nothing { Err(Trouble::Silence) } else { Ok(span) });
        }
    }

    /// A later socket may be heard of before an earlier one whose first knock was lost.
    fn shorter_are_settled(&self, span: Span) -> bool {
        let shorter = self.patients.iter().filter(|patient| Some(patient.silence) < span.gone_after);
        shorter.into_iter().all(Patient::is_settled)
    }

    fn draw(&mut self) -> TransactionId {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        TransactionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::Response;

    /// A run of three silences, and the questions that its sockets ask first.
    fn run(now: Instant) -> (Measurement, Vec<(Socket, TransactionId)>) {
        let silences = [3, 1, 2, 2].map(Duration::from_secs).to_vec();
        let mut run = Measurement::new(Config { server: server(), silences, seed: [1; 32] }, now);
        run.handle_timeout(now + Duration::from_secs(1) / 5);
        let asked = std::iter::from_fn(|| run.poll_transmit()).map(|Transmit { socket, payload }| {
            let Ok(Message::Request(request)) = stun::decode(&payload) else { panic!("a request") };
            (socket, request.transaction)
        });
        let asked = asked.collect();
        (run, asked)
    }

    fn server() -> SocketAddr {
        "11.1.1.1:3478".parse().expect("an address")
    }

    fn answer(transaction: TransactionId, mapped: &str) -> Vec<u8> {
        let mapped = mapped.parse().expect("an address");
        stun::encode_response(&Response { transaction, mapped, origin: None, other: None })
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only the clock makes an Instant")]
    fn each_silence_has_a_socket_and_the_longest_begins() {
        let (run, asked) = run(Instant::now());
        assert_eq!(run.sockets(), 4, "the control socket, and one for each that is not there twice");
        let sockets: Vec<Socket> = asked.iter().map(|(socket, _)| *socket).collect();
        assert_eq!(sockets[..1], [Socket(3)], "{sockets:?}");
        assert!(!sockets.contains(&Socket::CONTROL), "it asks when there is something to ask");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only the clock makes an Instant")]
    fn sockets_that_are_seen_at_several_addresses_end_it() {
        let now = Instant::now();
        let (mut run, asked) = run(now);
        for ((socket, transaction), mapped) in asked.into_iter().zip(["11.1.1.2:4000", "11.1.1.3:4001"]) {
            run.handle_datagram(
                socket,
                "11.1.1.9:3478".parse().expect("an address"),
                &answer(transaction, mapped),
                now,
            );
            assert_eq!(run.over, None, "who is not the server is not heard");
            run.handle_datagram(socket, server(), &answer(transaction, mapped), now);
        }
        assert_eq!(run.outcome(), Some(Err(Trouble::SeveralAddresses)));
        assert_eq!(run.poll_wakeup(), None);
    }
}
