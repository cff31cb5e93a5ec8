//! The record of an attempt at a direct path: what the agent tried, and what both sides' routers were like, for whoever asks why the
//! path is what it is.

use std::net::SocketAddr;

use common::nat::NatProfile;
use common::path::Attempt;
use serde::{Deserialize, Serialize};

use super::api::Introducer;

/// How one side stood to the Internet when it was introduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Side {
    /// Where the rendezvous saw it; `None` through a tunnel, because UDP is blocked there.
    pub seen_at: Option<SocketAddr>,
    /// What it knew of its NAT.
    pub profile: NatProfile,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// A connection stands over the path.
    Direct,
    /// No path was found.
    NoPath,
    /// A path was found, and no connection came of it.
    NoSession,
    /// A newer introduction took its place.
    Superseded,
}

/// One attempt, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAttempt {
    /// Who introduced the two.
    pub by: Introducer,
    /// We asked for it, rather than the peer.
    pub requested: bool,
    /// How it ended.
    pub ended: AttemptEnd,
    /// We.
    pub own: Side,
    /// The peer.
    pub theirs: Side,
    /// What was tried.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// What is known of an attempt from its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) by: Introducer,
    pub(super) requested: bool,
    pub(super) own: Side,
    pub(super) peer: Side,
}

impl Circumstances {
    pub(super) fn ended(self, ended: AttemptEnd, attempt: Attempt) -> PathAttempt {
        let Circumstances { by, requested, own, peer: theirs } = self;
        PathAttempt { by, requested, ended, own, theirs, attempt }
    }
}
