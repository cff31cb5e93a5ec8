//! What the rendezvous is to keep for one contact: in order, one after the other.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::{Duration, Instant};

use common::identity::PeerId;
use common::introduction::{Deposit, DepositOutcome, FetchPrekeys, ToServer};
use common::prekey::{Bundle, ONE_TIMES, Prekey, PrekeyId};
use common::receipt::EnvelopeDigest;
use common::seal::{self, MAIL};
use common::session::PeerFrame;

use super::{Deposited, FRAMES, MAX_DEPOSITS};
use crate::node::api::NodeEvent;
use crate::node::home::Home;
use crate::node::machine::Machine;
use crate::node::peer::Peer;

/// Prekeys take one round trip to the server. One that does not answer has none.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// An envelope has to travel, and to get onto a disk that others write to as well.
const DEPOSIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Contacts for whom keys are fetched at a time, and for whom something is deposited: a rendezvous refuses more than 64 deposits of one
/// client that are not on disk yet.
const AT_A_TIME: usize = 32;

#[derive(Debug)]
struct Waiting {
    token: u64,
    frames: Vec<PeerFrame>,
}

/// To which key the next envelope is sealed.
#[derive(Debug, Clone, Copy)]
enum Key {
    Unasked,
    Asked {
        request: u32,
        until: Instant,
    },
    /// This one, or the identity key.
    Chosen(Option<Prekey>),
}

/// A deposit that is not answered yet.
#[derive(Debug)]
struct UnderWay {
    request: u32,
    until: Instant,
    token: u64,
    digest: EnvelopeDigest,
}

/// What is to be kept for one contact. The key of the next envelope is fetched while the one before is under way.
#[derive(Debug)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    key: Key,
    under_way: Option<UnderWay>,
    /// One-time prekeys that were used: a server that hands one out twice does not get it used twice.
    used: VecDeque<PrekeyId>,
}

impl Outgoing {
    fn new() -> Self {
        Outgoing { waiting: VecDeque::new(), key: Key::Unasked, under_way: None, used: VecDeque::new() }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() + usize::from(self.under_way.is_some()) < MAX_DEPOSITS
    }

    pub(super) fn wakeup(&self) -> Option<Instant> {
        let asked = match self.key {
            Key::Asked { until, .. } => Some(until),
            Key::Unasked | Key::Chosen(_) => None,
        };
        asked.into_iter().chain(self.under_way.as_ref().map(|deposit| deposit.until)).min()
    }

    /// Is there something to fetch a key for?
    fn may_fetch(&self) -> bool {
        !self.waiting.is_empty() && matches!(self.key, Key::Unasked)
    }

    fn fetch(&mut self, peer: &Peer, now: Instant, home: &mut Home) {
        let (request, capability) = (home.number_request(), peer.pairing().capability(home.rendezvous));
        self.key = Key::Asked { request, until: now + FETCH_TIMEOUT };
        home.ask(ToServer::FetchPrekeys(FetchPrekeys { request, peer: peer.pairing().peer(), capability }));
    }

    /// Has the next one its key, and is it its turn?
    fn may_deposit(&self) -> bool {
        !self.waiting.is_empty() && matches!(self.key, Key::Chosen(_)) && self.under_way.is_none()
    }

    fn deposit(&mut self, to: &Peer, now: Instant, home: &mut Home) {
        let (Key::Chosen(key), Some(next)) = (self.key, self.waiting.pop_front()) else { return };
        self.key = Key::Unasked;
        let (peer, token) = (to.pairing().peer(), next.token);
        let envelope = home.envelope(peer, key.as_ref(), MAIL, &next.frames);
        if envelope.is_empty() {
            tracing::error!("something is to be deposited that does not fit into an envelope");
            return home.tell(NodeEvent::Deposited { peer, token, outcome: Deposited::Refused });
        }
        self.note_used(key);
        let (request, capability) = (home.number_request(), to.pairing().capability(home.rendezvous));
        let digest = seal::digest(&envelope);
        self.under_way = Some(UnderWay { request, until: now + DEPOSIT_TIMEOUT, token, digest });
        home.ask(ToServer::Deposit(Deposit { request, peer, capability, envelope }));
    }

    fn note_used(&mut self, key: Option<Prekey>) {
        let Some(key) = key.filter(|key| key.one_time) else { return };
        if self.used.len() == ONE_TIMES {
            self.used.pop_front();
        }
        self.used.push_back(key.id);
    }

    /// The best key that there is, whatever the server says.
    fn choose(&mut self, bundle: Option<&Bundle>, peer: &mut Peer, now: Instant, home: &Home) {
        if let Some(bundle) = bundle {
            peer.learn_prekey(bundle.signed);
        }
        let once = bundle.and_then(|bundle| {
            let one_time = bundle.one_time.filter(|key| !self.used.contains(&key.id));
            let best = Bundle { one_time, ..*bundle }.best(peer.pairing().peer(), home.clock.now_s(now));
            best.filter(|key| key.one_time)
        });
        self.key = Key::Chosen(once.or_else(|| peer.fresh_prekey(now, home)));
    }

    /// Nothing of it will be answered.
    pub(super) fn lose(&mut self, peer: PeerId, home: &mut Home) {
        self.key = Key::Unasked;
        let under_way = self.under_way.take().map(|deposit| deposit.token);
        for token in under_way.into_iter().chain(self.waiting.drain(..).map(|next| next.token)) {
            home.tell(NodeEvent::Deposited { peer, token, outcome: Deposited::Lost });
        }
    }
}

impl Machine {
    pub(in crate::node) fn deposit(&mut self, peer: PeerId, token: u64, frames: Vec<PeerFrame>, now: Instant) {
        let can = self.mail.open && self.home.connected && self.peers.contains_key(&peer);
        let room = self.mail.outgoing.get(&peer).is_none_or(Outgoing::has_room);
        if !can || !room {
            return self.home.tell(NodeEvent::Deposited { peer, token, outcome: Deposited::Lost });
        }
        let outgoing = self.mail.outgoing.entry(peer).or_insert_with(Outgoing::new);
        outgoing.waiting.push_back(Waiting { token, frames });
        self.serve(now);
    }

    /// Does all that can be done now: one thing for each contact in turn, again and again.
    pub(super) fn serve(&mut self, now: Instant) {
        let outgoing = self.mail.outgoing.values();
        let mut depositing = outgoing.clone().filter(|outgoing| outgoing.under_way.is_some()).count();
        let mut fetching = outgoing.filter(|outgoing| !matches!(outgoing.key, Key::Unasked)).count();
        let after = self.mail.served.map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.mail.outgoing.range((after, Bound::Unbounded)).map(|(id, _)| *id);
        let all: Vec<_> = first.chain(self.mail.outgoing.keys().copied()).take(self.mail.outgoing.len()).collect();
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            for id in &all {
                let (Some(peer), Some(outgoing)) = (self.peers.get(id), self.mail.outgoing.get_mut(id)) else {
                    continue;
                };
                let deposits = outgoing.may_deposit() && depositing < AT_A_TIME;
                let fetches = outgoing.may_fetch() && fetching < AT_A_TIME;
                if !deposits && !fetches {
                    continue;
                }
                if !self.mail.paid.take(FRAMES, now) {
                    self.mail.resumes = Some(now + FRAMES.interval);
                    return;
                }
                if deposits {
                    outgoing.deposit(peer, now, &mut self.home);
                    (depositing, fetching) = (depositing + usize::from(outgoing.under_way.is_some()), fetching - 1);
                } else {
                    outgoing.fetch(peer, now, &mut self.home);
                    fetching += 1;
                }
                (self.mail.served, goes_on) = (Some(*id), true);
            }
        }
    }

    /// The contact for whom prekeys were asked for by this request.
    fn fetching(&self, request: u32) -> Option<PeerId> {
        let asked = |outgoing: &Outgoing| matches!(outgoing.key, Key::Asked { request: own, .. } if own == request);
        self.mail.outgoing.iter().find(|(_, outgoing)| asked(outgoing)).map(|(peer, _)| *peer)
    }

    pub(in crate::node) fn fetched(&mut self, request: u32, bundle: Option<&Bundle>, now: Instant) {
        if let Some(peer) = self.fetching(request) {
            self.choose_key(peer, bundle, now);
            self.serve(now);
        }
    }

    fn choose_key(&mut self, id: PeerId, bundle: Option<&Bundle>, now: Instant) {
        if let (Some(outgoing), Some(peer)) = (self.mail.outgoing.get_mut(&id), self.peers.get_mut(&id)) {
            outgoing.choose(bundle, peer, now, &self.home);
        }
    }

    pub(in crate::node) fn deposited(&mut self, request: u32, outcome: DepositOutcome, now: Instant) {
        let asked = |outgoing: &Outgoing| outgoing.under_way.as_ref().is_some_and(|deposit| deposit.request == request);
        let found = self.mail.outgoing.iter_mut().find(|(_, outgoing)| asked(outgoing));
        let Some((peer, deposit)) = found.and_then(|(id, outgoing)| Some((*id, outgoing.under_way.take()?))) else {
            return tracing::debug!("the rendezvous speaks of a deposit that is not under way");
        };
        let (own, server) = (self.home.own_id, self.home.rendezvous);
        let outcome = match outcome {
            DepositOutcome::Stored(receipt)
                if receipt.digest == deposit.digest && receipt.verify(server, own, peer).is_ok() =>
            {
                Deposited::Stored(receipt)
            }
            DepositOutcome::Stored(_) => {
                tracing::warn!("the rendezvous says that it keeps mail, and has not signed for it");
                Deposited::Lost
            }
            DepositOutcome::Refused => Deposited::Refused,
            DepositOutcome::Full => Deposited::Full,
        };
        self.home.tell(NodeEvent::Deposited { peer, token: deposit.token, outcome });
        self.serve(now);
    }

    /// A server that refuses in the words of an introduction means the same.
    pub(in crate::node) fn mail_refused(&mut self, request: u32, now: Instant) {
        match self.fetching(request) {
            Some(_) => self.fetched(request, None, now),
            None => self.deposited(request, DepositOutcome::Refused, now),
        }
    }

    /// What was not answered in time is done without, or is lost.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let due = self.mail.outgoing.iter().filter(|(_, outgoing)| outgoing.wakeup().is_some_and(|at| at <= now));
        let due: Vec<_> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            let Some(outgoing) = self.mail.outgoing.get_mut(&peer) else { continue };
            if let Some(deposit) = outgoing.under_way.take_if(|deposit| deposit.until <= now) {
                self.home.tell(NodeEvent::Deposited { peer, token: deposit.token, outcome: Deposited::Lost });
            }
            if matches!(outgoing.key, Key::Asked { until, .. } if until <= now) {
                self.choose_key(peer, None, now);
            }
        }
    }
}
