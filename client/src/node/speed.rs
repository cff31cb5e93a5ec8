//! What is said of a measurement while it goes on, and at its end.

use std::time::Duration;

use common::speed::Refusal;

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SpeedReport {
    /// It is under way.
    Progress {
        /// What is measured now.
        phase: SpeedPhase,
        /// How much of that is done, from 0 to 1.
        share: f64,
        /// What has arrived so far, in megabits a second, where bytes flow.
        mbps: Option<f64>,
    },
    /// It is done.
    Done {
        /// From us to the peer, in megabits a second.
        up_mbps: f64,
        /// From the peer to us.
        down_mbps: f64,
        /// The round trip of a frame while no bytes flowed, in the median.
        idle: Duration,
        /// The same while they did.
        loaded: Duration,
    },
    /// It was not done. Nothing follows.
    Failed(SpeedFailure),
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeedPhase {
    /// The round trip of the idle line.
    Idle,
    /// From us to the peer.
    Up,
    /// From the peer to us.
    Down,
}

/// Why a line was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeedFailure {
    /// The peer does not answer what we ask: its client does not know of it.
    Unknown,
    /// The peer would not.
    Refused(Refusal),
    /// We measure with this peer already, or as much as we do at a time: somebody has asked us.
    Busy,
    /// The connection ended.
    Ended,
    /// It took longer than the longest run.
    TooLong,
    /// The peer does not keep to the protocol.
    Protocol,
}
