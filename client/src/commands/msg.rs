//! `punchline msg PEER TEXT`, and what all commands have in common that say one thing: they wait until it has come as far as was
//! asked for.

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::session::{Content, MAX_TEXT, MessageId};

use super::{Context, Online};
use crate::cli::{self, Goal, Patience};
use crate::control::Command;
use crate::exit::{Exit, Failure};
use crate::messenger::Refusal;
use crate::node::{NodeEvent, Party};
use crate::online::{End, Moment, Obstacle, Out, Room, Signal, Task};
use crate::output::Event;
use crate::store::State;

/// After the rendezvous has said that the peer is not there: long enough for the server to keep the message, if it does that.
const DEPOSIT: Duration = Duration::from_secs(3);

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Msg) -> End {
    let online = Online::load(&context.data)?;
    arguments.peer = online.peer(&arguments.peer)?.peer.to_string();
    arguments.words.text = Some(text(arguments.words.text)?);
    online.stay(context, Command::Msg(arguments)).await
}

/// What is to be said: as it was given, or else from standard input.
pub(super) fn text(given: Option<String>) -> Result<String, Failure> {
    let text = given.filter(|text| text != "-").map_or_else(from_input, Ok)?;
    if text.trim().is_empty() {
        return Err(Failure::usage("there is nothing to say: give the text, or write it to standard input"));
    }
    if text.len() > MAX_TEXT {
        return Err(Failure::usage(Refusal::TooLong { length: text.len() }.to_string()));
    }
    Ok(text)
}

/// All of standard input, without the end of its last line.
fn from_input() -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(Failure::usage("say what: give the TEXT, or write it to standard input"));
    }
    let mut bytes = Vec::new();
    // One more than fits, so that too much is noticed; the rest is not read.
    let most = MAX_TEXT as u64 + 3;
    let read = input.lock().take(most).read_to_end(&mut bytes);
    read.map_err(|error| Failure::other(format!("cannot read the input: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage("the input is not text (UTF-8)"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[derive(Debug)]
pub(crate) struct Msg {
    peer: PeerId,
    id: MessageId,
    /// What is still to be said.
    content: Option<Content>,
    life: Option<Duration>,
    goal: Goal,
    timeout: Duration,
    give_up_at: Option<Instant>,
    reached: State,
    obstacle: Obstacle,
    refused: Option<Refusal>,
}

impl Msg {
    pub(crate) fn new(peer: PeerId, id: MessageId, content: Content, patience: Patience) -> Self {
        let Patience { wait: goal, timeout } = patience;
        Msg {
            peer,
            id,
            content: Some(content),
            life: None,
            goal,
            timeout,
            give_up_at: None,
            reached: State::Queued,
            obstacle: Obstacle::default(),
            refused: None,
        }
    }

    /// It shall not go any more after this time.
    pub(crate) fn expiring(self, life: Option<Duration>) -> Self {
        Msg { life, ..self }
    }

    fn node(&mut self, event: &NodeEvent, room: &Room, now: Moment, out: &mut Out) {
        self.obstacle.note(event, self.peer);
        match event {
            // Whoever waits for the device waits for somebody who may come.
            NodeEvent::Refused { peer } if *peer == self.peer && self.goal == Goal::Server => {
                let soon = now.at + DEPOSIT;
                self.give_up_at = self.give_up_at.map(|at| at.min(soon));
            }
            NodeEvent::Untrusted { expected: Party::Peer(expected), seen } if *expected == self.peer => {
                out.end(Err(Failure::untrusted(&room.name(self.peer), *expected, *seen)));
            }
            _ => {}
        }
    }

    fn verdict(&self, room: &Room) -> End {
        if is_reached(self.goal, self.reached) {
            return Ok(Exit::Done);
        }
        if let Some(why) = self.refused {
            return Err(Failure::usage(why.to_string()));
        }
        let name = room.name(self.peer);
        if self.reached.word() != State::Queued.word() {
            let message = format!("{name} has not got farther with it in time: it is {}", self.reached.word());
            return Err(Failure::new(Exit::Timeout, message));
        }
        let failure = self.obstacle.failure(&name);
        let exit = if failure.exit == Exit::PeerOffline { Exit::PeerOffline } else { Exit::Timeout };
        let message = format!("the message is kept, and goes when you are both online: {}", failure.message);
        Err(Failure { exit, message })
    }
}

/// A message that has come farther has come that far.
fn is_reached(goal: Goal, state: State) -> bool {
    match state.word() {
        "server" => goal == Goal::Server,
        "device" => goal <= Goal::Device,
        "read" => true,
        _ => false,
    }
}

impl Task for Msg {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => {
                self.give_up_at = Some(now.at + self.timeout);
                if let Some(content) = self.content.take() {
                    room.say(self.peer, self.id, content, self.life, now, out);
                }
            }
            Signal::Node(event) => self.node(event, room, now, out),
            Signal::State { peer, id, state } if peer == self.peer && id == self.id => {
                self.reached = state;
                if is_reached(self.goal, state) {
                    out.end(Ok(Exit::Done));
                } else if matches!(state.word(), "cancelled" | "expired") {
                    out.end(Err(Failure::other(format!("the message is {}", state.word()))));
                }
            }
            Signal::NotQueued { peer, id, why } if peer == self.peer && id == self.id => {
                self.refused = Some(why);
                out.end(self.verdict(room));
            }
            Signal::OutboxChanged if !room.messenger().outstanding(self.peer).iter().any(|(id, _)| *id == self.id) => {
                out.end(Err(Failure::other("the message was taken back")));
            }
            Signal::Wakeup => out.end(self.verdict(room)),
            _ => {}
        }
    }

    fn finish(&mut self, room: &mut Room, out: &mut Out) -> End {
        if self.refused.is_none() {
            let state = self.reached.word();
            out.tell(Event::Sent { who: room.who(self.peer), id: self.id.to_string(), state });
        }
        self.verdict(room)
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        self.give_up_at
    }

    fn listens(&self) -> bool {
        false
    }
}
