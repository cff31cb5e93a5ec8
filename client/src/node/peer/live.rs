//! An agent and what it holds of this machine: its sockets, and its turn for what only one may do at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use common::candidate::{Candidate, CandidateKind, Contents, canonical};
use common::introduction::{IntroductionId, Outcome, ToServer, Trickle};
use common::pairing::Pairing;
use common::path::{self, Agent, Attempt, Base, Command, Received, Request};

use crate::node::api::{Introducer, SocketId};
use crate::node::attempt::{AttemptEnd, Circumstances, PathAttempt};
use crate::node::home::{Home, trickle_context};
use crate::node::lines::{Pair, Way};
use crate::node::output::Output;

/// The agent of one introduction. Before it is dropped it has to be given back ([`Live::end`]).
#[derive(Debug)]
pub(super) struct Live {
    pub(super) introduction: IntroductionId,
    pub(super) by: Introducer,
    pub(super) born: Instant,
    circumstances: Circumstances,
    /// Where the rendezvous sees the peer.
    seen_at: Option<IpAddr>,
    pub(super) agent: Agent,
    /// Beside the main one.
    sockets: BTreeMap<Base, SocketId>,
    /// The rendezvous was told how it ended.
    reported: bool,
    /// Since when it waits for its turn at a birthday run.
    queued: Option<Instant>,
    /// The path as far as it is known: heard, found, or moved to.
    pub(super) path: Option<Pair>,
    /// What was tried when the path was found: later the agent forgets the sockets that it did not need.
    found: Option<Attempt>,
}

impl Live {
    /// That of an introduction.
    pub(super) fn new(introduction: IntroductionId, circumstances: Circumstances, agent: Agent, now: Instant) -> Self {
        let by = circumstances.by;
        let seen_at = circumstances.peer.seen_at.map(|address| canonical(address).ip());
        Live {
            introduction,
            by,
            born: now,
            circumstances,
            seen_at,
            agent,
            sockets: BTreeMap::new(),
            reported: false,
            queued: None,
            path: None,
            found: None,
        }
    }

    /// A path was found: what was tried for it is kept.
    pub(super) fn keep_record(&mut self) {
        self.found.get_or_insert_with(|| self.agent.attempt());
    }

    /// What was tried for the path that was found; `None` until one is.
    pub(super) fn record_of_path(&self) -> Option<PathAttempt> {
        self.found.clone().map(|attempt| self.circumstances.ended(AttemptEnd::Direct, attempt))
    }

    /// What was tried, of an attempt that came to nothing.
    pub(super) fn record(&self, ended: AttemptEnd) -> PathAttempt {
        let (ended, attempt) = match (&self.found, ended) {
            (Some(attempt), AttemptEnd::NoPath) => (AttemptEnd::NoSession, attempt.clone()),
            (found, ended) => (ended, found.clone().unwrap_or_else(|| self.agent.attempt())),
        };
        self.circumstances.ended(ended, attempt)
    }

    pub(super) fn way(&self) -> Way {
        Way::Punched(self.introduction)
    }

    /// What the peer has sealed for us, and what the rendezvous knows of it. A mapped port counts only where the rendezvous sees
    /// the peer: nobody can have a stranger's address probed as long as a reflexive one is.
    pub(super) fn learn(&mut self, contents: Contents, reflexive: &[SocketAddr], now: Instant) {
        let Contents { addresses, prediction, mapped, .. } = contents;
        let mapped = mapped.filter(|address| Some(canonical(*address).ip()) == self.seen_at);
        let of_kind = |kind| move |address| Candidate { kind, address };
        let hosts = addresses.into_iter().map(of_kind(CandidateKind::Host));
        let reflexive =
            mapped.into_iter().chain(reflexive.iter().copied()).map(of_kind(CandidateKind::ServerReflexive));
        self.agent.handle_command(Command::AddCandidates(hosts.chain(reflexive).collect()), now);
        prediction.into_iter().for_each(|said| self.agent.handle_command(Command::Predict(said), now));
    }

    /// Takes a STUN datagram that came to this socket; `false` if it is not this agent's.
    pub(super) fn take(&mut self, socket: SocketId, source: SocketAddr, payload: &[u8], now: Instant) -> bool {
        let base = match socket {
            SocketId::MAIN => Some(Base::MAIN),
            other => self.sockets.iter().find(|(_, id)| **id == other).map(|(base, _)| *base),
        };
        base.is_some_and(|base| self.agent.handle_datagram(Received { base, source, payload }, now))
    }

    /// A socket that was asked for is there. `false`: it is not this agent's.
    pub(super) fn opened(&mut self, socket: SocketId, port: u16, now: Instant) -> bool {
        let base = self.sockets.iter().find(|(_, id)| **id == socket).map(|(base, _)| *base);
        base.into_iter().for_each(|base| self.agent.handle_command(Command::Opened(base, port), now));
        base.is_some()
    }

    /// Does what the agent asks for, and sends what it wants sent.
    pub(super) fn pump(&mut self, pairing: &Pairing, now: Instant, home: &mut Home) {
        let mut closed = false;
        loop {
            while let Some(request) = self.agent.poll_request() {
                closed |= matches!(request, Request::Close(_));
                self.request(request, pairing, now, home);
            }
            let Some(path::Transmit { base, destination, payload }) = self.agent.poll_transmit() else { break };
            if let Some(socket) = self.socket(base)
                && home.may_send(destination.ip(), self.seen_at, now)
            {
                home.output(Output::Transmit { socket, destination, payload });
            }
        }
        // If packets left from one of those, they leave from the path's now.
        if let Some(path) = self.path.filter(|path| closed && self.has(path.socket)) {
            home.output(Output::Leave(path.remote, path.socket));
        }
    }

    fn request(&mut self, request: Request, pairing: &Pairing, now: Instant, home: &mut Home) {
        match request {
            Request::Open(base) => {
                if let Some(id) = home.open_socket() {
                    self.sockets.insert(base, id);
                }
            }
            Request::Close(base) => {
                self.sockets.remove(&base).into_iter().for_each(|id| home.close_socket(id));
            }
            Request::Trickle(prediction) => {
                let introduction = self.introduction;
                let sealed = home.seal(pairing, &trickle_context(introduction), prediction.into());
                home.ask(ToServer::Trickle(Trickle { introduction, sealed }));
            }
            Request::BirthdayWanted => {
                home.birthdays.push_back(self.introduction);
                self.queued = Some(now);
            }
            Request::BirthdayOver => self.give_up_turn(home),
        }
    }

    /// The next thing that has happened. The first of them that decides is reported.
    pub(super) fn next_event(&mut self, home: &mut Home) -> Option<path::Event> {
        let event = self.agent.poll_event()?;
        if matches!(event, path::Event::Punched { .. } | path::Event::Failed(_)) {
            self.report(home);
        }
        Some(event)
    }

    /// Tells the rendezvous, once, what has found a path or that nothing has: others with such NATs begin with it.
    fn report(&mut self, home: &mut Home) {
        if !std::mem::replace(&mut self.reported, true) {
            let (introduction, won) = (self.introduction, self.agent.won().map(Into::into));
            home.ask(ToServer::Outcome(Outcome { introduction, won }));
        }
    }

    /// Since when its turn has been there and was not taken.
    pub(super) fn turn(&self, home: &Home) -> Option<Instant> {
        self.queued.filter(|_| home.birthdays.front() == Some(&self.introduction))
    }

    /// Takes its turn if it has come.
    pub(super) fn take_turn(&mut self, now: Instant, home: &Home) {
        if self.turn(home).is_some() {
            self.queued = None;
            self.agent.handle_command(Command::GrantBirthday, now);
        }
    }

    fn give_up_turn(&mut self, home: &mut Home) {
        self.queued = None;
        home.birthdays.retain(|introduction| *introduction != self.introduction);
    }

    /// The socket of a base; `None` if there was none to be had.
    fn socket(&self, base: Base) -> Option<SocketId> {
        if base == Base::MAIN { Some(SocketId::MAIN) } else { self.sockets.get(&base).copied() }
    }

    /// Takes note of the path; `None` if its socket is not there.
    pub(super) fn found(&mut self, base: Base, remote: SocketAddr) -> Option<Pair> {
        self.path = self.socket(base).map(|socket| Pair { socket, remote });
        self.path
    }

    /// Is this one of its sockets, the main one included?
    pub(super) fn has(&self, socket: SocketId) -> bool {
        socket == SocketId::MAIN || self.sockets.values().any(|id| *id == socket)
    }

    /// Gives back what it holds.
    pub(super) fn end(mut self, home: &mut Home) {
        self.give_up_turn(home);
        self.sockets.into_values().for_each(|id| home.close_socket(id));
    }
}
