//! Which strategy fits what both sides have seen, and what it does next.

use std::time::{Duration, Instant};

use super::foretell::Look;
use super::report::{Ending, Strategy};
use super::rounds::{Act, Birthday, HOPELESS, Rounds, SILENCE, is_block};
use super::shots::{Shot, repeat};
use super::surface::{Base, Request};
use super::sweep::{self, Rows, Sweep, Targets};
use super::{fresh, scatter, sequential};
use crate::prediction::Foretold;

/// What a round has after its last packet until the next one looks again, besides three times what a word travels: no two
/// are further from each other than by way of the server, and a check takes three ways.
const AFTERMATH: Duration = Duration::from_millis(400);
/// Laying rows and saying where they lie, or hearing of it and sweeping, besides six times the same: a look, a word, and
/// four more looks.
const ROWS: Duration = Duration::from_secs(1);

impl Rounds {
    /// Both words are there, or the peer's will not come: it stands where the server sees it.
    pub(super) fn act_on(&mut self, own: Look, peer: Option<Foretold>, now: Instant) -> (Act, Instant) {
        // Who has not looked stands where the server sees its main socket.
        let standing = self.standing();
        let base = self.fresh.last().copied().unwrap_or(Base::MAIN);
        let shooting = (Act::Shooting, now + self.aftermath());
        match (own, peer) {
            // Plain probing does what can be done.
            (Look::Stands { .. }, None) => (Act::Shooting, now + SILENCE),
            (Look::Stands { .. }, Some(Foretold::Stands { port })) => {
                self.doubtful = true;
                self.shots.add(Strategy::FreshSocket, fresh::plan(base, port), now);
                shooting
            }
            (Look::Stands { .. }, Some(Foretold::Exact { port })) => {
                self.shots.add(Strategy::Sequential, repeat(Shot { base, port }), now);
                shooting
            }
            (Look::Stands { .. }, Some(Foretold::Next { last, step })) => {
                self.shots.add(Strategy::Sequential, sequential::plan(base, last, step), now);
                shooting
            }
            (Look::Next { .. } | Look::Exact, None | Some(Foretold::Stands { .. })) => self.aim(standing, now),
            (Look::Exact, Some(Foretold::Exact { port })) => self.aim(port, now),
            (Look::Next { step, .. }, Some(Foretold::Next { last, step: theirs })) if self.leads => {
                self.lay(Targets::ahead(last, theirs), step, now)
            }
            (Look::Next { step, stride, .. }, Some(Foretold::Next { .. })) => {
                (Act::Awaiting { step, stride }, now + ROWS + self.travel() * 6)
            }
            (Look::Stands { .. }, Some(Foretold::Among { low, high })) if is_block(low, high) => {
                self.guess(scatter::BLOCK, (low, high), now)
            }
            (Look::Stands { .. }, Some(Foretold::Among { low, high })) => self.want_birthday(Some((low, high)), now),
            (Look::Among { low, high }, None | Some(Foretold::Stands { .. })) if is_block(low, high) => {
                self.volley(scatter::BLOCK, standing, now)
            }
            (Look::Among { .. }, None | Some(Foretold::Stands { .. })) => self.want_birthday(None, now),
            _ => {
                // Once may be a misread NAT.
                self.hopeless += 1;
                if self.hopeless >= HOPELESS {
                    self.report.ending = Ending::BothUnforeseeable;
                }
                shooting
            }
        }
    }

    /// What was begun goes on.
    pub(super) fn continue_act(&mut self, act: Act, until: Instant, now: Instant) -> (Act, Instant) {
        match act {
            Act::Laying { targets, step } if self.observation.is_settled(now) => {
                let ip = self.config.observed.ip();
                let port = |mapped: std::net::SocketAddr| if mapped.ip() == ip { mapped.port() } else { 0 };
                let marks = self.observation.answers().map(|seen| seen.mapped.map_or(0, port)).collect();
                self.observation.clear();
                self.trickle(Foretold::Laid { first: targets.first, gap: targets.gap, step, marks });
                (Act::Shooting, now + ROWS + self.travel() * 6)
            }
            Act::Sweeping(mut sweep) if self.observation.is_settled(now) => {
                let counter = self.observation.answers().last().and_then(|seen| seen.mapped);
                self.observation.clear();
                let Some(plan) = counter.and_then(|counter| sweep.burst(counter.port())) else {
                    return (Act::Shooting, now + self.aftermath());
                };
                let next = plan.last().map_or(now, |(after, _)| now + *after + Duration::from_micros(250));
                self.shots.add(Strategy::Sweep, plan, now);
                self.ask_for_counter(next);
                (Act::Sweeping(sweep), until)
            }
            act => (act, until),
        }
    }

    fn aftermath(&self) -> Duration {
        AFTERMATH + self.travel() * 3
    }

    /// From the socket that has sent nothing yet, to that port.
    fn aim(&mut self, port: u16, now: Instant) -> (Act, Instant) {
        if let Some(base) = self.virgin {
            self.shots.add(Strategy::Sequential, repeat(Shot { base, port }), now);
        }
        (Act::Shooting, now + self.aftermath())
    }

    fn lay(&mut self, targets: Targets, step: i16, now: Instant) -> (Act, Instant) {
        let bases: Vec<Base> = (0..sweep::IN_ROW).filter_map(|_| self.open(Strategy::Sweep)).collect();
        if bases.is_empty() {
            return (Act::Shooting, now);
        }
        self.observation.clear();
        let places = [self.config.server, self.other_server()];
        for row in 0..=sweep::ROWS {
            let (base, place) = (usize::from(row) % bases.len(), usize::from(row) / bases.len());
            if let Some(place) = places.get(place) {
                self.observation.ask(bases[base], *place, now + sweep::ROW_PACE * u32::from(row));
            }
            if row < sweep::ROWS {
                self.shots.add(Strategy::Sweep, targets.lay(row, &bases), now);
            }
        }
        (Act::Laying { targets, step }, now + ROWS + self.travel() * 6)
    }

    pub(super) fn begin_sweep(&mut self, rows: Rows, step: i16, stride: f32, now: Instant) -> (Act, Instant) {
        let bases: Vec<Base> = (0..sweep::SWEEPERS).filter_map(|_| self.open(Strategy::Sweep)).collect();
        let Ok(bases) = bases.try_into() else { return (Act::Shooting, now) };
        self.ask_for_counter(now);
        (Act::Sweeping(Box::new(Sweep::new(rows, step, stride, bases))), now + ROWS + self.travel() * 6)
    }

    /// From one more socket: who has asked before has its mapping already.
    fn ask_for_counter(&mut self, at: Instant) {
        self.observation.clear();
        if let Some(base) = self.open(Strategy::Sweep) {
            self.observation.ask(base, self.config.server, at);
        }
    }

    /// Our many sockets send to the peer's one.
    fn volley(&mut self, size: scatter::Size, port: u16, now: Instant) -> (Act, Instant) {
        let strategy = strategy(size);
        while self.fresh.len() < usize::from(size.sockets) {
            let Some(base) = self.open(strategy) else { break };
            self.fresh.push(base);
        }
        let [first, later] = size.volleys;
        let at = now + if self.volleys == 0 { first } else { later };
        self.volleys += 1;
        self.volley_at = Some(at);
        self.shots.add(strategy, scatter::volley(&self.fresh, port), at);
        (Act::Shooting, now + size.over + self.aftermath())
    }

    /// The other side of it.
    fn guess(&mut self, size: scatter::Size, (low, high): (u16, u16), now: Instant) -> (Act, Instant) {
        let base = self.fresh.last().copied().unwrap_or(Base::MAIN);
        let plan = scatter::plan(base, low, high, &mut self.random);
        self.shots.add(strategy(size), plan, now);
        (Act::Shooting, now + size.over + self.aftermath())
    }

    /// With sockets, or with guesses in this range.
    pub(super) fn want_birthday(&mut self, range: Option<(u16, u16)>, now: Instant) -> (Act, Instant) {
        match self.birthday {
            _ if !self.config.birthday => {
                self.report.ending = Ending::BirthdayOff;
                (Act::Shooting, now + self.aftermath())
            }
            Birthday::Granted { .. } if !self.may_run(now) => (Act::Shooting, now + self.aftermath()),
            Birthday::Granted { since, runs } => {
                self.birthday = Birthday::Granted { since, runs: runs + 1 };
                match range {
                    Some(range) => self.guess(scatter::BIRTHDAY, range, now),
                    None => self.volley(scatter::BIRTHDAY, self.standing(), now),
                }
            }
            birthday => {
                if birthday == Birthday::Unasked {
                    self.birthday = Birthday::Asked;
                    self.report.ending = Ending::BirthdayNotGranted;
                    self.requests.push_back(Request::BirthdayWanted);
                }
                (Act::Wanting { range }, now + scatter::LONGEST_RUN)
            }
        }
    }
}

fn strategy(size: scatter::Size) -> Strategy {
    if size == scatter::BLOCK { Strategy::Block } else { Strategy::Birthday }
}
