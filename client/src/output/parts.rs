//! What events are made of.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use common::identity::PeerId;
use common::path::{Effort, Report, Strategy};
use common::session::Route;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::exit::Failure;
use crate::node::{Introducer, Party};

/// A time span in milliseconds, with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Millis(f64);

impl From<Duration> for Millis {
    fn from(span: Duration) -> Self {
        Millis((span.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// As people read it: `0.4 ms`, `3 ms`, `120 ms`, `10.0 s`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            short if short < 1.0 => write!(f, "{short:.1} ms"),
            middle if middle < 1000.0 => write!(f, "{middle:.0} ms"),
            long => write!(f, "{:.1} s", long / 1000.0),
        }
    }
}

/// Megabits a second, with one decimal.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Mbps(f64);

impl From<f64> for Mbps {
    fn from(mbps: f64) -> Self {
        Mbps((mbps * 10.0).round() / 10.0)
    }
}

impl fmt::Display for Mbps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Mb/s", self.0)
    }
}

/// A peer, and what we call them if they are a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The full id.
    pub peer: PeerId,
    /// Our name for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// From us or to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Came.
    In,
    /// Goes.
    Out,
}

/// What `join` changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinChange {
    /// The first rendezvous.
    New,
    /// The one that was joined already.
    Same,
    /// The same one (the same key) at another address.
    NewAddress,
    /// Another one than before.
    Moved,
    /// The same address with another key.
    KeyChanged,
}

/// What became of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactChange {
    /// New.
    Added,
    /// Has another name now.
    Renamed,
    /// Was there already.
    Known,
    /// Gone.
    Removed,
    /// Nothing; it is being listed.
    Listed,
}

/// What `up` and `down` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// It is online now.
    Started,
    /// It was online already.
    Already,
    /// It is offline now.
    Stopped,
    /// None was online.
    None,
}

/// A session in a `status` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionLine {
    /// With whom.
    #[serde(flatten)]
    pub who: Who,
    /// How packets go.
    pub route: Route,
    /// Who introduced us, if they go directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Introducer>,
    /// Where to.
    pub remote: SocketAddr,
    /// Round-trip time.
    pub rtt_ms: Millis,
    /// Since when.
    pub since: Timestamp,
}

/// One strategy of punching, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Which.
    pub strategy: Strategy,
    /// Datagrams that left.
    pub packets: u32,
    /// Sockets that were opened.
    pub sockets: u32,
}

impl Tried {
    /// All that an attempt has tried.
    pub fn all(report: &Report) -> Vec<Tried> {
        let tried = report.tried();
        tried.map(|(strategy, Effort { packets, sockets })| Tried { strategy, packets, sockets }).collect()
    }
}

impl Event {
    /// How far something is.
    pub fn progress(what: &str, share: f64, mbps: Option<f64>) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        Event::Progress { what: what.to_owned(), share: (share * 1e3).round() / 1e3, mbps: mbps.map(Mbps::from) }
    }

    /// The last line of a command that failed.
    pub fn error(failure: &Failure) -> Self {
        Event::Error { code: failure.exit.code(), kind: failure.exit.kind(), message: failure.message.clone() }
    }

    /// Somebody showed the wrong key.
    pub fn untrusted(expected: Party, seen: PeerId) -> Self {
        match expected {
            Party::Rendezvous(expected) => Event::Untrusted { who: "rendezvous", expected, seen },
            Party::Peer(expected) => Event::Untrusted { who: "peer", expected, seen },
        }
    }
}
