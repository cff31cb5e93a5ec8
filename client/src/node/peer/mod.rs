//! One contact, as the network sees it: from "wanted" over an introduction to a relayed connection and a punched path,
//! and back.
//!
//! An introduction brings two things at once. The relay channel: the side with the lower [`PeerId`] dials over it without
//! waiting for anything. And the peer's addresses: an agent punches. Two agents may live side by side: the one of the
//! *standing* path, and one that is *punching* after a newer introduction. The newer one takes over when a connection stands
//! over its path, not before, so that a failed attempt costs nothing. So every direct connection that counts has the agent of
//! its path beside it, for as long as both live: the one notices when the other is of no use any more.
//!
//! Where one of the two shows no address (`--relay-only`) there is no agent. It is ours to say of ourselves, and the peer's, sealed, of
//! itself; whatever the rendezvous says makes neither send a probe. Nobody asks for a direct path then, as long as the
//! relayed connection stands.

mod direct;
mod letters;
mod live;
mod neighbour;
mod relayed;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::{Contents, canonical};
use common::identity::PeerId;
use common::introduction::{Introduce, Introduction, IntroductionId, Role, ToServer, Trickle};
use common::pairing::Pairing;
use common::path::keepalive::Keepalive;
use common::path::purse::{Bucket, INTRODUCTIONS};
use common::path::{self, Agent, Ending};
use common::prekey::Prekey;
use common::relay::RelayChannel;
use common::session::{PeerFrame, Route, Via};

use self::direct::SESSION_TIMEOUT;
use self::live::Live;
use super::api::{Introducer, NodeEvent, Party, SessionId, SocketId};
use super::attempt::{AttemptEnd, Circumstances, Side};
use super::home::{Home, request_context, trickle_context};
use super::lines::{End, Ended, Lines, Pair, Way};
use super::output::{Begin, Bye, Output};

/// An introduction takes one round trip to the server; a server that does not answer in this time has lost it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts to reach a wanted peer, in milliseconds; the last one repeats. Somebody who is offline is
/// asked for a few times a minute: the server allows it, and who comes online is met within five seconds.
const PAUSES: [u64; 6] = [500, 1000, 2000, 3000, 5000, 5000];
/// The same while the two talk through the relay and only the direct path is missing. Each attempt is up to fifty probes
/// of both; what did not work twice in ten seconds will hardly work until a network changes, and that begins anew.
const PAUSES_RELAYED: [u64; 5] = [2_000, 10_000, 60_000, 300_000, 900_000];
/// The same if a direct path stood lately: what broke it passes, and then nobody should have to wait for long.
const PAUSES_BROKEN: [u64; 5] = [1_000, 2_000, 5_000, 10_000, 20_000];
/// How long "lately" is.
const LATELY: Duration = Duration::from_secs(600);
/// After a wrong key: nothing that a quick repetition would mend.
const UNTRUSTED_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Peer {
    id: PeerId,
    pairing: Pairing,
    wanted: bool,
    request: Option<(u32, Instant)>,
    /// When we last asked for an introduction.
    asked: Option<Instant>,
    /// The port mapping that the last request told of.
    asked_with: Option<SocketAddr>,
    next_try: Option<Instant>,
    /// How often in a row we were not introduced, or found no path.
    failures: usize,
    /// The last of them was that we were not introduced.
    apart: bool,
    /// What the next request carries.
    letter: Vec<PeerFrame>,
    /// Its newest signed prekey.
    prekey: Option<Prekey>,
    /// Into which receipts for letters go.
    introduction: Option<IntroductionId>,
    /// How many more may be acted on.
    introductions: Bucket,
    channel: Option<RelayChannel>,
    /// Of the newest introduction, until a connection stands over its path.
    punching: Option<Live>,
    /// Of the direct connection that counts.
    standing: Option<Live>,
    /// Until when a connection must stand over the path that is punched.
    awaiting_session: Option<Instant>,
    /// Why nothing is punched under the latest introduction, if one of us shows no address.
    unpunched: Option<Ending>,
    lines: Lines,
    /// When the last direct connection ended.
    was_direct: Option<Instant>,
    keepalive: Keepalive,
    /// Of the path punched last.
    measured: Option<Duration>,
}

impl Peer {
    pub(super) fn new(pairing: Pairing) -> Self {
        Peer {
            id: pairing.peer(),
            pairing,
            wanted: false,
            request: None,
            asked: None,
            asked_with: None,
            next_try: None,
            failures: 0,
            apart: false,
            letter: Vec::new(),
            prekey: None,
            introduction: None,
            introductions: Bucket::default(),
            channel: None,
            punching: None,
            standing: None,
            awaiting_session: None,
            unpunched: None,
            lines: Lines::default(),
            was_direct: None,
            keepalive: Keepalive::default(),
            measured: None,
        }
    }

    pub(super) fn pairing(&self) -> &Pairing {
        &self.pairing
    }

    pub(super) fn want(&mut self, now: Instant, home: &mut Home) {
        if !self.wanted {
            (self.wanted, self.failures, self.next_try) = (true, 0, Some(now));
        }
        self.pursue(now, home);
    }

    /// Closes everything, each session after its last words.
    pub(super) fn unwant(&mut self, bye: Bye, home: &mut Home) {
        self.wanted = false;
        (self.request, self.awaiting_session) = (None, None);
        self.punching.take().into_iter().chain(self.standing.take()).for_each(|live| live.end(home));
        self.lines.dismiss(bye, home);
    }

    /// Asks for an introduction if it is time and there is nothing under way.
    pub(super) fn pursue(&mut self, now: Instant, home: &mut Home) {
        if !self.wanted || self.busy() || self.next_try.is_some_and(|at| now < at) {
            return;
        }
        self.introduce(now, home);
    }

    /// The connection to the rendezvous is new, because one of the two has restarted or our network has changed: what
    /// the server knew of us and of our channel may be gone, and what the peer knows of us may be wrong.
    pub(super) fn renew(&mut self, now: Instant, home: &mut Home) {
        self.failures = 0;
        if self.stays_on_lan(home) {
            return;
        }
        if self.wanted || !self.lines.is_empty() {
            self.introduce(now, home);
        }
    }

    fn introduce(&mut self, now: Instant, home: &mut Home) {
        // Without a rendezvous there is nothing to wait for but its return, which asks again.
        self.next_try = None;
        if !home.connected {
            return;
        }
        if let Some(until) = self.neighbours_head_start(now) {
            self.next_try = Some(until);
            return;
        }
        let request = home.number_request();
        let rendezvous = home.rendezvous;
        let context = request_context(rendezvous);
        let introduce = Introduce {
            request,
            peer: self.id,
            capability: self.pairing.capability(rendezvous),
            sealed: home.sealed_candidates(&self.pairing, &context, self.is_unconnected()),
            envelope: self.sealed_letter(&context, now, home),
        };
        home.ask(ToServer::Introduce(introduce));
        (self.request, self.asked) = (Some((request, now + REQUEST_TIMEOUT)), Some(now));
        self.asked_with = home.mapped;
    }

    /// The connection to the rendezvous is gone: what was asked over it is not answered any more.
    pub(super) fn forget_request(&mut self, now: Instant) {
        if self.request.take().is_some() {
            self.next_try = Some(now);
        }
    }

    /// Is there nothing to ask for: is a direct path on its way, or there, or not to be had?
    fn busy(&self) -> bool {
        let punched = self.punches_for_rendezvous() || self.standing.is_some() || self.lines.stands(Route::Direct);
        let enough = self.unpunched.is_some() && self.lines.stands(Route::Relayed);
        self.request.is_some() || punched || enough
    }

    fn failed(&mut self, now: Instant) {
        let broken = self.was_direct.is_some_and(|at| now < at + LATELY);
        let pauses = match (self.lines.stands(Route::Relayed), broken) {
            // Another relay than this one's will not come soon.
            (false, _) if self.unpunched == Some(Ending::NoRelay) => &PAUSES_RELAYED[..],
            (false, _) => &PAUSES[..],
            (true, false) => &PAUSES_RELAYED[..],
            (true, true) => &PAUSES_BROKEN[..],
        };
        let pause = pauses[self.failures.min(pauses.len() - 1)];
        self.failures += 1;
        self.next_try = Some(now + Duration::from_millis(pause));
    }

    pub(super) fn is_request(&self, request: u32) -> bool {
        self.request.is_some_and(|(own, _)| own == request)
    }

    fn not_introduced(&mut self, now: Instant) {
        (self.request, self.apart) = (None, true);
        self.failed(now);
    }

    pub(super) fn refused(&mut self, now: Instant, home: &mut Home) {
        self.not_introduced(now);
        home.tell(NodeEvent::Refused { peer: self.id });
    }

    /// The rendezvous has introduced us: punch, and talk through the relay meanwhile.
    pub(super) fn introduced(&mut self, introduction: Introduction, now: Instant, home: &mut Home) {
        if !self.introductions.take(INTRODUCTIONS, now) {
            tracing::debug!("introduced more often than anybody needs");
            return;
        }
        // However long somebody was away: that says nothing of the paths between us.
        if std::mem::take(&mut self.apart) {
            self.failures = 0;
        }
        let requested = matches!(introduction.role, Role::Requester { request } if self.is_request(request));
        // An introduction that the peer asked for serves our own request as well.
        self.request = None;
        self.introduction = Some(introduction.id);
        let request = request_context(home.rendezvous);
        let contents = self.open(&request, &introduction.sealed);
        let (peer_knows, unconnected) = (contents.relay_only, contents.unconnected);
        if home.relay_only || contents.relay_only {
            let (peer, by, addresses) = (self.id, Introducer::Rendezvous, Vec::new());
            home.tell(NodeEvent::Introduced { peer, by, requested, addresses });
            self.stay_relayed(introduction.relay.is_some(), requested, now, home);
        } else {
            // What the other one said last time holds until it says something else.
            if introduction.role == Role::Responder {
                self.unpunched = None;
            }
            self.punch_for_rendezvous(&introduction, contents, requested, now, home);
        }
        // Who asked has sent them with the request, but for a port that was mapped since.
        let mapped_since = home.mapped.is_some() && home.mapped != self.asked_with;
        if !peer_knows && (introduction.role == Role::Responder || mapped_since) {
            let unconnected = self.is_unconnected();
            let sealed = home.sealed_candidates(&self.pairing, &trickle_context(introduction.id), unconnected);
            home.ask(ToServer::Trickle(Trickle { introduction: introduction.id, sealed }));
        }
        self.open_letter(&request, &introduction.envelope, home);
        if let Some(channel) = introduction.relay {
            self.use_channel(channel, home);
            if self.unpunched.is_some() || unconnected {
                self.renew_relayed(home);
            }
        }
    }

    fn punch_for_rendezvous(
        &mut self,
        introduction: &Introduction,
        contents: Contents,
        requested: bool,
        now: Instant,
        home: &mut Home,
    ) {
        let config = path::Config {
            introduction: introduction.id,
            own_reflexive: home.own_reflexive(),
            keepalive: self.standing.as_ref().map_or(self.keepalive, |live| live.agent.keepalive()),
            guessing: home.guessing(introduction),
        };
        let by = Introducer::Rendezvous;
        let own = Side { seen_at: home.observed, profile: home.profile };
        let peer =
            Side { seen_at: introduction.addresses.first().copied().map(canonical), profile: introduction.profile };
        let circumstances = Circumstances { by, requested, own, peer };
        let mut live = Live::new(introduction.id, circumstances, Agent::new(config, &self.pairing, now), now);
        live.learn(contents, &introduction.addresses, now);
        // Probes first: each has its moment.
        self.punch(live, requested, now, home);
    }

    /// Begins, in place of what was tried before.
    fn punch(&mut self, live: Live, requested: bool, now: Instant, home: &mut Home) {
        let (peer, by, addresses) = (self.id, live.by, live.agent.candidates().collect());
        home.tell(NodeEvent::Introduced { peer, by, requested, addresses });
        let before = self.punching.replace(live);
        if let Some(before) = before {
            self.tell_attempt(before.record(AttemptEnd::Superseded), home);
            before.end(home);
        }
        self.awaiting_session = None;
        self.after_agents(now, home);
    }

    /// Is this introduction being acted on?
    pub(super) fn acts_on(&self, introduction: IntroductionId) -> bool {
        self.introduction == Some(introduction) || self.agents().any(|live| live.introduction == introduction)
    }

    /// When [`Peer::timeout`] has something to do.
    pub(super) fn wakeup(&self, home: &Home) -> Option<Instant> {
        let agents = self.agents().filter_map(|live| live.agent.poll_wakeup()).map(|wakeup| wakeup.at);
        let agents = agents.chain(self.agents().filter_map(|live| live.turn(home)));
        let next_try = self.next_try.filter(|_| self.wanted && !self.busy());
        agents.chain(next_try).chain(self.request.map(|(_, until)| until)).chain(self.awaiting_session).min()
    }

    pub(super) fn timeout(&mut self, now: Instant, home: &mut Home) {
        for live in self.agents_mut() {
            live.take_turn(now, home);
            live.agent.handle_timeout(now);
        }
        if self.request.is_some_and(|(_, until)| now >= until) {
            self.not_introduced(now);
        }
        if self.awaiting_session.is_some_and(|until| now >= until)
            && let Some(introduction) = self.punching.as_ref().map(|live| live.introduction)
        {
            // If a handshake is under way, that much longer.
            self.awaiting_session = Some(now + SESSION_TIMEOUT);
            self.no_session(introduction, now, home);
        }
        self.after_agents(now, home);
        self.pursue(now, home);
    }

    fn dials(&self, home: &Home) -> bool {
        home.own_id < self.id
    }

    fn dial(&mut self, way: Way, pair: Pair, rtt: Duration, home: &mut Home) {
        let begin = self.begin(way, pair, rtt, home);
        home.output(Output::Dial(begin, pair.remote));
    }

    fn begin(&mut self, way: Way, pair: Pair, rtt: Duration, home: &mut Home) -> Begin {
        let id = home.number_session();
        self.lines.begin(id, way, pair);
        Begin { id, peer: self.id, route: way.route(), rtt }
    }

    /// Is the peer at this address: the relay's for it, or one that its probes come from?
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.channel.is_some_and(|channel| channel.address() == address)
            || self.agents().any(|live| live.agent.knows(address))
    }

    /// Somebody dials from an address of this peer, and it came to this socket: answers leave from there. `None`: no answer.
    /// That is so, too, if it was dialled over the path as we know it already: this is what was dialled before, and late.
    pub(super) fn incoming(&mut self, socket: SocketId, remote: SocketAddr, home: &mut Home) -> Option<Begin> {
        let way = match RelayChannel::from_address(remote) {
            Some(channel) => Way::Channel(channel),
            None => {
                let knows = |live: &&Live| live.agent.knows(remote) && live.has(socket);
                let live = self.agents().find(knows)?;
                let path = live.path.filter(|path| path.remote == remote && path.socket != socket);
                if path.is_some_and(|path| self.lines.contains(live.way(), path)) {
                    return None;
                }
                live.way()
            }
        };
        if self.dials(home) || !self.lines.has_room() {
            return None;
        }
        if way.route() == Route::Direct {
            home.output(Output::Leave(remote, socket));
        }
        let rtt = self.expected_rtt(way.route(), home);
        Some(self.begin(way, Pair { socket, remote }, rtt, home))
    }

    /// A session stands.
    pub(super) fn up(&mut self, id: SessionId, end: End, hello: PeerFrame, home: &mut Home) {
        let dials = self.dials(home);
        // One whose path was given up meanwhile would have nobody who watches over it.
        let watched = |way: &Way| match way {
            Way::Punched(introduction) => self.agents().any(|live| live.introduction == *introduction),
            Way::Channel(channel) => self.channel == Some(*channel),
        };
        if !self.lines.way(id).is_some_and(|way| watched(&way)) {
            return home.output(Output::Close(id, Bye::PathLost));
        }
        let Some(way) = self.lines.up(id, end, dials, home) else { return };
        let route = way.route();
        if let Way::Punched(introduction) = way {
            self.stands_over(introduction, home);
        }
        self.tell_up(id, route, end, home);
        if route == Route::Direct {
            self.tell_standing(home);
        }
        home.tell(NodeEvent::Frame { peer: self.id, via: Via::Session(route), frame: hello, rtt: end.rtt });
    }

    fn tell_up(&self, session: SessionId, route: Route, end: End, home: &mut Home) {
        let remote = match route {
            Route::Direct => end.remote,
            // The channel's own address means nothing to a person.
            Route::Relayed => home.relay_remote.unwrap_or(end.remote),
        };
        let by = self.standing.as_ref().map(|live| live.by).filter(|_| route == Route::Direct);
        home.tell(NodeEvent::Up { peer: self.id, session, route, remote, rtt: end.rtt, by });
    }

    pub(super) fn frame(&mut self, id: SessionId, frame: PeerFrame, rtt: Duration, home: &mut Home) {
        if let Some(route) = self.lines.measured(id, rtt) {
            self.lines.doubt_others(id, home);
            home.tell(NodeEvent::Frame { peer: self.id, via: Via::Session(route), frame, rtt });
        }
    }

    /// A session has ended, or its handshake has failed.
    pub(super) fn down(&mut self, id: SessionId, reason: String, by_peer: bool, now: Instant, home: &mut Home) {
        match self.lines.down(id) {
            Ended::Nothing => {}
            Ended::Handshake(Way::Punched(introduction)) if self.dials(home) => {
                tracing::debug!(%reason, "no session over the punched path");
                self.no_session(introduction, now, home);
            }
            Ended::Handshake(_) => tracing::debug!(%reason, "a handshake failed"),
            Ended::Replaced(other, route, end) => self.tell_up(other, route, end, home),
            Ended::Gone(way, closed) => {
                let reason = closed.map_or(reason, str::to_owned);
                let route = way.route();
                if let Way::Punched(introduction) = way {
                    self.forget_path(introduction, home);
                    self.was_direct = Some(now);
                }
                home.tell(NodeEvent::Down { peer: self.id, route, reason, by_peer });
                // A path that broke is mended at once; a peer that stopped is given time to come back.
                self.next_try = Some(now);
                if by_peer {
                    self.failed(now);
                }
            }
        }
        self.pursue(now, home);
    }

    pub(super) fn untrusted(&mut self, id: SessionId, seen: PeerId, now: Instant, home: &mut Home) {
        if let Ended::Handshake(way) = self.lines.down(id) {
            if let Way::Punched(introduction) = way {
                self.forget_path(introduction, home);
            }
            self.next_try = Some(now + UNTRUSTED_PAUSE);
            home.tell(NodeEvent::Untrusted { expected: Party::Peer(self.id), seen });
        }
    }

    /// Gives a frame to the session, if it is still the current one of its route.
    pub(super) fn send(&mut self, session: SessionId, frame: PeerFrame, home: &mut Home) {
        self.lines.send(session, frame, home);
    }
}
