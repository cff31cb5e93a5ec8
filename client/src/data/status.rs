//! `status.json`: what the running node is doing, for `punchline status`.

use std::net::SocketAddr;
use std::path::PathBuf;

use common::identity::PeerId;
use common::nat::NatProfile;
use common::session::Route;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::file::{self, Durability};
use crate::node::{Entrance, Introducer, PathAttempt, PortMapping};
use crate::output::Millis;

/// Attempts that are kept of each contact, and of all: each is at most some three kilobytes in a file that is written anew with
/// every change.
const ATTEMPTS_EACH: usize = 3;
const ATTEMPTS: usize = 24;
/// Refusals that are kept.
const REFUSED: usize = 64;

/// The format written.
pub(super) const FORMAT: u64 = 1;

/// How the node stands with its rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not registered yet.
    Connecting,
    /// Registered.
    Online,
    /// Was registered or tried to; tries again.
    Lost,
    /// The rendezvous says that it will stop.
    Draining,
}

/// One session that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// With whom.
    pub peer: PeerId,
    /// What we call them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// How packets go.
    pub route: Route,
    /// Who introduced us, if they go directly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<Introducer>,
    /// Where to.
    pub remote: SocketAddr,
    /// Round-trip time.
    pub rtt_ms: Millis,
    /// Since when.
    pub since: Timestamp,
}

/// How an attempt at a direct path ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptStatus {
    /// To whom.
    pub peer: PeerId,
    /// When it ended.
    pub at: Timestamp,
    /// What it was.
    #[serde(flatten)]
    pub attempt: PathAttempt,
}

/// The rendezvous would not introduce us to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// To whom.
    pub peer: PeerId,
    /// When it said so last.
    pub at: Timestamp,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`].
    format: u64,
    /// The process.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// How it stands with the rendezvous.
    pub state: State,
    /// How the rendezvous is reached, and where it sees us.
    #[serde(flatten)]
    pub entrance: Option<Entrance>,
    /// Our own addresses.
    pub local: Vec<SocketAddr>,
    /// What the NAT does.
    pub profile: Option<NatProfile>,
    /// The port that the router gave us.
    #[serde(default)]
    pub port_mapping: Option<PortMapping>,
    /// Why there is none, if that is known.
    #[serde(default)]
    pub no_port_mapping: Option<String>,
    /// The node shows its address to the rendezvous alone.
    #[serde(default)]
    pub relay_only: bool,
    /// Sessions that stand.
    pub sessions: Vec<SessionStatus>,
    /// The last attempts at direct paths, the newest last.
    #[serde(default)]
    pub attempts: Vec<AttemptStatus>,
    /// Whom we were not introduced to when we last asked.
    #[serde(default)]
    pub refused: Vec<RefusedStatus>,
}

impl Status {
    /// A process that has just started.
    pub fn new(pid: u32, since: Timestamp) -> Self {
        Status {
            format: FORMAT,
            pid,
            since,
            state: State::Connecting,
            entrance: None,
            local: Vec::new(),
            profile: None,
            port_mapping: None,
            no_port_mapping: None,
            relay_only: false,
            sessions: Vec::new(),
            attempts: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Takes note of an attempt. Of each peer the last few are kept, and of all of them as many as a status file has room for.
    pub fn attempted(&mut self, peer: PeerId, attempt: PathAttempt, at: Timestamp) {
        self.refused.retain(|refused| refused.peer != peer);
        let of_peer = |kept: &AttemptStatus| kept.peer == peer;
        if self.attempts.iter().filter(|kept| of_peer(kept)).count() >= ATTEMPTS_EACH {
            self.attempts.iter().position(of_peer).map(|oldest| self.attempts.remove(oldest));
        } else if self.attempts.len() >= ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(AttemptStatus { peer, at, attempt });
    }

    /// Takes note of a refusal.
    pub fn refused(&mut self, peer: PeerId, at: Timestamp) {
        self.refused.retain(|refused| refused.peer != peer);
        if self.refused.len() >= REFUSED {
            self.refused.remove(0);
        }
        self.refused.push(RefusedStatus { peer, at });
    }
}

/// The file; removed when this is dropped.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
}

impl StatusFile {
    pub(super) fn new(path: PathBuf) -> Self {
        StatusFile { path }
    }

    /// Says what is the case now.
    pub fn write(&self, status: &Status) -> Result<(), DataError> {
        file::save_json(&self.path, status, Durability::Volatile)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::candidate::CandidateKind;
    use common::identity::Identity;
    use common::nat::{NatProfile, PortAssignment};
    use common::path::{Attempt, Checked, Effort, Ending, Found, Strategy, Tried};

    use super::*;
    use crate::node::{AttemptEnd, Side};

    fn peer(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).peer_id()
    }

    fn attempt() -> PathAttempt {
        let address = "11.1.1.7:4000".parse().expect("an address");
        let (kind, rtt) = (CandidateKind::ServerReflexive, Duration::from_millis(41));
        let ports = Some(PortAssignment::Random { low: 1, high: 9 });
        let side = Side { seen_at: Some(address), profile: NatProfile { ports, ..NatProfile::default() } };
        let strategy = Strategy::Birthday;
        let effort = Effort { packets: 1200, sockets: 256 };
        let attempt = Attempt {
            checks: vec![Checked { kind, address, packets: 3, heard: true, rtt: Some(rtt) }],
            strategies: vec![Tried { strategy, effort, took: rtt }],
            ending: Ending::Exhausted,
            found: Some(Found { kind, address, strategy, rtt, after: rtt }),
        };
        PathAttempt {
            by: Introducer::Rendezvous,
            requested: true,
            ended: AttemptEnd::Direct,
            own: side,
            theirs: side,
            attempt,
        }
    }

    #[test]
    fn a_status_with_attempts_is_read_as_it_was_written() {
        let mut status = Status::new(1, Timestamp::UNIX_EPOCH);
        status.refused(peer(3), Timestamp::UNIX_EPOCH);
        status.attempted(peer(2), attempt(), Timestamp::UNIX_EPOCH);
        let written = serde_json::to_string(&status).expect("it can be written");
        assert_eq!(serde_json::from_str::<Status>(&written).expect(&written), status);
        assert!(written.len() < 3000, "{} bytes", written.len());
    }

    #[test]
    fn the_last_attempts_of_each_are_kept_and_no_more_than_there_is_room_for() {
        let mut status = Status::new(1, Timestamp::UNIX_EPOCH);
        for second in 0..10 {
            status.attempted(peer(2), attempt(), Timestamp::from_second(second).expect("a time"));
        }
        let kept: Vec<i64> = status.attempts.iter().map(|kept| kept.at.as_second()).collect();
        assert_eq!(kept, [7, 8, 9]);
        for seed in 10..100 {
            status.refused(peer(seed), Timestamp::UNIX_EPOCH);
            status.attempted(peer(seed), attempt(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((status.attempts.len(), status.refused.len()), (ATTEMPTS, 0), "who was met was not refused");
    }
}
