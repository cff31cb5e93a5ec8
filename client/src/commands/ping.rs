//! `punchline ping PEER`: is there a direct path, and how long is it?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::path::Ending;
use common::session::{PeerFrame, Route};

use super::{Context, Online};
use crate::cli;
use crate::control::Command;
use crate::exit::{Exit, Failure};
use crate::node::{NodeCommand, NodeEvent, Party};
use crate::online::{End, FrontId, Moment, Obstacle, Out, Room, Signal, Task};
use crate::output::{Event, Millis};

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Ping) -> End {
    let online = Online::load(&context.data)?;
    arguments.peer = online.peer(&arguments.peer)?.peer.to_string();
    online.stay(context, Command::Ping(arguments)).await
}

#[derive(Debug)]
pub(crate) struct Ping {
    peer: PeerId,
    /// Answers go to every task: the upper half of a nonce says whose it is, the lower half is the number.
    front: FrontId,
    /// For how long the front end had been running when it asked, and when that was.
    age: Duration,
    began: Option<Instant>,
    count: u32,
    interval: Duration,
    timeout: Duration,
    obstacle: Obstacle,
    /// Set by the start.
    give_up_at: Option<Instant>,
    /// While a session stands.
    next_at: Option<Instant>,
    /// When each unanswered one was sent, by its nonce.
    unanswered: BTreeMap<u64, Instant>,
    sent: u32,
    received: u32,
    first_reply: Option<Millis>,
    direct: Option<Millis>,
    route: Option<Route>,
    /// Why there will never be a direct path, if one of us shows no address.
    unpunched: Option<Ending>,
}

impl Ping {
    pub(crate) fn new(peer: PeerId, front: FrontId, age: Duration, arguments: &cli::Ping) -> Self {
        Ping {
            peer,
            front,
            age,
            began: None,
            count: arguments.count,
            interval: arguments.interval,
            timeout: arguments.timeout,
            obstacle: Obstacle::default(),
            give_up_at: None,
            next_at: None,
            unanswered: BTreeMap::new(),
            sent: 0,
            received: 0,
            first_reply: None,
            direct: None,
            route: None,
            unpunched: None,
        }
    }

    fn node(&mut self, event: &NodeEvent, room: &Room, now: Moment, out: &mut Out) {
        self.obstacle.note(event, self.peer);
        match event {
            NodeEvent::Up { peer, route, .. } if *peer == self.peer => {
                if *route == Route::Direct {
                    let since_start = self.since_start(now);
                    self.direct.get_or_insert(since_start);
                }
                self.send(room, now, out);
            }
            NodeEvent::Down { peer, .. } if *peer == self.peer && self.best(room).is_none() => {
                self.unanswered.clear();
                self.next_at = None;
            }
            NodeEvent::NoPath { peer, report, .. } if *peer == self.peer && report.ending.is_relay_only() => {
                self.unpunched = Some(report.ending);
                if report.ending == Ending::NoRelay || self.received > 0 {
                    self.end_without_direct_path(room, out);
                }
            }
            // They may have come back with another mind.
            NodeEvent::Introduced { peer, addresses, .. } if *peer == self.peer && !addresses.is_empty() => {
                self.unpunched = None;
            }
            NodeEvent::Untrusted { expected: Party::Peer(expected), seen } if *expected == self.peer => {
                out.end(Err(Failure::untrusted(&room.name(self.peer), *expected, *seen)));
            }
            _ => {}
        }
    }

    fn since_start(&self, now: Moment) -> Millis {
        let since = self.began.map_or(Duration::ZERO, |began| now.at.saturating_duration_since(began));
        (self.age + since).into()
    }

    /// There never was a direct path: always the same code, and what stood in the way in words.
    fn never_direct(&self, room: &Room) -> Failure {
        let name = room.name(self.peer);
        if self.received > 0 && self.unpunched == Some(Ending::PeerRelayOnly) {
            let message = format!("{name} answers through the relay, and shows no address for a direct path");
            return Failure::new(Exit::NoPath, message);
        }
        if self.received > 0 {
            let message = format!("{name} answers through the relay, but no direct path was found");
            return Failure::new(Exit::NoPath, message);
        }
        Failure { exit: Exit::NoPath, ..self.obstacle.failure(&name) }
    }

    /// The best route that stands.
    fn best(&self, room: &Room) -> Option<Route> {
        Route::ALL.into_iter().rfind(|route| room.connection(self.peer, *route).is_some())
    }

    fn send(&mut self, room: &Room, now: Moment, out: &mut Out) {
        let Some(route) = self.best(room) else { return };
        if self.sent == self.count {
            // The last one had an interval's time.
            out.end(Err(self.never_direct(room)));
            return;
        }
        self.sent += 1;
        let nonce = u64::from(self.front.0) << 32 | u64::from(self.sent);
        self.unanswered.insert(nonce, now.at);
        room.send(self.peer, route, PeerFrame::Ping { nonce }, out);
        self.next_at = Some(now.at + self.interval);
    }

    fn pong(&mut self, nonce: u64, route: Route, room: &Room, now: Moment, out: &mut Out) {
        let Some(sent_at) = self.unanswered.remove(&nonce) else { return };
        let Some(connection) = room.connection(self.peer, route) else { return };
        self.received += 1;
        let since_start = self.since_start(now);
        self.first_reply.get_or_insert(since_start);
        self.route = self.route.max(Some(route));
        out.tell(Event::Ping {
            who: room.who(self.peer),
            seq: nonce as u32,
            route,
            remote: connection.remote,
            rtt_ms: now.at.saturating_duration_since(sent_at).into(),
            since_start_ms: since_start,
        });
        if route == Route::Direct {
            out.end(Ok(Exit::Done));
        } else if self.unpunched.is_some() {
            self.end_without_direct_path(room, out);
        }
    }

    /// Waiting will not help. Whoever wanted no direct path has what was asked for.
    fn end_without_direct_path(&self, room: &Room, out: &mut Out) {
        let as_wanted = self.unpunched == Some(Ending::RelayOnly) && self.received > 0;
        out.end(if as_wanted { Ok(Exit::Done) } else { Err(self.never_direct(room)) });
    }
}

impl Task for Ping {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => {
                self.began = Some(now.at);
                self.give_up_at = Some(now.at + self.timeout);
                out.command(NodeCommand::Want(self.peer));
            }
            Signal::Node(event) => self.node(event, room, now, out),
            Signal::Pong { peer, route, nonce } if peer == self.peer => self.pong(nonce, route, room, now, out),
            Signal::ContactsChanged if !room.knows(self.peer) => {
                out.end(Err(Failure::other("the contact that you were pinging was removed")));
            }
            Signal::Wakeup => {
                if self.give_up_at.is_some_and(|at| at <= now.at) {
                    out.end(Err(self.never_direct(room)));
                } else if self.next_at.is_some_and(|at| at <= now.at) {
                    self.send(room, now, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, room: &mut Room, out: &mut Out) -> End {
        out.tell(Event::Summary {
            who: room.who(self.peer),
            sent: self.sent,
            received: self.received,
            first_reply_ms: self.first_reply,
            direct_ms: self.direct,
            route: self.route,
        });
        if self.received > 0 { Ok(Exit::Done) } else { Err(self.never_direct(room)) }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        [self.give_up_at, self.next_at].into_iter().flatten().min()
    }
}
