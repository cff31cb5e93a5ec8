//! NAT behaviour discovery (RFC 5780): what does the NAT between us and the rendezvous do? One [`Discovery`] is one run,
//! started when the client has registered and again when its observed address changes.
//!
//! # The life of a run
//!
//! The rendezvous has told where it sees the **main** socket, the one that everything leaves from: that is the first
//! mapping. At once the main socket asks the server's alternate port, its second address and that one's alternate port,
//! with plain STUN Bindings. The answers say how the **mapping** depends on the destination, and what ports the NAT
//! chooses ([`Event::Reflexive`] hands on what is new).
//!
//! **Filtering** cannot be seen from the main socket, whose packets have opened the filter toward all of these
//! addresses. So the driver opens a **fresh** socket for the run and closes it afterwards. It asks the server's primary
//! address and nothing else; once that is answered, it asks the server to answer from elsewhere (CHANGE-REQUEST). What
//! gets in nobody let in. What does not was filtered, provided that the main socket has been answered from that very
//! place: else the place may be dead.
//!
//! **Hairpinning** is tried the way two peers behind one NAT would: each of the two sockets sends to the other's external
//! endpoint, and either arrival will do. Both must send, because a NAT may filter what it turns round, too. Behind a NAT
//! that has another mapping for each destination *and* filters, nothing arrives even if it turns packets round: as far
//! as peers can make use of it, there is no hairpinning.
//!
//! All of this runs side by side: an open NAT is known after two round trips, one that filters as soon as the silence has
//! lasted (nine retransmission timeouts, 0.45 s near a server and 1.8 s far from it), and [`Event::Finished`] comes
//! within [`MAX_DURATION`] whatever happens.
//!
//! # What is claimed
//!
//! Only what was seen; the rest stays `None`. Of a server with one address:
//!
//! - two ports that see two mappings prove the mapping address-and-port-dependent; two that see the same prove nothing
//!   about other addresses, and `mapping` stays `None`, unless no address is translated at all;
//! - silence from the alternate port proves the filtering address-and-port-dependent; an answer leaves two kinds open,
//!   and `filtering` stays `None`. A server need not serve CHANGE-REQUEST without a second address, ours does.
//!
//! Error 420 to a CHANGE-REQUEST, or an answer from where it was sent to, says that the server will not, and nothing about
//! the NAT. Lost packets can make a NAT look more closed than it is, never more open.
//!
//! # Bounds
//!
//! At most [`MAX_PACKETS`] datagrams of [`MAX_PAYLOAD`] bytes. They go to the addresses in the [`Config`] and to our own
//! external IP; what a response says of other addresses is not even read. A response counts only if it carries a
//! transaction id of ours and comes from where it was expected.

mod classify;
mod question;
mod verdict;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy_world;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::debug;

use crate::candidate::{canonical, may_probe};
use crate::introduction::StunEndpoints;
use crate::nat::NatProfile;
use crate::stun::{self, Change, Message, TransactionId};
use classify::{Observations, Passage};
use question::{Expected, MAX_RTO, Plan, Question, Reply};
pub use verdict::{Advice, Circumstances, is_carriers};

/// The most datagrams of a run: four for each of three mappings, for the fresh socket's first Binding and for two
/// CHANGE-REQUESTs, and three each way through the hairpin.
pub const MAX_PACKETS: usize = 4 * (3 + 1 + 2) + 3 * 2;
/// The longest payload: STUN header, CHANGE-REQUEST, FINGERPRINT.
pub const MAX_PAYLOAD: usize = 20 + 8 + 8;
/// A run ends within this, even if nothing answers and timers are late. Two questions behind each other take 3.6 s.
pub const MAX_DURATION: Duration = Duration::from_secs(4);

/// Tries of a question to the server: with one packet in ten lost each way, one answer in 700 stays out.
const TRIES: u32 = 4;
/// Tries through the hairpin, which is a short way and the least of our questions.
const HAIRPIN_TRIES: u32 = 3;
/// What depends on a first answer is repeated after twice that answer's time, but no faster than this: a server on the
/// same LAN must not make the silence so short that a moment's jitter passes for filtering.
const MIN_RTO: Duration = Duration::from_millis(50);

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's address that the client dialled: QUIC and STUN.
    pub server: SocketAddr,
    /// Where else it answers STUN.
    pub endpoints: StunEndpoints,
    /// Our own host addresses, with the main socket's port.
    pub local: Vec<SocketAddr>,
    /// The fresh socket's own port.
    pub fresh_port: u16,
    /// Where the server sees the main socket.
    pub observed: SocketAddr,
    /// Random, and not used twice: the transaction ids are made from it.
    pub seed: [u8; 32],
}

/// One of the two sockets of a run, both of the family of [`Config::server`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Socket {
    /// The one that everything leaves from; its mappings are what matters.
    Main,
    /// One that the driver opens for this run alone, because it must not have sent anything before.
    Fresh,
}

/// A datagram that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Where it arrived.
    pub socket: Socket,
    /// Who sent it.
    pub source: SocketAddr,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The socket that it must leave from.
    pub socket: Socket,
    /// Where to.
    pub destination: SocketAddr,
    /// A STUN message of at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// What the driver should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Another external address of the main socket than the observed one, reported once: a candidate for peers.
    Reflexive(SocketAddr),
    /// The run is over; the fresh socket can be closed. Comes once, and last.
    Finished(NatProfile),
}

/// When to call [`Discovery::handle_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wakeup {
    /// Not before.
    pub at: Instant,
    /// What will be done then.
    pub reason: WakeReason,
}

/// Why a run wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// To ask again.
    Retransmission,
    /// To take the silence for an answer.
    AnswerOverdue,
    /// To finish with what is known.
    GiveUp,
}

/// The questions of a run, in the order in which their first packets leave, hence in which a NAT makes its mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    AlternatePort,
    SecondAddress,
    SecondAddressAlternatePort,
    /// Is the fresh socket answered at all?
    FreshBinding,
    ChangeAddressAndPort,
    ChangePort,
    /// From the main to the fresh socket's external endpoint. Goes first: where a filter drops it, it opens the way for
    /// the other one.
    HairpinToFresh,
    HairpinToMain,
}

/// The server's STUN addresses, as far as they are fit to be asked.
#[derive(Debug, Clone, Copy)]
struct Places {
    primary: SocketAddr,
    alternate_port: Option<SocketAddr>,
    second: Option<Second>,
}

#[derive(Debug, Clone, Copy)]
struct Second {
    primary_port: SocketAddr,
    alternate_port: SocketAddr,
}

impl Places {
    fn new(server: SocketAddr, endpoints: StunEndpoints, observed: SocketAddr) -> Self {
        let fit = |address: &SocketAddr| may_probe(*address, Some(observed.ip()));
        let alternate_port = SocketAddr::new(server.ip(), endpoints.alternate_port);
        let second = endpoints.alternate.map(canonical).filter(fit).and_then(|primary_port| {
            let alternate_port = SocketAddr::new(primary_port.ip(), primary_port.port().checked_add(1)?);
            let other = primary_port.is_ipv4() == server.is_ipv4() && primary_port.ip() != server.ip();
            other.then_some(Second { primary_port, alternate_port })
        });
        Places {
            primary: server,
            alternate_port: Some(alternate_port).filter(fit).filter(|address| *address != server),
            second,
        }
    }
}

/// Where a run stands. Moved only by [`Discovery::new`] and [`Discovery::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running { give_up: Instant },
    Finished,
}

/// One run of NAT behaviour discovery.
#[derive(Debug)]
pub struct Discovery {
    places: Places,
    local: Vec<SocketAddr>,
    fresh_port: u16,
    observed: SocketAddr,
    seed: [u8; 32],
    counter: u64,
    state: State,
    questions: BTreeMap<Test, Question>,
    /// External addresses of the main socket that the driver knows of; at most four.
    reported: Vec<SocketAddr>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Discovery {
    /// Starts a run: there is something to transmit at once.
    pub fn new(config: Config, now: Instant) -> Self {
        let (server, observed) = (canonical(config.server), canonical(config.observed));
        let places = Places::new(server, config.endpoints, observed);
        let mut discovery = Discovery {
            places,
            local: config.local.into_iter().map(canonical).collect(),
            fresh_port: config.fresh_port,
            observed,
            seed: config.seed,
            counter: 0,
            state: State::Running { give_up: now + MAX_DURATION },
            questions: BTreeMap::new(),
            reported: vec![observed],
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        let mappings = [
            (Test::AlternatePort, places.alternate_port),
            (Test::SecondAddress, places.second.map(|second| second.primary_port)),
            (Test::SecondAddressAlternatePort, places.second.map(|second| second.alternate_port)),
        ];
        for (test, destination) in mappings {
            if let Some(destination) = destination {
                discovery.ask_server(test, Socket::Main, destination, now);
            }
        }
        discovery.ask_server(Test::FreshBinding, Socket::Fresh, places.primary, now);
        discovery.advance(now);
        discovery
    }

    /// Takes a STUN datagram. `false`: it is not for this run, offer it to the next one.
    pub fn handle_datagram(&mut self, received: Received<'_>, now: Instant) -> bool {
        let (transaction, reply) = match stun::decode(received.payload) {
            Ok(Message::Response(response)) => (response.transaction, Reply::Success(response.mapped)),
            Ok(Message::Error { transaction, .. }) => (transaction, Reply::Refusal),
            Ok(Message::Request(request)) => (request.transaction, Reply::OwnRequest),
            Err(_) => return false,
        };
        let Some(question) = self.questions.values_mut().find(|question| question.transaction == transaction) else {
            return false;
        };
        question.hear(received.socket, canonical(received.source), reply, now);
        self.advance(now);
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to come back; `None` once finished.
    pub fn poll_wakeup(&self) -> Option<Wakeup> {
        let State::Running { give_up } = self.state else { return None };
        let give_up = Wakeup { at: give_up, reason: WakeReason::GiveUp };
        self.questions.values().filter_map(Question::wakeup).chain([give_up]).min()
    }

    fn advance(&mut self, now: Instant) {
        let State::Running { give_up } = self.state else { return };
        self.ask_what_follows(now);
        self.leave_what_is_decided();
        self.report_reflexive();
        if now >= give_up {
            self.questions.values_mut().for_each(Question::abandon);
        }
        self.transmits.extend(self.questions.values_mut().filter_map(|question| question.poll(now)));
        if self.questions.values().all(Question::is_settled) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let profile = self.profile();
        debug!(?profile, "NAT behaviour discovery has finished");
        self.state = State::Finished;
        self.events.push_back(Event::Finished(profile));
    }

    /// Once the fresh socket is answered we know that it works, where it is seen, and how long answers take.
    fn ask_what_follows(&mut self, now: Instant) {
        let Some((fresh, after)) = self.questions.get(&Test::FreshBinding).and_then(Question::answer) else { return };
        let rto = (after * 2).clamp(MIN_RTO, MAX_RTO);
        let changes = [
            (Test::ChangeAddressAndPort, self.places.second.map(|second| second.alternate_port)),
            (Test::ChangePort, self.places.alternate_port),
        ];
        for (test, from) in changes {
            if let Some(from) = from {
                self.ask_change(test, from, rto, now);
            }
        }
        if classify::translated(&self.local, self.observed) != Some(true) {
            return; // Our own machine would deliver the packets, and it is no NAT.
        }
        let outside = Some(self.observed.ip());
        if fresh.ip() == self.observed.ip() && may_probe(fresh, outside) {
            self.ask_hairpin(Test::HairpinToFresh, Socket::Main, fresh, rto, now);
        }
        if may_probe(self.observed, outside) {
            self.ask_hairpin(Test::HairpinToMain, Socket::Fresh, self.observed, rto, now);
        }
    }

    /// What a filter lets through from everywhere it lets through from another port; and one arrival is a hairpin.
    fn leave_what_is_decided(&mut self) {
        let answered = |test| self.questions.get(&test).is_some_and(|question| question.answer().is_some());
        let open = answered(Test::ChangeAddressAndPort);
        let hairpin = self.has_arrived(Test::HairpinToFresh) || self.has_arrived(Test::HairpinToMain);
        for (test, question) in &mut self.questions {
            let decided = match test {
                Test::ChangePort => open,
                Test::HairpinToFresh | Test::HairpinToMain => hairpin,
                _ => false,
            };
            if decided {
                question.abandon();
            }
        }
    }

    fn report_reflexive(&mut self) {
        for test in [Test::AlternatePort, Test::SecondAddress, Test::SecondAddressAlternatePort] {
            let Some(mapped) = self.mapped(test) else { continue };
            if !self.reported.contains(&mapped) {
                self.reported.push(mapped);
                self.events.push_back(Event::Reflexive(mapped));
            }
        }
    }

    fn profile(&self) -> NatProfile {
        let seen = Observations {
            observed: self.observed,
            alternate_port: self.mapped(Test::AlternatePort),
            second: self.mapped(Test::SecondAddress),
            second_alternate_port: self.mapped(Test::SecondAddressAlternatePort),
            fresh: self.mapped(Test::FreshBinding),
        };
        let translated = classify::translated(&self.local, self.observed);
        NatProfile {
            translated,
            mapping: classify::mapping(&seen, translated),
            filtering: classify::filtering(
                self.passage(Test::ChangeAddressAndPort, Test::SecondAddressAlternatePort),
                self.passage(Test::ChangePort, Test::AlternatePort),
            ),
            ports: classify::ports(&seen, self.local.first().map(SocketAddr::port), self.fresh_port),
            hairpinning: self.hairpinning(),
        }
    }

    /// Does what the server sends from elsewhere get in? `alive` is the question that the same place has answered.
    fn passage(&self, change: Test, alive: Test) -> Passage {
        match self.questions.get(&change) {
            Some(question) if question.answer().is_some() => Passage::Open,
            Some(question) if question.is_silent() && self.mapped(alive).is_some() => Passage::Shut,
            _ => Passage::Unknown,
        }
    }

    fn hairpinning(&self) -> Option<bool> {
        let arrived = self.has_arrived(Test::HairpinToMain) || self.has_arrived(Test::HairpinToFresh);
        let silent = self.questions.get(&Test::HairpinToMain).is_some_and(Question::is_silent);
        (arrived || silent).then_some(arrived)
    }

    fn has_arrived(&self, test: Test) -> bool {
        self.questions.get(&test).is_some_and(Question::has_arrived)
    }

    fn mapped(&self, test: Test) -> Option<SocketAddr> {
        self.questions.get(&test)?.answer().map(|(mapped, _)| mapped)
    }

    fn ask_server(&mut self, test: Test, socket: Socket, destination: SocketAddr, now: Instant) {
        let expected = Expected::Response { from: destination };
        let plan = Plan { socket, destination, change: Change::default(), expected, tries: TRIES, rto: MAX_RTO };
        self.ask(test, plan, now);
    }

    fn ask_change(&mut self, test: Test, from: SocketAddr, rto: Duration, now: Instant) {
        let change = Change { ip: test == Test::ChangeAddressAndPort, port: true };
        let (destination, expected) = (self.places.primary, Expected::Response { from });
        self.ask(test, Plan { socket: Socket::Fresh, destination, change, expected, tries: TRIES, rto }, now);
    }

    fn ask_hairpin(&mut self, test: Test, socket: Socket, destination: SocketAddr, rto: Duration, now: Instant) {
        let at = if socket == Socket::Main { Socket::Fresh } else { Socket::Main };
        let (change, expected) = (Change::default(), Expected::Arrival { at });
        self.ask(test, Plan { socket, destination, change, expected, tries: HAIRPIN_TRIES, rto }, now);
    }

    /// Each test is asked once a run.
    fn ask(&mut self, test: Test, plan: Plan, now: Instant) {
        if !self.questions.contains_key(&test) {
            let transaction = self.next_transaction();
            self.questions.insert(test, Question::new(transaction, plan, now));
        }
    }

    /// A transaction id that nobody without the seed can guess, without drawing randomness.
    fn next_transaction(&mut self) -> TransactionId {
        self.counter += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize();
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        TransactionId(id)
    }
}
