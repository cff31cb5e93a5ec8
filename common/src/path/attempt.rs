//! What an attempt was, address by address, for whoever asks why the path is what it is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::report::{Effort, Ending, Strategy};
use crate::candidate::CandidateKind;

/// An attempt so far, or as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The addresses that were probed, in the order in which that began; no more than the check list holds.
    pub checks: Vec<Checked>,
    /// By which strategies.
    pub strategies: Vec<Tried>,
    /// Why nothing more was tried.
    pub ending: Ending,
    /// The first path.
    pub found: Option<Found>,
}

impl Attempt {
    /// One that never began, for this reason.
    pub fn not_begun(ending: Ending) -> Self {
        Attempt { checks: Vec::new(), strategies: Vec::new(), ending, found: None }
    }
}

/// What became of one address of the peer's. Where ports were guessed, only those at which the peer was heard are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// How it became known.
    pub kind: CandidateKind,
    /// Where it is.
    pub address: SocketAddr,
    /// Probes that went there.
    pub packets: u32,
    /// Something authentic came from there, an answer or a probe.
    pub heard: bool,
    /// Of the fastest answer; `None` if there was none.
    pub rtt: Option<Duration>,
}

/// What one strategy took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub strategy: Strategy,
    /// Its datagrams and sockets.
    pub effort: Effort,
    /// From its first datagram to its last; of plain probing, from the introduction.
    pub took: Duration,
}

/// A path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How the address became known.
    pub kind: CandidateKind,
    /// Where the peer is.
    pub address: SocketAddr,
    /// What found it.
    pub strategy: Strategy,
    /// Round trip.
    pub rtt: Duration,
    /// Since the introduction.
    pub after: Duration,
}

/// When the datagrams of each strategy left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    spans: [Option<(Instant, Instant)>; Strategy::ALL.len()],
    last_shot: Option<Strategy>,
}

impl Times {
    /// A datagram leaves.
    pub(super) fn sent(&mut self, strategy: Strategy, now: Instant) {
        let span = &mut self.spans[strategy as usize];
        *span = Some((span.map_or(now, |(first, _)| first), now));
        if strategy != Strategy::Observation {
            self.last_shot = Some(strategy);
        }
    }

    /// From the first to the last.
    pub(super) fn took(&self, strategy: Strategy) -> Option<Duration> {
        self.spans[strategy as usize].map(|(first, last)| last.saturating_duration_since(first))
    }

    /// The strategy whose probes left last.
    pub(super) fn last_shot(&self) -> Option<Strategy> {
        self.last_shot
    }
}
