//! How far a peer's posts have come, and which of them are missing.

use common::session::{MAX_RANGES, StreamId};

/// Streams of one peer that are remembered: it begins one, and another for each backup that it restores.
pub const MAX_STREAMS: usize = 8;
/// Holes in one stream that are remembered. A post that would make one more is not taken, so its sender repeats it when the
/// holes before it are filled.
pub const MAX_HOLES: usize = 256;

/// One stream of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub id: StreamId,
    /// The greatest number that came.
    pub highest: u64,
    /// The numbers below it that have not come: the first and the last of each hole, in order.
    pub holes: Vec<(u64, u64)>,
}

/// Whether a post is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the next one, or fills a hole, or leaves one behind it.
    New,
    /// One with this number came before.
    Known,
    /// There are too many holes.
    TooMany,
}

/// The streams of one peer, the latest last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    streams: Vec<Stream>,
}

impl Heard {
    pub(super) fn resume(&mut self, streams: Vec<Stream>) {
        self.streams = streams;
        self.forget();
    }

    fn forget(&mut self) {
        let excess = self.streams.len().saturating_sub(MAX_STREAMS);
        self.streams.drain(..excess);
    }

    /// A post with this place has come.
    pub(super) fn take(&mut self, id: StreamId, seq: u64) -> Taken {
        let position = self.streams.iter().position(|stream| stream.id == id).unwrap_or_else(|| {
            self.streams.push(Stream { id, highest: 0, holes: Vec::new() });
            self.forget();
            self.streams.len() - 1
        });
        self.streams[position].take(seq)
    }

    /// The first holes of the latest stream that has any.
    pub(super) fn missing(&self) -> Option<(StreamId, Vec<(u64, u64)>)> {
        let stream = self.streams.iter().rfind(|stream| !stream.holes.is_empty())?;
        Some((stream.id, stream.holes.iter().copied().take(MAX_RANGES).collect()))
    }
}

impl Stream {
    fn take(&mut self, seq: u64) -> Taken {
        let room = self.holes.len() < MAX_HOLES;
        if seq > self.highest {
            if seq > self.highest + 1 {
                if !room {
                    return Taken::TooMany;
                }
                self.holes.push((self.highest + 1, seq - 1));
            }
            self.highest = seq;
            return Taken::New;
        }
        let Some(at) = self.holes.iter().position(|(first, last)| (*first..=*last).contains(&seq)) else {
            return Taken::Known;
        };
        let (first, last) = self.holes[at];
        let rest = [(first, seq - 1), (seq + 1, last)].into_iter().filter(|(first, last)| first <= last);
        let rest: Vec<_> = rest.collect();
        if rest.len() == 2 && !room {
            return Taken::TooMany;
        }
        self.holes.splice(at..=at, rest);
        Taken::New
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    const STREAM: StreamId = StreamId(1);

    fn heard(seqs: &[u64]) -> Heard {
        let mut heard = Heard::default();
        seqs.iter().for_each(|seq| _ = heard.take(STREAM, *seq));
        heard
    }

    #[test]
    fn what_comes_in_order_leaves_no_hole_and_what_is_left_out_leaves_one_until_it_comes() {
        assert_eq!(heard(&[1, 2, 3]).missing(), None);
        assert_eq!(heard(&[3]).missing(), Some((STREAM, vec![(1, 2)])));
        assert_eq!(heard(&[1, 2, 9, 5]).missing(), Some((STREAM, vec![(3, 4), (6, 8)])));
        assert_eq!(heard(&[1, 3, 2]).missing(), None);
        assert_eq!(heard(&[1, 3, 2]).take(STREAM, 2), Taken::Known);
    }

    #[test]
    fn a_sender_who_leaves_out_everything_finds_an_end() {
        let mut heard = heard(&[]);
        let taken = (1..).map(|n| n * 2).take_while(|seq| heard.take(STREAM, *seq) == Taken::New).count();
        assert_eq!(taken, MAX_HOLES);
        assert_eq!(heard.missing().map(|(_, ranges)| ranges.len()), Some(MAX_RANGES));
        assert_eq!(heard.take(STREAM, 1), Taken::New, "a hole that is filled makes room");
        assert_eq!(heard.take(STREAM, u64::MAX), Taken::New);
    }

    #[test]
    fn only_the_latest_streams_are_remembered() {
        let mut heard = Heard::default();
        for stream in 0..20 {
            heard.take(StreamId(stream), 1);
        }
        assert_eq!(heard.streams.len(), MAX_STREAMS);
        assert_eq!(heard.take(StreamId(19), 1), Taken::Known);
    }

    proptest! {
        #[test]
        fn whatever_the_order_each_number_is_new_once_and_the_holes_are_what_has_not_come(
            seqs in prop::collection::vec(1u64..60, 0..80),
        ) {
            let (mut heard, mut came) = (Heard::default(), BTreeSet::new());
            for seq in seqs {
                let expected = if came.insert(seq) { Taken::New } else { Taken::Known };
                prop_assert_eq!(heard.take(STREAM, seq), expected);
            }
            let holes: BTreeSet<u64> = heard.streams.iter().flat_map(|s| &s.holes).flat_map(|(a, b)| *a..=*b).collect();
            let highest = came.last().copied().unwrap_or(0);
            let missing: BTreeSet<u64> = (1..=highest).filter(|seq| !came.contains(seq)).collect();
            prop_assert_eq!(holes, missing);
        }
    }
}
