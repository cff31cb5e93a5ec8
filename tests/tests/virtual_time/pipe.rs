//! A connection in the place of QUIC's: a handshake, frames that arrive in order or not at all, repetition with growing
//! pauses, keepalives, an idle timeout, a close, and an answer to packets of connections that nobody remembers.
//!
//! What is left out is what tells nothing about routes: cryptography, congestion, windows, packet sizes. Unlike QUIC's it
//! draws no randomness, so that a seed repeats a run.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use serde::{Deserialize, Serialize};

/// The first byte of every packet: classified as QUIC (RFC 9443).
const FIRST: u8 = 0x40;
/// As QUIC's probe timeout, which doubles with each repetition (RFC 9002, section 6.2.1).
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// Why a connection that nobody remembers ends.
pub(crate) const FORGOTTEN: &str = "the other side was restarted";

/// Names a connection; drawn by the side that dials.
pub(crate) type Id = u64;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Content {
    Open {
        from: PeerId,
    },
    Opened,
    Frame {
        number: u64,
        bytes: Vec<u8>,
    },
    /// All below this have arrived.
    Have {
        next: u64,
    },
    Ping,
    Close {
        code: u32,
    },
    /// There is no such connection here, or not any more.
    Forgotten,
}

pub(crate) fn encode(id: Id, content: &Content) -> Vec<u8> {
    let mut packet = vec![FIRST];
    packet.extend(id.to_be_bytes());
    packet.extend(postcard::to_stdvec(content).expect("a packet"));
    packet
}

pub(crate) fn decode(packet: &[u8]) -> Option<(Id, Content)> {
    let (id, content) = packet.strip_prefix(&[FIRST])?.split_first_chunk::<8>()?;
    Some((Id::from_be_bytes(*id), postcard::from_bytes(content).ok()?))
}

/// What the owner of a connection hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Opened,
    Frame(Vec<u8>),
    /// Nothing follows. With the other side's code, if it has closed.
    Ended {
        code: Option<u32>,
        reason: &'static str,
    },
}

/// How patient a connection is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Patience {
    pub(crate) keepalive: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    /// Until when the handshake has to be done.
    pub(crate) handshake: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    id: Id,
    /// Where the other side is. Who has accepted follows the dialler to another address, as QUIC's servers do; during the
    /// handshake nobody does, and the dialler never (RFC 9000, section 9).
    remote: SocketAddr,
    dialled: Option<PeerId>,
    open: bool,
    /// The other side has shown that it is through with the handshake.
    confirmed: bool,
    patience: Patience,
    born: Instant,
    pub(crate) rtt: Duration,
    unacknowledged: VecDeque<(u64, Vec<u8>)>,
    next_out: u64,
    next_in: u64,
    early: BTreeMap<u64, Vec<u8>>,
    again: Option<Instant>,
    repeated: u32,
    heard: Instant,
    keep: Option<Instant>,
    /// To be closed once everything has arrived, or then.
    leaving: Option<(u32, Instant)>,
    ended: bool,
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Pipe {
    pub(crate) fn dial(
        id: Id,
        own: PeerId,
        remote: SocketAddr,
        rtt: Duration,
        patience: Patience,
        now: Instant,
    ) -> Self {
        let mut pipe = Pipe::new(id, Some(own), remote, rtt, patience, now);
        pipe.say(&Content::Open { from: own });
        pipe.again = Some(now + pipe.pause());
        pipe
    }

    pub(crate) fn accept(id: Id, remote: SocketAddr, rtt: Duration, patience: Patience, now: Instant) -> Self {
        let mut pipe = Pipe::new(id, None, remote, rtt, patience, now);
        pipe.open = true;
        pipe.say(&Content::Opened);
        pipe
    }

    fn new(
        id: Id,
        dialled: Option<PeerId>,
        remote: SocketAddr,
        rtt: Duration,
        patience: Patience,
        now: Instant,
    ) -> Self {
        Pipe {
            id,
            remote,
            dialled,
            open: false,
            confirmed: false,
            patience,
            born: now,
            rtt,
            unacknowledged: VecDeque::new(),
            next_out: 0,
            next_in: 0,
            early: BTreeMap::new(),
            again: None,
            repeated: 0,
            heard: now,
            keep: patience.keepalive.map(|keepalive| now + keepalive),
            leaving: None,
            ended: false,
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.events.is_empty() && self.packets.is_empty()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll_packet(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.packets.pop_front()
    }

    fn say(&mut self, content: &Content) {
        self.packets.push_back((self.remote, encode(self.id, content)));
    }

    fn pause(&self) -> Duration {
        ((self.rtt * 3).max(SHORTEST_PAUSE) * 2u32.saturating_pow(self.repeated)).min(LONGEST_PAUSE)
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>, now: Instant) {
        if self.ended || self.leaving.is_some() {
            return;
        }
        let number = self.next_out;
        self.next_out += 1;
        self.unacknowledged.push_back((number, bytes.clone()));
        if self.open {
            self.say(&Content::Frame { number, bytes });
            self.again.get_or_insert(now + self.pause());
        }
    }

    /// Closes when all has arrived, or soon.
    pub(crate) fn finish(&mut self, code: u32, now: Instant) {
        if self.open && !self.unacknowledged.is_empty() {
            self.leaving.get_or_insert((code, now + Duration::from_millis(500)));
        } else {
            self.close(code);
        }
    }

    pub(crate) fn close(&mut self, code: u32) {
        if !self.ended {
            self.say(&Content::Close { code });
            self.end(None, "closed by us");
        }
    }

    fn end(&mut self, code: Option<u32>, reason: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            (self.again, self.keep, self.leaving) = (None, None, None);
            self.events.push_back(Event::Ended { code, reason });
        }
    }

    pub(crate) fn handle(&mut self, content: Content, source: SocketAddr, now: Instant) {
        if self.ended {
            if !matches!(content, Content::Close { .. } | Content::Forgotten) {
                self.packets.push_back((source, encode(self.id, &Content::Forgotten)));
            }
            return;
        }
        if source != self.remote && (self.dialled.is_some() || !self.confirmed) {
            return;
        }
        self.heard = now;
        self.remote = source;
        self.confirmed |= !matches!(content, Content::Open { .. });
        match content {
            Content::Open { .. } => self.say(&Content::Opened),
            Content::Opened if !self.open => {
                self.open = true;
                if self.repeated == 0 {
                    self.rtt = now - self.born;
                }
                (self.repeated, self.again) = (0, None);
                self.events.push_back(Event::Opened);
                self.repeat(now);
            }
            Content::Opened => {}
            Content::Frame { number, bytes } => {
                if number >= self.next_in {
                    self.early.insert(number, bytes);
                }
                while let Some(bytes) = self.early.remove(&self.next_in) {
                    self.next_in += 1;
                    self.events.push_back(Event::Frame(bytes));
                }
                self.say(&Content::Have { next: self.next_in });
            }
            Content::Have { next } => {
                let before = self.unacknowledged.len();
                self.unacknowledged.retain(|(number, _)| *number >= next);
                if self.unacknowledged.len() < before {
                    self.repeated = 0;
                    self.again = (!self.unacknowledged.is_empty()).then(|| now + self.pause());
                }
                if let Some((code, _)) = self.leaving.filter(|_| self.unacknowledged.is_empty()) {
                    self.close(code);
                }
            }
            Content::Ping => self.say(&Content::Have { next: self.next_in }),
            Content::Close { code } => self.end(Some(code), "closed by the other side"),
            Content::Forgotten => self.end(None, FORGOTTEN),
        }
    }

    /// Says again what has not been acknowledged.
    fn repeat(&mut self, now: Instant) {
        if let Some(own) = self.dialled.filter(|_| !self.open) {
            self.say(&Content::Open { from: own });
        }
        if self.open {
            for (number, bytes) in self.unacknowledged.clone() {
                self.say(&Content::Frame { number, bytes });
            }
        }
        self.again = (!self.open || !self.unacknowledged.is_empty()).then(|| now + self.pause());
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.give_up()) {
            return self.end(None, if self.open { "no answer any more" } else { "the handshake was not answered" });
        }
        if let Some((code, _)) = self.leaving.filter(|(_, until)| *until <= now) {
            return self.close(code);
        }
        if due(self.again) {
            self.repeated += 1;
            self.repeat(now);
        }
        if due(self.keep) {
            self.say(&Content::Ping);
            self.keep = self.patience.keepalive.map(|keepalive| now + keepalive);
        }
    }

    /// Sends something that is answered. What was lost is repeated anyway; but who is not known any more is told so.
    pub(crate) fn nudge(&mut self) {
        if self.open {
            self.say(&Content::Ping);
        }
    }

    fn give_up(&self) -> Option<Instant> {
        match (self.ended, self.open) {
            (true, _) => None,
            (false, true) => self.patience.idle.map(|idle| self.heard + idle),
            (false, false) => self.patience.handshake.map(|handshake| self.born + handshake),
        }
    }

    pub(crate) fn poll_wakeup(&self) -> Option<Instant> {
        [self.give_up(), self.again, self.keep, self.leaving.map(|(_, until)| until)].into_iter().flatten().min()
    }
}
