//! The one place where everything that happens to a node and its commands comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::prekey::{Prekey, PrekeySecret};
use common::session::{Content, MessageId, Post, PostDigest, StreamId, Via};

use super::room::Notice;
use super::{FrontId, Line, Moment, Out, Room, Signal, Task, To};
use crate::data::{Contacts, State as Standing, Status};
use crate::exit::Failure;
use crate::messenger::Input;
use crate::node::{NodeEvent, Party};
use crate::output::Event;
use crate::store::{Conversation, Entry, Record};

/// A refusal that is older says little of now: the node asks again at the latest after about as long.
const REFUSED_LATELY: Duration = Duration::from_secs(60);

/// What happens.
#[derive(Debug)]
pub enum Happening {
    /// The secrets of our prekeys, and the keys of contacts, as they are on disk. First of all.
    Keys(Vec<PrekeySecret>, Vec<(PeerId, Prekey)>),
    /// New prekeys, because [`Room::prekeys_due`].
    Prekeys(Vec<PrekeySecret>),
    /// What an earlier process had under way with this peer. Before anything else of this peer.
    Resumed(PeerId, Conversation),
    /// Our person has read what this peer said, up to this number of this stream.
    Read(PeerId, (StreamId, u64)),
    /// Posts that [`Out::lookups`] asked for.
    Found(PeerId, Vec<Post>),
    /// What came under a name that [`Out::lookups`] asked for, and which way its copy came.
    Recalled(PeerId, Via, MessageId, PostDigest),
    /// A front end gives a command.
    Attached(FrontId, Box<dyn Task>),
    /// The node says something.
    Node(NodeEvent),
    /// The node has stopped by itself.
    NodeStopped,
    /// A line of input, and an id drawn for it.
    Line(FrontId, Line, MessageId),
    /// There is no more input.
    EndOfInput(FrontId),
    /// Ctrl-C in the front end, or it has gone.
    Interrupted(FrontId),
    /// The contacts have changed.
    Contacts(Contacts),
    /// The messages of ours that wait, after another process has changed something.
    Outbox(BTreeSet<MessageId>),
    /// What [`Out::records`] said is on disk.
    Kept,
    /// The answer to one of [`Out::reads`], and the number after which to go on.
    Entries(FrontId, Vec<Entry>, i64),
    /// The answer to one of [`Out::finds`].
    Named(FrontId, Result<Content, Failure>),
    /// The time of [`Engine::poll_wakeup`] has come.
    Wakeup,
}

/// A room and the tasks in it.
#[derive(Debug)]
pub struct Engine {
    room: Room,
    tasks: BTreeMap<FrontId, Box<dyn Task>>,
}

impl Engine {
    /// Ready to be fed.
    pub fn new(room: Room) -> Self {
        Engine { room, tasks: BTreeMap::new() }
    }

    /// What is to be done about it. After a stop nothing more should be fed.
    pub fn handle(&mut self, happening: Happening, now: Moment) -> Out {
        let mut out = Out::default();
        self.dispatch(happening, now, &mut out);
        for notice in self.room.take_notices() {
            self.all(now, &mut out, |_| match notice {
                Notice::State { peer, id, state } => Signal::State { peer, id, state },
                Notice::Pong { peer, route, nonce } => Signal::Pong { peer, route, nonce },
                Notice::NotQueued { peer, id, why } => Signal::NotQueued { peer, id, why },
            });
        }
        self.mark_read(&mut out);
        self.bury(&mut out);
        out
    }

    /// What comes while somebody looks is read.
    fn mark_read(&self, out: &mut Out) {
        let readers: Vec<PeerId> = self.tasks.values().filter_map(|task| task.reads()).collect();
        let shown = out.records.iter().filter_map(|record| match record {
            Record::Heard { peer, post } if readers.contains(peer) => Some(Record::Shown { peer: *peer, id: post.id }),
            _ => None,
        });
        let shown: Vec<Record> = shown.collect();
        out.records.extend(shown);
    }

    fn dispatch(&mut self, happening: Happening, now: Moment, out: &mut Out) {
        match happening {
            Happening::Keys(secrets, peers) => self.room.set_keys(secrets, peers, now, out),
            Happening::Prekeys(secrets) => self.room.add_prekeys(secrets, now, out),
            Happening::Resumed(peer, before) => self.room.resume(peer, before, now, out),
            Happening::Read(peer, up_to) => self.room.read(peer, up_to, now, out),
            Happening::Found(peer, posts) => self.room.feed(Input::Found { peer, posts }, now, out),
            Happening::Recalled(peer, via, id, digest) => {
                self.room.feed(Input::Recalled { peer, via, id, digest }, now, out);
            }
            Happening::Attached(front, task) => self.attach(front, task, now, out),
            Happening::Node(event) => {
                self.room.note(&event, now, out);
                if let Some(failure) = fatal(&event) {
                    out.stop(failure);
                }
                self.all(now, out, |_| Signal::Node(&event));
            }
            Happening::NodeStopped => {
                out.stop(Failure::other("the network part of punchline has stopped; start it again"));
            }
            Happening::Line(front, line, id) => self.one(front, Signal::Line { line: &line, id }, now, out),
            Happening::EndOfInput(front) => self.one(front, Signal::EndOfInput, now, out),
            Happening::Interrupted(front) => self.interrupt(front, out),
            Happening::Contacts(contacts) => {
                self.room.set_contacts(contacts, out);
                self.all(now, out, |_| Signal::ContactsChanged);
            }
            Happening::Outbox(waiting) => {
                self.room.set_outbox(&waiting, now, out);
                self.all(now, out, |_| Signal::OutboxChanged);
            }
            Happening::Kept => self.all(now, out, |_| Signal::Kept),
            Happening::Entries(front, entries, up_to) => {
                self.one(front, Signal::Entries { entries: &entries, up_to }, now, out);
            }
            Happening::Named(front, found) => self.one(front, Signal::Named(&found), now, out),
            Happening::Wakeup => {
                self.room.handle_timeout(now, out);
                let due = |task: &dyn Task| task.poll_wakeup().is_some_and(|at| at <= now.at);
                let due: Vec<_> = self.tasks.iter().filter(|(_, task)| due(&***task)).map(|(id, _)| *id).collect();
                due.into_iter().for_each(|front| self.one(front, Signal::Wakeup, now, out));
            }
        }
    }

    /// A task that comes later than the node is told what stands, as if it had just happened.
    fn attach(&mut self, front: FrontId, task: Box<dyn Task>, now: Moment, out: &mut Out) {
        let stands = self.stands(now);
        if task.listens() {
            // Before anything that the task says, because that may be its last word.
            let shown: Vec<_> = stands.iter().filter_map(|event| self.shown(event)).collect();
            out.events.extend(shown.into_iter().map(|event| (To::Only(front), event)));
        }
        self.tasks.insert(front, task);
        self.one(front, Signal::Started, now, out);
        for event in stands {
            if !out.ends(front) {
                self.one(front, Signal::Node(&event), now, out);
            }
        }
    }

    /// What the node has said that still holds.
    fn stands(&self, now: Moment) -> Vec<NodeEvent> {
        let status = self.room.status();
        let mut stands = Vec::new();
        match (status.state, status.entrance) {
            (Standing::Online | Standing::Draining, Some(entrance)) => {
                stands.push(NodeEvent::Registered { entrance, local: status.local.clone() });
            }
            (Standing::Lost, _) => {
                stands.push(NodeEvent::RendezvousLost { reason: "no answer for a while".to_owned() });
            }
            _ => {}
        }
        stands.extend(status.profile.map(NodeEvent::Profile));
        match (status.port_mapping, &status.no_port_mapping) {
            (Some(mapping), _) => stands.push(NodeEvent::PortMapping(Ok(mapping))),
            (None, Some(reason)) => stands.push(NodeEvent::PortMapping(Err(reason.clone()))),
            (None, None) => {}
        }
        let lately = |at: jiff::Timestamp| now.wall.duration_since(at).unsigned_abs() < REFUSED_LATELY;
        let refused =
            status.refused.iter().filter(|refused| lately(refused.at) && self.room.route(refused.peer).is_none());
        stands.extend(refused.map(|refused| NodeEvent::Refused { peer: refused.peer }));
        stands.extend(self.room.standing());
        stands
    }

    fn shown(&self, event: &NodeEvent) -> Option<Event> {
        let NodeEvent::Up { peer, route, remote, rtt, .. } = event else { return self.room.picture(event) };
        let reason = "it stood already".to_owned();
        let path =
            Event::Path { who: self.room.who(*peer), kind: *route, remote: *remote, rtt_ms: (*rtt).into(), reason };
        // Messages go one way.
        (self.room.messenger().relies_on(*peer) == Some(*route)).then_some(path)
    }

    fn one(&mut self, front: FrontId, signal: Signal<'_>, now: Moment, out: &mut Out) {
        let Some(task) = self.tasks.get_mut(&front) else { return };
        out.spoken_by(Some(front));
        task.handle(signal, &mut self.room, now, out);
        out.spoken_by(None);
    }

    fn all<'a>(&mut self, now: Moment, out: &mut Out, signal: impl Fn(FrontId) -> Signal<'a>) {
        for (front, task) in &mut self.tasks {
            out.spoken_by(Some(*front));
            task.handle(signal(*front), &mut self.room, now, out);
        }
        out.spoken_by(None);
    }

    fn interrupt(&mut self, front: FrontId, out: &mut Out) {
        let Some(mut task) = self.tasks.remove(&front) else { return };
        out.spoken_by(Some(front));
        let end = task.finish(&mut self.room, out);
        out.end(end);
        out.spoken_by(None);
    }

    /// Those that have ended say their last words; if everything ends, all of them do.
    fn bury(&mut self, out: &mut Out) {
        let stop = out.stop.clone();
        let ended = |front: &FrontId, out: &Out| stop.is_some() || out.ends(*front);
        let fronts: Vec<_> = self.tasks.keys().copied().filter(|front| ended(front, out)).collect();
        for front in fronts {
            let Some(mut task) = self.tasks.remove(&front) else { continue };
            out.spoken_by(Some(front));
            let _ = task.finish(&mut self.room, out);
            if let Some(failure) = &stop {
                out.end(Err(failure.clone()));
            }
            out.spoken_by(None);
        }
    }

    /// What is to be said of all that has happened since the last call. Call it before acting on what came of that.
    pub fn flush(&mut self, now: Moment, out: &mut Out) {
        self.room.flush(now, out);
    }

    /// When [`Happening::Wakeup`] is due.
    pub fn poll_wakeup(&self) -> Option<Instant> {
        let tasks = self.tasks.values().filter_map(|task| task.poll_wakeup());
        tasks.chain(self.room.poll_wakeup()).min()
    }

    /// May a line of input of this front end come in now? While it may not, whoever writes it waits, and nothing is lost.
    pub fn takes_input(&self, front: FrontId) -> bool {
        self.tasks.get(&front).is_some_and(|task| task.takes_input(&self.room))
    }

    /// What all tasks share.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The status, if it has changed since the last call.
    pub fn take_status(&mut self) -> Option<&Status> {
        self.room.take_status()
    }
}

/// What ends every task, whichever it is.
fn fatal(event: &NodeEvent) -> Option<Failure> {
    match event {
        NodeEvent::Untrusted { expected: Party::Rendezvous(expected), seen } => {
            Some(Failure::untrusted("the rendezvous", *expected, *seen))
        }
        NodeEvent::Replaced => Some(Failure::other(
            "another punchline has registered with your identity, and the newest one counts. Is it online on another \
             machine with a copy of this data folder? Only one can be",
        )),
        _ => None,
    }
}
