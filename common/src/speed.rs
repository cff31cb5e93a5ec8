//! What two peers say to each other to measure the line between them.
//!
//! Beside the stream of a session, whoever wants a run opens another bidirectional one. Its first byte is [`SPEED`], for
//! other kinds of streams may come; then [`SpeedFrame`]s go both ways. The bytes that are measured go on unidirectional
//! streams of their own, each of which begins with the number of the run ([`bulk_header`]), so that neither the session nor
//! these frames wait behind them.
//!
//! A run, as the asker leads it: `Ask`, `Accept`; probes while the line is idle; `Upload`, bytes, `UploadEnds`, the count
//! that arrived; `Download`, bytes, `DownloadEnds`; the end of the stream. Probes go on all the time, and whoever receives
//! bytes counts them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first byte of a stream of [`SpeedFrame`]s.
pub const SPEED: u8 = 1;
/// The longest frame.
pub const MAX_SPEED_FRAME: usize = 64;
/// The longest run, both ways and all that stands around them.
pub const MAX_RUN: Duration = Duration::from_secs(60);
/// The longest that may be asked for each way: two of them and the probes before are less than [`MAX_RUN`].
pub const MAX_EACH_WAY: Duration = Duration::from_secs(25);
/// Streams that carry bytes at a time. What one may send that the other has not read is 1.25 MB (quinn's default, and what a
/// message may use up); eight of them fill a line of 1 Gb/s over 80 ms.
pub const BULK_STREAMS: u8 = 8;
/// The error code with which streams are reset when their time is over, and with which a stream of an unknown kind is refused.
pub const NO_MORE: u32 = 1;

/// A name for one run, drawn by the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNumber(pub u32);

/// What each stream of bytes begins with: its kind, and its run.
pub fn bulk_header(run: RunNumber) -> [u8; 5] {
    let [a, b, c, d] = run.0.to_be_bytes();
    [SPEED, a, b, c, d]
}

/// What has arrived since the first byte of this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arrived {
    /// How many bytes.
    pub bytes: u64,
    /// From the first to the last of them.
    pub micros: u64,
}

impl Arrived {
    /// In megabits a second, over the time that it took, but at least this. So a line that falls silent is not called fast.
    pub fn mbps(&self, at_least: Duration) -> f64 {
        let seconds = Duration::from_micros(self.micros).max(at_least).as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 * 8.0 / seconds / 1e6 } else { 0.0 }
    }
}

/// Why there is no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The connection goes through a relay, whose operator pays for every byte.
    Relayed,
    /// A run with this peer, or as many as the client has at a time, are under way.
    Busy,
    /// More than [`MAX_EACH_WAY`] was asked for, or nothing.
    Span,
}

/// One frame of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpeedFrame {
    /// The first frame of the asker.
    Ask {
        /// Its name.
        run: RunNumber,
        /// How long bytes shall flow each way.
        each_way_ms: u32,
    },
    /// The first frame of the other side: it is ready.
    Accept,
    /// Instead: it is not, and nothing follows.
    Refuse(Refusal),
    /// From the asker: send this back at once.
    Probe(u32),
    /// From a probe.
    Echo(u32),
    /// The asker begins to send bytes.
    Upload,
    /// What has arrived so far, now and then, and after [`SpeedFrame::UploadEnds`].
    Counted {
        /// How much.
        arrived: Arrived,
        /// Is that all?
        last: bool,
    },
    /// The asker sends no more.
    UploadEnds,
    /// The other side is to send bytes, for as long as was agreed.
    Download,
    /// It sends no more.
    DownloadEnds,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn every_frame_fits_into_the_longest() {
        let arrived = Arrived { bytes: u64::MAX, micros: u64::MAX };
        let run = RunNumber(u32::MAX);
        for frame in [
            SpeedFrame::Ask { run, each_way_ms: u32::MAX },
            SpeedFrame::Refuse(Refusal::Span),
            SpeedFrame::Probe(u32::MAX),
            SpeedFrame::Echo(u32::MAX),
            SpeedFrame::Counted { arrived, last: true },
            SpeedFrame::DownloadEnds,
        ] {
            wire::encode(&frame, MAX_SPEED_FRAME).expect("short enough");
        }
    }

    #[test]
    fn a_line_that_fell_silent_is_not_called_fast() {
        let second = Duration::from_secs(1);
        let burst = Arrived { bytes: 125_000, micros: 10 };
        assert_eq!(burst.mbps(second), 1.0);
        let steady = Arrived { bytes: 250_000, micros: 2_000_000 };
        assert_eq!(steady.mbps(second), 1.0);
        assert_eq!(Arrived::default().mbps(Duration::ZERO), 0.0);
    }

    #[test]
    fn a_run_of_the_longest_span_fits_into_the_longest_run() {
        assert!(MAX_EACH_WAY * 2 < MAX_RUN);
        assert_eq!(bulk_header(RunNumber(0x0102_0304)), [SPEED, 1, 2, 3, 4]);
    }

    #[test]
    fn frames_of_a_run_have_these_bytes() {
        let frames = [
            SpeedFrame::Ask { run: RunNumber(7), each_way_ms: 5000 },
            SpeedFrame::Accept,
            SpeedFrame::Probe(1),
            SpeedFrame::Counted { arrived: Arrived { bytes: 300, micros: 2 }, last: false },
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|f| wire::encode(f, MAX_SPEED_FRAME).expect("short")).collect();
        insta::assert_snapshot!(data_encoding::HEXLOWER.encode(&bytes), @"0400040007882704000101040002030104000506ac020200");
    }
}
