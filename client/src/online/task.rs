//! What a command does while it is online.

use std::time::Instant;

use common::identity::PeerId;
use common::path::Ending;
use common::session::{MessageId, Route};

use super::{Line, Moment, Room};
use crate::exit::{Exit, Failure};
use crate::messenger::Refusal;
use crate::node::{NodeCommand, NodeEvent};
use crate::output::Event;
use crate::store::Record;

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
    /// A message has arrived.
    Delivered {
        /// Where.
        peer: PeerId,
    },
    /// A message was not even queued.
    NotQueued {
        /// To whom it should have gone.
        peer: PeerId,
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
    /// The time that [`Task::poll_wakeup`] named has come.
    Wakeup,
}

/// A command that is online.
pub trait Task {
    /// Something has happened.
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out);

    /// It ends, for a reason of its own or from outside: the last words, and how an interruption ends the process.
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
}

/// How a command ends.
pub type End = Result<Exit, Failure>;

/// What is to be done, in order.
#[derive(Debug, Default)]
pub struct Out {
    /// To keep, before anything of the rest is done.
    pub records: Vec<Record>,
    /// To print.
    pub events: Vec<Event>,
    /// For the node.
    pub commands: Vec<NodeCommand>,
    /// Stop, and end like this.
    pub end: Option<End>,
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
        if let Some(end) = next.end {
            self.end(end);
        }
    }

    /// Prints an event.
    pub fn show(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells the node.
    pub fn command(&mut self, command: NodeCommand) {
        self.commands.push(command);
    }

    /// Stops. The first reason counts.
    pub fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
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
