//! What a command does while it is online.

use std::time::Instant;

use common::identity::PeerId;
use common::path::Ending;
use common::session::{Content, MessageId, Route, StreamId, Via};

use super::{About, Line, Moment, Room};
use crate::exit::{Exit, Failure};
use crate::messenger::Refusal;
use crate::node::{NodeCommand, NodeEvent};
use crate::output::Event;
use crate::store::{Entry, Record, State};

/// One command of one front end, for as long as it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontId(pub u32);

/// Who hears of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Every front end whose task listens.
    Everybody,
    /// The one whose task said it.
    Only(FrontId),
}

/// What a task is told, after the room has taken note of it.
#[derive(Debug)]
pub enum Signal<'a> {
    /// Everything stands ready.
    Started,
    /// The node says something.
    Node(&'a NodeEvent),
    /// A ping was answered.
    Pong {
        /// By whom.
        peer: PeerId,
        /// How.
        route: Route,
        /// From the ping.
        nonce: u64,
    },
    /// A message of ours has come farther.
    State {
        /// To whom it goes.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// How far.
        state: State,
    },
    /// A message was not even queued.
    NotQueued {
        /// To whom it should have gone.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// Why.
        why: Refusal,
    },
    /// A line of input.
    Line {
        /// What.
        line: &'a Line,
        /// The id for it, if it becomes a message.
        id: MessageId,
    },
    /// There is no more input.
    EndOfInput,
    /// The contacts were read again.
    ContactsChanged,
    /// Messages may have been taken back.
    OutboxChanged,
    /// The store has new entries.
    Kept,
    /// What was asked for with [`Out::read`].
    Entries {
        /// In order.
        entries: &'a [Entry],
        /// The number after which to go on.
        up_to: i64,
    },
    /// What was asked for with [`Out::find`]: what is to be said, or why it cannot be.
    Named(&'a Result<Content, Failure>),
    /// The time that [`Task::poll_wakeup`] named has come.
    Wakeup,
}

/// A command that is online.
pub trait Task: Send + std::fmt::Debug {
    /// Something has happened.
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out);

    /// It ends, for a reason of its own or from outside: the last words, and how an interruption ends the command.
    fn finish(&mut self, room: &mut Room, out: &mut Out) -> End;

    /// When it wants to be woken.
    fn poll_wakeup(&self) -> Option<Instant> {
        None
    }

    /// Will it take a line of input now?
    fn takes_input(&self, room: &Room) -> bool {
        let _ = room;
        false
    }

    /// Whose messages does a person read on its front end as they come?
    fn reads(&self) -> Option<PeerId> {
        None
    }

    /// Does its front end hear what happens to everybody?
    fn listens(&self) -> bool {
        true
    }
}

/// How a command ends.
pub type End = Result<Exit, Failure>;

/// Entries of the store that a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Those of greater numbers; `None`: no entries, but the number of the last one.
    pub after: Option<i64>,
    /// Only of the conversation with this peer.
    pub peer: Option<PeerId>,
}

/// What the messenger wants to know from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// Posts of ours that somebody has lost; they are [`Found`](super::Happening::Found).
    Posts {
        /// Who.
        peer: PeerId,
        /// In which stream.
        stream: StreamId,
        /// The first and the last of each range.
        ranges: Vec<(u64, u64)>,
    },
    /// What came long ago under the name of a copy; it is [`Recalled`](super::Happening::Recalled), if it is known.
    Name {
        /// From whom.
        peer: PeerId,
        /// Which way the copy came.
        via: Via,
        /// The name.
        id: MessageId,
    },
}

/// What is to be done, in order.
#[derive(Debug, Default)]
pub struct Out {
    /// To keep, before anything of the rest is done.
    pub records: Vec<Record>,
    /// To show.
    pub events: Vec<(To, Event)>,
    /// For the node.
    pub commands: Vec<NodeCommand>,
    /// To read from the store, once the front end has taken what it was told before.
    pub reads: Vec<(FrontId, Reading)>,
    /// To look up, after keeping.
    pub lookups: Vec<LookUp>,
    /// To find in the conversation with this peer, after keeping.
    pub finds: Vec<(FrontId, PeerId, About)>,
    /// Commands that end.
    pub ends: Vec<(FrontId, End)>,
    /// Everything ends.
    pub stop: Option<Failure>,
    /// Whose task speaks.
    speaker: Option<FrontId>,
}

impl Out {
    /// Keeps something.
    pub fn keep(&mut self, record: Record) {
        self.records.push(record);
    }

    /// What is to be done after this.
    pub fn append(&mut self, mut next: Out) {
        self.records.append(&mut next.records);
        self.events.append(&mut next.events);
        self.commands.append(&mut next.commands);
        self.reads.append(&mut next.reads);
        self.lookups.append(&mut next.lookups);
        self.finds.append(&mut next.finds);
        self.ends.append(&mut next.ends);
        self.stop = self.stop.take().or(next.stop);
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        let Out { records, events, commands, reads, lookups, finds, ends, stop, speaker: _ } = self;
        records.is_empty()
            && events.is_empty()
            && commands.is_empty()
            && reads.is_empty()
            && lookups.is_empty()
            && finds.is_empty()
            && ends.is_empty()
            && stop.is_none()
    }

    /// Shows an event to everybody who listens.
    pub fn show(&mut self, event: Event) {
        self.events.push((To::Everybody, event));
    }

    /// Shows an event to the front end of the task that speaks.
    pub fn tell(&mut self, event: Event) {
        let to = self.speaker.map_or(To::Everybody, To::Only);
        self.events.push((to, event));
    }

    /// Tells the node.
    pub fn command(&mut self, command: NodeCommand) {
        self.commands.push(command);
    }

    /// Asks for entries of the store; they come as [`Signal::Entries`].
    pub fn read(&mut self, reading: Reading) {
        self.reads.extend(self.speaker.map(|speaker| (speaker, reading)));
    }

    /// Asks the store.
    pub(super) fn look_up(&mut self, what: LookUp) {
        self.lookups.push(what);
    }

    /// Asks for the message with this peer that a remark is about; the answer comes as [`Signal::Named`].
    pub fn find(&mut self, peer: PeerId, about: About) {
        self.finds.extend(self.speaker.map(|speaker| (speaker, peer, about)));
    }

    /// Ends the task that speaks. The first reason counts.
    pub fn end(&mut self, end: End) {
        if let Some(speaker) = self.speaker.filter(|speaker| !self.ends(*speaker)) {
            self.ends.push((speaker, end));
        }
    }

    /// Ends everything. The first reason counts.
    pub(super) fn stop(&mut self, failure: Failure) {
        self.stop.get_or_insert(failure);
    }

    /// Does this one end?
    pub(super) fn ends(&self, front: FrontId) -> bool {
        self.ends.iter().any(|(ended, _)| *ended == front)
    }

    /// What is said from now on is said by this task, or by the room.
    pub(super) fn spoken_by(&mut self, speaker: Option<FrontId>) {
        self.speaker = speaker;
    }
}

/// What stands between us and a peer: the last that was heard of it, for the words and the exit code when patience ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Obstacle {
    /// Nothing was heard at all.
    #[default]
    Silence,
    /// The rendezvous does not answer.
    Rendezvous(String),
    /// The rendezvous knows us; nothing was heard of the peer.
    Waiting,
    /// The peer is offline or does not have us as a contact.
    Offline,
    /// There is no connection (any more): punching goes on or has failed.
    NoPath,
    /// The two talk only through the relay, if there is one.
    Unpunched(Ending),
    /// A session stands; answers are missing.
    NoAnswer,
}

impl Obstacle {
    /// Takes note of an event that concerns `peer` or everybody.
    pub fn note(&mut self, event: &NodeEvent, peer: PeerId) {
        *self = match event {
            NodeEvent::RendezvousLost { reason } if *self != Obstacle::NoAnswer => Obstacle::Rendezvous(reason.clone()),
            NodeEvent::Registered { .. } if matches!(self, Obstacle::Silence | Obstacle::Rendezvous(_)) => {
                Obstacle::Waiting
            }
            NodeEvent::Refused { peer: who } if *who == peer => Obstacle::Offline,
            NodeEvent::Down { peer: who, by_peer: true, .. } if *who == peer => Obstacle::Offline,
            NodeEvent::Down { peer: who, .. } if *who == peer => Obstacle::NoPath,
            NodeEvent::NoPath { peer: who, report, .. }
                if *who == peer && report.ending.is_relay_only() && *self != Obstacle::NoAnswer =>
            {
                Obstacle::Unpunched(report.ending)
            }
            NodeEvent::Introduced { peer: who, .. }
            | NodeEvent::Punched { peer: who, .. }
            | NodeEvent::NoPath { peer: who, .. }
                if *who == peer && *self != Obstacle::NoAnswer =>
            {
                Obstacle::NoPath
            }
            NodeEvent::Up { peer: who, .. } if *who == peer => Obstacle::NoAnswer,
            _ => return,
        };
    }

    /// How a command ends that waited in vain because of this.
    pub fn failure(&self, name: &str) -> Failure {
        match self {
            Obstacle::Silence => {
                Failure::new(Exit::Timeout, "the rendezvous did not answer in time; is there a network?")
            }
            Obstacle::Rendezvous(reason) => {
                Failure::new(Exit::Timeout, format!("the rendezvous did not answer in time: {reason}"))
            }
            Obstacle::Waiting => Failure::new(Exit::Timeout, format!("nothing was heard of {name} in time; try again")),
            Obstacle::Offline => Failure::new(
                Exit::PeerOffline,
                format!(
                    "{name} is offline, or does not have you as a contact: `punchline id` shows the link to give them"
                ),
            ),
            Obstacle::Unpunched(Ending::NoRelay) => {
                Failure::new(Exit::NoPath, format!("{name} is there, but {}", Ending::NoRelay))
            }
            Obstacle::Unpunched(_) => {
                Failure::new(Exit::NoPath, format!("{name} is there, but did not answer through the relay in time"))
            }
            Obstacle::NoPath => Failure::new(Exit::NoPath, format!("{name} is there, but no direct path was found")),
            Obstacle::NoAnswer => {
                Failure::new(Exit::Timeout, format!("{name} is connected, but did not answer in time"))
            }
        }
    }
}
