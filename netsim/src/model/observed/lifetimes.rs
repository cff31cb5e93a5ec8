//! How long a way to the Internet remembers a silent UDP session, and how to find out: many sockets are silent at the same
//! time, each for another while, and then somebody outside knocks.
//!
//! A [`Script`] is what happens to one socket. It has no clock and no sockets: whoever has plays all scripts of a
//! [`plan`] side by side, notes for each when it really was and whether the last packet came in, and [`judge`] says what
//! that means. So real networks are asked the same as virtual ones, and a pass takes a fifth more than the longest lifetime.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::behaviour::{Behaviour, Refresh};

/// A session is used again after this part of the lifetime, and asked for as long after that: by then it is older than the
/// lifetime, and has been silent for less.
const REFRESHED_AT: f64 = 0.6;

/// A session counts as settled after this times what the box wants; a busy machine is not on time.
const SETTLED: f64 = 1.25;
/// Until then it is used this often, or three times in the shortest lifetime.
const CHATTER: Duration = Duration::from_millis(500);

/// How near to the lifetime that is expected the nearest silences are, of it and at least.
const NEAREST: (f64, Duration) = (0.02, Duration::from_millis(250));
/// The other silences, of each lifetime that is expected.
const SILENCES: [f64; 8] = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.1];

/// Linux counts in ticks of up to 10 ms, and forgets a little late.
const TICKS: Duration = Duration::from_millis(50);

/// What a survey of lifetimes must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ObservedLifetimes {
    /// Of a session without answers, in seconds.
    #[serde(with = "crate::model::seconds")]
    pub unreplied: Duration,
    /// Of a session with answers.
    #[serde(with = "crate::model::seconds")]
    pub replied: Duration,
    /// A session younger than this counts as one without.
    #[serde(with = "crate::model::seconds")]
    pub settles_after: Duration,
    /// What keeps it.
    pub refreshed_by: SeenRefresh,
}

/// Whose packets keep a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct SeenRefresh {
    /// Those that leave.
    pub outbound: bool,
    /// Those that come in.
    pub inbound: bool,
}

/// What a survey of lifetimes has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct SeenLifetimes {
    /// Of a session without answers.
    pub unreplied: Span,
    /// Of a session with answers.
    pub replied: Span,
    /// What keeps it.
    pub refreshed_by: SeenRefresh,
}

/// Between which times it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Span {
    /// The longest silence, in seconds, after which a packet still came in.
    #[serde(with = "crate::model::seconds")]
    pub outlived: Duration,
    /// The shortest after which none did; `None` if all did.
    #[serde(serialize_with = "seconds_if_any")]
    pub gone_after: Option<Duration>,
}

/// What one socket is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Does a session without answers outlive this silence?
    Unreplied,
    /// Does one with answers?
    Replied,
    /// Is it kept by a packet that leaves?
    KeptFromInside,
    /// Is it kept by one that comes in?
    KeptFromOutside,
}

/// What is done with a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It sends.
    Out,
    /// It sends, and is answered.
    Exchange,
    /// It is sent to by the one it has sent to.
    In,
    /// The same, and whether that arrives is the answer.
    Knock,
}

/// One socket's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What for.
    pub question: Question,
    /// Each so long after the one before.
    pub steps: Vec<(Duration, Act)>,
}

/// What came of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub question: Question,
    /// How long it was silent before the knock: at least and at most.
    pub silence: RangeInclusive<Duration>,
    /// Whether that was heard.
    pub arrived: bool,
}

impl ObservedLifetimes {
    /// What is to be seen of these boxes in series; `None` of no boxes, which forget nothing, and where no UDP passes.
    pub fn of_chain(chain: &[&Behaviour]) -> Option<ObservedLifetimes> {
        if chain.iter().any(|nat| nat.quirks.blocks_udp) {
            return None;
        }
        let all = || chain.iter().map(|nat| nat.lifetimes);
        let replied = all().map(|lifetimes| lifetimes.replied).min()?;
        // One that remembers for longer does not miss what is not repeated for as long as we look.
        let looked_at = replied.mul_f64(2.0 * REFRESHED_AT);
        let inbound = all().all(|lifetimes| lifetimes.refresh == Refresh::BothWays || lifetimes.replied > looked_at);
        Some(ObservedLifetimes {
            unreplied: all().map(|lifetimes| lifetimes.unreplied).min()?,
            replied,
            settles_after: all().map(|lifetimes| lifetimes.settles_after).max()?,
            refreshed_by: SeenRefresh { outbound: true, inbound },
        })
    }

    /// Is that what was found?
    pub fn agrees(&self, seen: &SeenLifetimes) -> bool {
        let ObservedLifetimes { unreplied, replied, refreshed_by, .. } = *self;
        seen.unreplied.contains(unreplied) && seen.replied.contains(replied) && seen.refreshed_by == refreshed_by
    }
}

impl Span {
    /// May it end then?
    pub fn contains(&self, lifetime: Duration) -> bool {
        self.outlived <= lifetime + TICKS && self.gone_after.is_some_and(|gone| lifetime <= gone)
    }
}

impl Script {
    /// How long it takes.
    pub fn takes(&self) -> Duration {
        self.steps.iter().map(|(after, _)| *after).sum()
    }
}

/// The scripts that find out whether this is so. They look far beyond what is expected, too, so that they also find out if
/// it is not.
pub fn plan(expected: &ObservedLifetimes) -> Vec<Script> {
    let ObservedLifetimes { unreplied, replied, settles_after, .. } = *expected;
    let settled = settled(settles_after.mul_f64(SETTLED), CHATTER.min(unreplied.min(replied) / 3));
    let with_answers = |question, rest: &[(Duration, Act)]| {
        let steps = settled.iter().chain(rest).copied().collect();
        Script { question, steps }
    };
    let mut scripts = vec![];
    for silence in silences(&[unreplied, replied]) {
        let steps = vec![(Duration::ZERO, Act::Out), (silence, Act::Knock)];
        scripts.push(Script { question: Question::Unreplied, steps });
        scripts.push(with_answers(Question::Replied, &[(silence, Act::Knock)]));
    }
    let while_young = replied.mul_f64(REFRESHED_AT);
    for (question, act) in [(Question::KeptFromInside, Act::Out), (Question::KeptFromOutside, Act::In)] {
        scripts.push(with_answers(question, &[(while_young, act), (while_young, Act::Knock)]));
    }
    scripts
}

/// A session that is used until it is old enough.
fn settled(age: Duration, every: Duration) -> Vec<(Duration, Act)> {
    let mut steps = vec![(Duration::ZERO, Act::Exchange)];
    let mut left = age;
    while !left.is_zero() {
        let next = left.min(every.max(Duration::from_millis(1)));
        steps.push((next, Act::Exchange));
        left -= next;
    }
    steps
}

fn silences(lifetimes: &[Duration]) -> Vec<Duration> {
    let mut silences: Vec<Duration> = vec![];
    for lifetime in lifetimes {
        let near = lifetime.mul_f64(NEAREST.0).max(NEAREST.1);
        silences.extend(SILENCES.map(|part| lifetime.mul_f64(part)));
        silences.extend([lifetime.saturating_sub(near), *lifetime + near]);
    }
    silences.retain(|silence| !silence.is_zero());
    silences.sort_unstable();
    silences.dedup();
    silences
}

/// What the answers amount to.
pub fn judge(answers: &[Answer]) -> SeenLifetimes {
    let of = |question| answers.iter().filter(move |answer| answer.question == question);
    let span = |question| Span {
        outlived: of(question).filter(|a| a.arrived).map(|a| *a.silence.start()).max().unwrap_or_default(),
        gone_after: of(question).filter(|a| !a.arrived).map(|a| *a.silence.end()).min(),
    };
    let kept = |question| of(question).all(|answer| answer.arrived);
    SeenLifetimes {
        unreplied: span(Question::Unreplied),
        replied: span(Question::Replied),
        refreshed_by: SeenRefresh {
            outbound: kept(Question::KeptFromInside),
            inbound: kept(Question::KeptFromOutside),
        },
    }
}

fn seconds_if_any<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlived = self.outlived.as_secs_f64();
        f.pad(&match self.gone_after {
            Some(gone) => format!("{outlived:.1}-{:.1} s", gone.as_secs_f64()),
            None => format!("over {outlived:.1} s"),
        })
    }
}

impl fmt::Display for SeenRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.outbound, self.inbound) {
            (true, true) => "packets both ways",
            (true, false) => "outbound packets",
            (false, true) => "inbound packets",
            (false, false) => "nothing",
        })
    }
}
