//! What a box remembers: its mappings, their sessions, and the stray packets that occupy endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::model::behaviour::{Filtering, Lifetimes, Mapping, Refresh};
use crate::model::packet::{Protocol, TcpFlags};

/// An established TCP connection (RFC 5382, REQ-5): two hours and four minutes, after TCP's own keepalive.
const TCP_ESTABLISHED: Duration = Duration::from_secs(7440);
/// A TCP connection that opens or closes (the same).
const TCP_TRANSITORY: Duration = Duration::from_secs(240);
/// A ping (RFC 5508, REQ-1).
const ECHO: Duration = Duration::from_secs(60);
/// Stray packets that are remembered; beyond it new ones leave nothing behind.
const MAX_STRAYS: usize = 4096;

/// As much of a remote endpoint as a mapping or a filter distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope(Option<IpAddr>, Option<u16>);

impl Scope {
    pub(super) const EVERYONE: Scope = Scope(None, None);

    pub(super) fn of_mapping(mapping: Mapping, remote: SocketAddr) -> Scope {
        match mapping {
            Mapping::EndpointIndependent => Scope::EVERYONE,
            Mapping::AddressDependent => Scope(Some(remote.ip()), None),
            Mapping::AddressAndPortDependent => Scope::exactly(remote),
        }
    }

    pub(super) fn of_filter(filtering: Filtering, remote: SocketAddr) -> Scope {
        match filtering {
            Filtering::EndpointIndependent => Scope::EVERYONE,
            Filtering::AddressDependent => Scope(Some(remote.ip()), None),
            Filtering::AddressAndPortDependent => Scope::exactly(remote),
        }
    }

    pub(super) fn exactly(remote: SocketAddr) -> Scope {
        Scope(Some(remote.ip()), Some(remote.port()))
    }
}

/// What a mapping is for. The internal endpoint comes first: a host's mappings stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) internal: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) scope: Scope,
}

/// An external endpoint, alone or (where ports are overloaded) together with the remote one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) protocol: Protocol,
    pub(super) external: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    born: Instant,
    used: Instant,
    replied: bool,
    closing: bool,
}

impl Session {
    fn lifetime(&self, protocol: Protocol, lifetimes: &Lifetimes) -> Duration {
        let settled = self.used.saturating_duration_since(self.born) >= lifetimes.settles_after;
        match protocol {
            Protocol::Udp if self.replied && settled => lifetimes.replied,
            Protocol::Udp => lifetimes.unreplied,
            Protocol::Tcp if self.replied && !self.closing => TCP_ESTABLISHED,
            Protocol::Tcp => TCP_TRANSITORY,
            Protocol::Echo => ECHO,
        }
    }

    fn is_alive(&self, protocol: Protocol, lifetimes: &Lifetimes, now: Instant) -> bool {
        now < self.used + self.lifetime(protocol, lifetimes)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    place: Place,
    serial: u64,
    sessions: BTreeMap<Scope, Session>,
}

/// All of it. Nothing is swept: what is too old counts as gone, and is removed when its place is needed.
#[derive(Debug, Clone)]
pub(super) struct Table {
    lifetimes: Lifetimes,
    filtering: Filtering,
    entries: BTreeMap<Key, Entry>,
    places: BTreeMap<Place, Key>,
    /// Those of an internal endpoint, by age.
    ages: BTreeMap<(SocketAddr, Protocol, u64), Key>,
    strays: BTreeMap<Place, Instant>,
    serial: u64,
}

impl Table {
    pub(super) fn new(lifetimes: Lifetimes, filtering: Filtering) -> Self {
        Table {
            lifetimes,
            filtering,
            entries: BTreeMap::new(),
            places: BTreeMap::new(),
            ages: BTreeMap::new(),
            strays: BTreeMap::new(),
            serial: 0,
        }
    }

    /// The external endpoint of a living mapping.
    pub(super) fn external(&self, key: &Key, now: Instant) -> Option<SocketAddr> {
        let entry = self.entries.get(key)?;
        self.is_alive(key, entry, now).then_some(entry.place.external)
    }

    /// The external endpoint of the youngest living mapping of this internal endpoint.
    pub(super) fn youngest_of(&self, internal: SocketAddr, protocol: Protocol, now: Instant) -> Option<SocketAddr> {
        let own = self.ages.range((internal, protocol, 0)..=(internal, protocol, u64::MAX)).rev();
        own.map(|(_, key)| key).find_map(|key| self.external(key, now))
    }

    /// Living mappings of a host.
    pub(super) fn count_of(&self, host: IpAddr, now: Instant) -> usize {
        let first = Key { internal: SocketAddr::new(host, 0), protocol: Protocol::Udp, scope: Scope::EVERYONE };
        let own = self.entries.range(first..).take_while(|(key, _)| key.internal.ip() == host);
        own.filter(|(key, entry)| self.is_alive(key, entry, now)).count()
    }

    /// Mappings, with dead ones swept if there seem to be too many.
    pub(super) fn count(&mut self, limit: usize, now: Instant) -> usize {
        if self.entries.len() >= limit {
            let dead: Vec<Key> =
                self.entries.iter().filter(|(k, e)| !self.is_alive(k, e, now)).map(|(k, _)| *k).collect();
            dead.iter().for_each(|key| self.remove(key));
        }
        self.entries.len()
    }

    /// May a new mapping have this place?
    pub(super) fn is_free(&self, place: &Place, now: Instant) -> bool {
        let taken = self.places.get(place).and_then(|key| self.external(key, now)).is_some();
        !taken && !self.is_occupied(place, now)
    }

    /// A mapping of this key at this place, in the place of what is dead there.
    pub(super) fn insert(&mut self, key: Key, place: Place) {
        self.remove(&key);
        if let Some(dead) = self.places.get(&place).copied() {
            self.remove(&dead);
        }
        self.serial += 1;
        self.places.insert(place, key);
        self.ages.insert((key.internal, key.protocol, self.serial), key);
        self.entries.insert(key, Entry { place, serial: self.serial, sessions: BTreeMap::new() });
    }

    /// A packet leaves through a mapping: its session begins, or goes on.
    pub(super) fn leave(&mut self, key: &Key, remote: SocketAddr, flags: TcpFlags, now: Instant) {
        let (scope, lifetimes) = (Scope::of_filter(self.filtering, remote), self.lifetimes);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let fresh = Session { born: now, used: now, replied: false, closing: false };
        let session = entry.sessions.entry(scope).or_insert(fresh);
        if !session.is_alive(key.protocol, &lifetimes, now) || (session.closing && flags.syn) {
            *session = fresh;
        }
        session.used = now;
        session.closing |= flags.fin || flags.rst;
    }

    /// The living mapping that lets this remote endpoint in at this external one, if there is one; else whether there is
    /// a living mapping at all.
    pub(super) fn admitting(
        &self,
        protocol: Protocol,
        external: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<Key, bool> {
        // One that is for this remote endpoint alone stands before those for others, through which it may come as well,
        // unless the filter looks at ports: then those are for others only.
        let exact = Place { protocol, external, remote: Some(remote) };
        let first = Place { remote: None, ..exact };
        let here =
            || self.places.range(first..).take_while(|(at, _)| at.protocol == protocol && at.external == external);
        let strict = self.filtering == Filtering::AddressAndPortDependent;
        let others = here().take_while(|(at, _)| !strict || at.remote.is_none());
        for (_, key) in self.places.get_key_value(&exact).into_iter().chain(others) {
            let Some(entry) = self.entries.get(key) else { continue };
            let session = entry.sessions.get(&Scope::of_filter(self.filtering, remote));
            if session.is_some_and(|session| session.is_alive(protocol, &self.lifetimes, now)) {
                return Ok(*key);
            }
        }
        Err(here().any(|(_, key)| self.external(key, now).is_some()))
    }

    /// A packet was let in through a mapping.
    pub(super) fn enter(&mut self, key: &Key, remote: SocketAddr, flags: TcpFlags, now: Instant) {
        let scope = Scope::of_filter(self.filtering, remote);
        let Some(session) = self.entries.get_mut(key).and_then(|entry| entry.sessions.get_mut(&scope)) else { return };
        session.replied = true;
        session.closing |= flags.fin || flags.rst;
        // For TCP and pings both directions always count.
        if self.lifetimes.refresh == Refresh::BothWays || key.protocol != Protocol::Udp {
            session.used = now;
        }
    }

    /// A stray packet occupies this place.
    pub(super) fn occupy(&mut self, place: Place, now: Instant) {
        if self.strays.len() >= MAX_STRAYS {
            let lifetime = self.lifetimes.unreplied;
            self.strays.retain(|_, used| now < *used + lifetime);
        }
        if self.strays.len() < MAX_STRAYS {
            self.strays.insert(place, now);
        }
    }

    fn is_occupied(&self, place: &Place, now: Instant) -> bool {
        if self.strays.is_empty() {
            return false;
        }
        let mut here = self.strays.range(*place..).take_while(|(at, _)| match place.remote {
            Some(_) => *at == place,
            None => at.protocol == place.protocol && at.external == place.external,
        });
        here.any(|(_, used)| now < *used + self.lifetimes.unreplied)
    }

    fn is_alive(&self, key: &Key, entry: &Entry, now: Instant) -> bool {
        entry.sessions.values().any(|session| session.is_alive(key.protocol, &self.lifetimes, now))
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.places.remove(&entry.place);
            self.ages.remove(&(key.internal, key.protocol, entry.serial));
        }
    }
}
