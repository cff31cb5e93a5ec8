//! `punchline why PEER`: why the path to a contact is what it is.

use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::session::Route;

use super::{Context, Online};
use crate::cli;
use crate::control::Command;
use crate::data::{AttemptStatus, Status};
use crate::exit::{Exit, Failure};
use crate::node::{AttemptEnd, Entrance, Introducer, NodeCommand, NodeEvent, Party, PathAttempt};
use crate::online::{End, Moment, Obstacle, Out, Room, Signal, Task};
use crate::output::{ConnectionLine, Event, Who, Why as Answer};
use crate::why::{Cause, Evidence, explain};

/// How often the picture moves.
const PICTURE: Duration = Duration::from_millis(250);
/// After an attempt that found no path, the connection through the relay may still be on its way: it takes a round trip or two.
const GRACE: Duration = Duration::from_secs(2);

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Why) -> End {
    let online = Online::load(&context.data)?;
    arguments.peer = online.peer(&arguments.peer)?.peer.to_string();
    online.stay(context, Command::Why(arguments)).await
}

/// What a status and a connection amount to.
fn answer(who: Who, status: &Status, connection: Option<ConnectionLine>) -> Answer {
    let route = connection.map(|connection| connection.route);
    let direct = |kept: &&AttemptStatus| kept.attempt.ended == AttemptEnd::Direct;
    let mut of_peer = status.attempts.iter().rev().filter(|kept| kept.peer == who.peer);
    // The one that led to the path which stands; else the last that came to its end.
    let kept = match route {
        Some(Route::Direct) => of_peer.find(direct),
        // What was not found on the LAN is looked for by the rendezvous.
        _ => of_peer.find(|kept| kept.attempt.ended != AttemptEnd::Superseded && !is_vain_on_lan(&kept.attempt)),
    };
    let refused = status.refused.iter().find(|refused| refused.peer == who.peer);
    let refused = refused.is_some_and(|refused| kept.is_none_or(|kept| kept.at < refused.at));
    let name = who.name.clone().unwrap_or_else(|| who.peer.short());
    let evidence =
        Evidence { name: &name, route, attempt: kept.map(|kept| &kept.attempt), refused, mapped: status.port_mapping };
    Answer::new(who, explain(&evidence), connection, kept.map(|kept| (&kept.attempt, kept.at)))
}

fn is_vain_on_lan(attempt: &PathAttempt) -> bool {
    attempt.by == Introducer::Lan && attempt.ended != AttemptEnd::Direct
}

/// An answer is an answer, whatever it is; only of somebody who is not there there is none.
fn end(answer: &Answer) -> End {
    match answer.cause {
        Cause::Refused => Err(Failure::new(Exit::PeerOffline, answer.reason.clone())),
        Cause::Untried => Err(Failure::other(format!("{}; {}", answer.reason, answer.help.join("; ")))),
        _ => Ok(Exit::Done),
    }
}

#[derive(Debug)]
pub(crate) struct Why {
    peer: PeerId,
    timeout: Duration,
    obstacle: Obstacle,
    began: Option<Instant>,
    picture: Option<Instant>,
    /// An attempt without a path has ended; until then the relay's connection is waited for.
    grace: Option<Instant>,
    answered: bool,
}

impl Why {
    pub(crate) fn new(peer: PeerId, timeout: Duration) -> Self {
        let obstacle = Obstacle::default();
        Why { peer, timeout, obstacle, began: None, picture: None, grace: None, answered: false }
    }

    fn node(&mut self, event: &NodeEvent, room: &Room, now: Moment, out: &mut Out) {
        self.obstacle.note(event, self.peer);
        match event {
            // What the attempt will be explained by; it is known a second or two after the registration.
            NodeEvent::Registered { entrance: Entrance::Tunnel, .. }
            | NodeEvent::RendezvousLost { .. }
            | NodeEvent::Profile(_) => {
                out.command(NodeCommand::Want(self.peer));
            }
            NodeEvent::Refused { peer } if *peer == self.peer => self.say(room, out),
            NodeEvent::Attempted { peer, attempt } if *peer == self.peer => match attempt.ended {
                _ if is_vain_on_lan(attempt) => {}
                AttemptEnd::Superseded => {}
                AttemptEnd::NoPath | AttemptEnd::NoSession if room.route(self.peer).is_none() => {
                    self.grace = Some(now.at + GRACE);
                }
                _ => self.say(room, out),
            },
            NodeEvent::Up { peer, .. } if *peer == self.peer && self.grace.is_some() => self.say(room, out),
            NodeEvent::Untrusted { expected: Party::Peer(expected), seen } if *expected == self.peer => {
                out.end(Err(Failure::untrusted(&room.name(self.peer), *expected, *seen)));
            }
            _ => {}
        }
    }

    fn say(&mut self, room: &Room, out: &mut Out) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let answer = self.answer(room);
        let end = end(&answer);
        out.tell(Event::Why(Box::new(answer)));
        out.end(end);
    }

    /// By what is known now.
    fn answer(&self, room: &Room) -> Answer {
        let line = |route| {
            let connection = room.connection(self.peer, route)?;
            Some(ConnectionLine { route, remote: connection.remote, rtt_ms: connection.rtt().into() })
        };
        answer(room.who(self.peer), room.status(), room.route(self.peer).and_then(line))
    }

    fn draw(&mut self, now: Moment, out: &mut Out) {
        if let Some(began) = self.began {
            let past = now.at.saturating_duration_since(began);
            out.tell(Event::progress("looking for a path", past.as_secs_f64() / self.timeout.as_secs_f64(), None));
        }
        self.picture = Some(now.at + PICTURE);
    }
}

impl Task for Why {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => {
                self.began = Some(now.at);
                match self.answer(room) {
                    // A node that was online before knows what it has tried.
                    answer if !matches!(answer.cause, Cause::Untried | Cause::Refused) => self.say(room, out),
                    _ => self.draw(now, out),
                }
            }
            Signal::Node(event) => self.node(event, room, now, out),
            Signal::ContactsChanged if !room.knows(self.peer) => {
                out.end(Err(Failure::other("the contact that you were asking about was removed")));
            }
            Signal::Wakeup => {
                if self.grace.is_some_and(|at| at <= now.at) {
                    self.say(room, out);
                } else if self.began.is_some_and(|began| began + self.timeout <= now.at) {
                    out.end(Err(self.obstacle.failure(&room.name(self.peer))));
                } else {
                    self.draw(now, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Err(Failure::other("stopped before the attempt was over"))
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        [self.picture, self.grace, self.began.map(|began| began + self.timeout)].into_iter().flatten().min()
    }
}
