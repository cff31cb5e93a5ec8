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
use crate::node::{Entrance, Introducer, PortMapping};
use crate::output::Millis;

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
    /// Sessions that stand.
    pub sessions: Vec<SessionStatus>,
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
            sessions: Vec::new(),
        }
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
