//! Where a frame goes: the part of the relay that every datagram meets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use common::identity::PeerId;
use common::relay::RelayChannel;

use super::quota::{Allowance, Quota};
use super::{Change, Location, SocketIndex};

/// Why frames were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// No frame: no channel, no payload, or too much of it.
    Malformed,
    /// There is no such channel, or there was one once.
    UnknownChannel,
    /// The channel is none of whoever is at this address.
    WrongSource,
    /// It would go back to where it came from, or to this server.
    ToItself,
    /// The other one is not here at this moment.
    Absent,
    /// The sender has used up its quota.
    OverQuota,
    /// The network took no more.
    Full,
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Dropped; 7] = {
        use Dropped::*;
        [Malformed, UnknownChannel, WrongSource, ToItself, Absent, OverQuota, Full]
    };
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that went on.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counts {
    /// Frames dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }
}

impl fmt::Display for Counts {
    /// What was dropped and why, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Dropped::ALL.map(|why| (why, self.dropped(why)))).finish()
    }
}

/// Frames of one channel that came together from one address, of one size but for the last, which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Their channel.
    pub channel: RelayChannel,
    /// How many.
    pub count: usize,
    /// The bytes of the first.
    pub size: usize,
}

/// Where the first frames of a run may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// Who sends and who receives.
    pub parties: [PartyIndex; 2],
    /// Send them there.
    pub to: Location,
    /// So many of them; the others are over quota.
    pub count: usize,
}

/// A party's place among those of the switch.
pub type PartyIndex = usize;

#[derive(Debug)]
struct Party {
    peer: PeerId,
    location: Option<Location>,
    allowance: Allowance,
    channels: usize,
}

#[derive(Debug)]
struct Line {
    parties: [PartyIndex; 2],
    used: bool,
}

/// All channels and where their parties are.
#[derive(Debug)]
pub struct Switch {
    quota: Quota,
    /// The addresses of our own sockets, by their index.
    own: Vec<SocketAddr>,
    lines: BTreeMap<RelayChannel, Line>,
    /// Those who have channels. A party keeps its place while it has any.
    parties: Vec<Option<Party>>,
    free: Vec<PartyIndex>,
    by_peer: BTreeMap<PeerId, PartyIndex>,
    used: Vec<RelayChannel>,
    counts: Counts,
}

impl Switch {
    /// No channels yet. `own` are the addresses of the sockets.
    pub fn new(quota: Quota, own: Vec<SocketAddr>) -> Self {
        let (lines, parties, free, by_peer, used, counts) = Default::default();
        Switch { quota, own, lines, parties, free, by_peer, used, counts }
    }

    /// The server has decided something.
    pub fn apply(&mut self, change: Change, now: Instant) {
        match change {
            Change::Open(channel, parties) => {
                self.close(channel);
                let parties = parties.map(|(peer, location)| self.enter(peer, location, now));
                self.lines.insert(channel, Line { parties, used: false });
            }
            Change::Close(channel) => self.close(channel),
            Change::Move(peer, location) => {
                if let Some(party) = self.by_peer.get(&peer).and_then(|at| self.parties[*at].as_mut()) {
                    party.location = location;
                }
            }
        }
    }

    fn enter(&mut self, peer: PeerId, location: Location, now: Instant) -> PartyIndex {
        let (parties, free) = (&mut self.parties, &mut self.free);
        let at = *self.by_peer.entry(peer).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                parties.push(None);
                parties.len() - 1
            })
        });
        let allowance = Allowance::new(self.quota, now);
        let party = parties[at].get_or_insert(Party { peer, location: None, allowance, channels: 0 });
        party.location = Some(location);
        party.channels += 1;
        at
    }

    fn close(&mut self, channel: RelayChannel) {
        let Some(line) = self.lines.remove(&channel) else { return };
        for at in line.parties {
            let Some(party) = &mut self.parties[at] else { continue };
            party.channels -= 1;
            if party.channels == 0 {
                self.by_peer.remove(&party.peer);
                self.parties[at] = None;
                self.free.push(at);
            }
        }
    }

    /// Frames have arrived at this socket from this address. Where they go; those that go nowhere are counted.
    pub fn route(&mut self, socket: SocketIndex, source: SocketAddr, run: Run, now: Instant) -> Option<Passage> {
        match self.decide(socket, source, run, now) {
            Ok(passage) => {
                self.dropped(Dropped::OverQuota, run.count - passage.count);
                Some(passage)
            }
            Err(why) => {
                self.dropped(why, run.count);
                None
            }
        }
    }

    fn decide(&mut self, socket: SocketIndex, source: SocketAddr, run: Run, now: Instant) -> Result<Passage, Dropped> {
        let line = self.lines.get_mut(&run.channel).ok_or(Dropped::UnknownChannel)?;
        let location = |at: PartyIndex| self.parties[at].as_ref().and_then(|party| party.location);
        let is_source = |at: &PartyIndex| location(*at).is_some_and(|at| at.socket == socket && at.address == source);
        let [a, b] = line.parties;
        let (from, to) = match [a, b].map(|at| is_source(&at)) {
            // Two keys at one address: a frame of one would come back to the one, and so on.
            [true, true] => return Err(Dropped::ToItself),
            [true, false] => (a, b),
            [false, true] => (b, a),
            [false, false] => return Err(Dropped::WrongSource),
        };
        let parties = [from, to];
        let to = location(to).ok_or(Dropped::Absent)?;
        if is_own(&self.own, to) {
            return Err(Dropped::ToItself);
        }
        let from = self.parties[from].as_mut().ok_or(Dropped::WrongSource)?;
        let count = from.allowance.take(self.quota, run.count, run.size, now);
        if count == 0 {
            return Err(Dropped::OverQuota);
        }
        if !line.used {
            line.used = true;
            self.used.push(run.channel);
        }
        Ok(Passage { parties, to, count })
    }

    /// Frames were sent on.
    pub fn sent(&mut self, frames: usize, bytes: usize) {
        self.counts.frames += frames as u64;
        self.counts.bytes += bytes as u64;
    }

    /// Frames were dropped.
    pub fn dropped(&mut self, why: Dropped, frames: usize) {
        self.counts.dropped[why as usize] += frames as u64;
    }

    /// The channels that carried something since this was last asked.
    pub fn take_used(&mut self) -> Vec<RelayChannel> {
        for channel in &self.used {
            if let Some(line) = self.lines.get_mut(channel) {
                line.used = false;
            }
        }
        std::mem::take(&mut self.used)
    }

    /// How many channels and how many parties there are.
    pub fn len(&self) -> (usize, usize) {
        (self.lines.len(), self.by_peer.len())
    }

    /// What became of all frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Is this one of our own sockets? Whoever can make us believe that a client is there would have us talk to ourselves.
fn is_own(own: &[SocketAddr], to: Location) -> bool {
    own.iter().any(|own| {
        let ip = if own.ip().is_unspecified() { to.local_ip } else { Some(own.ip()) };
        own.port() == to.address.port() && ip.is_none_or(|ip| ip == to.address.ip())
    })
}
