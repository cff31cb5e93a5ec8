//! The decisions of a rendezvous, without sockets, clock or randomness of its own.
//!
//! The driver hands in what happened (`handle_…`, with the time) and takes out what follows ([`Server::poll_change`] for
//! the relay, then [`Server::poll_output`]) until nothing is left. What one input causes comes out in one batch: both
//! sides of an introduction are told at the same instant, and may use their channel by then.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use common::candidate::canonical;
use common::identity::PeerId;
use common::introduction::{
    CloseCode, ErrorCode, FromServer, Introduce, Introduction, IntroductionId, Letter, MAX_SEALED, Outcome, Register,
    Registered, Role, StunEndpoints, ToServer, Trickle,
};
use common::nat::NatProfile;
use common::pairing::Capability;
use common::relay::RelayChannel;
use common::seal::MAX_ENVELOPE;

use crate::budgets::Budgets;
use crate::introductions::Introductions;
use crate::limits::{Bucket, FRAMES, Limits, NEW_ADDRESS_HOLDS, PATIENCE, Source};
use crate::mailbox::Command;
use crate::memory::{Classes, Memory};
use crate::registry::{Placed, Registration, Registry, TooMuch};
use crate::relay::channels::{Channels, Ended};
use crate::relay::{Change, Location};
use calendar::Calendar;
use mail::{Correspondence, PostOffice};

mod calendar;
mod mail;

/// A connection, in the numbering of the driver. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the server wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(ConnectionId, FromServer),
    /// Close, after what was sent before has arrived. The server knows nothing of this connection any more.
    Close(ConnectionId, CloseCode),
}

/// Draws 64 random bits for the names of introductions and of relay channels.
pub type Draw = Box<dyn FnMut() -> u64 + Send>;

#[derive(Debug)]
struct Connection {
    peer: PeerId,
    since: Instant,
    location: Location,
    /// A new address that has not held for long enough.
    moving: Option<(SocketAddr, Instant)>,
    stun: StunEndpoints,
    frames: Bucket,
    registered: bool,
    mail: Correspondence,
}

/// Why a connection is closed from this side.
#[derive(Debug)]
enum Fault {
    Protocol(String),
    RateLimited(&'static str),
    Full,
    Replaced,
}

impl From<TooMuch> for Fault {
    fn from(error: TooMuch) -> Self {
        Fault::Protocol(error.to_string())
    }
}

/// The state of a rendezvous.
pub struct Server {
    connections: BTreeMap<ConnectionId, Connection>,
    registry: Registry,
    introductions: Introductions,
    budgets: Budgets,
    /// `None` if this server does not relay.
    channels: Option<Channels>,
    /// `None` if this server remembers nothing.
    memory: Option<Memory>,
    /// `None` if this server keeps no mail.
    post_office: Option<PostOffice>,
    calendar: Calendar,
    commands: VecDeque<Command>,
    changes: VecDeque<Change>,
    outputs: VecDeque<Output>,
    draw: Draw,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("registered", &self.registry.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// Nobody is here yet, and nothing is relayed.
    pub fn new(limits: &Limits, draw: Draw) -> Self {
        Server {
            connections: BTreeMap::new(),
            registry: Registry::new(limits.registrations),
            introductions: Introductions::default(),
            budgets: Budgets::default(),
            channels: None,
            memory: None,
            post_office: None,
            calendar: Calendar::default(),
            commands: VecDeque::new(),
            changes: VecDeque::new(),
            outputs: VecDeque::new(),
            draw,
        }
    }

    /// Two who are introduced get a channel.
    pub fn with_relay(mut self, channels: Channels) -> Self {
        self.channels = Some(channels);
        self
    }

    /// What found a path for some is remembered for others.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Somebody who holds the key of `peer` has connected from there, at an address whose STUN endpoints are these.
    pub fn handle_connected(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        location: impl Into<Location>,
        stun: StunEndpoints,
        now: Instant,
    ) {
        let mut location = location.into();
        location.address = canonical(location.address);
        let frames = Bucket::default();
        let mail = Correspondence::new(Source::of(location.address.ip()));
        let state = Connection { peer, since: now, location, moving: None, stun, frames, registered: false, mail };
        self.connections.insert(connection, state);
    }

    /// Where this connection comes from in truth, if that is not its address: it comes through a tunnel.
    pub fn handle_source(&mut self, connection: ConnectionId, source: IpAddr) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.mail.source = Source::of(source);
        }
    }

    /// A whole frame arrived.
    pub fn handle_message(&mut self, connection: ConnectionId, message: ToServer, now: Instant) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        let done = if !state.frames.take(FRAMES, now) {
            Err(Fault::RateLimited("too many frames"))
        } else {
            let (peer, registered) = (state.peer, state.registered);
            match message {
                ToServer::Register(register) if !registered => self.register(connection, peer, register, now),
                ToServer::Register(_) => Err(Fault::Protocol("already registered; send an Update".into())),
                _ if !registered => Err(Fault::Protocol("the first frame must be a Register".into())),
                ToServer::Update(register) => self.update(connection, peer, register, now),
                ToServer::Introduce(introduce) => self.introduce(connection, peer, introduce, now),
                ToServer::Trickle(trickle) => self.trickle(peer, trickle, now),
                ToServer::Letter(letter) => self.letter(peer, letter, now),
                ToServer::Outcome(outcome) => {
                    self.outcome(connection, peer, outcome, now);
                    Ok(())
                }
                ToServer::Prekeys(prekeys) => self.publish(connection, prekeys),
                ToServer::FetchPrekeys(fetch) => self.fetch(connection, fetch),
                ToServer::Deposit(deposit) => self.deposit(connection, deposit, now),
                ToServer::Collected(collected) => self.collected(connection, collected),
            }
        };
        if let Err(fault) = done {
            self.fail(connection, fault, now);
        }
    }

    /// What arrived is no frame of this protocol.
    pub fn handle_broken(&mut self, connection: ConnectionId, why: &dyn fmt::Display, now: Instant) {
        if self.connections.contains_key(&connection) {
            self.fail(connection, Fault::Protocol(why.to_string()), now);
        }
    }

    /// Where the connection comes from at this moment. A new port is believed at once, a new IP address when it has
    /// held for [`NEW_ADDRESS_HOLDS`]: say it again every second. A client that knows that it moved does not wait for
    /// this, it makes a new connection.
    pub fn handle_moved(&mut self, connection: ConnectionId, observed: SocketAddr, now: Instant) {
        let observed = canonical(observed);
        let Some(state) = self.connections.get_mut(&connection) else { return };
        if observed == state.location.address {
            state.moving = None;
            return;
        }
        if observed.ip() != state.location.address.ip() {
            match state.moving {
                Some((to, since)) if to.ip() == observed.ip() => {
                    if now < since + NEW_ADDRESS_HOLDS {
                        return;
                    }
                }
                _ => {
                    state.moving = Some((observed, now));
                    return;
                }
            }
        }
        state.moving = None;
        state.location.address = observed;
        if state.registered {
            let (peer, location, stun) = (state.peer, state.location, state.stun);
            let registered = Registered { observed, stun, now_s: self.calendar.now_s(now) };
            self.registry.moved(&peer, observed);
            self.changes.push_back(Change::Move(peer, Some(location)));
            self.send(connection, FromServer::Registered(registered));
        }
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(state) = self.connections.remove(&connection)
            && self.registry.remove(&state.peer, connection)
        {
            self.changes.push_back(Change::Move(state.peer, None));
            if let Some(channels) = &mut self.channels {
                channels.left(state.peer, now);
            }
        }
    }

    /// Frames went through these channels not long ago.
    pub fn handle_relayed(&mut self, used: impl IntoIterator<Item = RelayChannel>, now: Instant) {
        let Some(channels) = &mut self.channels else { return };
        used.into_iter().for_each(|channel| channels.touch(channel, now));
    }

    /// Time has passed. Call it every second or so.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.introductions.expire(now);
        self.memory.iter_mut().for_each(|memory| memory.expire(now));
        let Server { budgets, registry, .. } = self;
        budgets.expire(now, |peer| registry.get(peer).is_some());
        let ended = self.channels.as_mut().map(|channels| channels.expire(now));
        self.channels_ended(ended.unwrap_or_default());
        self.catch_up(now);
        let silent = |state: &Connection| !state.registered && now >= state.since + PATIENCE;
        let silent: Vec<_> = self.connections.iter().filter(|(_, state)| silent(state)).map(|(id, _)| *id).collect();
        for connection in silent {
            self.close(connection, CloseCode::Silent, now);
        }
    }

    /// The server is about to stop: everybody is told and sent away.
    pub fn handle_drain(&mut self, now: Instant) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send(connection, FromServer::Draining);
            self.close(connection, CloseCode::Draining, now);
        }
    }

    /// What changes for the relay, in this order and before anybody is told.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// What to do next, in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many clients are registered.
    pub fn registered(&self) -> usize {
        self.registry.len()
    }

    /// How many relay channels live.
    pub fn channels(&self) -> usize {
        self.channels.as_ref().map_or(0, Channels::len)
    }

    /// What has found paths, if that is remembered.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// How many introductions are remembered.
    pub fn introductions(&self) -> usize {
        self.introductions.len()
    }

    fn register(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        register: Register,
        now: Instant,
    ) -> Result<(), Fault> {
        let Some(state) = self.connections.get_mut(&connection) else { return Ok(()) };
        let (location, stun) = (state.location, state.stun);
        let observed = location.address;
        match self.registry.place(peer, connection, observed, register)? {
            Placed::New => {}
            Placed::Instead(older) => self.fail(older, Fault::Replaced, now),
            Placed::Outdated => return Err(Fault::Replaced),
            Placed::Full => return Err(Fault::Full),
        }
        if let Some(state) = self.connections.get_mut(&connection) {
            state.registered = true;
        }
        self.send(connection, FromServer::Registered(Registered { observed, stun, now_s: self.calendar.now_s(now) }));
        self.changes.push_back(Change::Move(peer, Some(location)));
        self.consent_changed(peer);
        self.account_changed(connection, now);
        Ok(())
    }

    fn update(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        register: Register,
        now: Instant,
    ) -> Result<(), Fault> {
        self.registry.update(&peer, register)?;
        self.consent_changed(peer);
        self.account_changed(connection, now);
        Ok(())
    }

    /// Whoever is no contact any more has no channel either.
    fn consent_changed(&mut self, peer: PeerId) {
        let (Some(channels), Some(registration)) = (&mut self.channels, self.registry.get(&peer)) else { return };
        let ended = channels.came(peer, |capability| registration.accepts(capability));
        self.channels_ended(ended);
    }

    fn channels_ended(&mut self, ended: Vec<Ended>) {
        for Ended { channel, parties } in ended {
            self.changes.push_back(Change::Close(channel));
            for party in parties {
                if let Some(registration) = self.registry.get(&party) {
                    self.outputs.push_back(Output::Send(registration.connection, FromServer::ChannelClosed(channel)));
                }
            }
        }
    }

    /// The channel of two registered parties who have met under this capability.
    fn grant(
        &mut self,
        parties: [(PeerId, ConnectionId); 2],
        capability: Capability,
        now: Instant,
    ) -> Option<RelayChannel> {
        let channels = self.channels.as_mut()?;
        let [a, b] = parties;
        let here = |(peer, connection)| Some((peer, self.connections.get(&connection)?.location));
        let located = [here(a)?, here(b)?];
        let granted = channels.grant([a.0, b.0], capability, &mut self.draw, now);
        self.channels_ended(granted.ended);
        if granted.new {
            self.changes.push_back(Change::Open(granted.channel, located));
        }
        Some(granted.channel)
    }

    fn introduce(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        introduce: Introduce,
        now: Instant,
    ) -> Result<(), Fault> {
        let Introduce { request, peer: wanted, capability, sealed, envelope } = introduce;
        at_most(MAX_SEALED, "a sealed box", &sealed)?;
        at_most(MAX_ENVELOPE, "an envelope", &envelope)?;
        if !self.budgets.may_ask(peer, now) {
            return Err(Fault::RateLimited("too many introductions"));
        }
        // One path and one answer for the unknown, the absent, the unwilling and those asked for too often.
        let consents = |r: &&Registration| r.accepts(&capability);
        let requester = self.registry.get(&peer).filter(consents);
        let responder = self.registry.get(&wanted).filter(consents).filter(|_| wanted != peer);
        let pair = requester.zip(responder).filter(|_| self.budgets.may_meet(peer, capability, now));
        let Some((requester, responder)) = pair else {
            self.send(connection, FromServer::Refused { request });
            return Ok(());
        };
        // Where one shows no address nothing is punched, so nobody needs the other one's either.
        let punches = !requester.relay_only && !responder.relay_only;
        let about = |registration: &Registration| match punches {
            true => (registration.addresses(), registration.profile),
            false => (Vec::new(), NatProfile::default()),
        };
        let (to_requester, to_responder) = (about(responder), about(requester));
        // Between two behind one NAT, or who send it nothing, it does not matter what that does.
        let seen = requester.observed_ip().zip(responder.observed_ip());
        let comparable = punches && seen.is_some_and(|(one, other)| one != other);
        let classes = comparable.then(|| Classes::of(&requester.profile, &responder.profile));
        let hint = classes.and_then(|classes| self.memory.as_mut()?.hint(classes, now)).map(Into::into);
        let responder = responder.connection;
        let relay = self.grant([(peer, connection), (wanted, responder)], capability, now);
        let mut id = IntroductionId((self.draw)());
        while !self.introductions.add(id, [peer, wanted], classes, now) {
            id = IntroductionId(id.0.wrapping_add(1));
        }
        let tell = |to, peer, role, (addresses, profile), sealed, envelope| {
            let introduction = Introduction { id, peer, role, addresses, profile, sealed, envelope, relay, hint };
            Output::Send(to, FromServer::Introduction(introduction))
        };
        let (none, role) = (Vec::new(), Role::Requester { request });
        self.outputs.push_back(tell(connection, wanted, role, to_requester, none.clone(), none));
        self.outputs.push_back(tell(responder, peer, Role::Responder, to_responder, sealed, envelope));
        Ok(())
    }

    fn trickle(&mut self, peer: PeerId, trickle: Trickle, now: Instant) -> Result<(), Fault> {
        at_most(MAX_SEALED, "a sealed box", &trickle.sealed)?;
        let to = self.introductions.trickle(trickle.introduction, peer, now);
        self.pass_on(to, FromServer::Trickle(trickle));
        Ok(())
    }

    fn letter(&mut self, peer: PeerId, letter: Letter, now: Instant) -> Result<(), Fault> {
        at_most(MAX_ENVELOPE, "an envelope", &letter.envelope)?;
        let to = self.introductions.letter(letter.introduction, peer, now);
        self.pass_on(to, FromServer::Letter(letter));
        Ok(())
    }

    /// Said of an introduction that is not known, or a second time, it is as good as not said.
    fn outcome(&mut self, connection: ConnectionId, peer: PeerId, outcome: Outcome, now: Instant) {
        let Outcome { introduction, won } = outcome;
        let classes = self.introductions.outcome(introduction, peer, now);
        let reporter = self.connections.get(&connection).map(|state| state.location.address.ip());
        // A strategy of a later version is none that could be recommended.
        let won = won.map_or(Some(None), |won| won.known().map(Some));
        if let (Some(memory), Some(classes), Some(reporter), Some(won)) = (&mut self.memory, classes, reporter, won) {
            memory.record(classes, reporter, won, now);
        }
    }

    /// To the other party of an introduction, if that is here. An introduction that has expired is no fault of the
    /// client's, and one that never was must look the same.
    fn pass_on(&mut self, to: Option<PeerId>, message: FromServer) {
        if let Some(to) = to.and_then(|to| self.registry.get(&to)).map(|registration| registration.connection) {
            self.send(to, message);
        }
    }

    fn send(&mut self, to: ConnectionId, message: FromServer) {
        self.outputs.push_back(Output::Send(to, message));
    }

    fn close(&mut self, connection: ConnectionId, code: CloseCode, now: Instant) {
        self.handle_closed(connection, now);
        self.outputs.push_back(Output::Close(connection, code));
    }

    fn fail(&mut self, connection: ConnectionId, fault: Fault, now: Instant) {
        let (message, close) = match fault {
            Fault::Protocol(message) => (FromServer::Error { code: ErrorCode::Protocol, message }, CloseCode::Protocol),
            Fault::RateLimited(what) => {
                let message = format!("{what}; come back later");
                (FromServer::Error { code: ErrorCode::RateLimited, message }, CloseCode::RateLimited)
            }
            Fault::Full => {
                let message = "this rendezvous has no room; come back later".to_owned();
                (FromServer::Error { code: ErrorCode::Full, message }, CloseCode::Full)
            }
            Fault::Replaced => (FromServer::Replaced, CloseCode::Replaced),
        };
        self.send(connection, message);
        self.close(connection, close, now);
    }
}

fn at_most(most: usize, what: &str, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() > most {
        return Err(Fault::Protocol(format!("{what} has at most {most} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
