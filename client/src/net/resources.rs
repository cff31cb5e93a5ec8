//! What all peers of a node share: the endpoint, the way to the rendezvous, and the way out for events.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::candidate;
use common::identity::PeerId;
use common::introduction::{IntroductionId, ToServer};
use common::pairing::{Pairing, SealNonce};
use common::seal::{self, SealSeed};
use common::session::{PeerFrame, Route};
use common::tls::{SERVER_NAME, SeenPeer};
use quinn::{Connecting, Endpoint, Incoming};
use tokio::sync::mpsc;

use super::api::{NodeConfig, NodeEvent, SessionId};
use super::quic_socket::QuicSocket;
use super::session::{Outgoing, Session, SessionEvent, WRITE_QUEUE};
use super::{interfaces, transport};

/// Nobody expects more than this without having measured it.
const LONGEST_EXPECTED: Duration = Duration::from_millis(100);

/// Everything a peer needs from the node to act.
pub(super) struct Resources {
    pub(super) config: NodeConfig,
    pub(super) own_id: PeerId,
    pub(super) socket: Arc<QuicSocket>,
    pub(super) endpoint: Endpoint,
    pub(super) requests: mpsc::Sender<ToServer>,
    pub(super) sessions: mpsc::Sender<SessionEvent>,
    /// Events that the application has not taken yet.
    pub(super) outbox: VecDeque<NodeEvent>,
    /// Is there a connection to the rendezvous? Requests may follow the registration at once, without its answer.
    pub(super) connected: bool,
    /// Where the rendezvous sees us, while it does.
    pub(super) observed: Option<SocketAddr>,
    /// Where relayed packets go, for people: the rendezvous, or the proxy on the way to it.
    pub(super) relay_remote: Option<SocketAddr>,
    /// The round trip to the rendezvous, when last connected.
    pub(super) server_rtt: Option<Duration>,
    pub(super) next_request: u32,
    pub(super) next_session: u64,
}

impl Resources {
    pub(super) fn emit(&mut self, event: NodeEvent) {
        tracing::debug!(?event);
        self.outbox.push_back(event);
    }

    pub(super) fn own_reflexive(&self) -> Option<IpAddr> {
        self.observed.map(|address| address.ip())
    }

    /// Hands a message to the rendezvous; `false` if there is no way to it now.
    pub(super) fn ask(&self, message: ToServer) -> bool {
        self.connected && self.requests.try_send(message).is_ok()
    }

    /// The number of the next request.
    pub(super) fn number_request(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    /// Our host candidates, for this contact's eyes.
    pub(super) fn sealed_candidates(&self, pairing: &Pairing, context: &[u8]) -> Vec<u8> {
        let mut nonce = SealNonce::default();
        if let Err(error) = getrandom::fill(&mut nonce) {
            tracing::error!(%error, "the system has no randomness; host candidates are not sent");
            return Vec::new();
        }
        pairing.seal(context, &candidate::pack(&interfaces::host_candidates(&self.socket)), nonce)
    }

    /// Frames for this contact's eyes, for the rendezvous to carry; empty if there are none.
    pub(super) fn envelope(&self, peer: PeerId, context: &[u8], frames: &[PeerFrame]) -> Vec<u8> {
        let mut seed = SealSeed::default();
        if frames.is_empty() {
            return Vec::new();
        }
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::error!(%error, "the system has no randomness; nothing is sent ahead");
            return Vec::new();
        }
        seal::seal(&self.config.identity, peer, context, frames, seed).unwrap_or_else(|error| {
            tracing::debug!(%error, "a letter that is not sent; its messages wait for a connection");
            Vec::new()
        })
    }

    /// What to expect of a round trip to a peer before one was measured: a lost first packet is sent again after three of
    /// them. As far as to the rendezvous is a fair guess for a path that the rendezvous was to help with, and twice that
    /// for one through it.
    pub(super) fn expected_rtt(&self, route: Route) -> Duration {
        let rtt = self.server_rtt.unwrap_or(LONGEST_EXPECTED).min(LONGEST_EXPECTED);
        match route {
            Route::Direct => rtt,
            Route::Relayed => rtt * 2,
        }
    }

    /// Dials a peer at a punched address, or at that of a relay channel.
    pub(super) fn dial(
        &mut self,
        peer: PeerId,
        route: Route,
        remote: SocketAddr,
        rtt: Duration,
    ) -> Option<(SessionId, mpsc::Sender<Outgoing>)> {
        let (config, seen) = match transport::peer_client(&self.config.certificate, peer, route, rtt) {
            Ok(configured) => configured,
            Err(error) => {
                tracing::error!(%error, "no TLS configuration");
                return None;
            }
        };
        match self.endpoint.connect_with(config, remote, SERVER_NAME) {
            Ok(connecting) => Some(self.start(peer, true, seen, connecting)),
            Err(error) => {
                tracing::warn!(%error, %route, "cannot dial");
                None
            }
        }
    }

    /// Accepts a connection that comes from an address of this peer.
    pub(super) fn accept(
        &mut self,
        peer: PeerId,
        route: Route,
        rtt: Duration,
        incoming: Incoming,
    ) -> Option<(SessionId, mpsc::Sender<Outgoing>)> {
        let configured = transport::peer_server(&self.config.certificate, peer, route, rtt);
        let (config, seen) = configured.inspect_err(|error| tracing::error!(%error, "no TLS configuration")).ok()?;
        let connecting = incoming.accept_with(Arc::new(config));
        let connecting = connecting.inspect_err(|error| tracing::debug!(%error, "a broken handshake")).ok()?;
        Some(self.start(peer, false, seen, connecting))
    }

    fn start(
        &mut self,
        peer: PeerId,
        dialled: bool,
        seen: SeenPeer,
        connecting: Connecting,
    ) -> (SessionId, mpsc::Sender<Outgoing>) {
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let (sender, outgoing) = mpsc::channel(WRITE_QUEUE);
        let name = self.config.name.clone();
        let session = Session { id, peer, dialled, seen, name, outgoing, events: self.sessions.clone() };
        tokio::spawn(session.run(connecting));
        (id, sender)
    }
}

/// What the sealed candidates and the envelope of a request are bound to: the introduction has no id yet.
pub(super) fn request_context(rendezvous: PeerId) -> Vec<u8> {
    [b"request at ".as_slice(), rendezvous.as_bytes()].concat()
}

/// What an envelope sent into an introduction is bound to.
pub(super) fn letter_context(introduction: IntroductionId) -> Vec<u8> {
    [b"letter in ".as_slice(), &introduction.to_bytes()].concat()
}

/// What trickled candidates are bound to.
pub(super) fn trickle_context(introduction: IntroductionId) -> Vec<u8> {
    [b"introduction ".as_slice(), &introduction.to_bytes()].concat()
}
