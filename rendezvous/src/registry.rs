//! Who is here: `PeerId -> connection, addresses, profile, capabilities, epoch`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use common::candidate::canonical;
use common::identity::PeerId;
use common::introduction::{MAX_ADDRESSES, MAX_CAPABILITIES, Register};
use common::nat::NatProfile;
use common::pairing::Capability;
use common::relay::is_synthetic;

use crate::server::ConnectionId;

/// A client that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// On which connection.
    pub connection: ConnectionId,
    epoch: u64,
    observed: SocketAddr,
    /// What it said it was seen at. Filtered when it is given out, because the observed address may change.
    claimed: Vec<SocketAddr>,
    /// What it found out about its NAT.
    pub profile: NatProfile,
    /// It shows its address to nobody.
    pub relay_only: bool,
    /// Sorted.
    capabilities: Box<[Capability]>,
}

/// The registration is beyond what the protocol allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a registration has at most {MAX_CAPABILITIES} capabilities")]
pub struct TooMuch;

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It stands.
    New,
    /// It stands, and this connection lost its place to it.
    Instead(ConnectionId),
    /// A registration of a later epoch is here.
    Outdated,
    /// Everything is taken.
    Full,
}

impl Registration {
    fn new(connection: ConnectionId, observed: SocketAddr, register: Register) -> Result<Self, TooMuch> {
        let Register { epoch, mut capabilities, reflexive: mut claimed, profile, relay_only } = register;
        if capabilities.len() > MAX_CAPABILITIES {
            return Err(TooMuch);
        }
        claimed.truncate(MAX_ADDRESSES);
        capabilities.sort_unstable();
        capabilities.dedup();
        let capabilities = capabilities.into_boxed_slice();
        let observed = canonical(observed);
        Ok(Registration { connection, epoch, observed, claimed, profile, relay_only, capabilities })
    }

    /// Has this client this contact?
    pub fn accepts(&self, capability: &Capability) -> bool {
        self.capabilities.binary_search(capability).is_ok()
    }

    /// All that it accepts, sorted.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Behind which address the server sees it; `None` if it comes through a tunnel.
    pub fn observed_ip(&self) -> Option<IpAddr> {
        Some(self.observed.ip()).filter(|ip| !is_synthetic(*ip))
    }

    /// Where peers should probe: what the server sees, then what other servers' eyes see behind the same IP address.
    /// Nobody can have a stranger's address probed.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        // Who comes through a tunnel has none: its network lets no UDP through.
        if self.relay_only || is_synthetic(self.observed.ip()) {
            return Vec::new();
        }
        let mut addresses = vec![self.observed];
        for claimed in self.claimed.iter().copied().map(canonical) {
            let same_host = claimed.ip() == self.observed.ip() && claimed.port() != 0;
            if same_host && addresses.len() < MAX_ADDRESSES && !addresses.contains(&claimed) {
                addresses.push(claimed);
            }
        }
        addresses
    }
}

/// All registrations.
#[derive(Debug)]
pub struct Registry {
    peers: BTreeMap<PeerId, Registration>,
    capacity: usize,
}

impl Registry {
    /// For at most so many.
    pub fn new(capacity: usize) -> Self {
        Registry { peers: BTreeMap::new(), capacity }
    }

    /// A client registers. The later epoch wins; of two equal ones the later arrival, because a client that lost its
    /// connection comes back with the epoch that it had.
    pub fn place(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        observed: SocketAddr,
        register: Register,
    ) -> Result<Placed, TooMuch> {
        let registration = Registration::new(connection, observed, register)?;
        let full = self.peers.len() >= self.capacity;
        match self.peers.get_mut(&peer) {
            Some(standing) if standing.epoch > registration.epoch => Ok(Placed::Outdated),
            Some(standing) => {
                let before = std::mem::replace(standing, registration);
                Ok(Placed::Instead(before.connection))
            }
            None if full => Ok(Placed::Full),
            None => {
                self.peers.insert(peer, registration);
                Ok(Placed::New)
            }
        }
    }

    /// The client's contacts, addresses or profile changed. Its epoch does not.
    pub fn update(&mut self, peer: &PeerId, register: Register) -> Result<(), TooMuch> {
        if let Some(standing) = self.peers.get_mut(peer) {
            let mut changed = Registration::new(standing.connection, standing.observed, register)?;
            changed.epoch = standing.epoch;
            *standing = changed;
        }
        Ok(())
    }

    /// The server sees the client elsewhere.
    pub fn moved(&mut self, peer: &PeerId, observed: SocketAddr) {
        if let Some(standing) = self.peers.get_mut(peer) {
            standing.observed = canonical(observed);
        }
    }

    /// The connection is gone; so is the registration, unless another connection has it. Is it?
    pub fn remove(&mut self, peer: &PeerId, connection: ConnectionId) -> bool {
        let gone = self.get(peer).is_some_and(|standing| standing.connection == connection);
        gone && self.peers.remove(peer).is_some()
    }

    /// This peer, if it is here.
    pub fn get(&self, peer: &PeerId) -> Option<&Registration> {
        self.peers.get(peer)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Is nobody here?
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}
