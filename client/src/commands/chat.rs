//! `punchline chat PEER`: what was not read yet; then a line of input is a message; the end of input waits for the receipts.

mod typed;

use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::session::{Content, MessageId};

use self::typed::Typed;
use super::{Context, Online, kept};
use crate::cli;
use crate::control::Command;
use crate::exit::{Exit, Failure};
use crate::messenger::Refusal;
use crate::node::{NodeCommand, NodeEvent, Party};
use crate::online::{End, Line, Moment, Obstacle, Out, Room, Signal, Task};
use crate::output::Event;
use crate::store::{Message, Record};

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Chat) -> End {
    let online = Online::load(&context.data)?;
    arguments.peer = online.peer(&arguments.peer)?.peer.to_string();
    online.stay(context, Command::Chat(arguments)).await
}

/// Messages that a chat begins with at most. Of more, the rest waits for the next chat, or for `history`.
pub(super) const CAUGHT_UP: usize = 1000;

#[derive(Debug)]
pub(crate) struct Chat {
    peer: PeerId,
    wait: Duration,
    phase: Phase,
    obstacle: Obstacle,
    /// Lines that became nothing: too long for a message, or no command that there is.
    not_sent: usize,
    /// The message that a command is about is being looked for; what is said about it gets this id.
    finding: Option<MessageId>,
    /// What came while nobody looked.
    unread: Vec<Message>,
}

#[derive(Debug)]
enum Phase {
    Talking,
    /// The input has ended; receipts are out.
    Closing {
        until: Instant,
    },
}

impl Chat {
    /// `unread`: the first messages of the peer that were not shown yet.
    pub(crate) fn new(peer: PeerId, wait: Duration, unread: Vec<Message>) -> Self {
        Chat { peer, wait, phase: Phase::Talking, obstacle: Obstacle::default(), not_sent: 0, finding: None, unread }
    }

    fn catch_up(&mut self, room: &Room, out: &mut Out) {
        let unread = std::mem::take(&mut self.unread);
        let last = unread.last().map(|message| message.id);
        out.records.extend(last.map(|id| Record::Shown { peer: self.peer, id }));
        for message in unread {
            out.tell(Event::Kept(Box::new(kept(room.contacts(), message))));
        }
    }

    fn outstanding(&self, room: &Room) -> usize {
        room.messenger().outstanding(self.peer).len()
    }

    fn node(&mut self, event: &NodeEvent, out: &mut Out, room: &Room) {
        self.obstacle.note(event, self.peer);
        if let NodeEvent::Untrusted { expected: Party::Peer(expected), seen } = event
            && *expected == self.peer
        {
            out.end(Err(Failure::untrusted(&room.name(self.peer), *expected, *seen)));
        }
    }

    fn end_of_input(&mut self, room: &Room, now: Moment, out: &mut Out) {
        match self.outstanding(room) {
            0 => out.end(self.verdict(room)),
            receipts => {
                self.phase = Phase::Closing { until: now.at + self.wait };
                out.tell(Event::Waiting { who: room.who(self.peer), receipts, up_to_ms: self.wait.into() });
            }
        }
    }

    fn not_sent(&mut self, id: MessageId, reason: String, room: &Room, out: &mut Out) {
        out.tell(Event::Undelivered { who: room.who(self.peer), id: id.to_string(), text: None, reason });
        self.not_sent += 1;
    }

    /// How it ends if it ends now.
    fn verdict(&self, room: &Room) -> End {
        // Whoever is away will have what the server has signed for.
        match (room.messenger().unsecured(self.peer).len(), self.not_sent) {
            (0, 0) => Ok(Exit::Done),
            (0, 1) => Err(Failure::other("one line was not sent")),
            (0, lines) => Err(Failure::other(format!("{lines} lines were not sent"))),
            (messages, _) => {
                let mut failure = self.obstacle.failure(&room.name(self.peer));
                let were = if messages == 1 { "1 message was".to_owned() } else { format!("{messages} messages were") };
                failure.message = format!("{were} not delivered: {}", failure.message);
                Err(failure)
            }
        }
    }
}

impl Task for Chat {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => {
                self.catch_up(room, out);
                out.command(NodeCommand::Want(self.peer));
            }
            Signal::Node(event) => self.node(event, out, room),
            Signal::Line { line: Line::Text(text), .. } if text.trim().is_empty() => {}
            Signal::Line { line: Line::Text(text), id } => match typed::understand(text) {
                Ok(Typed::Text(text)) => {
                    let content = Content::Text { text: text.to_owned(), reply_to: None };
                    room.say(self.peer, id, content, None, now, out);
                }
                Ok(Typed::About(about)) => {
                    self.finding = Some(id);
                    out.find(self.peer, about);
                }
                Err(reason) => self.not_sent(id, reason, room, out),
            },
            Signal::Line { line: Line::TooLong(length), id } => {
                self.not_sent(id, Refusal::TooLong { length: *length }.to_string(), room, out);
            }
            Signal::Named(found) => match (self.finding.take(), found) {
                (Some(id), Ok(content)) => room.say(self.peer, id, content.clone(), None, now, out),
                (Some(id), Err(failure)) => self.not_sent(id, failure.message.clone(), room, out),
                (None, _) => {}
            },
            Signal::EndOfInput => self.end_of_input(room, now, out),
            Signal::State { .. } | Signal::OutboxChanged
                if matches!(self.phase, Phase::Closing { .. }) && self.outstanding(room) == 0 =>
            {
                out.end(self.verdict(room));
            }
            Signal::NotQueued { peer, .. } if peer == self.peer => self.not_sent += 1,
            Signal::ContactsChanged if !room.knows(self.peer) => {
                out.end(Err(Failure::other("the contact that you were talking with was removed")));
            }
            Signal::Wakeup => {
                if let Phase::Closing { until } = self.phase
                    && until <= now.at
                {
                    out.end(self.verdict(room));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, room: &mut Room, out: &mut Out) -> End {
        for (id, text) in room.messenger().unsecured(self.peer) {
            out.tell(Event::Undelivered {
                who: room.who(self.peer),
                id: id.to_string(),
                text: Some(text.to_owned()),
                // It may have arrived and only its receipt be missing: what is known is that there is none.
                reason: "no receipt came back; it is kept, and goes when you are both online".to_owned(),
            });
        }
        self.verdict(room)
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self.phase {
            Phase::Talking => None,
            Phase::Closing { until } => Some(until),
        }
    }

    fn reads(&self) -> Option<PeerId> {
        Some(self.peer)
    }

    fn takes_input(&self, room: &Room) -> bool {
        matches!(self.phase, Phase::Talking) && self.finding.is_none() && room.messenger().has_room(self.peer)
    }
}
