//! What all peers of a node share: who we are, what is known of our own network and of the rendezvous, and the outputs.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::candidate::{self, Contents};
use common::identity::{Identity, PeerId};
use common::introduction::{Introduction, IntroductionId, StrategyCode, StunEndpoints, ToServer};
use common::nat::NatProfile;
use common::pairing::{Pairing, SealNonce};
use common::path::purse::{Owner, Purse};
use common::path::{Guessing, MAX_SOCKETS};
use common::prekey::{Keyring, Prekey};
use common::seal::{self, SealSeed};
use common::session::{PeerFrame, Route};

use super::api::{NodeEvent, SessionId, SocketId};
use super::clock::Clock;
use super::machine::Config;
use super::output::Output;

/// Nobody expects more than this without having measured it.
const LONGEST_EXPECTED: Duration = Duration::from_millis(100);

/// Sockets beside the main one that a node has open at a time: one birthday run and a look or two, within the 1,024 files that
/// a process may have open unless somebody has changed that.
const SOCKETS: usize = MAX_SOCKETS + 64;

/// Fills a buffer with random bytes, or says that there are none. The driver's is the system's generator, a test's is
/// made from a seed.
pub struct Random(Box<Source>);

type Source = dyn FnMut(&mut [u8]) -> bool + Send;

impl Random {
    /// Bytes from this source; it says `false` if it has none.
    pub fn new(source: impl FnMut(&mut [u8]) -> bool + Send + 'static) -> Self {
        Random(Box::new(source))
    }

    /// Fresh bytes. `None`, with a word in the log, if there are none.
    pub(super) fn bytes<const N: usize>(&mut self, what_for: &str) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if !(self.0)(&mut bytes) {
            tracing::error!("the system has no randomness: {what_for}");
            return None;
        }
        Some(bytes)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// Everything a peer needs from the node to act.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) identity: Identity,
    pub(super) own_id: PeerId,
    /// The rendezvous' key.
    pub(super) rendezvous: PeerId,
    /// Our host candidates.
    pub(super) hosts: Vec<SocketAddr>,
    /// The port that the router gave us, as others see it.
    pub(super) mapped: Option<SocketAddr>,
    /// Is there a connection to the rendezvous? Requests may follow the registration at once, without its answer.
    pub(super) connected: bool,
    /// Has our network changed since the rendezvous was last reached?
    pub(super) moved: bool,
    /// Where the rendezvous sees us, while it does.
    pub(super) observed: Option<SocketAddr>,
    /// Where relayed packets go, for people: the rendezvous, or the proxy on the way to it.
    pub(super) relay_remote: Option<SocketAddr>,
    /// The round trip to the rendezvous, when last connected.
    pub(super) server_rtt: Option<Duration>,
    /// Where it is, for STUN, and where else it answers that; `None` through a tunnel.
    pub(super) stun: Option<(SocketAddr, StunEndpoints)>,
    /// What is known of our NAT.
    pub(super) profile: NatProfile,
    /// Introductions that want a birthday run; the first one has its turn.
    pub(super) birthdays: VecDeque<IntroductionId>,
    /// What all agents together may still send.
    purse: Purse,
    birthday: bool,
    /// We talk through the relay alone.
    pub(super) relay_only: bool,
    /// The secrets of our prekeys.
    pub(super) keyring: Keyring,
    /// What others tell of the time.
    pub(super) clock: Clock,
    random: Random,
    open_sockets: usize,
    next_socket: u32,
    next_request: u32,
    next_session: u64,
    outputs: VecDeque<Output>,
}

impl Home {
    pub(super) fn new(config: Config) -> Self {
        let Config { identity, rendezvous, birthday, relay_only, random, .. } = config;
        Home {
            own_id: identity.peer_id(),
            identity,
            rendezvous,
            hosts: Vec::new(),
            mapped: None,
            connected: false,
            moved: false,
            observed: None,
            relay_remote: None,
            server_rtt: None,
            stun: None,
            profile: NatProfile::default(),
            birthdays: VecDeque::new(),
            purse: Purse::default(),
            birthday,
            relay_only,
            keyring: Keyring::default(),
            clock: Clock::default(),
            random,
            open_sockets: 0,
            next_socket: 0,
            next_request: 0,
            next_session: 0,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn tell(&mut self, event: NodeEvent) {
        tracing::debug!(?event);
        self.output(Output::Tell(event));
    }

    pub(super) fn own_reflexive(&self) -> Option<IpAddr> {
        self.observed.map(|address| address.ip())
    }

    /// Do we have an address of the version of IP that this one has?
    pub(super) fn speaks(&self, address: &SocketAddr) -> bool {
        self.hosts.iter().chain(&self.observed).any(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Hands a message to the rendezvous, if there is a way to it now.
    pub(super) fn ask(&mut self, message: ToServer) {
        if self.connected {
            self.output(Output::Ask(message));
        }
    }

    /// The number of the next request.
    pub(super) fn number_request(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    /// The name of the next session.
    pub(super) fn number_session(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session)
    }

    /// Random bytes that are not used twice.
    pub(super) fn seed(&mut self, what_for: &str) -> Option<[u8; 32]> {
        self.random.bytes(what_for)
    }

    /// Asks for one more socket. `None`: there are enough.
    pub(super) fn open_socket(&mut self) -> Option<SocketId> {
        if self.open_sockets >= SOCKETS {
            return None;
        }
        self.open_sockets += 1;
        self.next_socket += 1;
        let id = SocketId(self.next_socket);
        self.output(Output::Open(id));
        Some(id)
    }

    pub(super) fn close_socket(&mut self, id: SocketId) {
        self.open_sockets -= 1;
        self.output(Output::CloseSocket(id));
    }

    /// May an agent send there? `seen_at` is where the rendezvous sees its peer.
    pub(super) fn may_send(&mut self, to: IpAddr, seen_at: Option<IpAddr>, now: Instant) -> bool {
        let server = self.stun.map(|(server, _)| server.ip());
        let owner = if [seen_at, server].contains(&Some(to)) { Owner::Known } else { Owner::Named };
        self.purse.take(to, owner, now)
    }

    /// What the strategies beyond plain probing need to know for this introduction; `None` if we or the peer have no address
    /// that the rendezvous has seen.
    pub(super) fn guessing(&mut self, introduction: &Introduction) -> Option<Guessing> {
        let ((server, endpoints), observed) = (self.stun?, self.observed?);
        let peer = *introduction.addresses.first()?;
        let seed = self.seed("ports are not guessed")?;
        let (profile, peer_profile, birthday) = (self.profile, introduction.profile, self.birthday);
        let hint = introduction.hint.and_then(StrategyCode::known);
        Some(Guessing { server, endpoints, observed, peer, profile, peer_profile, birthday, hint, seed })
    }

    /// Our host candidates and the mapped one, for this contact's eyes; or that there are none to be had.
    pub(super) fn sealed_candidates(&mut self, pairing: &Pairing, context: &[u8], unconnected: bool) -> Vec<u8> {
        let ours = match self.relay_only {
            true => Contents::relay_only(),
            false => Contents { mapped: self.mapped, ..Contents::hosts(self.hosts.clone()) },
        };
        self.seal(pairing, context, Contents { unconnected, ..ours })
    }

    /// A box for this contact's eyes; empty if there is no randomness.
    pub(super) fn seal(&mut self, pairing: &Pairing, context: &[u8], contents: Contents) -> Vec<u8> {
        let nonce: Option<SealNonce> = self.random.bytes("nothing is sealed");
        nonce.map_or_else(Vec::new, |nonce| pairing.seal(context, &candidate::pack(contents), nonce))
    }

    /// Frames for this contact's eyes, sealed to this prekey or to its identity key, for the rendezvous to carry; empty if there are
    /// none.
    pub(super) fn envelope(
        &mut self,
        peer: PeerId,
        to: Option<&Prekey>,
        context: &[u8],
        frames: &[PeerFrame],
    ) -> Vec<u8> {
        if frames.is_empty() {
            return Vec::new();
        }
        let seed: Option<SealSeed> = self.random.bytes("nothing is sent ahead");
        let sealed = seed.map(|seed| seal::seal(&self.identity, peer, to, context, frames, seed));
        sealed
            .and_then(|sealed| {
                sealed
                    .inspect_err(|error| {
                        tracing::debug!(%error, "an envelope that is not sent");
                    })
                    .ok()
            })
            .unwrap_or_default()
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
