//! Which strategy fits what both sides have seen, and what it does next.

use std::time::{Duration, Instant};

use super::foretell::Look;
use super::report::{Ending, Strategy};
use super::rounds::{AFTERMATH, Act, Rounds, SILENCE, is_block};
use super::shots::{Shot, repeat};
use super::surface::{Base, Request};
use super::sweep::{self, Rows, Sweep, Targets};
use super::{fresh, scatter, sequential};
use crate::prediction::Foretold;

/// Laying rows and saying where they lie, or hearing of it and sweeping: three round trips to a far server.
const ROWS_TIMEOUT: Duration = Duration::from_millis(1500);

impl Rounds {
    /// Both words are there, or the peer's will not come: it stands where the server sees it.
    pub(super) fn act_on(&mut self, own: Look, peer: Option<Foretold>, now: Instant) -> (Act, Instant) {
        let standing = self.config.peer.port();
        let shooting = (Act::Shooting, now + AFTERMATH);
        match (own, peer) {
            // Plain probing does what can be done.
            (Look::Stands { .. }, None) => (Act::Shooting, now + SILENCE),
            (Look::Stands { .. }, Some(Foretold::Stands { port })) => {
                self.doubtful = true;
                if let Some(base) = self.fresh.last() {
                    self.shots.add(Strategy::FreshSocket, fresh::plan(*base, port), now);
                }
                shooting
            }
            (Look::Stands { .. }, Some(Foretold::Exact { port })) => {
                self.shots.add(Strategy::Sequential, repeat(Shot { base: Base::MAIN, port }), now);
                shooting
            }
            (Look::Stands { .. }, Some(Foretold::Next { last, step })) => {
                self.shots.add(Strategy::Sequential, sequential::plan(last, step), now);
                shooting
            }
            (Look::Next { .. } | Look::Exact, None | Some(Foretold::Stands { .. })) => self.aim(standing, now),
            (Look::Exact, Some(Foretold::Exact { port })) => self.aim(port, now),
            (Look::Next { step, .. }, Some(Foretold::Next { last, step: theirs })) if self.leads => {
                self.lay(Targets::ahead(last, theirs), step, now)
            }
            (Look::Next { step, stride, .. }, Some(Foretold::Next { .. })) => {
                (Act::Awaiting { step, stride }, now + ROWS_TIMEOUT)
            }
            (Look::Stands { .. }, Some(Foretold::Among { low, high })) if is_block(low, high) => {
                let plan = scatter::plan(low, high, &mut self.random);
                self.shots.add(Strategy::Block, plan, now);
                (Act::Shooting, now + scatter::BLOCK.over)
            }
            (Look::Stands { .. }, Some(Foretold::Among { low, high })) => self.want_birthday(Some((low, high)), now),
            (Look::Among { low, high }, None | Some(Foretold::Stands { .. })) if is_block(low, high) => {
                self.volleys(scatter::BLOCK, now)
            }
            (Look::Among { .. }, None | Some(Foretold::Stands { .. })) => self.want_birthday(None, now),
            _ => {
                self.report.ending = Ending::BothUnforeseeable;
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
                let marks = self.observation.answers().map(|(_, mapped)| mapped.map_or(0, port)).collect();
                self.observation.clear();
                self.trickle(Foretold::Laid { first: targets.first, gap: targets.gap, step, marks });
                (Act::Shooting, now + ROWS_TIMEOUT)
            }
            Act::Sweeping(mut sweep) if self.observation.is_settled(now) => {
                let counter = self.observation.answers().last().and_then(|(_, mapped)| mapped);
                self.observation.clear();
                let Some(plan) = counter.and_then(|counter| sweep.burst(counter.port())) else {
                    return (Act::Shooting, now + AFTERMATH);
                };
                let next = plan.last().map_or(now, |(after, _)| now + *after + Duration::from_micros(250));
                self.shots.add(Strategy::Sweep, plan, now);
                self.ask_for_counter(next);
                (Act::Sweeping(sweep), until)
            }
            Act::Volleys { second: Some(at), size } if now >= at => {
                self.sockets.retain(&mut self.requests, |_, touched| touched);
                self.fresh.clear();
                self.volley(size, now);
                (Act::Volleys { second: None, size }, until)
            }
            act => (act, until),
        }
    }

    /// From the socket that has sent nothing yet, to that port.
    fn aim(&mut self, port: u16, now: Instant) -> (Act, Instant) {
        if let Some(base) = self.virgin {
            self.shots.add(Strategy::Sequential, repeat(Shot { base, port }), now);
        }
        (Act::Shooting, now + AFTERMATH)
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
        (Act::Laying { targets, step }, now + ROWS_TIMEOUT)
    }

    pub(super) fn begin_sweep(&mut self, rows: Rows, step: i16, stride: f32, now: Instant) -> (Act, Instant) {
        let bases: Vec<Base> = (0..sweep::SWEEPERS).filter_map(|_| self.open(Strategy::Sweep)).collect();
        let Ok(bases) = bases.try_into() else { return (Act::Shooting, now) };
        self.ask_for_counter(now);
        (Act::Sweeping(Box::new(Sweep::new(rows, step, stride, bases))), now + ROWS_TIMEOUT)
    }

    /// From one more socket: who has asked before has its mapping already.
    fn ask_for_counter(&mut self, at: Instant) {
        self.observation.clear();
        if let Some(base) = self.open(Strategy::Sweep) {
            self.observation.ask(base, self.config.server, at);
        }
    }

    fn volleys(&mut self, size: scatter::Size, now: Instant) -> (Act, Instant) {
        let [first, second] = size.volleys;
        self.volley(size, now + first);
        (Act::Volleys { second: Some(now + second), size }, now + size.over)
    }

    fn volley(&mut self, size: scatter::Size, at: Instant) {
        let strategy = if size == scatter::BLOCK { Strategy::Block } else { Strategy::Birthday };
        while self.fresh.len() < usize::from(size.sockets) {
            let Some(base) = self.open(strategy) else { break };
            self.fresh.push(base);
        }
        let plan = scatter::volley(&self.fresh, self.config.peer.port());
        self.shots.add(strategy, plan, at);
    }

    fn want_birthday(&mut self, range: Option<(u16, u16)>, now: Instant) -> (Act, Instant) {
        if !self.config.birthday {
            self.report.ending = Ending::BirthdayOff;
            return (Act::Shooting, now + AFTERMATH);
        }
        self.birthday = true;
        self.requests.push_back(Request::BirthdayWanted);
        (Act::Wanting { range }, now + scatter::LONGEST_RUN)
    }

    /// Our turn. The side with the sockets keeps them to the end: the other's turn may come later.
    pub(super) fn begin_birthday(&mut self, range: Option<(u16, u16)>, now: Instant) -> (Act, Instant) {
        match range {
            Some((low, high)) => {
                let plan = scatter::plan(low, high, &mut self.random);
                self.shots.add(Strategy::Birthday, plan, now);
                (Act::Shooting, now + scatter::BIRTHDAY.over)
            }
            None => {
                let (act, _) = self.volleys(scatter::BIRTHDAY, now);
                (act, now + scatter::LONGEST_RUN)
            }
        }
    }
}
