//! What waits while the network takes no more, and in which order it goes: bounded, and fair between senders.
//!
//! Deficit round robin (Shreedhar and Varghese, 1995) over the sending keys: each in its turn sends a frame's worth of
//! bytes, however much it has brought. Where there is no room, the *oldest* frame of whoever takes the most of it goes:
//! a frame that has waited for long is worth the least, because QUIC will have sent its contents again, and a loss at the
//! head of the queue is noticed soonest. Nobody else pays for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::{
    RELAY_QUEUE_BYTES, RELAY_QUEUE_FRAMES, RELAY_QUEUED_BYTES, RELAY_SOURCE_BYTES, RELAY_SOURCE_FRAMES,
};

/// What a queued frame takes beside its bytes.
const OVERHEAD: usize = 128;
/// What a sender may send in a turn: the longest frame, so that each turn sends one at least.
const QUANTUM: usize = common::relay::HEADER + common::relay::MAX_PAYLOAD;

/// A frame that waits. `K` names senders and receivers; `T` is whatever the driver needs to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting<K, T> {
    /// Who sent it.
    pub from: K,
    /// Who gets it.
    pub to: K,
    /// The frame.
    pub bytes: Box<[u8]>,
    /// Of the driver.
    pub tag: T,
}

/// Of a sender's queue.
#[derive(Debug, Clone, Copy)]
enum End {
    Back,
    Front,
}

#[derive(Debug)]
struct Source<K, T> {
    queue: VecDeque<Waiting<K, T>>,
    bytes: usize,
    deficit: usize,
}

/// How much waits for one receiver, and from whom.
#[derive(Debug)]
struct Destination<K> {
    frames: usize,
    bytes: usize,
    by_source: BTreeMap<K, usize>,
}

/// The queues of one socket.
#[derive(Debug)]
pub struct Scheduler<K, T> {
    sources: BTreeMap<K, Source<K, T>>,
    /// Whose turn it is, and who comes next.
    turns: VecDeque<K>,
    destinations: BTreeMap<K, Destination<K>>,
    /// Who has how much, for the lack of room.
    by_size: BTreeSet<(usize, K)>,
    bytes: usize,
}

impl<K: Copy + Ord, T> Default for Scheduler<K, T> {
    fn default() -> Self {
        let (sources, turns, destinations, by_size, bytes) = Default::default();
        Scheduler { sources, turns, destinations, by_size, bytes }
    }
}

impl<K: Copy + Ord, T> Scheduler<K, T> {
    /// Puts a frame at the end of its sender's queue. Returns how many had to go for it, perhaps itself.
    pub fn push(&mut self, frame: Waiting<K, T>) -> usize {
        let (from, to) = (frame.from, frame.to);
        self.insert(frame, End::Back);
        let mut dropped = 0;
        while let Some((source, destination)) = self.overfull(from, to) {
            self.drop_oldest(source, destination);
            dropped += 1;
        }
        dropped
    }

    /// The next frame.
    pub fn pop(&mut self) -> Option<Waiting<K, T>> {
        loop {
            let turn = *self.turns.front()?;
            let source = self.sources.get_mut(&turn)?;
            let size = source.queue.front()?.bytes.len();
            if size <= source.deficit {
                source.deficit -= size;
                return self.remove(turn, 0);
            }
            // The turn is over, and the next one is worth a quantum more.
            source.deficit += QUANTUM;
            self.turns.rotate_left(1);
        }
    }

    /// The network took no more: the frame that was popped last comes first again. False if there is no room any more.
    pub fn put_back(&mut self, frame: Waiting<K, T>) -> bool {
        let (from, to, size) = (frame.from, frame.to, frame.bytes.len());
        self.insert(frame, End::Front);
        if let Some(source) = self.sources.get_mut(&from) {
            source.deficit += size;
        }
        self.turns.retain(|turn| *turn != from);
        self.turns.push_front(from);
        let fits = self.overfull(from, to).is_none();
        if !fits {
            self.remove(from, 0);
        }
        fits
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The bytes that wait, and what they take beside.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bound that this sender or this receiver is beyond: whose oldest frame must go, and to whom it was to go if
    /// that matters.
    fn overfull(&self, from: K, to: K) -> Option<(K, Option<K>)> {
        if let Some(held) = self.destinations.get(&to)
            && (held.frames > RELAY_QUEUE_FRAMES || held.bytes > RELAY_QUEUE_BYTES)
        {
            let fattest = held.by_source.iter().max_by_key(|(_, bytes)| **bytes);
            return fattest.map(|(source, _)| (*source, Some(to)));
        }
        if let Some(source) = self.sources.get(&from)
            && (source.queue.len() > RELAY_SOURCE_FRAMES || source.bytes > RELAY_SOURCE_BYTES)
        {
            return Some((from, None));
        }
        let fattest = self.by_size.last().filter(|_| self.bytes > RELAY_QUEUED_BYTES);
        fattest.map(|(_, source)| (*source, None))
    }

    fn drop_oldest(&mut self, source: K, destination: Option<K>) {
        let at = self.sources.get(&source).and_then(|source| {
            source.queue.iter().position(|frame| destination.is_none_or(|destination| frame.to == destination))
        });
        if let Some(at) = at {
            self.remove(source, at);
        }
    }

    fn insert(&mut self, frame: Waiting<K, T>, end: End) {
        let (from, to, size) = (frame.from, frame.to, cost(&frame));
        let turns = &mut self.turns;
        let source = self.sources.entry(from).or_insert_with(|| {
            turns.push_back(from);
            Source { queue: VecDeque::new(), bytes: 0, deficit: QUANTUM }
        });
        self.by_size.remove(&(source.bytes, from));
        source.bytes += size;
        self.by_size.insert((source.bytes, from));
        match end {
            End::Back => source.queue.push_back(frame),
            End::Front => source.queue.push_front(frame),
        }
        self.bytes += size;
        let empty = || Destination { frames: 0, bytes: 0, by_source: BTreeMap::new() };
        let held = self.destinations.entry(to).or_insert_with(empty);
        held.frames += 1;
        held.bytes += size;
        *held.by_source.entry(from).or_default() += size;
    }

    fn remove(&mut self, from: K, at: usize) -> Option<Waiting<K, T>> {
        let source = self.sources.get_mut(&from)?;
        let frame = source.queue.remove(at)?;
        let size = cost(&frame);
        self.by_size.remove(&(source.bytes, from));
        source.bytes -= size;
        self.bytes -= size;
        if source.queue.is_empty() {
            // Whoever has nothing to send saves no turns.
            self.sources.remove(&from);
            self.turns.retain(|turn| *turn != from);
        } else {
            self.by_size.insert((source.bytes, from));
        }
        if let Some(held) = self.destinations.get_mut(&frame.to) {
            held.frames -= 1;
            held.bytes -= size;
            if let Some(bytes) = held.by_source.get_mut(&from) {
                *bytes -= size;
                if *bytes == 0 {
                    held.by_source.remove(&from);
                }
            }
            if held.frames == 0 {
                self.destinations.remove(&frame.to);
            }
        }
        Some(frame)
    }
}

fn cost<K, T>(frame: &Waiting<K, T>) -> usize {
    frame.bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame whose tag is its number.
    fn frame(from: u16, to: u16, size: usize, number: u32) -> Waiting<u16, u32> {
        Waiting { from, to, bytes: vec![0; size].into(), tag: number }
    }

    #[test]
    fn one_hog_among_fifty_costs_the_others_nothing() {
        // To a receiver of their own each, and in groups to the same few.
        for receivers in [50, 5] {
            let mut scheduler = Scheduler::default();
            let (mut number, mut lost, mut passed, mut hogs) = (0, 0, 0, 0);
            for _round in 0..200 {
                for from in 0..50u16 {
                    let count = if from == 0 { 100 } else { 1 };
                    for _ in 0..count {
                        number += 1;
                        let before = waiting_of_others(&scheduler);
                        scheduler.push(frame(from, 1000 + from % receivers, 1100, number));
                        let gained = usize::from(from != 0);
                        lost += before + gained - waiting_of_others(&scheduler);
                    }
                }
                // As many as there are senders.
                for _ in 0..50 {
                    match scheduler.pop().map(|frame| frame.from) {
                        Some(0) => hogs += 1,
                        Some(_) => passed += 1,
                        None => {}
                    }
                }
            }
            passed += waiting_of_others(&scheduler);
            assert_eq!((lost, passed), (0, 200 * 49), "to {receivers} receivers");
            assert!((200..300).contains(&hogs), "and the hog has its turn like everybody: {hogs}");
        }
    }

    fn waiting_of_others(scheduler: &Scheduler<u16, u32>) -> usize {
        scheduler.sources.iter().filter(|(from, _)| **from != 0).map(|(_, source)| source.queue.len()).sum()
    }

    #[test]
    fn whoever_sends_short_frames_gets_as_many_bytes_as_the_others() {
        let mut scheduler = Scheduler::default();
        let (mut bytes, mut number) = ([0usize; 2], 0);
        for _ in 0..20_000 {
            for (from, size) in [(0, 100), (1, 1400)] {
                number += 1;
                scheduler.push(frame(from, from + 10, size, number));
            }
            if let Some(frame) = scheduler.pop() {
                bytes[usize::from(frame.from)] += frame.bytes.len();
            }
        }
        let ratio = bytes[0] as f64 / bytes[1] as f64;
        assert!((0.95..1.05).contains(&ratio), "{bytes:?}");
    }

    #[test]
    fn what_the_network_did_not_take_comes_first_again() {
        let mut scheduler = Scheduler::default();
        for number in 0..3 {
            scheduler.push(frame(1, 2, 100, number));
        }
        scheduler.push(frame(3, 4, 100, 9));
        let first = scheduler.pop().expect("one");
        assert_eq!(first.tag, 0);
        assert!(scheduler.put_back(first));
        let mut order: Vec<_> = std::iter::from_fn(|| scheduler.pop()).map(|frame| frame.tag).collect();
        assert_eq!(order.remove(0), 0);
        order.retain(|tag| *tag != 9);
        assert_eq!(order, [1, 2]);
        assert!(scheduler.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { from: u16, to: u16, size: usize },
        Pop,
        PopAndPutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6u16, 0..6u16, 10..1452usize).prop_map(|(from, to, size)| Step::Push { from, to, size }),
            2 => Just(Step::Pop),
            1 => Just(Step::PopAndPutBack),
        ]
    }

    proptest! {
        #[test]
        fn it_is_bounded_keeps_the_order_of_each_sender_and_counts_what_it_drops(
            steps in proptest::collection::vec(step(), 1..400)
        ) {
            let mut scheduler = Scheduler::default();
            let (mut pushed, mut popped, mut dropped) = (0u32, 0, 0);
            let mut last: BTreeMap<u16, u32> = BTreeMap::new();
            let mut take = |frame: Waiting<u16, u32>| last.insert(frame.from, frame.tag) < Some(frame.tag);
            for step in steps {
                match step {
                    Step::Push { from, to, size } => {
                        pushed += 1;
                        dropped += scheduler.push(frame(from, to, size, pushed)) as u32;
                    }
                    Step::Pop => {
                        if let Some(frame) = scheduler.pop() {
                            popped += 1;
                            prop_assert!(take(frame), "out of order");
                        }
                    }
                    Step::PopAndPutBack => {
                        if let Some(frame) = scheduler.pop() {
                            dropped += u32::from(!scheduler.put_back(frame));
                        }
                    }
                }
                for held in scheduler.destinations.values() {
                    prop_assert!(held.frames <= RELAY_QUEUE_FRAMES && held.bytes <= RELAY_QUEUE_BYTES);
                }
                for source in scheduler.sources.values() {
                    prop_assert!(source.queue.len() <= RELAY_SOURCE_FRAMES && source.bytes <= RELAY_SOURCE_BYTES);
                    prop_assert!(source.deficit <= 2 * QUANTUM, "nobody saves up turns");
                }
                prop_assert!(scheduler.bytes <= RELAY_QUEUED_BYTES);
                prop_assert_eq!(scheduler.turns.len(), scheduler.sources.len());
                prop_assert_eq!(scheduler.by_size.len(), scheduler.sources.len());
            }
            while let Some(frame) = scheduler.pop() {
                popped += 1;
                prop_assert!(take(frame), "out of order");
            }
            prop_assert_eq!(pushed, popped + dropped);
            prop_assert!(scheduler.is_empty() && scheduler.destinations.is_empty() && scheduler.bytes == 0);
        }

        /// Whatever waits, everybody's first frame is gone when each has had two turns.
        #[test]
        fn nobody_starves(brought in proptest::collection::vec((0..30u16, 10..1452usize), 1..600)) {
            let mut scheduler = Scheduler::default();
            for (number, (from, size)) in brought.iter().enumerate() {
                scheduler.push(frame(*from, 100 + from, *size, number as u32));
            }
            let mut waiting: BTreeSet<u16> = scheduler.sources.keys().copied().collect();
            // In two turns a sender sends at most three quanta, of frames of ten bytes or more.
            let mut budget = 3 * QUANTUM * waiting.len();
            while !waiting.is_empty() {
                let frame = scheduler.pop().expect("somebody waits");
                prop_assert!(frame.bytes.len() <= budget, "{waiting:?} starve");
                budget -= frame.bytes.len();
                waiting.remove(&frame.from);
            }
        }

    }

    #[test]
    fn all_senders_together_have_so_much_room_and_no_more() {
        let mut scheduler = Scheduler::default();
        let mut dropped = 0;
        for n in 0..6000u32 {
            let from = (n * 31 % 500) as u16;
            dropped += scheduler.push(frame(from, 1000 + from, 1400, n));
            assert!(scheduler.bytes() <= RELAY_QUEUED_BYTES);
        }
        let waiting = std::iter::from_fn(|| scheduler.pop()).count();
        assert_eq!((waiting, dropped), (RELAY_QUEUED_BYTES / (1400 + OVERHEAD), 6000 - waiting));
    }
}
