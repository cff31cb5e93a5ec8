//! The connections with one peer: those that stand, those in their handshake, and which one of each route counts.
//!
//! The side with the lower [`PeerId`](common::identity::PeerId) dials. Of two connections of one route the dialler closes
//! the older; the acceptor closes only those over earlier ways, because the two may see them come up in different orders.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::introduction::IntroductionId;
use common::relay::RelayChannel;
use common::session::{PeerFrame, Route};
use quinn::Connection;
use tokio::sync::mpsc;

use super::api::SessionId;
use super::session::{Bye, Outgoing};

/// Handshakes at a time that may come from one peer.
const MAX_HANDSHAKES: usize = 4;

/// Over what a connection goes: it ends with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A path punched after this introduction.
    Punched(IntroductionId),
    /// A channel.
    Channel(RelayChannel),
}

impl Way {
    pub(super) fn route(self) -> Route {
        match self {
            Way::Punched(_) => Route::Direct,
            Way::Channel(_) => Route::Relayed,
        }
    }
}

/// A connection; in its handshake as long as it is not there.
struct Line {
    way: Way,
    /// Where it was dialled, or came from.
    remote: SocketAddr,
    outgoing: mpsc::Sender<Outgoing>,
    connection: Option<Connection>,
    /// Why we have closed it ourselves.
    closed: Option<&'static str>,
}

/// What the end of a connection means.
pub(super) enum Ended {
    /// Another one took its place before, or it never counted.
    Nothing,
    /// A handshake failed.
    Handshake(Way),
    /// It was the one that counted, and another one of its route stands.
    Replaced(SessionId, Connection),
    /// It was the one that counted. Why we closed it ourselves, if we did.
    Gone(Way, Option<&'static str>),
}

#[derive(Default)]
pub(super) struct Lines {
    all: BTreeMap<SessionId, Line>,
    /// The one that counts, by route.
    current: [Option<SessionId>; Route::ALL.len()],
}

impl Lines {
    pub(super) fn begin(&mut self, id: SessionId, way: Way, remote: SocketAddr, outgoing: mpsc::Sender<Outgoing>) {
        self.all.insert(id, Line { way, remote, outgoing, connection: None, closed: None });
    }

    /// May one more be accepted?
    pub(super) fn has_room(&self) -> bool {
        self.all.values().filter(|line| line.connection.is_none()).count() < MAX_HANDSHAKES
    }

    /// Is there one over this way to this address, in its handshake or beyond?
    pub(super) fn contains(&self, way: Way, remote: SocketAddr) -> bool {
        self.all.values().any(|line| line.way == way && line.remote == remote && line.closed.is_none())
    }

    /// Connections that stand.
    pub(super) fn standing(&self) -> usize {
        self.all.values().filter(|line| line.connection.is_some()).count()
    }

    /// Is there none at all?
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The way of the connection that counts.
    pub(super) fn way(&self, route: Route) -> Option<Way> {
        self.current[route as usize].and_then(|id| self.all.get(&id)).map(|line| line.way)
    }

    /// Does one of this route count?
    pub(super) fn stands(&self, route: Route) -> bool {
        self.current[route as usize].is_some()
    }

    /// The handshake is done: from now on this one counts. Its route, or `None` if nobody knows it any more.
    pub(super) fn up(&mut self, id: SessionId, connection: &Connection, dials: bool) -> Option<Route> {
        let line = self.all.get_mut(&id)?;
        line.connection = Some(connection.clone());
        let way = line.way;
        self.current[way.route() as usize] = Some(id);
        for line in self.all.range(..id).map(|(_, line)| line) {
            let older = line.way.route() == way.route() && (dials || line.way != way);
            if let Some(connection) = line.connection.as_ref().filter(|_| older) {
                Bye::Superseded.close(connection);
            }
        }
        Some(way.route())
    }

    /// It has ended, or its handshake has failed.
    pub(super) fn down(&mut self, id: SessionId) -> Ended {
        let Some(line) = self.all.remove(&id) else { return Ended::Nothing };
        let current = &mut self.current[line.way.route() as usize];
        if *current != Some(id) {
            return if line.connection.is_none() { Ended::Handshake(line.way) } else { Ended::Nothing };
        }
        let same_route = |other: &&Line| other.way.route() == line.way.route();
        let alive = |line: &Line| line.connection.clone().filter(|connection| connection.close_reason().is_none());
        let other = self.all.iter().rev().filter(|(_, line)| same_route(line)).find_map(|(id, line)| {
            let connection = alive(line)?;
            Some((*id, connection))
        });
        *current = other.as_ref().map(|(id, _)| *id);
        match other {
            Some((id, connection)) => Ended::Replaced(id, connection),
            None => Ended::Gone(line.way, line.closed),
        }
    }

    /// The connection, and by which route it goes.
    pub(super) fn get(&self, id: SessionId) -> Option<(Route, &Connection)> {
        let line = self.all.get(&id)?;
        Some((line.way.route(), line.connection.as_ref()?))
    }

    /// Closes those over this way.
    pub(super) fn close(&mut self, way: Way, why: &'static str) {
        for line in self.all.values_mut().filter(|line| line.way == way) {
            line.closed = Some(why);
            line.connection.iter().for_each(|connection| Bye::PathLost.close(connection));
        }
    }

    /// Closes all, each after its last words.
    pub(super) fn dismiss(&mut self, bye: Bye) {
        for line in self.all.values() {
            if line.outgoing.try_send(Outgoing::Close(bye)).is_err() {
                line.connection.iter().for_each(|connection| bye.close(connection));
            }
        }
    }

    /// Gives a frame to a connection, if it still counts.
    pub(super) fn send(&mut self, id: SessionId, frame: PeerFrame) {
        let Some(line) = self.all.get(&id).filter(|line| self.current[line.way.route() as usize] == Some(id)) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = line.outgoing.try_send(Outgoing::Frame(frame)) {
            line.connection.iter().for_each(|connection| Bye::Slow.close(connection));
        }
    }
}
