//! Contacts on our LAN, who are found and met without a server: what is heard there, and what is said.
//!
//! We announce ourselves (`own.rs`) so that only contacts recognise us. Whoever recognises somebody answers once, to him alone,
//! so that each knows of the other whoever came first. If we *want* a contact whom we know to be here, and there is no direct path
//! nor one on its way, we call: our host candidates, sealed. The answer brings those of the other, and from there on it is an
//! introduction like one by the rendezvous.
//!
//! A stranger gets nothing: what he sends leads to a bounded number of derivations a second (`meter.rs`) and to no packet. Who repeats what
//! a contact has said gets at most a few answers that only the contact can read, and no introduction: each comes about once.
//!
//! # Limits
//!
//! IPv4 finds; IPv6 is among the candidates. Announcements have no time in them: somebody on the LAN who repeats the last one of a
//! contact who has gone makes us call in vain, now and then, until we forget it. That a client is here, though not whose, anybody on
//! the LAN can see.

mod meter;
mod own;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::candidate::{canonical, may_probe, unpack};
use common::identity::PeerId;
use common::introduction::IntroductionId;
use common::lan::{Announcement, Call, LanMessage, LanNonce, context};
use common::pairing::Pairing;
use common::session::Route;

use super::home::Home;
use super::machine::Machine;
use super::output::Output;
use super::peer::Peer;
use meter::Meter;
pub use own::Audience;
use own::Own;

/// A contact of whom nothing was heard for so long has probably left: two announcements lost, and the longest pause.
const FORGOTTEN: Duration = Duration::from_secs(150);
/// A contact is answered this often, while it says the same.
const BETWEEN_ANSWERS: Duration = Duration::from_secs(3);
/// And this often whatever it says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
/// When a call is sent, in milliseconds after the first time; after the last one it is given up.
const CALL: [u64; 6] = [0, 150, 400, 900, 1_900, 3_000];
/// Pauses between two calls of one contact, in milliseconds; the last one repeats.
const PAUSES: [u64; 5] = [1_000, 2_000, 5_000, 15_000, 60_000];
/// If we cannot seal anything.
const LONG_PAUSE: Duration = Duration::from_secs(30);
/// How often a repeated call is answered again.
const ANSWERS: usize = 8;
const BETWEEN_REPEATED_ANSWERS: Duration = Duration::from_millis(50);
/// Introductions whose repeated calls are answered.
const REMEMBERED: usize = 64;
/// Nonces of one contact that are not believed again.
const PAST: usize = 8;

/// A contact who is here.
#[derive(Debug)]
struct Neighbour {
    nonce: LanNonce,
    past: VecDeque<LanNonce>,
    /// Where it hears calls.
    address: SocketAddr,
    heard: Instant,
    answered: Option<Instant>,
    next_call: Instant,
    failures: usize,
    /// The last call was not answered.
    silent: bool,
    /// It was started again or has moved: its socket is another one, so a path that stands is dead.
    elsewhere: bool,
}

impl Neighbour {
    fn is_wanted(&self, peer: &Peer) -> bool {
        peer.wants_neighbour(self.elsewhere)
    }
}

/// A call that is not answered yet.
#[derive(Debug)]
struct Calling {
    introduction: IntroductionId,
    address: SocketAddr,
    payload: Vec<u8>,
    begun: Instant,
    sent: usize,
    /// Although a path stands.
    anyway: bool,
}

impl Calling {
    fn next(&self) -> Instant {
        self.begun + Duration::from_millis(CALL[self.sent.min(CALL.len() - 1)])
    }
}

/// An introduction that has come about.
#[derive(Debug)]
struct Met {
    introduction: IntroductionId,
    address: SocketAddr,
    answers: usize,
    last: Instant,
}

/// Everything that is known of the LAN.
#[derive(Debug, Default)]
pub(super) struct Lan {
    /// `None`: there are no sockets for it, because it is switched off or because there is no LAN.
    own: Option<Own>,
    /// The contacts are others than those that are announced to.
    stale: bool,
    neighbours: BTreeMap<PeerId, Neighbour>,
    calls: BTreeMap<PeerId, Calling>,
    met: VecDeque<Met>,
    meter: Meter,
}

impl Lan {
    pub(super) fn contacts_changed(&mut self) {
        self.stale = self.own.is_some();
    }

    /// Takes note of an announcement or a call of this contact. `None`: one that was replaced before, and is repeated by somebody.
    fn hear(&mut self, peer: PeerId, nonce: LanNonce, address: SocketAddr, now: Instant) -> Option<&mut Neighbour> {
        let new = || Neighbour {
            nonce,
            past: VecDeque::new(),
            address,
            heard: now,
            answered: None,
            next_call: now,
            failures: 0,
            silent: false,
            elsewhere: false,
        };
        let neighbour = self.neighbours.entry(peer).or_insert_with(new);
        if neighbour.past.contains(&nonce) {
            return None;
        }
        if neighbour.nonce != nonce {
            neighbour.past.truncate(PAST - 1);
            neighbour.past.push_front(std::mem::replace(&mut neighbour.nonce, nonce));
            neighbour.elsewhere = std::mem::replace(&mut neighbour.address, address) != address;
            self.calls.remove(&peer);
            if std::mem::take(&mut neighbour.silent) {
                // It was started again, perhaps: what was called was not there any more.
                (neighbour.failures, neighbour.next_call) = (0, now);
            }
        } else if neighbour.silent {
            neighbour.address = address;
        }
        neighbour.heard = now;
        Some(neighbour)
    }
}

fn pairings(peers: &BTreeMap<PeerId, Peer>) -> impl Iterator<Item = &Pairing> {
    peers.values().map(Peer::pairing)
}

impl Machine {
    /// The sockets for the LAN are there; at this port of ours calls are heard.
    pub fn handle_lan_opened(&mut self, port: u16, now: Instant) {
        self.lan.own = Own::new(port, pairings(&self.peers), now, &mut self.home);
    }

    /// Takes a datagram that came on the LAN, to everybody or to us alone.
    pub fn handle_lan(&mut self, source: SocketAddr, to_all: bool, payload: &[u8], now: Instant) {
        let source = canonical(source);
        if self.lan.own.is_none() || !source.is_ipv4() || !may_probe(source, None) {
            return;
        }
        match LanMessage::decode(payload) {
            Ok(LanMessage::Announcement(announcement)) => self.announced(source, to_all, &announcement, now),
            Ok(LanMessage::Call(call)) if !to_all => self.called(source, &call, now),
            Ok(LanMessage::Call(_)) | Err(_) => tracing::trace!("a datagram on the LAN for nobody"),
        }
    }

    /// Somebody asks by mDNS which clients there are.
    pub fn handle_lan_question(&mut self, now: Instant) {
        self.lan.own.as_mut().into_iter().for_each(|own| own.asked(now));
    }

    /// Another network, perhaps: whom we knew there may not be here, and nobody need see that we were there.
    pub(super) fn lan_moved(&mut self, now: Instant) {
        self.lan.neighbours.clear();
        self.lan.calls.clear();
        self.lan_renew(now);
    }

    fn lan_renew(&mut self, now: Instant) {
        self.lan.stale = false;
        if let Some(own) = &mut self.lan.own {
            own.renew(pairings(&self.peers), now, &mut self.home);
        }
    }

    pub(super) fn lan_wakeup(&self) -> Option<Instant> {
        let own = self.lan.own.as_ref()?;
        let calls = self.lan.calls.values().map(Calling::next);
        let wanted = self.lan.neighbours.iter().filter(|(id, neighbour)| {
            let wanted = self.peers.get(id).is_some_and(|peer| neighbour.is_wanted(peer));
            wanted && !self.lan.calls.contains_key(id)
        });
        let next_calls = wanted.map(|(_, neighbour)| neighbour.next_call);
        calls.chain(next_calls).chain([own.wakeup()]).min()
    }

    pub(super) fn lan_timeout(&mut self, now: Instant) {
        let Some(own) = &self.lan.own else { return };
        if self.lan.stale || own.is_old(now) {
            self.lan_renew(now);
        }
        let peers = &self.peers;
        self.lan.neighbours.retain(|id, neighbour| peers.contains_key(id) && now < neighbour.heard + FORGOTTEN);
        let home = &mut self.home;
        self.lan.calls.retain(|id, calling| {
            let wanted = peers.get(id).is_some_and(|peer| peer.wants_neighbour(calling.anyway));
            if wanted && now >= calling.next() {
                calling.sent += 1;
                let (destination, payload) = (calling.address, calling.payload.clone());
                if calling.sent < CALL.len() {
                    home.output(Output::LanTransmit { destination, payload });
                }
            }
            wanted && calling.sent < CALL.len()
        });
        let here: Vec<_> = self.lan.neighbours.keys().copied().collect();
        here.into_iter().for_each(|id| self.call(id, now));
        if let Some(own) = &mut self.lan.own {
            own.advance(now, &mut self.home);
        }
    }

    fn announced(&mut self, source: SocketAddr, to_all: bool, announcement: &Announcement, now: Instant) {
        let Announcement { nonce, port, tags } = announcement;
        let (nonce, address) = (*nonce, SocketAddr::new(source.ip(), *port));
        // Our own, come back.
        let Some(own) = self.lan.own.as_ref().filter(|own| !own.answers_to(nonce, now)) else { return };
        if !self.lan.meter.take_new(announcement, source.ip(), now) {
            return;
        }
        let mut known = self.peers.iter_mut();
        let Some((id, peer)) = known.find(|(_, peer)| tags.contains(&peer.pairing().peer_lan_tag(nonce, *port))) else {
            return;
        };
        let (id, answer) = (*id, own.part_for(peer.pairing()).map(Announcement::encode));
        let before = self.lan.neighbours.get(&id).map(|neighbour| neighbour.nonce);
        let Some(neighbour) = self.lan.hear(id, nonce, address, now) else { return };
        let fresh = before != Some(nonce);
        if fresh {
            tracing::debug!(peer = %id.short(), "a contact on the LAN");
            // Another nonce: it may have been started again, and then a path that stands is dead.
            peer.verify(Route::Direct, now, &mut self.home);
        }
        let pause = if fresh { SHORTEST_PAUSE } else { BETWEEN_ANSWERS };
        if to_all && neighbour.answered.is_none_or(|at| now >= at + pause) {
            neighbour.answered = Some(now);
            if let Some(payload) = answer {
                self.home.output(Output::LanTransmit { destination: address, payload });
            }
        }
        self.call(id, now);
    }

    /// Calls a neighbour if we want it and it is time.
    fn call(&mut self, id: PeerId, now: Instant) {
        let (Some(own), Some(neighbour)) = (&mut self.lan.own, self.lan.neighbours.get_mut(&id)) else { return };
        let Some(peer) = self.peers.get(&id).filter(|peer| neighbour.is_wanted(peer)) else { return };
        if now < neighbour.next_call || self.lan.calls.contains_key(&id) {
            return;
        }
        let mut introduction = peer.pairing().lan_introduction(own.nonce, neighbour.nonce);
        if self.remembered.contains(&introduction) {
            own.renew(pairings(&self.peers), now, &mut self.home);
            introduction = peer.pairing().lan_introduction(own.nonce, neighbour.nonce);
        }
        let (nonces, address) = ((own.nonce, neighbour.nonce), neighbour.address);
        let Some(payload) = say(peer.pairing(), introduction, nonces, false, &mut self.home) else {
            neighbour.next_call = now + LONG_PAUSE;
            return;
        };
        neighbour.next_call = now + Duration::from_millis(PAUSES[neighbour.failures.min(PAUSES.len() - 1)]);
        neighbour.failures += 1;
        neighbour.silent = true;
        let anyway = std::mem::take(&mut neighbour.elsewhere);
        tracing::debug!(peer = %id.short(), "calls a contact on the LAN");
        self.home.output(Output::LanTransmit { destination: address, payload: payload.clone() });
        self.lan.calls.insert(id, Calling { introduction, address, payload, begun: now, sent: 1, anyway });
    }

    fn called(&mut self, source: SocketAddr, call: &Call, now: Instant) {
        // Without this look whoever repeats an old call would cost us a derivation for each contact.
        let ours = self.lan.own.as_ref().is_some_and(|own| own.answers_to(call.to, now));
        if !ours || !self.lan.meter.take(source.ip(), now) {
            return;
        }
        let is_from = |peer: &Peer| peer.pairing().peer_call_tag(call.from, call.to, call.answers) == call.tag;
        let Some((id, peer)) = self.peers.iter_mut().find(|(_, peer)| is_from(peer)) else { return };
        let (id, nonces) = (*id, (call.to, call.from));
        let introduction = peer.pairing().lan_introduction(call.to, call.from);
        if let Some(met) = self.lan.met.iter_mut().find(|met| met.introduction == introduction) {
            let again = !call.answers && met.answers < ANSWERS && now >= met.last + BETWEEN_REPEATED_ANSWERS;
            if again && let Some(payload) = say(peer.pairing(), introduction, nonces, true, &mut self.home) {
                (met.answers, met.last) = (met.answers + 1, now);
                self.home.output(Output::LanTransmit { destination: met.address, payload });
            }
            return;
        }
        // Two who call each other just when one takes another nonce mean two introductions: both keep the lower one.
        let calling = self.lan.calls.get(&id).map(|calling| calling.introduction);
        let other = calling.or_else(|| peer.meets_neighbour(now));
        if other.is_some_and(|other| other < introduction) || peer.punches_for_rendezvous() {
            return;
        }
        let opened = peer.pairing().open(&context(introduction), &call.sealed).ok();
        let Some(contents) = opened.and_then(|plain| unpack(&plain).ok()) else { return };
        if self.remembered.contains(&introduction) {
            return;
        }
        let Some(neighbour) = self.lan.hear(id, call.from, source, now) else { return };
        (neighbour.silent, neighbour.elsewhere) = (false, false);
        self.lan.calls.remove(&id);
        self.lan.met.truncate(REMEMBERED - 1);
        self.lan.met.push_front(Met { introduction, address: source, answers: 0, last: now });
        // Our box before our probes: it tells the other to expect them.
        if !call.answers
            && let Some(payload) = say(peer.pairing(), introduction, nonces, true, &mut self.home)
        {
            self.home.output(Output::LanTransmit { destination: source, payload });
        }
        let requested = calling == Some(introduction);
        peer.met_neighbour(introduction, contents, requested, now, &mut self.home);
        self.remember(introduction);
    }
}

/// A call or an answer. `None`: nothing can be sealed.
fn say(
    pairing: &Pairing,
    introduction: IntroductionId,
    (own, theirs): (LanNonce, LanNonce),
    answers: bool,
    home: &mut Home,
) -> Option<Vec<u8>> {
    // There is no relay here that a connection could go through.
    let sealed = home.sealed_candidates(pairing, &context(introduction), false);
    let tag = pairing.own_call_tag(own, theirs, answers);
    (!sealed.is_empty()).then(|| Call { answers, from: own, to: theirs, tag, sealed }.encode())
}
