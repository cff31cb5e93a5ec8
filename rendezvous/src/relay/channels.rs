//! Which two keys have which channel, and when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use common::identity::PeerId;
use common::pairing::Capability;
use common::relay::RelayChannel;

use crate::limits::{RELAY_ABSENCE, RELAY_CHANNELS_OF_ONE_KEY};

/// A channel that is no more, and whose it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub channel: RelayChannel,
    /// The two.
    pub parties: [PeerId; 2],
}

/// A channel for a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Which.
    pub channel: RelayChannel,
    /// It did not live before.
    pub new: bool,
    /// What had to end to make room.
    pub ended: Vec<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    parties: [PeerId; 2],
    /// Under which both consented.
    capability: Capability,
    used: Instant,
}

/// All channels.
#[derive(Debug)]
pub struct Channels {
    capacity: usize,
    live: BTreeMap<RelayChannel, Live>,
    /// The channel with each other one, for both.
    of: BTreeMap<PeerId, BTreeMap<PeerId, RelayChannel>>,
    /// The longest idle first.
    by_use: BTreeSet<(Instant, RelayChannel)>,
    /// Who has channels and is not here, and since when.
    absent: BTreeMap<PeerId, Instant>,
}

impl Channels {
    /// For at most so many.
    pub fn new(capacity: usize) -> Self {
        let (live, of, by_use, absent) = Default::default();
        Channels { capacity, live, of, by_use, absent }
    }

    /// The channel of these two, who are both here and have consented under this capability. `draw` gives 64 random bits.
    pub fn grant(
        &mut self,
        parties: [PeerId; 2],
        capability: Capability,
        draw: &mut dyn FnMut() -> u64,
        now: Instant,
    ) -> Granted {
        let [a, b] = parties;
        if let Some(&channel) = self.of.get(&a).and_then(|own| own.get(&b)) {
            if let Some(live) = self.live.get_mut(&channel) {
                live.capability = capability;
            }
            self.touch(channel, now);
            return Granted { channel, new: false, ended: Vec::new() };
        }
        let mut ended: Vec<Ended> = parties.into_iter().filter_map(|party| self.make_room_of(party)).collect();
        if self.live.len() >= self.capacity
            && let Some(&(_, oldest)) = self.by_use.first()
        {
            ended.extend(self.end(oldest));
        }
        let mut channel = RelayChannel(draw());
        while self.live.contains_key(&channel) {
            channel = RelayChannel(channel.0.wrapping_add(1));
        }
        self.live.insert(channel, Live { parties, capability, used: now });
        self.by_use.insert((now, channel));
        for (one, other) in [(a, b), (b, a)] {
            self.of.entry(one).or_default().insert(other, channel);
        }
        Granted { channel, new: true, ended }
    }

    fn make_room_of(&mut self, party: PeerId) -> Option<Ended> {
        let own = self.of.get(&party).filter(|own| own.len() >= RELAY_CHANNELS_OF_ONE_KEY)?;
        let used = |channel: &RelayChannel| self.live.get(channel).map(|live| live.used);
        let oldest = own.values().copied().min_by_key(used)?;
        self.end(oldest)
    }

    /// Frames went through it.
    pub fn touch(&mut self, channel: RelayChannel, now: Instant) {
        if let Some(live) = self.live.get_mut(&channel) {
            self.by_use.remove(&(live.used, channel));
            live.used = now;
            self.by_use.insert((now, channel));
        }
    }

    /// This one is here, with these contacts: channels with those that are none any more end.
    pub fn came(&mut self, peer: PeerId, accepts: impl Fn(&Capability) -> bool) -> Vec<Ended> {
        self.absent.remove(&peer);
        let Some(own) = self.of.get(&peer) else { return Vec::new() };
        let unwanted = |channel: &&RelayChannel| self.live.get(channel).is_none_or(|live| !accepts(&live.capability));
        let unwanted: Vec<_> = own.values().filter(unwanted).copied().collect();
        unwanted.into_iter().filter_map(|channel| self.end(channel)).collect()
    }

    /// This one is no longer here.
    pub fn left(&mut self, peer: PeerId, now: Instant) {
        if self.of.contains_key(&peer) {
            self.absent.insert(peer, now);
        }
    }

    /// Ends the channels of those who have been gone for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Ended> {
        let gone = |(_, since): &(&PeerId, &Instant)| now >= **since + RELAY_ABSENCE;
        let gone: Vec<_> = self.absent.iter().filter(gone).map(|(peer, _)| *peer).collect();
        let channels: Vec<_> =
            gone.iter().filter_map(|peer| self.of.get(peer)).flat_map(BTreeMap::values).copied().collect();
        channels.into_iter().filter_map(|channel| self.end(channel)).collect()
    }

    fn end(&mut self, channel: RelayChannel) -> Option<Ended> {
        let Live { parties, used, .. } = self.live.remove(&channel)?;
        self.by_use.remove(&(used, channel));
        let [a, b] = parties;
        for (one, other) in [(a, b), (b, a)] {
            let Some(own) = self.of.get_mut(&one) else { continue };
            own.remove(&other);
            if own.is_empty() {
                self.of.remove(&one);
                self.absent.remove(&one);
            }
        }
        Some(Ended { channel, parties })
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Does none live?
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}
