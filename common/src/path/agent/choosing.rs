//! Which of the pairs that answer is the path: the first one, the one that needs no router, the faster version of IP, or the one on which the
//! side that leads has settled.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::debug;

use super::super::attempt::Found;
use super::super::checklist::Answer;
use super::super::report::Strategy;
use super::super::surface::{Base, Event};
use super::super::validated::{COMPARISON, Path};
use super::{Agent, LINGER, MIN_ANSWER_TIMEOUT, SETTLE, State};
use crate::candidate::CandidateKind;

impl Agent {
    /// An authentic answer: this pair connects.
    pub(super) fn validated(&mut self, answer: Answer, mapped: SocketAddr, now: Instant) {
        let found = Path { base: answer.base, remote: answer.candidate, rtt: answer.rtt, mapped };
        let (base, remote) = (found.base, found.remote.address);
        let nominated = self.nominated.take_if(|pair| *pair == (base, remote)).is_some();
        match self.state {
            State::Punching { .. } => {
                let hairpin = self.own_reflexive == Some(remote.ip());
                if hairpin && found.remote.kind != CandidateKind::Host && !nominated {
                    self.enter(State::Settling { best: found, until: now + SETTLE });
                } else {
                    self.punched_and_chosen(found, nominated, now);
                }
            }
            State::Settling { best, .. } if nominated || self.own_reflexive != Some(remote.ip()) => {
                debug!(over = ?best.rtt, "a path that stays behind the router, or that the peer has chosen");
                self.punched_and_chosen(found, nominated, now);
            }
            State::Open { .. } | State::Asked { .. } | State::Recheck { .. } if nominated => {
                self.moved(found, now);
                self.comparing = None;
                self.settle_on_path();
            }
            State::Open { path, .. } | State::Asked { path, .. } if self.leads && self.scope().covers(base, remote) => {
                let faster = found.is_clearly_faster(&path);
                debug!(faster, rtt = ?found.rtt, other = ?path.rtt, "the other version of IP works, too");
                if faster {
                    self.moved(found, now);
                }
                // The peer may have found the other one first.
                (self.comparing, self.choosing) = (None, true);
                self.ask(if faster { found } else { path }, false, now);
            }
            // An answer to what was sent before we chose: the peer may not know yet.
            State::Asked { path, .. } | State::Recheck { path, .. }
                if path.is(base, remote) && self.nominates() && !answer.to_nomination => {}
            State::Asked { path, routine, .. } if path.is(base, remote) => {
                if routine {
                    self.keepalive.held();
                }
                self.rest(found, now);
            }
            State::Recheck { path, since, routine } if path.is(base, remote) => {
                // One lost packet is answered by the next one. A mapping that had expired shows in our new address, or
                // in that the answer had to wait for the peer's own probes.
                let expired = path.mapped != mapped || now >= since + Duration::from_secs(1);
                if routine && expired {
                    self.keepalive.expired();
                }
                self.rest(found, now);
            }
            // The old address had its chance.
            State::Recheck { since, .. } if now >= since + MIN_ANSWER_TIMEOUT => self.moved(found, now),
            _ => {}
        }
    }

    fn punched_and_chosen(&mut self, path: Path, chosen: bool, now: Instant) {
        self.punched(path, now);
        if chosen {
            self.settle_on_path();
        }
    }

    fn moved(&mut self, path: Path, now: Instant) {
        self.events.push_back(Event::Moved { base: path.base, remote: path.remote, rtt: path.rtt });
        self.rest(path, now);
    }

    /// The first path. Where ports were guessed there may be more of them, and the peer may have found another: the
    /// one who leads says which it is, and the other keeps open what may be chosen.
    pub(super) fn punched(&mut self, path: Path, now: Instant) {
        let after = now.saturating_duration_since(self.born);
        self.events.push_back(Event::Punched { base: path.base, remote: path.remote, rtt: path.rtt, after });
        let (kind, address) = (path.remote.kind, path.remote.address);
        // Where the peer was offered it is found by plain probing, and where it was only heard, until the first guesses are out.
        let guessed = path.base != Base::MAIN || kind == CandidateKind::PeerReflexive;
        let shot = self.rounds.as_ref().and_then(|rounds| rounds.times.last_shot()).filter(|_| guessed);
        let strategy = shot.unwrap_or(Strategy::Plain);
        self.found = Some(Found { kind, address, strategy, rtt: path.rtt, after });
        self.rest(path, now);
        self.comparing = Some(now + COMPARISON);
        if !self.guessed() {
            self.close_sockets(|_, _| false);
        } else if self.leads {
            self.settle_on_path();
            self.ask(path, false, now);
        } else {
            self.close_sockets(|base, touched| touched || base == path.base);
            self.linger = Some(now + LINGER);
        }
    }

    /// Were ports guessed?
    pub(super) fn guessed(&self) -> bool {
        self.rounds.as_ref().is_some_and(|rounds| rounds.happened())
    }

    /// Do our questions tell the peer which path it is?
    pub(super) fn nominates(&self) -> bool {
        self.leads && (self.choosing || self.guessed())
    }

    /// A choice that was not answered is repeated with every probe of its path.
    pub(super) fn choice(&self) -> Option<(Base, SocketAddr)> {
        match self.state {
            State::Recheck { path, .. } if self.nominates() => Some((path.base, path.remote.address)),
            _ => None,
        }
    }
}
