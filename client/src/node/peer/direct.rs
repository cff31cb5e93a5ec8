//! The direct half of a peer: its agents, what they have found out, and what follows for its connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::{Candidate, Contents, unpack};
use common::introduction::{IntroductionId, ToServer, Trickle};
use common::path::{self, Base, Command, Ending};
use common::session::Route;

use super::Peer;
use super::live::Live;
use crate::node::api::{NodeEvent, SocketId};
use crate::node::attempt::{AttemptEnd, PathAttempt};
use crate::node::home::{Home, trickle_context};
use crate::node::lines::{Pair, Way};
use crate::node::output::Output;

/// The dialler's handshake timeout and one second.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Where the pauses begin after an attempt that had no prospect: at a minute while the relay carries what is said. Only another
/// network makes it different, and that begins anew; a misread NAT gets another chance all the same.
const HOPELESS: usize = 2;

/// How often a silent relay makes us ask the rendezvous. Each time both sides punch anew, too.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(2);

impl Peer {
    /// More of the peer's candidates, or what it says of its ports.
    pub(in crate::node) fn trickled(&mut self, trickle: &Trickle, now: Instant, home: &mut Home) {
        let contents = self.open(&trickle_context(trickle.introduction), &trickle.sealed);
        if self.introduction == Some(trickle.introduction) {
            if contents.unconnected {
                self.renew_relayed(home);
            }
            if contents.relay_only {
                return self.stay_relayed(self.channel.is_some(), false, now, home);
            }
            if !home.relay_only {
                self.unpunched = None;
            }
        }
        if let Some(live) = self.agents_mut().find(|live| live.introduction == trickle.introduction) {
            live.learn(contents, &[], now);
        }
        self.after_agents(now, home);
    }

    /// The router has given us a port: for whom we are being introduced to, and for whom there is no direct path yet.
    pub(in crate::node) fn tell_mapped(&mut self, now: Instant, home: &mut Home) {
        if let Some(introduction) = self.punching.as_ref().map(|live| live.introduction)
            && self.punches_for_rendezvous()
        {
            let unconnected = self.is_unconnected();
            let sealed = home.sealed_candidates(&self.pairing, &trickle_context(introduction), unconnected);
            home.ask(ToServer::Trickle(Trickle { introduction, sealed }));
        } else if !self.busy() && self.lines.stands(Route::Relayed) {
            self.introduce(now, home);
        }
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &Live> {
        self.punching.iter().chain(&self.standing)
    }

    pub(super) fn agents_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.punching.iter_mut().chain(&mut self.standing)
    }

    pub(super) fn open(&self, context: &[u8], sealed: &[u8]) -> Contents {
        if sealed.is_empty() {
            return Contents::default();
        }
        let opened = self.pairing.open(context, sealed).ok().and_then(|plain| unpack(&plain).ok());
        opened.unwrap_or_else(|| {
            tracing::debug!("a box that does not open: made for another introduction, or by the server");
            Contents::default()
        })
    }

    /// Takes a STUN datagram; `false` if it is not this peer's.
    pub(in crate::node) fn stun(
        &mut self,
        socket: SocketId,
        source: SocketAddr,
        payload: &[u8],
        now: Instant,
        home: &mut Home,
    ) -> bool {
        let mine = self.agents_mut().any(|live| live.take(socket, source, payload, now));
        if mine {
            self.after_agents(now, home);
        }
        mine
    }

    /// A socket is there; `false` if it is not this peer's.
    pub(in crate::node) fn opened(&mut self, socket: SocketId, port: u16, now: Instant, home: &mut Home) -> bool {
        let mine = self.agents_mut().any(|live| live.opened(socket, port, now));
        if mine {
            self.after_agents(now, home);
        }
        mine
    }

    /// Is this route alive? The path machine finds out about the direct one. Of the relay only the rendezvous knows: if it
    /// was restarted it does not know our connection, and says so to whatever we ask; if it has ended the channel, it
    /// gives us another, or refuses.
    pub(in crate::node) fn verify(&mut self, route: Route, now: Instant, home: &mut Home) {
        match (route, &mut self.standing) {
            (Route::Direct, Some(live)) => live.agent.handle_command(Command::Verify, now),
            (Route::Direct, None) => {}
            (Route::Relayed, _) => {
                let lately = self.asked.is_some_and(|at| now < at + BETWEEN_DOUBTS);
                if self.request.is_none() && !lately {
                    self.introduce(now, home);
                }
            }
        }
        self.after_agents(now, home);
    }

    /// Sends what the agents want sent and acts on what they have found out.
    pub(super) fn after_agents(&mut self, now: Instant, home: &mut Home) {
        for live in self.punching.iter_mut().chain(&mut self.standing) {
            live.pump(&self.pairing, now, home);
        }
        while let Some(event) = self.punching.as_mut().and_then(|live| live.next_event(home)) {
            self.punching_event(event, now, home);
        }
        while let Some(event) = self.standing.as_mut().and_then(|live| live.next_event(home)) {
            self.standing_event(event, home);
        }
    }

    fn punching_event(&mut self, event: path::Event, now: Instant, home: &mut Home) {
        let Some(way) = self.punching.as_ref().map(Live::way) else { return };
        match event {
            path::Event::Heard { base, remote } => {
                // Nothing is measured yet; the handshake measures.
                let rtt = self.expected_rtt(Route::Direct, home);
                self.path_is(way, (base, remote), rtt, home);
            }
            path::Event::Punched { base, remote, rtt, after } => {
                self.punching.as_mut().into_iter().for_each(Live::keep_record);
                self.punched(remote, rtt, after, home);
                self.path_is(way, (base, remote.address), rtt, home);
                self.awaiting_session = Some(now + SESSION_TIMEOUT);
            }
            path::Event::Moved { base, remote, rtt } => self.path_moved(way, (base, remote.address), rtt, home),
            path::Event::Failed(_) | path::Event::Lost => self.no_path(now, home),
        }
    }

    fn standing_event(&mut self, event: path::Event, home: &mut Home) {
        let Some(way) = self.standing.as_ref().map(Live::way) else { return };
        match event {
            path::Event::Heard { .. } => {}
            // The connection, dialled when the peer was heard, was faster than the answer.
            path::Event::Punched { base, remote, rtt, after } => {
                self.standing.as_mut().into_iter().for_each(Live::keep_record);
                self.punched(remote, rtt, after, home);
                self.path_is(way, (base, remote.address), rtt, home);
                self.tell_standing(home);
            }
            path::Event::Moved { base, remote, rtt } => self.path_moved(way, (base, remote.address), rtt, home),
            path::Event::Failed(_) | path::Event::Lost => {
                self.lines.close(way, "the path fell silent", home);
                if let Way::Punched(introduction) = way {
                    self.forget_path(introduction, home);
                }
            }
        }
    }

    /// Where ports are guessed, each side may hear the other over several pairs, and find another one first than the
    /// other did. The one who dials has its way: who is dialled answers over the pair at which it was ([`Peer::incoming`]),
    /// until it is told of another one.
    fn path_is(&mut self, way: Way, (base, remote): (Base, SocketAddr), rtt: Duration, home: &mut Home) {
        let Some(pair) = self.found(way, base, remote) else { return };
        if self.dials(home) {
            home.output(Output::Leave(remote, pair.socket));
            self.dial_if_new(way, pair, rtt, home);
        } else if !self.lines.reaches(way, remote) {
            home.output(Output::Leave(remote, pair.socket));
        }
    }

    /// Both know of it: the path has fallen silent and was found elsewhere, or the one who dials has chosen.
    fn path_moved(&mut self, way: Way, (base, remote): (Base, SocketAddr), rtt: Duration, home: &mut Home) {
        let Some(pair) = self.found(way, base, remote) else { return };
        home.output(Output::Leave(remote, pair.socket));
        self.dial_if_new(way, pair, rtt, home);
    }

    fn found(&mut self, way: Way, base: Base, remote: SocketAddr) -> Option<Pair> {
        self.agents_mut().find(|live| live.way() == way)?.found(base, remote)
    }

    fn punched(&mut self, remote: Candidate, rtt: Duration, after: Duration, home: &mut Home) {
        self.measured = Some(rtt);
        home.tell(NodeEvent::Punched { peer: self.id, remote: remote.address, kind: remote.kind, rtt, after });
    }

    fn dial_if_new(&mut self, way: Way, pair: Pair, rtt: Duration, home: &mut Home) {
        if self.dials(home) {
            self.lines.give_up_others(way, pair, home);
            if !self.lines.contains(way, pair) {
                self.dial(way, pair, rtt, home);
            }
        }
    }

    /// A connection stands over the path of this introduction: its agent watches over it from now on.
    pub(super) fn stands_over(&mut self, introduction: IntroductionId, home: &mut Home) {
        self.failures = 0;
        if let Some(live) = self.punching.take_if(|live| live.introduction == introduction) {
            self.awaiting_session = None;
            if let Some(before) = self.standing.replace(live) {
                self.keepalive = before.agent.keepalive();
                before.end(home);
            }
        }
    }

    /// A connection stands over a path that was found: that is how the attempt ended.
    pub(super) fn tell_standing(&self, home: &mut Home) {
        let record = self.standing.as_ref().and_then(Live::record_of_path);
        record.into_iter().for_each(|record| self.tell_attempt(record, home));
    }

    pub(super) fn tell_attempt(&self, mut attempt: PathAttempt, home: &mut Home) {
        // Who asks for somebody at once learns of its own NAT while it tries.
        if attempt.own.seen_at == home.observed {
            attempt.own.profile = home.profile;
        }
        home.tell(NodeEvent::Attempted { peer: self.id, attempt: Box::new(attempt) });
    }

    /// What a handshake should expect of a round trip.
    pub(super) fn expected_rtt(&self, route: Route, home: &Home) -> Duration {
        self.measured.filter(|_| route == Route::Direct).unwrap_or_else(|| home.expected_rtt(route))
    }

    /// A path, but nobody at its end who speaks QUIC with us.
    pub(super) fn no_session(&mut self, introduction: IntroductionId, now: Instant, home: &mut Home) {
        let way = Way::Punched(introduction);
        if self.lines.shakes_hands(way) {
            return;
        }
        if self.punching.as_ref().is_some_and(|live| live.way() == way) {
            self.no_path(now, home);
        }
        // The peer has moved, and the connection with it could not follow.
        if self.standing.as_ref().is_some_and(|live| live.way() == way) {
            self.lines.close(way, "the peer is elsewhere and does not answer there", home);
            self.forget_path(introduction, home);
        }
    }

    /// The newest attempt has come to nothing.
    fn no_path(&mut self, now: Instant, home: &mut Home) {
        self.awaiting_session = None;
        if let Some(live) = self.punching.take() {
            let (tried, mut report): (Vec<_>, _) = (live.agent.candidates().collect(), live.agent.report());
            if !tried.is_empty() && !tried.iter().any(|address| home.speaks(address)) {
                report.ending = Ending::NoCommonFamily;
            }
            home.tell(NodeEvent::NoPath { peer: self.id, tried, report });
            self.tell_attempt(live.record(AttemptEnd::NoPath), home);
            if report.ending == Ending::BothUnforeseeable {
                self.failures = self.failures.max(HOPELESS);
            }
            live.end(home);
            self.failed(now);
        }
    }

    /// The connection over this path is gone.
    pub(super) fn forget_path(&mut self, introduction: IntroductionId, home: &mut Home) {
        if let Some(live) = self.standing.take_if(|live| live.introduction == introduction) {
            self.keepalive = live.agent.keepalive();
            live.end(home);
        }
        if let Some(live) = self.punching.take_if(|live| live.introduction == introduction) {
            self.awaiting_session = None;
            live.end(home);
        }
    }
}
