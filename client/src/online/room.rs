//! What every online command knows: the conversations, the contacts, and how the node is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::identity::{Identity, PeerId};
use common::receipt::{Claim, MAX_CLAIMED, Receipt};
use common::session::{Content, MessageId, PeerFrame, Post, PostDigest, Route, Via};

use super::mailing::Mailing;
use super::task::LookUp;
use super::{Moment, Out, showing};
use crate::data::{Contacts, SessionStatus, State as Standing, Status};
use crate::messenger::{Arrival, Effect, Input, Messenger, Outgoing, Reason, Refusal, Resumed, Stream};
use crate::node::{Entrance, Introducer, NodeCommand, NodeEvent, SessionId};
use crate::output::{Direction, Event, Who};
use crate::store::{Conversation, Record, State, Waiting};

/// What the messenger said that a task may want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    State { peer: PeerId, id: MessageId, state: State },
    Pong { peer: PeerId, route: Route, nonce: u64 },
    NotQueued { peer: PeerId, id: MessageId, why: Refusal },
}

/// A connection that stands.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    session: SessionId,
    /// The peer's address, or the relay's.
    pub remote: SocketAddr,
    rtt: Duration,
    by: Option<Introducer>,
}

impl Connection {
    /// The round trip, when last measured.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }
}

/// The state shared by all online commands.
#[derive(Debug)]
pub struct Room {
    pub(super) identity: Identity,
    contacts: Contacts,
    pub(super) messenger: Messenger,
    connections: BTreeMap<(PeerId, Route), Connection>,
    status: Status,
    status_changed: bool,
    pub(super) notices: Vec<Notice>,
    answers: BTreeMap<(PeerId, Way), Answer>,
    pub(super) mailing: Mailing,
}

/// How an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Letter,
    Session(Route),
    Mail,
}

/// What is to be said to one peer one way when all that has come together was taken note of.
#[derive(Debug, Default)]
pub(super) struct Answer {
    frames: Vec<PeerFrame>,
    here: Vec<(MessageId, PostDigest)>,
    pub(super) receipts: Vec<Receipt>,
}

impl Room {
    /// A room that has heard of nothing yet.
    pub fn new(identity: Identity, contacts: Contacts, status: Status) -> Self {
        Room {
            identity,
            contacts,
            messenger: Messenger::new(),
            connections: BTreeMap::new(),
            status,
            status_changed: true,
            notices: Vec::new(),
            answers: BTreeMap::new(),
            mailing: Mailing::default(),
        }
    }

    /// A peer as it is shown.
    pub fn who(&self, peer: PeerId) -> Who {
        Who { peer, name: self.contacts.name_of(peer).map(str::to_owned) }
    }

    /// A peer as it is called in a sentence.
    pub fn name(&self, peer: PeerId) -> String {
        self.contacts.name_of(peer).map_or_else(|| peer.short(), str::to_owned)
    }

    /// Is this (still) a contact?
    pub fn knows(&self, peer: PeerId) -> bool {
        self.contacts.name_of(peer).is_some()
    }

    /// The number of contacts.
    pub fn contact_count(&self) -> usize {
        self.contacts.iter().count()
    }

    /// The conversations.
    pub fn messenger(&self) -> &Messenger {
        &self.messenger
    }

    /// The connection with this peer by this route.
    pub fn connection(&self, peer: PeerId, route: Route) -> Option<&Connection> {
        self.connections.get(&(peer, route))
    }

    /// How packets go to this peer now: messages, or the best that stands where there were none.
    pub fn route(&self, peer: PeerId) -> Option<Route> {
        Route::ALL.into_iter().rfind(|route| self.connection(peer, *route).is_some())
    }

    /// The contacts.
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// The connections that stand, as they were told of when they came.
    pub(super) fn standing(&self) -> impl Iterator<Item = NodeEvent> {
        self.connections.iter().map(|(&(peer, route), &Connection { session, remote, rtt, by })| NodeEvent::Up {
            peer,
            session,
            route,
            remote,
            rtt,
            by,
        })
    }

    /// How the node stands, as it is told in the status file.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Gives a frame to the connection of this route. Without one it is dropped: the messenger sends what is not
    /// acknowledged again when there is one.
    pub fn send(&self, peer: PeerId, route: Route, frame: PeerFrame, out: &mut Out) {
        if let Some(connection) = self.connection(peer, route) {
            out.command(NodeCommand::Send { peer, session: connection.session, frame });
        }
    }

    /// Says something, which shall not go any more after `life`.
    pub fn say(
        &mut self,
        peer: PeerId,
        id: MessageId,
        content: Content,
        life: Option<Duration>,
        now: Moment,
        out: &mut Out,
    ) {
        let at_ms = now.wall_ms();
        let expires = life.and_then(|life| now.at.checked_add(life));
        self.feed(Input::Say { peer, id, at_ms, content, expires }, now, out);
    }

    /// What we said is kept, and shown.
    fn said(&mut self, peer: PeerId, post: Post, expires: Option<Instant>, now: Moment, out: &mut Out) {
        let expires_ms = expires.map(|at| now.wall_ms_at(at));
        out.keep(Record::Said { peer, post: post.clone(), expires_ms });
        self.note_said(peer, &post);
        let waiting = self.messenger.relies_on(peer).is_none();
        let shown = showing::event(Direction::Out, self.who(peer), post, waiting, now.wall);
        shown.into_iter().for_each(|event| out.show(event));
    }

    /// Goes on where an earlier process stood with this peer.
    pub(super) fn resume(&mut self, peer: PeerId, before: Conversation, now: Moment, out: &mut Out) {
        let Conversation { stream, next_seq, queue, seen, streams } = before;
        let queue = queue.into_iter().map(|Waiting { post, expires_ms, stored_until_s, digest, .. }| {
            // What is said now may be other than at first: taken back, edited. Either may have arrived.
            let before = Some(digest).filter(|first| *first != post.digest());
            let at_server = stored_until_s.and_then(|until| now.instant_of(until.saturating_mul(1000)));
            let expires = expires_ms.and_then(|at| now.instant_of(at));
            Outgoing { post, before, at_server, expires }
        });
        let read = streams.first().filter(|stream| stream.read > 0).map(|stream| (stream.stream, stream.read));
        let heard = streams.into_iter().rev();
        let heard = heard.map(|stream| Stream { id: stream.stream, highest: stream.highest, holes: stream.gaps });
        let (queue, heard) = (queue.collect(), heard.collect());
        let before = Resumed { next: (stream, next_seq), queue, seen, heard, read };
        self.feed(Input::Resume { peer, before }, now, out);
    }

    /// Another process has changed what waits: what is not there any more was taken back.
    pub(super) fn set_outbox(&mut self, waiting: &BTreeSet<MessageId>, now: Moment, out: &mut Out) {
        for peer in self.contacts.ids() {
            let ours = self.messenger.outstanding(peer).into_iter().map(|(id, _)| id);
            let cancelled: Vec<_> = ours.filter(|id| !waiting.contains(id)).collect();
            cancelled.into_iter().for_each(|id| self.feed(Input::Cancel { peer, id }, now, out));
        }
    }

    /// The contacts were read again.
    pub(super) fn set_contacts(&mut self, contacts: Contacts, out: &mut Out) {
        out.command(NodeCommand::Contacts(contacts.ids()));
        self.contacts = contacts;
        for session in &mut self.status.sessions {
            session.name = self.contacts.name_of(session.peer).map(str::to_owned);
        }
        self.status_changed = true;
    }

    /// Takes note of what the node says, and shows it.
    pub(super) fn note(&mut self, event: &NodeEvent, now: Moment, out: &mut Out) {
        if self.note_mail(event, now, out) {
            return;
        }
        match event {
            NodeEvent::Frame { peer, via, frame, rtt } => {
                if let Via::Session(route) = *via {
                    self.measured(*peer, route, *rtt);
                }
                self.frame(*peer, *via, frame, *rtt, now, out);
                return;
            }
            NodeEvent::Registered { entrance, local } => {
                self.status.state = Standing::Online;
                self.status.entrance = Some(*entrance);
                if *entrance == Entrance::Tunnel {
                    self.status.profile = None;
                }
                self.status.local.clone_from(local);
            }
            NodeEvent::RendezvousLost { .. } => self.status.state = Standing::Lost,
            NodeEvent::Draining => self.status.state = Standing::Draining,
            NodeEvent::Profile(profile) => self.status.profile = Some(*profile),
            NodeEvent::PortMapping(mapping) => {
                self.status.port_mapping = mapping.as_ref().ok().copied();
                self.status.no_port_mapping = mapping.as_ref().err().cloned();
            }
            NodeEvent::Up { peer, session, route, remote, rtt, by } => {
                let connection = Connection { session: *session, remote: *remote, rtt: *rtt, by: *by };
                self.connections.insert((*peer, *route), connection);
            }
            NodeEvent::Down { peer, route, .. } => drop(self.connections.remove(&(*peer, *route))),
            NodeEvent::NetworkChanged { .. } => {}
            NodeEvent::Attempted { peer, attempt } => self.status.attempted(*peer, (**attempt).clone(), now.wall),
            NodeEvent::Refused { peer } => self.status.refused(*peer, now.wall),
            // For the task that asked.
            NodeEvent::Speed { .. } | NodeEvent::Around(_) | NodeEvent::Lifetime(_) => return,
            NodeEvent::Mailbox(_)
            | NodeEvent::Deposited { .. }
            | NodeEvent::Mail { .. }
            | NodeEvent::MailUnreadable { .. }
            | NodeEvent::Clock { .. }
            | NodeEvent::Replaced
            | NodeEvent::Introduced { .. }
            | NodeEvent::Punched { .. }
            | NodeEvent::NoPath { .. }
            | NodeEvent::Untrusted { .. } => {}
        }
        self.status_changed = true;
        if let Some(event) = self.picture(event) {
            out.show(event);
        }
        match event {
            NodeEvent::Up { peer, route, rtt, .. } => {
                self.feed(Input::Connected { peer: *peer, route: *route, rtt: *rtt }, now, out);
            }
            NodeEvent::Down { peer, route, reason, by_peer } => {
                self.feed(Input::Disconnected { peer: *peer, route: *route }, now, out);
                if self.messenger.relies_on(*peer).is_none() {
                    self.status.sessions.retain(|session| session.peer != *peer);
                    out.show(Event::Lost { who: self.who(*peer), reason: reason.clone(), by_peer: *by_peer });
                }
            }
            NodeEvent::NetworkChanged { .. } => self.feed(Input::NetworkChanged, now, out),
            NodeEvent::Refused { peer } => self.feed(Input::Absent { peer: *peer }, now, out),
            _ => {}
        }
    }

    pub(super) fn frame(
        &mut self,
        peer: PeerId,
        via: Via,
        frame: &PeerFrame,
        rtt: Duration,
        now: Moment,
        out: &mut Out,
    ) {
        match frame {
            PeerFrame::Receipt(receipt) => {
                if let Err(error) = receipt.verify(peer, self.identity.peer_id()) {
                    tracing::warn!(peer = %peer.short(), %error, "a receipt that counts for nothing");
                    return;
                }
            }
            PeerFrame::Hello { prekey: Some(prekey), .. } => self.peer_prekey(peer, *prekey, now, out),
            _ => {}
        }
        self.feed(Input::Frame { peer, via, frame: frame.clone(), rtt }, now, out);
    }

    /// A round trip was measured.
    fn measured(&mut self, peer: PeerId, route: Route, rtt: Duration) {
        if let Some(connection) = self.connections.get_mut(&(peer, route)) {
            connection.rtt = rtt;
        }
        let shown = |session: &&mut SessionStatus| session.peer == peer && session.route == route;
        if let Some(session) = self.status.sessions.iter_mut().find(shown) {
            session.rtt_ms = rtt.into();
            self.status_changed = true;
        }
    }

    /// Messages to this peer go this way from now on.
    fn switched(&mut self, peer: PeerId, route: Route, why: Reason, now: Moment, out: &mut Out) {
        let Some(Connection { remote, rtt, by, .. }) = self.connection(peer, route).copied() else { return };
        let name = self.who(peer).name;
        self.status.sessions.retain(|session| session.peer != peer);
        self.status.sessions.push(SessionStatus { peer, name, route, by, remote, rtt_ms: rtt.into(), since: now.wall });
        self.status_changed = true;
        let reason = why.to_string();
        out.show(Event::Path { who: self.who(peer), kind: route, remote, rtt_ms: rtt.into(), reason });
    }

    pub(super) fn handle_timeout(&mut self, now: Moment, out: &mut Out) {
        let effects = self.messenger.handle_timeout(now.at);
        self.apply(effects, now, out);
    }

    pub(super) fn poll_wakeup(&self) -> Option<Instant> {
        self.messenger.poll_wakeup()
    }

    /// What the messenger said since the last call.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The status, if it has changed since the last call.
    pub(super) fn take_status(&mut self) -> Option<&Status> {
        std::mem::take(&mut self.status_changed).then_some(&self.status)
    }

    pub(super) fn answer(&mut self, peer: PeerId, way: Way) -> &mut Answer {
        self.answers.entry((peer, way)).or_default()
    }

    /// Says what is to be said of all that has come since the last call: one signature is for many posts.
    pub(super) fn flush(&mut self, now: Moment, out: &mut Out) {
        for ((peer, way), Answer { mut frames, here, mut receipts }) in std::mem::take(&mut self.answers) {
            receipts.extend(here.chunks(MAX_CLAIMED).map(|posts| {
                let claim = Claim::Device { posts: posts.to_vec() };
                Receipt::sign(&self.identity, peer, claim, now.wall_ms())
            }));
            if way == Way::Mail {
                self.mail_receipts(peer, frames, receipts, out);
                continue;
            }
            frames.extend(receipts.into_iter().map(PeerFrame::Receipt));
            match way {
                Way::Mail => {}
                Way::Letter => out.command(NodeCommand::Reply { peer, frames }),
                Way::Session(route) => frames.into_iter().for_each(|frame| self.send(peer, route, frame, out)),
            }
        }
        self.collect(out);
    }

    pub(super) fn feed(&mut self, input: Input, now: Moment, out: &mut Out) {
        let effects = self.messenger.handle(input, now.at);
        self.apply(effects, now, out);
    }

    pub(super) fn apply(&mut self, effects: Vec<Effect>, now: Moment, out: &mut Out) {
        for effect in effects {
            match effect {
                Effect::Send { peer, route, frame } => self.send(peer, route, frame, out),
                Effect::Reply { peer, via, frames } => {
                    let way = self.way(peer, via);
                    self.answer(peer, way).frames.extend(frames);
                }
                Effect::Acknowledge { peer, via, id, digest } => {
                    let way = self.way(peer, via);
                    self.answer(peer, way).here.push((id, digest));
                }
                Effect::Letter { peer, frames } => out.command(NodeCommand::Letter { peer, frames }),
                Effect::Want { peer } => out.command(NodeCommand::Want(peer)),
                Effect::Verify { peer, route } => out.command(NodeCommand::Verify(peer, route)),
                Effect::Switched { peer, route, why } => self.switched(peer, route, why, now, out),
                Effect::Said { peer, post, expires } => self.said(peer, post, expires, now, out),
                Effect::Incoming { peer, post } => {
                    out.keep(Record::Heard { peer, post: post.clone() });
                    let shown = showing::event(Direction::In, self.who(peer), post, false, now.wall);
                    shown.into_iter().for_each(|event| out.show(event));
                }
                Effect::Acknowledged { peer, receipt, posts } => {
                    keep_receipt(peer, &receipt, &posts, now, out);
                    for (id, _) in posts.into_iter().filter(|(_, arrival)| *arrival == Arrival::Said) {
                        self.came(peer, id, State::OnDevice, out);
                    }
                }
                Effect::ReadBy { peer, receipt } => {
                    keep_receipt(peer, &receipt, &[], now, out);
                    if let Claim::Read { stream, up_to } = receipt.claim {
                        self.read_by(peer, stream, up_to, out);
                    }
                }
                Effect::Expired { peer, id } => {
                    out.keep(Record::Expired { peer, id, at_ms: now.wall_ms() });
                    self.came(peer, id, State::Expired, out);
                }
                // Comes with the server's receipt, see `mailing`.
                Effect::AtServer { .. } => {}
                Effect::Deposit { peer, token, frames } => out.command(NodeCommand::Deposit { peer, token, frames }),
                Effect::TellRead { peer, via, stream, up_to } => self.tell_read(peer, via, (stream, up_to), now),
                Effect::LookUp { peer, stream, ranges } => out.look_up(LookUp::Posts { peer, stream, ranges }),
                Effect::Recall { peer, via, id } => out.look_up(LookUp::Name { peer, via, id }),
                Effect::PeerName { peer, name } => out.show(Event::Hello { who: self.who(peer), suggests: name }),
                Effect::Pong { peer, via: Via::Session(route), nonce } => {
                    self.notices.push(Notice::Pong { peer, route, nonce });
                }
                // Nobody asks by letter.
                Effect::Pong { via: Via::Letter | Via::Mail, .. } => {}
                Effect::Refused { peer, id, why } => {
                    out.show(Event::Undelivered {
                        who: self.who(peer),
                        id: id.to_string(),
                        text: None,
                        reason: why.to_string(),
                    });
                    self.notices.push(Notice::NotQueued { peer, id, why });
                }
            }
        }
    }
}

/// Keeps what a verified receipt of this peer says; of posts, of those that were waited for.
fn keep_receipt(peer: PeerId, receipt: &Receipt, of: &[(MessageId, Arrival)], now: Moment, out: &mut Out) {
    let (at_ms, proof) = (now.wall_ms(), postcard::to_stdvec(receipt).unwrap_or_default());
    out.keep(match &receipt.claim {
        Claim::Device { posts } => {
            let waited = |(id, _): &&(MessageId, PostDigest)| of.iter().any(|(known, _)| known == id);
            let posts = posts.iter().filter(waited).copied().collect();
            Record::Delivered { peer, posts, at_ms, proof }
        }
        Claim::Read { stream, up_to } => Record::ReadByPeer { peer, stream: *stream, up_to: *up_to, at_ms, proof },
    });
}
