//! The one place where everything that happens to an online command comes in.

use std::collections::BTreeSet;
use std::time::Instant;

use common::identity::PeerId;
use common::session::MessageId;

use super::room::Notice;
use super::{Line, Moment, Out, Room, Signal, Task};
use crate::data::{Contacts, Status};
use crate::exit::Failure;
use crate::node::{NodeEvent, Party};
use crate::store::Conversation;

/// What happens.
#[derive(Debug)]
pub enum Happening {
    /// What an earlier process had under way with this peer. Before anything else.
    Resumed(PeerId, Conversation),
    /// Everything stands ready. Once.
    Started,
    /// The node says something.
    Node(NodeEvent),
    /// The node has stopped by itself.
    NodeStopped,
    /// A line of input, and an id drawn for it.
    Line(Line, MessageId),
    /// There is no more input.
    EndOfInput,
    /// Ctrl-C, or what else asks a program to stop.
    Interrupted,
    /// The contacts have changed.
    Contacts(Contacts),
    /// The messages of ours that wait, after another process has changed something.
    Outbox(BTreeSet<MessageId>),
    /// The time of [`Engine::poll_wakeup`] has come.
    Wakeup,
}

/// A room and the task in it.
#[derive(Debug)]
pub struct Engine<T> {
    room: Room,
    task: T,
}

impl<T: Task> Engine<T> {
    /// Ready to be fed.
    pub fn new(room: Room, task: T) -> Self {
        Engine { room, task }
    }

    /// What is to be done about it. After an end nothing more should be fed.
    pub fn handle(&mut self, happening: Happening, now: Moment) -> Out {
        let mut out = Out::default();
        let interrupted = matches!(happening, Happening::Interrupted);
        self.dispatch(happening, now, &mut out);
        for notice in self.room.take_notices() {
            let signal = match notice {
                Notice::Delivered { peer } => Signal::Delivered { peer },
                Notice::Pong { peer, route, nonce } => Signal::Pong { peer, route, nonce },
                Notice::NotQueued { peer, why } => Signal::NotQueued { peer, why },
            };
            self.task.handle(signal, &mut self.room, now, &mut out);
        }
        if interrupted || out.end.is_some() {
            let end = self.task.finish(&mut self.room, &mut out);
            out.end(end);
        }
        out
    }

    fn dispatch(&mut self, happening: Happening, now: Moment, out: &mut Out) {
        let signal = match &happening {
            Happening::Resumed(peer, before) => {
                self.room.resume(*peer, before.clone(), now, out);
                return;
            }
            Happening::Started => Signal::Started,
            Happening::Node(event) => {
                self.room.note(event, now, out);
                if let Some(failure) = fatal(event) {
                    out.end(Err(failure));
                }
                Signal::Node(event)
            }
            Happening::NodeStopped => {
                out.end(Err(Failure::other("the network part of punchline has stopped; start it again")));
                return;
            }
            Happening::Line(line, id) => Signal::Line { line, id: *id },
            Happening::EndOfInput => Signal::EndOfInput,
            Happening::Interrupted => return,
            Happening::Contacts(contacts) => {
                self.room.set_contacts(contacts.clone(), out);
                Signal::ContactsChanged
            }
            Happening::Outbox(waiting) => {
                self.room.set_outbox(waiting, now, out);
                Signal::OutboxChanged
            }
            Happening::Wakeup => {
                self.room.handle_timeout(now, out);
                Signal::Wakeup
            }
        };
        self.task.handle(signal, &mut self.room, now, out);
    }

    /// What is to be said of all that has happened since the last call. Call it before acting on what came of that.
    pub fn flush(&mut self, now: Moment, out: &mut Out) {
        self.room.flush(now, out);
    }

    /// When [`Happening::Wakeup`] is due.
    pub fn poll_wakeup(&self) -> Option<Instant> {
        [self.room.poll_wakeup(), self.task.poll_wakeup()].into_iter().flatten().min()
    }

    /// May a line of input come in now? While it may not, whoever writes to us waits, and nothing is lost.
    pub fn takes_input(&self) -> bool {
        self.task.takes_input(&self.room)
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
