//! The connections with one peer: those that stand, those in their handshake, and which one of each route counts.
//!
//! The side with the lower [`PeerId`](common::identity::PeerId) dials. Of two connections over one way the dialler closes the older;
//! the acceptor does not, because the two may see them come up in different orders. Over a way that was left both do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::introduction::IntroductionId;
use common::relay::RelayChannel;
use common::session::{PeerFrame, Route};

use super::api::{SessionId, SocketId};
use super::home::Home;
use super::output::{Bye, Output};

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

/// Where the other end of a connection is, and how far away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) remote: SocketAddr,
    pub(super) rtt: Duration,
}

/// Between which of our sockets and which of the peer's addresses packets go. During a handshake that may not change on
/// either side (RFC 9000, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) socket: SocketId,
    pub(super) remote: SocketAddr,
}

/// A connection.
#[derive(Debug)]
struct Line {
    way: Way,
    /// From where and to where it was dialled, or where it came to and from.
    pair: Pair,
    /// Once it stands.
    end: Option<End>,
    /// Why its way is no good any more.
    closed: Option<&'static str>,
    /// We have said goodbye.
    leaving: bool,
}

/// What the end of a connection means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Another one took its place before, or it never counted.
    Nothing,
    /// A handshake failed that we had not given up.
    Handshake(Way),
    /// It was the one that counted, and another one of its route stands.
    Replaced(SessionId, Route, End),
    /// It was the one that counted. Why we closed it ourselves, if we did.
    Gone(Way, Option<&'static str>),
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    all: BTreeMap<SessionId, Line>,
    /// The one that counts, by route.
    current: [Option<SessionId>; Route::ALL.len()],
}

impl Lines {
    pub(super) fn begin(&mut self, id: SessionId, way: Way, pair: Pair) {
        self.all.insert(id, Line { way, pair, end: None, closed: None, leaving: false });
    }

    /// May one more be accepted?
    pub(super) fn has_room(&self) -> bool {
        self.all.values().filter(|line| line.end.is_none()).count() < MAX_HANDSHAKES
    }

    /// The way of a connection, in its handshake or beyond.
    pub(super) fn way(&self, id: SessionId) -> Option<Way> {
        self.all.get(&id).map(|line| line.way)
    }

    /// Is there one over this way that goes between these two, in its handshake, or beyond? One that stands follows to
    /// another of our sockets.
    pub(super) fn contains(&self, way: Way, pair: Pair) -> bool {
        let follows = |line: &Line| line.end.is_some() && line.pair.remote == pair.remote;
        self.all.values().any(|line| line.way == way && !line.leaving && (line.pair == pair || follows(line)))
    }

    /// Gives up handshakes over this way that do not go between these two. Where ports are guessed, the sockets of
    /// others are closed on one side or the other; who probes from its main socket has no other, and the first one wins.
    pub(super) fn give_up_others(&mut self, way: Way, pair: Pair, home: &mut Home) {
        let guessed = |other: Pair| [other.socket, pair.socket].iter().any(|socket| *socket != SocketId::MAIN);
        let shaking = self.all.iter_mut().filter(|(_, line)| line.way == way && line.end.is_none() && !line.leaving);
        for (id, line) in shaking.filter(|(_, line)| line.pair != pair && guessed(line.pair)) {
            line.leaving = true;
            home.output(Output::Close(*id, Bye::PathLost));
        }
    }

    /// Is there one over this way with this address, in its handshake or beyond?
    pub(super) fn reaches(&self, way: Way, remote: SocketAddr) -> bool {
        self.all.values().any(|line| line.way == way && !line.leaving && line.pair.remote == remote)
    }

    /// Is there one over this way in its handshake?
    pub(super) fn shakes_hands(&self, way: Way) -> bool {
        self.all.values().any(|line| line.way == way && line.end.is_none() && !line.leaving)
    }

    /// Is there none at all?
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Does one of this route count?
    pub(super) fn stands(&self, route: Route) -> bool {
        self.current[route as usize].is_some()
    }

    /// The handshake is done: from now on this one counts. `None` if nobody knows it any more.
    pub(super) fn up(&mut self, id: SessionId, end: End, dials: bool, home: &mut Home) -> Option<Way> {
        let line = self.all.get_mut(&id)?;
        line.end = Some(end);
        let way = line.way;
        // The handshake of an older one may be slower. Whoever dials has left that path for another.
        let newer = |other: &Line| other.way == way && other.end.is_some() && !other.leaving;
        if dials && self.all.range(id..).skip(1).any(|(_, other)| newer(other)) {
            if let Some(line) = self.all.get_mut(&id) {
                line.leaving = true;
            }
            home.output(Output::Close(id, Bye::Superseded));
            return None;
        }
        self.current[way.route() as usize] = Some(id);
        for (other, line) in self.all.iter_mut().filter(|(other, _)| **other != id) {
            // Nobody watches over another way from now on, whichever of the two was begun first.
            let left = line.way != way || dials && *other < id;
            if line.way.route() == way.route() && left && line.end.is_some() {
                line.leaving = true;
                home.output(Output::Close(*other, Bye::Superseded));
            }
        }
        Some(way)
    }

    /// It has ended, or its handshake has failed.
    pub(super) fn down(&mut self, id: SessionId) -> Ended {
        let Some(line) = self.all.remove(&id) else { return Ended::Nothing };
        let route = line.way.route();
        let current = &mut self.current[route as usize];
        if *current != Some(id) {
            let failed = line.end.is_none() && !line.leaving;
            return if failed { Ended::Handshake(line.way) } else { Ended::Nothing };
        }
        let other = self.all.iter().rev().filter(|(_, other)| other.way.route() == route && !other.leaving);
        let other = other.into_iter().find_map(|(id, other)| Some((*id, other.end?)));
        *current = other.map(|(id, _)| id);
        match other {
            Some((id, end)) => Ended::Replaced(id, route, end),
            None => Ended::Gone(line.way, line.closed),
        }
    }

    /// By which route a connection that stands goes; takes note of its round-trip time.
    pub(super) fn measured(&mut self, id: SessionId, rtt: Duration) -> Option<Route> {
        let line = self.all.get_mut(&id)?;
        line.end.as_mut()?.rtt = rtt;
        Some(line.way.route())
    }

    /// This way may have been gone for a while, and is there: what was lost meanwhile is sent again now.
    pub(super) fn nudge(&self, way: Way, home: &mut Home) {
        let stand = self.all.iter().filter(|(_, line)| line.way == way && line.end.is_some() && !line.leaving);
        stand.for_each(|(id, _)| home.output(Output::Nudge(*id)));
    }

    /// Whoever dials leaves the older connections over a way when a newer one stands, and that word may have been lost. What it
    /// has forgotten it says when something comes over that.
    pub(super) fn doubt_others(&self, id: SessionId, home: &mut Home) {
        let Some(way) = self.way(id) else { return };
        let others = self.all.iter().filter(|(other, line)| **other != id && line.way == way && line.end.is_some());
        others.filter(|(_, line)| !line.leaving).for_each(|(other, _)| home.output(Output::Nudge(*other)));
    }

    /// Closes those over this way.
    pub(super) fn close(&mut self, way: Way, why: &'static str, home: &mut Home) {
        for (id, line) in self.all.iter_mut().filter(|(_, line)| line.way == way) {
            (line.closed, line.leaving) = (Some(why), true);
            home.output(Output::Close(*id, Bye::PathLost));
        }
    }

    /// Closes all, each after its last words.
    pub(super) fn dismiss(&mut self, bye: Bye, home: &mut Home) {
        for (id, line) in &mut self.all {
            line.leaving = true;
            home.output(Output::Finish(*id, bye));
        }
    }

    /// Gives a frame to a connection, if it still counts.
    pub(super) fn send(&mut self, id: SessionId, frame: PeerFrame, home: &mut Home) {
        if self.all.get(&id).is_some_and(|line| self.current[line.way.route() as usize] == Some(id)) {
            home.output(Output::Write(id, frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use common::identity::Identity;
    use common::relay::RelayChannel;

    use super::*;
    use crate::node::home::Random;
    use crate::node::machine::Config;

    const WAY: Way = Way::Channel(RelayChannel(9));

    fn home() -> Home {
        let identity = Identity::from_seed(&[1; 32]);
        Home::new(Config {
            rendezvous: identity.peer_id(),
            identity,
            epoch: 1,
            contacts: Vec::new(),
            birthday: false,
            relay_only: false,
            random: Random::new(|_| false),
        })
    }

    /// Two connections over one way, of which the second counts.
    fn two(dials: bool) -> (Lines, Home) {
        let (mut lines, mut home, remote) = (Lines::default(), home(), RelayChannel(9).address());
        for id in [1, 2].map(SessionId) {
            lines.begin(id, WAY, Pair { socket: SocketId::MAIN, remote });
            lines.up(id, End { remote, rtt: Duration::ZERO }, dials, &mut home);
        }
        (lines, home)
    }

    #[test]
    fn who_accepts_asks_over_an_older_connection_whether_it_is_still_known() {
        let (mut lines, mut home) = two(false);
        assert!(home.poll_output().is_none(), "the dialler may mean the older one");
        lines.doubt_others(SessionId(2), &mut home);
        assert!(matches!(home.poll_output(), Some(Output::Nudge(SessionId(1)))));
        assert_eq!(lines.down(SessionId(1)), Ended::Nothing);
        lines.doubt_others(SessionId(2), &mut home);
        assert!(home.poll_output().is_none());
    }

    #[test]
    fn who_dials_has_left_the_older_one_and_asks_nothing() {
        let (lines, mut home) = two(true);
        assert!(matches!(home.poll_output(), Some(Output::Close(SessionId(1), Bye::Superseded))));
        lines.doubt_others(SessionId(2), &mut home);
        assert!(home.poll_output().is_none());
    }

    /// Somebody has roamed: the old agent has found the peer again and dialled, while the new one's handshake was slow.
    #[test]
    fn when_a_handshake_over_the_newest_way_is_done_at_last_the_connection_over_the_way_before_is_closed() {
        let [before, newest] = [1, 2].map(|n| Way::Punched(IntroductionId(n)));
        let remote = SocketAddr::from(([11, 1, 1, 2], 4000));
        let (pair, end) = (Pair { socket: SocketId::MAIN, remote }, End { remote, rtt: Duration::ZERO });
        for dials in [true, false] {
            let (mut lines, mut home) = (Lines::default(), home());
            lines.begin(SessionId(1), newest, pair);
            lines.begin(SessionId(2), before, pair);
            assert_eq!(lines.up(SessionId(2), end, dials, &mut home), Some(before));
            assert!(home.poll_output().is_none(), "the other one is not there yet");
            assert_eq!(lines.up(SessionId(1), end, dials, &mut home), Some(newest));
            assert!(matches!(home.poll_output(), Some(Output::Close(SessionId(2), Bye::Superseded))), "{dials}");
            assert_eq!(lines.down(SessionId(2)), Ended::Nothing);
        }
    }
}
