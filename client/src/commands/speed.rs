//! `punchline speed PEER`: how much goes over the direct path each way, and how long a message takes meanwhile.

use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::session::Route;
use common::speed::Refusal;

use super::{Context, Online};
use crate::cli;
use crate::control::Command;
use crate::exit::{Exit, Failure};
use crate::node::{NodeCommand, NodeEvent, Party, SessionId, SpeedFailure, SpeedPhase, SpeedReport};
use crate::online::{End, Moment, Obstacle, Out, Room, Signal, Task};
use crate::output::Event;

/// A connection may be superseded by another one just when the measurement begins; more often than this it is the line's fault.
const ATTEMPTS: u32 = 3;

pub(super) const ONLY_RELAYED: &str =
    "only a direct path is measured, and --relay-only (PUNCHLINE_RELAY_ONLY) leaves none; leave it out here";

pub(super) async fn execute(context: Context<'_>, mut arguments: cli::Speed) -> End {
    if context.relay_only {
        return Err(Failure::usage(ONLY_RELAYED));
    }
    let online = Online::load(&context.data)?;
    arguments.peer = online.peer(&arguments.peer)?.peer.to_string();
    online.stay(context, Command::Speed(arguments)).await
}

#[derive(Debug)]
pub(crate) struct Speed {
    peer: PeerId,
    each_way: Duration,
    timeout: Duration,
    obstacle: Obstacle,
    /// The direct session, while it stands.
    direct: Option<SessionId>,
    relayed: bool,
    phase: Phase,
    attempts: u32,
}

#[derive(Debug)]
enum Phase {
    /// For a direct path, until then.
    Waiting { until: Option<Instant> },
    /// Over this session.
    Measuring(SessionId),
}

impl Speed {
    pub(crate) fn new(peer: PeerId, arguments: &cli::Speed) -> Self {
        Speed {
            peer,
            each_way: arguments.seconds,
            timeout: arguments.timeout,
            obstacle: Obstacle::default(),
            direct: None,
            relayed: false,
            phase: Phase::Waiting { until: None },
            attempts: 0,
        }
    }

    fn node(&mut self, event: &NodeEvent, room: &Room, now: Moment, out: &mut Out) {
        self.obstacle.note(event, self.peer);
        match event {
            NodeEvent::Up { peer, session, route: Route::Direct, .. } if *peer == self.peer => {
                self.direct = Some(*session);
                self.begin(out);
            }
            NodeEvent::Up { peer, .. } if *peer == self.peer => self.relayed = true,
            NodeEvent::Down { peer, by_peer: true, .. } if *peer == self.peer && self.attempts > 0 => {
                let words = format!("{}'s client was stopped during the measurement", room.name(self.peer));
                out.end(Err(Failure::new(Exit::PeerOffline, words)));
            }
            NodeEvent::Down { peer, route: Route::Direct, .. } if *peer == self.peer => self.direct = None,
            NodeEvent::Down { peer, .. } if *peer == self.peer => self.relayed = false,
            NodeEvent::NoPath { peer, report, .. } if *peer == self.peer && report.ending.is_relay_only() => {
                let words = format!("only a direct path is measured, and there is none: {}", report.ending);
                out.end(Err(Failure::new(Exit::NoPath, words)));
            }
            NodeEvent::Speed { peer, session, report } if *peer == self.peer => {
                self.report(*session, *report, room, now, out);
            }
            NodeEvent::Untrusted { expected: Party::Peer(expected), seen } if *expected == self.peer => {
                out.end(Err(Failure::untrusted(&room.name(self.peer), *expected, *seen)));
            }
            _ => {}
        }
    }

    /// Begins over the direct session, if there is one and nothing goes on.
    fn begin(&mut self, out: &mut Out) {
        if let (Phase::Waiting { .. }, Some(session)) = (&self.phase, self.direct) {
            self.phase = Phase::Measuring(session);
            self.attempts += 1;
            out.command(NodeCommand::MeasureSpeed { peer: self.peer, session, each_way: self.each_way });
        }
    }

    fn report(&mut self, session: SessionId, report: SpeedReport, room: &Room, now: Moment, out: &mut Out) {
        if !matches!(self.phase, Phase::Measuring(ours) if ours == session) {
            return;
        }
        match report {
            SpeedReport::Progress { phase, share, mbps } => out.tell(Event::progress(word(phase), share, mbps)),
            SpeedReport::Done { up_mbps, down_mbps, idle, loaded } => {
                out.tell(Event::Speed {
                    who: room.who(self.peer),
                    route: Route::Direct,
                    up_mbps: up_mbps.into(),
                    down_mbps: down_mbps.into(),
                    idle_rtt_ms: idle.into(),
                    loaded_rtt_ms: loaded.into(),
                });
                out.end(Ok(Exit::Done));
            }
            SpeedReport::Failed(SpeedFailure::Ended) if self.attempts < ATTEMPTS => {
                self.phase = Phase::Waiting { until: Some(now.at + self.timeout) };
                // The end of this session may not have been told yet; it is not tried again.
                self.direct.take_if(|direct| *direct == session);
                self.begin(out);
            }
            SpeedReport::Failed(why) => out.end(Err(failure(why, &room.name(self.peer)))),
        }
    }

    fn no_direct_path(&self, name: &str) -> Failure {
        if self.relayed {
            let message = format!(
                "{name} is reached only through the relay, whose operator pays for every byte: only a direct path is \
                 measured"
            );
            return Failure::new(Exit::NoPath, message);
        }
        self.obstacle.failure(name)
    }
}

fn word(phase: SpeedPhase) -> &'static str {
    match phase {
        SpeedPhase::Idle => "idle",
        SpeedPhase::Up => "up",
        SpeedPhase::Down => "down",
    }
}

fn failure(why: SpeedFailure, name: &str) -> Failure {
    match why {
        SpeedFailure::Unknown => Failure::other(format!(
            "{name} is connected, but {name}'s client does not answer a measurement; it may be older than yours and need \
             an update"
        )),
        SpeedFailure::Refused(Refusal::Relayed) => Failure::new(
            Exit::NoPath,
            format!(
                "{name}'s client measures only over a direct path, because the relay's operator pays for every byte"
            ),
        ),
        SpeedFailure::Refused(Refusal::Busy) => {
            Failure::other(format!("{name}'s client is measuring with somebody already; try again in a minute"))
        }
        SpeedFailure::Refused(Refusal::Span) => {
            Failure::other(format!("{name}'s client does not measure for so long; try fewer seconds"))
        }
        SpeedFailure::Busy => {
            Failure::other(format!("{name} or somebody else is measuring with you already; try again in a minute"))
        }
        SpeedFailure::Ended => {
            Failure::new(Exit::NoPath, format!("the direct path to {name} ended during the measurement; try again"))
        }
        SpeedFailure::TooLong => Failure::new(
            Exit::Timeout,
            format!("the line to {name} is so slow that the measurement did not end within a minute"),
        ),
        SpeedFailure::Protocol => {
            Failure::other(format!("{name}'s client says what does not belong to a measurement; update the older one"))
        }
    }
}

impl Task for Speed {
    fn handle(&mut self, signal: Signal<'_>, room: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => {
                self.phase = Phase::Waiting { until: Some(now.at + self.timeout) };
                out.command(NodeCommand::Want(self.peer));
            }
            Signal::Node(event) => self.node(event, room, now, out),
            Signal::ContactsChanged if !room.knows(self.peer) => {
                out.end(Err(Failure::other("the contact whose line you were measuring was removed")));
            }
            Signal::Wakeup if self.poll_wakeup().is_some_and(|at| at <= now.at) => {
                out.end(Err(self.no_direct_path(&room.name(self.peer))));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Err(Failure::other("stopped before the measurement was done"))
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => until,
            // The node ends it in time.
            Phase::Measuring(_) => None,
        }
    }
}
