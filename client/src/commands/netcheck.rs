//! `punchline netcheck`: what stands between this machine and the Internet, what that means, and what would help.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::discovery::{Circumstances, is_carriers};
use common::lifetime::Span;
use common::nat::NatProfile;
use common::reach::{AccessKind, reach};

use super::{Context, Online};
use crate::cli;
use crate::control::Command;
use crate::exit::{Exit, Failure};
use crate::node::{Around, Entrance, LifetimeReport, NAT_BEYOND, NodeCommand, NodeEvent, PortMapping};
use crate::online::{End, Moment, Out, Room, Signal, Task};
use crate::output::{Event, LifetimeLine, Netcheck as Page, ReachLine};

/// What people read while the NAT's memory is measured.
const MEASURING: &str = "measuring how long the router remembers (Ctrl-C: enough)";

pub(super) async fn execute(context: Context<'_>, arguments: cli::Netcheck) -> End {
    Online::load(&context.data)?.stay(context, Command::Netcheck(arguments)).await
}

/// All that is found out.
#[derive(Debug)]
struct Findings {
    entrance: Entrance,
    local: Vec<SocketAddr>,
    profile: NatProfile,
    mapping: Result<PortMapping, String>,
    relay_only: bool,
    around: Around,
    lifetime: Option<LifetimeLine>,
}

impl Findings {
    fn event(self) -> Event {
        let Findings { entrance, local, profile, mapping, relay_only, around, lifetime } = self;
        let beyond = mapping.as_ref().is_err_and(|reason| reason.contains(NAT_BEYOND));
        let circumstances = Circumstances {
            udp_blocked: entrance == Entrance::Tunnel,
            relay_only,
            profile,
            mapped: mapping.is_ok(),
            carrier: beyond || local.iter().any(|own| is_carriers(own.ip())),
            ipv6: around.ipv6.address.is_some(),
            vpn: around.vpn.is_some(),
        };
        let kind = circumstances.kind();
        let reaches = |own| AccessKind::ALL.map(|kind| ReachLine { kind, how: reach(own, kind) }).to_vec();
        let advice = circumstances.advice();
        let (port_mapping, no_port_mapping) = (mapping.as_ref().ok().copied(), mapping.err());
        Event::Netcheck(Box::new(Page {
            entrance,
            local,
            profile,
            port_mapping,
            no_port_mapping,
            around,
            lifetime,
            kind,
            reaches: kind.map(reaches).unwrap_or_default(),
            verdict: circumstances.verdict(),
            advice,
            help: advice.to_string(),
        }))
    }
}

/// What is known of the NAT's memory.
#[derive(Debug, Default)]
struct Lifetime {
    span: Span,
    trouble: Option<String>,
    done: bool,
}

impl Lifetime {
    fn note(&mut self, report: LifetimeReport, out: &mut Out) {
        match report {
            LifetimeReport::Progress { share, span } => {
                self.span = span;
                out.tell(Event::progress(MEASURING, share, None));
            }
            LifetimeReport::Done(span) => (self.span, self.done) = (span, true),
            LifetimeReport::Failed(trouble) => (self.trouble, self.done) = (Some(trouble), true),
        }
    }

    fn line(&self) -> LifetimeLine {
        let trouble = self.trouble.clone().or_else(|| (!self.done).then(|| "it was ended early".to_owned()));
        LifetimeLine::new(self.span, trouble)
    }
}

#[derive(Debug)]
pub(crate) struct Netcheck {
    timeout: Duration,
    lan: bool,
    relay_only: bool,
    /// Until all but the NAT's memory must be known.
    give_up_at: Option<Instant>,
    registered: Option<(Entrance, Vec<SocketAddr>)>,
    profile: Option<NatProfile>,
    /// Comes in any case, three seconds after the registration at the latest.
    mapping: Option<Result<PortMapping, String>>,
    around: Option<Around>,
    lifetime: Option<Lifetime>,
    measuring: bool,
    answered: bool,
    /// The last that was heard of the rendezvous.
    obstacle: Option<String>,
}

impl Netcheck {
    pub(crate) fn new(arguments: &cli::Netcheck, lan: bool, relay_only: bool) -> Self {
        Netcheck {
            timeout: arguments.timeout,
            lan,
            relay_only,
            give_up_at: None,
            registered: None,
            profile: None,
            mapping: None,
            around: None,
            lifetime: arguments.lifetime.then(Lifetime::default),
            measuring: false,
            answered: false,
            obstacle: None,
        }
    }

    fn findings(&self) -> Option<Findings> {
        let (entrance, local) = self.registered.clone()?;
        let (profile, mapping, around) = (self.profile?, self.mapping.clone()?, self.around.clone()?);
        let lifetime = self.lifetime.as_ref().map(Lifetime::line);
        Some(Findings { entrance, local, profile, mapping, relay_only: self.relay_only, around, lifetime })
    }

    /// Once all is known. The NAT's memory comes last: it takes minutes, and what is heard before counts as its noise.
    fn proceed(&mut self, out: &mut Out) {
        let Some(findings) = self.findings() else { return };
        let hindrance = match findings.entrance {
            Entrance::Tunnel => Some("UDP is blocked"),
            Entrance::Udp { .. } if self.relay_only => Some("the router is not looked at (--relay-only)"),
            Entrance::Udp { .. } => None,
        };
        if let (Some(lifetime), Some(hindrance)) = (&mut self.lifetime, hindrance) {
            (lifetime.trouble, lifetime.done) = (Some(hindrance.to_owned()), true);
        }
        if self.lifetime.as_ref().is_some_and(|lifetime| !lifetime.done) {
            if !self.measuring {
                (self.measuring, self.give_up_at) = (true, None);
                out.tell(Event::progress(MEASURING, 0.0, None));
                out.command(NodeCommand::MeasureLifetime);
            }
            return;
        }
        out.end(Ok(Exit::Done));
    }
}

impl Task for Netcheck {
    fn handle(&mut self, signal: Signal<'_>, _: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => self.give_up_at = Some(now.at + self.timeout),
            Signal::Node(NodeEvent::Registered { entrance, local }) => {
                if self.registered.replace((*entrance, local.clone())).is_none() {
                    out.command(NodeCommand::LookAround { lan: self.lan });
                }
                if self.relay_only || *entrance == Entrance::Tunnel {
                    self.profile = Some(NatProfile::default());
                }
            }
            Signal::Node(NodeEvent::RendezvousLost { reason }) => self.obstacle = Some(reason.clone()),
            Signal::Node(NodeEvent::Profile(profile)) => self.profile = Some(*profile),
            Signal::Node(NodeEvent::PortMapping(mapping)) => self.mapping = Some(mapping.clone()),
            Signal::Node(NodeEvent::Around(around)) => self.around = Some(around.clone()),
            Signal::Node(NodeEvent::Lifetime(report)) => {
                if let Some(lifetime) = &mut self.lifetime {
                    lifetime.note(report.clone(), out);
                }
            }
            Signal::Wakeup if self.give_up_at.is_some_and(|at| at <= now.at) => {
                let reason = self.obstacle.as_deref().unwrap_or("is there a network, and does it let UDP through?");
                let message = format!("the rendezvous did not answer in time: {reason}");
                out.end(Err(Failure::new(Exit::Timeout, message)));
                return;
            }
            _ => return,
        }
        self.proceed(out);
    }

    fn finish(&mut self, _: &mut Room, out: &mut Out) -> End {
        // Whoever stops the measurement of the NAT's memory gets what is known by then.
        match self.findings() {
            Some(findings) if !self.answered => {
                self.answered = true;
                out.tell(findings.event());
                Ok(Exit::Done)
            }
            _ => Err(Failure::other("stopped before anything was found out")),
        }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        self.give_up_at
    }
}
