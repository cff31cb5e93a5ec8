//! The side that wants to measure, and leads.

use std::time::Duration;

use common::identity::PeerId;
use common::speed::{Arrived, MAX_RUN, RunNumber, SpeedFrame};
use quinn::Connection;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::answer::Credit;
use super::bulk::{Counting, Sending};
use super::desk::Desk;
use super::frames::{Broken, Frames};
use crate::node::{NodeEvent, SessionId, SpeedFailure, SpeedPhase, SpeedReport};

/// Whoever knows these frames answers within a round trip or two; an older client never does.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// From the answer to one probe to the next: dense enough for a median of a second, and some kilobits a second.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How long the line is left idle, to see how long it is.
const IDLE: Duration = Duration::from_secs(1);
/// So many probes are waited for all the same, where the line is long.
const IDLE_PROBES: usize = 3;
/// How often the picture moves.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// The least span that a rate under way is told of.
const GLANCE: Duration = Duration::from_millis(100);

/// What is to be measured.
pub(in crate::net) struct Run {
    pub(in crate::net) peer: PeerId,
    pub(in crate::net) session: SessionId,
    pub(in crate::net) connection: Connection,
    pub(in crate::net) each_way: Duration,
    pub(in crate::net) desk: Desk,
    pub(in crate::net) events: mpsc::Sender<NodeEvent>,
}

/// Tells that there is no such session (any more).
pub(in crate::net) fn refuse(peer: PeerId, session: SessionId, events: mpsc::Sender<NodeEvent>) {
    let report = SpeedReport::Failed(SpeedFailure::Ended);
    tokio::spawn(async move { events.send(NodeEvent::Speed { peer, session, report }).await });
}

impl Run {
    /// Measures, and tells what came of it.
    pub(in crate::net) async fn measure(self) {
        let measured = timeout(MAX_RUN, self.lead()).await.unwrap_or(Err(SpeedFailure::TooLong));
        let report = measured.unwrap_or_else(SpeedReport::Failed);
        let event = NodeEvent::Speed { peer: self.peer, session: self.session, report };
        // Nobody listens to a node that stops.
        let _ = self.events.send(event).await;
    }

    async fn lead(&self) -> Result<SpeedReport, SpeedFailure> {
        let _place = self.desk.take(self.peer).ok_or(SpeedFailure::Busy)?;
        let _credit = Credit::give(&self.connection);
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|_| SpeedFailure::Protocol)?;
        let run = RunNumber(u32::from_be_bytes(number));
        let begun = timeout(FIRST_ANSWER, self.ask(run)).await;
        let mut talk = Talk::new(begun.map_err(|_| SpeedFailure::Unknown)??);
        let idle = self.idle(&mut talk).await?;
        let up = self.upload(run, &mut talk).await?;
        let down = self.download(run, &mut talk).await?;
        let rate = |arrived: Arrived| arrived.mbps(self.each_way);
        Ok(SpeedReport::Done { up_mbps: rate(up), down_mbps: rate(down), idle, loaded: median(&mut talk.took) })
    }

    async fn ask(&self, run: RunNumber) -> Result<Frames, SpeedFailure> {
        let mut frames = Frames::open(&self.connection).await?;
        let each_way_ms = u32::try_from(self.each_way.as_millis()).unwrap_or(u32::MAX);
        frames.say(&SpeedFrame::Ask { run, each_way_ms }).await?;
        match frames.next().await {
            Ok(Some(SpeedFrame::Accept)) => Ok(frames),
            Ok(Some(SpeedFrame::Refuse(why))) => Err(SpeedFailure::Refused(why)),
            // It ended the stream, and not the connection.
            Err(Broken::Ended) if self.connection.close_reason().is_none() => Err(SpeedFailure::Unknown),
            Err(broken) => Err(broken.into()),
            Ok(_) => Err(SpeedFailure::Protocol),
        }
    }

    /// The round trip while nothing else goes over this connection.
    async fn idle(&self, talk: &mut Talk) -> Result<Duration, SpeedFailure> {
        let begun = Instant::now();
        while begun.elapsed() < IDLE || talk.took.len() < IDLE_PROBES {
            match talk.next().await? {
                Step::Tick => self.progress(SpeedPhase::Idle, begun, IDLE, None),
                Step::Frame(_) => return Err(SpeedFailure::Protocol),
            }
        }
        let idle = median(&mut talk.took);
        talk.took.clear();
        Ok(idle)
    }

    async fn upload(&self, run: RunNumber, talk: &mut Talk) -> Result<Arrived, SpeedFailure> {
        talk.frames.say(&SpeedFrame::Upload).await?;
        let begun = Instant::now();
        let mut sending = Some(Sending::start(&self.connection, run, self.each_way));
        let mut so_far = Arrived::default();
        loop {
            let step = match &mut sending {
                Some(bytes) => tokio::select! {
                    step = talk.next() => Some(step?),
                    () = bytes.done() => None,
                },
                None => Some(talk.next().await?),
            };
            match step {
                None => {
                    sending = None;
                    talk.frames.say(&SpeedFrame::UploadEnds).await?;
                }
                Some(Step::Tick) => self.progress(SpeedPhase::Up, begun, self.each_way, Some(so_far)),
                Some(Step::Frame(SpeedFrame::Counted { arrived, last: false })) => so_far = arrived,
                Some(Step::Frame(SpeedFrame::Counted { arrived, last: true })) if sending.is_none() => {
                    return Ok(arrived);
                }
                Some(Step::Frame(_)) => return Err(SpeedFailure::Protocol),
            }
        }
    }

    async fn download(&self, run: RunNumber, talk: &mut Talk) -> Result<Arrived, SpeedFailure> {
        let counting = Counting::start(&self.connection, run);
        talk.frames.say(&SpeedFrame::Download).await?;
        let begun = Instant::now();
        loop {
            match talk.next().await? {
                Step::Tick => self.progress(SpeedPhase::Down, begun, self.each_way, Some(counting.arrived())),
                Step::Frame(SpeedFrame::DownloadEnds) => return Ok(counting.arrived()),
                Step::Frame(_) => return Err(SpeedFailure::Protocol),
            }
        }
    }

    /// Whoever does not keep up with the picture needs the latest only.
    fn progress(&self, phase: SpeedPhase, begun: Instant, span: Duration, arrived: Option<Arrived>) {
        let share = begun.elapsed().div_duration_f64(span).min(1.0);
        let report = SpeedReport::Progress { phase, share, mbps: arrived.map(|arrived| arrived.mbps(GLANCE)) };
        let _ = self.events.try_send(NodeEvent::Speed { peer: self.peer, session: self.session, report });
    }
}

impl From<Broken> for SpeedFailure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Ended => SpeedFailure::Ended,
            Broken::Protocol => SpeedFailure::Protocol,
        }
    }
}

/// What happens in a phase.
enum Step {
    /// The peer says something that is no echo.
    Frame(SpeedFrame),
    /// Time to move the picture.
    Tick,
}

/// The frames, with probes among them all the time.
struct Talk {
    frames: Frames,
    /// The latest probe, and when it was sent, until it is answered.
    sent: Option<Instant>,
    number: u32,
    next_probe: Instant,
    /// Round trips since the idle ones. A run is too short for many.
    took: Vec<Duration>,
    tick: Interval,
}

impl Talk {
    fn new(frames: Frames) -> Self {
        let mut tick = interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Talk { frames, sent: None, number: 0, next_probe: Instant::now(), took: Vec::new(), tick }
    }

    /// Probes until something else happens. May be dropped unfinished.
    async fn next(&mut self) -> Result<Step, Broken> {
        loop {
            tokio::select! {
                frame = self.frames.next() => match frame? {
                    Some(SpeedFrame::Echo(number)) if number == self.number => {
                        let sent = self.sent.take().ok_or(Broken::Protocol)?;
                        self.took.push(sent.elapsed());
                        self.next_probe = Instant::now() + PROBE_EVERY;
                    }
                    Some(frame) => return Ok(Step::Frame(frame)),
                    None => return Err(Broken::Ended),
                },
                () = sleep_until(self.next_probe), if self.sent.is_none() => {
                    self.number += 1;
                    self.sent = Some(Instant::now());
                    self.frames.say(&SpeedFrame::Probe(self.number)).await?;
                }
                _ = self.tick.tick() => return Ok(Step::Tick),
            }
        }
    }
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}
