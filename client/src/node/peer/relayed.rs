//! The half of a contact that goes through the relay, and all of it where one of the two shows no address.

use std::time::Instant;

use common::path::{Attempt, Ending, Report};
use common::relay::RelayChannel;
use common::session::Route;

use super::Peer;
use super::direct::SESSION_TIMEOUT;
use super::live::Live;
use crate::node::api::{Introducer, NodeEvent, SocketId};
use crate::node::attempt::{AttemptEnd, Circumstances, Side};
use crate::node::home::Home;
use crate::node::lines::{Pair, Way};

impl Peer {
    /// Talks through the relay, from now on over this channel.
    pub(super) fn use_channel(&mut self, channel: RelayChannel, home: &mut Home) {
        if let Some(before) = self.channel.replace(channel).filter(|before| *before != channel) {
            self.lines.close(Way::Channel(before), "the rendezvous gave us another channel", home);
        }
        let (way, pair) = (Way::Channel(channel), Pair { socket: SocketId::MAIN, remote: channel.address() });
        self.lines.nudge(way, home);
        if self.dials(home) && !self.lines.contains(way, pair) {
            self.dial(way, pair, self.expected_rtt(Route::Relayed, home), home);
        }
    }

    /// The connection that we have is one that the peer does not know, because it was restarted, or one that a side doubts: another
    /// takes its place. If there is none it has been dialled already.
    pub(super) fn renew_relayed(&mut self, home: &mut Home) {
        let Some(channel) = self.channel else { return };
        let (way, pair) = (Way::Channel(channel), Pair { socket: SocketId::MAIN, remote: channel.address() });
        if self.dials(home) && !self.lines.shakes_hands(way) {
            self.dial(way, pair, self.expected_rtt(Route::Relayed, home), home);
        }
    }

    /// Is there no connection through the relay, nor one on its way?
    pub(super) fn is_unconnected(&self) -> bool {
        self.channel.is_none_or(|channel| !self.lines.reaches(Way::Channel(channel), channel.address()))
    }

    /// The server relays nothing over this channel any more.
    pub(in crate::node) fn channel_closed(&mut self, channel: RelayChannel, home: &mut Home) {
        if self.channel.take_if(|ours| *ours == channel).is_some() {
            self.lines.close(Way::Channel(channel), "the other one has left the rendezvous", home);
        }
    }

    /// One of us shows no address: whatever was begun ends, and nothing is asked for but a relayed connection.
    pub(super) fn stay_relayed(&mut self, relay: bool, requested: bool, now: Instant, home: &mut Home) {
        let ending = match (relay, home.relay_only) {
            (false, _) => Ending::NoRelay,
            (true, true) => Ending::RelayOnly,
            (true, false) => Ending::PeerRelayOnly,
        };
        let tried = self.punching.as_ref().map(|live| live.agent.candidates().collect());
        for way in [&self.punching, &self.standing].into_iter().flatten().map(Live::way).collect::<Vec<_>>() {
            self.lines.close(way, "one of the two talks only through the relay now", home);
            if let Way::Punched(introduction) = way {
                self.forget_path(introduction, home);
            }
        }
        if self.unpunched.replace(ending) != Some(ending) {
            let (tried, report) = (tried.unwrap_or_default(), Report::not_begun(ending));
            home.tell(NodeEvent::NoPath { peer: self.id, tried, report });
            let own = Side { seen_at: home.observed, profile: home.profile };
            let circumstances = Circumstances { by: Introducer::Rendezvous, requested, own, peer: Side::default() };
            self.tell_attempt(circumstances.ended(AttemptEnd::NoPath, Attempt::not_begun(ending)), home);
        }
        match relay {
            true => self.next_try = Some(now + SESSION_TIMEOUT),
            false => self.failed(now),
        }
    }
}
