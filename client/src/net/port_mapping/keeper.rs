//! What is decided about port mappings, without clock and socket: when routers are asked, which answer counts, when it is
//! renewed, and what is offered to others.
//!
//! The three protocols race with head starts. The first answer of use wins; what comes later is given back, unless it is
//! the same port, which most routers keep in one table whatever they were asked by.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::node::{MappingProtocol, NAT_BEYOND, PortMapping};

/// The lifetime that is asked for. Whoever is killed leaves an open port behind for this long at most; a renewal every half
/// hour is a few packets on the LAN. RFC 6886 recommends twice as much.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);
/// A router that gives less would have to be asked all the time.
const SHORTEST: Duration = Duration::from_secs(30);
/// How much sooner each protocol begins than the next one: a router on the LAN answers in a few milliseconds, and an
/// answer that comes first saves the others' packets.
const HEAD_START: Duration = Duration::from_millis(250);
/// A router that gave nothing is asked again after this; somebody may have switched it on in its settings.
const RETRY: Duration = Duration::from_secs(900);

/// A port that a router gave, and what it takes to renew it or give it back.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grant<H> {
    pub(super) protocol: MappingProtocol,
    pub(super) external: SocketAddrV4,
    pub(super) lifetime: Duration,
    pub(super) handle: H,
}

/// Tells the answers to one race, or one renewal, from those to earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round(u64);

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Action<H> {
    /// Ask the router; the rendezvous sees us at this address.
    Ask { round: Round, protocol: MappingProtocol, observed: Ipv4Addr },
    /// Ask for the same port again.
    Renew { round: Round, grant: Grant<H>, observed: Ipv4Addr },
    /// Give it back.
    Release(H),
    /// This is what there is now.
    Tell(Result<PortMapping, String>),
}

#[derive(Debug)]
enum Phase<H> {
    /// There is nothing to ask for.
    Idle,
    Racing {
        /// Protocols that have not been asked yet, and when the first of them is.
        waiting: Vec<MappingProtocol>,
        next: Instant,
        /// How many have not answered yet.
        out: usize,
        problems: Vec<String>,
    },
    Held {
        grant: Grant<H>,
        renew: Instant,
    },
    Renewing {
        grant: Grant<H>,
    },
    /// Nobody gave anything.
    Refused {
        retry: Instant,
    },
}

/// One client's port.
#[derive(Debug)]
pub(super) struct Keeper<H> {
    wanted: bool,
    round: Round,
    /// Where the rendezvous sees us, if that is behind a NAT.
    observed: Option<SocketAddrV4>,
    /// The network may be another one.
    doubted: bool,
    told: Option<Result<PortMapping, String>>,
    phase: Phase<H>,
    actions: Vec<Action<H>>,
}

impl<H: Clone> Keeper<H> {
    /// Asks nobody before the rendezvous has answered, and nobody at all if it is not wanted.
    pub(super) fn new(wanted: bool) -> Self {
        Keeper {
            wanted,
            round: Round(0),
            observed: None,
            doubted: false,
            told: None,
            phase: Phase::Idle,
            actions: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub(super) fn take_actions(&mut self) -> Vec<Action<H>> {
        std::mem::take(&mut self.actions)
    }

    /// When [`Keeper::handle_timeout`] has something to do.
    pub(super) fn poll_wakeup(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Racing { waiting, next, .. } if !waiting.is_empty() => Some(*next),
            Phase::Held { renew, .. } => Some(*renew),
            Phase::Refused { retry } => Some(*retry),
            Phase::Idle | Phase::Racing { .. } | Phase::Renewing { .. } => None,
        }
    }

    /// The rendezvous knows us, and sees us there (`None`: through a tunnel); `local` are our own addresses.
    pub(super) fn handle_registered(&mut self, observed: Option<SocketAddr>, local: &[SocketAddr], now: Instant) {
        let before = self.observed.take();
        let doubted = std::mem::take(&mut self.doubted);
        match self.behind_nat(observed, local) {
            Err(reason) => {
                self.let_go();
                self.tell(Err(reason.to_owned()));
            }
            Ok(observed) => {
                self.observed = Some(observed);
                let moved = before.is_none_or(|before| before.ip() != observed.ip());
                // A new port of ours may be a router that has restarted and forgotten us.
                let same = before == Some(observed) && !doubted;
                match &self.phase {
                    Phase::Held { .. } if !moved => {
                        if !same {
                            self.renew(now);
                        }
                    }
                    Phase::Racing { .. } | Phase::Renewing { .. } | Phase::Refused { .. } if !moved && !doubted => {}
                    _ => {
                        self.let_go();
                        if matches!(self.told, Some(Ok(_))) {
                            self.tell(Err("the network is another one; its router has not answered yet".to_owned()));
                        }
                        self.race(now);
                    }
                }
            }
        }
    }

    /// The network may be another one: with the next registration the router is asked again, whatever it looks like.
    pub(super) fn handle_network_change(&mut self) {
        self.doubted = true;
    }

    /// A router has answered [`Action::Ask`] or [`Action::Renew`], or has not.
    pub(super) fn handle_answer(&mut self, round: Round, answer: Result<Grant<H>, String>, now: Instant) {
        if round != self.round {
            self.actions.extend(answer.ok().map(|grant| Action::Release(grant.handle)));
            return;
        }
        let answer = answer.and_then(|grant| match self.of_use(&grant) {
            Ok(()) => Ok(grant),
            Err(why) => {
                self.actions.push(Action::Release(grant.handle));
                Err(why)
            }
        });
        match (&mut self.phase, answer) {
            (Phase::Racing { .. } | Phase::Renewing { .. }, Ok(grant)) => self.hold(grant, now),
            (Phase::Racing { waiting, next, out, problems }, Err(problem)) => {
                problems.push(problem);
                *out -= 1;
                // Whoever is next need not wait any longer.
                *next = now;
                if *out == 0 && waiting.is_empty() {
                    let reason = problems.join("; ");
                    self.phase = Phase::Refused { retry: now + RETRY };
                    self.tell(Err(reason));
                } else {
                    self.handle_timeout(now);
                }
            }
            // The router may have been changed, or may have given the port to somebody else meanwhile.
            (Phase::Renewing { .. }, Err(problem)) => {
                tracing::debug!(problem, "the port mapping is not renewed; asking anew");
                self.race(now);
            }
            (Phase::Held { grant: held, .. }, Ok(late)) if held.external != late.external => {
                self.actions.push(Action::Release(late.handle));
            }
            _ => {}
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Racing { waiting, next, out, .. } if *next <= now && !waiting.is_empty() => {
                let Some(observed) = self.observed else { return };
                let protocol = waiting.remove(0);
                *next = now + HEAD_START;
                *out += 1;
                self.actions.push(Action::Ask { round: self.round, protocol, observed: *observed.ip() });
            }
            Phase::Held { renew, .. } if *renew <= now => self.renew(now),
            Phase::Refused { retry } if *retry <= now => self.race(now),
            _ => {}
        }
    }

    /// Gives back what there is; answers that are still to come are given back as well.
    pub(super) fn stop(&mut self) {
        self.let_go();
        self.round.0 += 1;
        self.observed = None;
    }

    fn race(&mut self, now: Instant) {
        self.round.0 += 1;
        self.phase = Phase::Racing { waiting: MappingProtocol::ALL.to_vec(), next: now, out: 0, problems: Vec::new() };
        self.handle_timeout(now);
    }

    fn renew(&mut self, now: Instant) {
        let (Phase::Held { grant, .. }, Some(observed)) = (&self.phase, self.observed) else { return };
        let grant = grant.clone();
        self.round.0 += 1;
        self.actions.push(Action::Renew { round: self.round, grant: grant.clone(), observed: *observed.ip() });
        tracing::debug!(protocol = %grant.protocol, ?now, "renewing the port mapping");
        self.phase = Phase::Renewing { grant };
    }

    fn hold(&mut self, grant: Grant<H>, now: Instant) {
        self.tell(Ok(PortMapping { protocol: grant.protocol, external: grant.external.into() }));
        // A router that promises years is asked as often as one that gives what we wanted.
        let renew = now + grant.lifetime.min(LIFETIME) / 2;
        self.phase = Phase::Held { grant, renew };
    }

    fn let_go(&mut self) {
        if let Phase::Held { grant, .. } | Phase::Renewing { grant } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.actions.push(Action::Release(grant.handle));
        }
        self.round.0 += 1;
    }

    fn tell(&mut self, what: Result<PortMapping, String>) {
        if self.told.as_ref() != Some(&what) {
            self.told = Some(what.clone());
            self.actions.push(Action::Tell(what));
        }
    }

    /// Is there a NAT between us and the rendezvous that a router may open?
    fn behind_nat(&self, observed: Option<SocketAddr>, local: &[SocketAddr]) -> Result<SocketAddrV4, &'static str> {
        if !self.wanted {
            return Err("it is switched off");
        }
        match observed {
            None => Err("UDP is blocked here"),
            Some(SocketAddr::V6(_)) => Err("the rendezvous is reached over IPv6, where nothing is translated"),
            Some(SocketAddr::V4(v4)) if v4.ip().is_loopback() => Err("the rendezvous is on this machine"),
            Some(SocketAddr::V4(v4)) if local.iter().any(|own| own.ip() == *v4.ip()) => {
                Err("the rendezvous sees this machine's own address: nothing is translated")
            }
            Some(SocketAddr::V4(v4)) => Ok(v4),
        }
    }

    fn of_use(&self, grant: &Grant<H>) -> Result<(), String> {
        let Grant { protocol, external, lifetime, .. } = grant;
        let observed = self.observed.map(|observed| *observed.ip());
        if external.port() == 0 || *lifetime < SHORTEST {
            return Err(format!("{protocol}: an answer of no use (port {}, {lifetime:?})", external.port()));
        }
        leads_here(*external.ip(), observed).map_err(|why| format!("{protocol}: {why}"))
    }
}

/// Is the router's outer address where the rendezvous sees us? If not, somebody else's NAT is in front of it, and a port of
/// the router's leads nowhere; to have peers probe such an address would at best be useless.
pub(super) fn leads_here(external: Ipv4Addr, observed: Option<Ipv4Addr>) -> Result<(), String> {
    if Some(external) == observed {
        return Ok(());
    }
    Err(format!("the router's own address, {external}, is not where the rendezvous sees us: {NAT_BEYOND}"))
}

#[cfg(test)]
mod tests;
