//! `punchline netcheck`: what stands between this machine and the Internet, what that means, and what would help.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::discovery::{Circumstances, is_carriers};
use common::lifetime::Span;
use common::nat::NatProfile;
use common::reach::{AccessKind, reach};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Context, Online};
use crate::cli;
use crate::data::{DataDir, Holder};
use crate::exit::{Exit, Failure};
use crate::net::{look_around, measure_lifetime};
use crate::node::{Around, Entrance, LifetimeReport, NAT_BEYOND, NodeCommand, NodeEvent, PortMapping};
use crate::online::{End, Moment, Out, Room, Signal, Task};
use crate::output::{Bar, Event, LifetimeLine, Netcheck as Page, ReachLine};

/// What people read while the NAT's memory is measured.
const MEASURING: &str = "measuring how long the router remembers (Ctrl-C: enough)";

pub(super) async fn execute(context: Context<'_>, arguments: &cli::Netcheck) -> End {
    let online = Online::load(&context.data)?;
    // A second registration of the same key would put the running client offline; but it knows what the rendezvous saw.
    if let Holder::Process(_) = context.data.holder()? {
        let mut findings = known(&context.data)?;
        findings.around = look_around(&online.config.rendezvous, context.lan).await;
        if arguments.lifetime {
            findings.lifetime = Some(measure(&online).await?);
        }
        let _ = context.printer.print(&findings.event(), Timestamp::now());
        return Ok(Exit::Done);
    }
    let task = Netcheck::new(arguments, context.lan, context.relay_only, Bar::standard());
    online.stay(context, None, false, task).await
}

/// Beside the client that is online: from sockets of our own.
async fn measure(online: &Online) -> Result<LifetimeLine, Failure> {
    let stop = crate::system::stop_requested()
        .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
    let (reports, mut told) = mpsc::channel(4);
    tokio::spawn(measure_lifetime(online.config.rendezvous.clone(), reports));
    let (mut bar, mut lifetime) = (Bar::standard(), Lifetime::default());
    tokio::pin!(stop);
    loop {
        let report = tokio::select! {
            report = told.recv() => report,
            () = &mut stop => None,
        };
        let over = report.is_none_or(|report| lifetime.note(report, &mut bar));
        if over {
            bar.clear();
            return Ok(lifetime.line());
        }
    }
}

/// What the running client has found out.
fn known(data: &DataDir) -> Result<Findings, Failure> {
    let told = data.status()?.and_then(|status| {
        let entrance = status.entrance?;
        let unknown = status.relay_only || entrance == Entrance::Tunnel;
        let profile = if unknown { NatProfile::default() } else { status.profile? };
        let mapping = status.port_mapping.ok_or_else(|| status.no_port_mapping.unwrap_or_else(|| NOT_YET.to_owned()));
        let (local, relay_only) = (status.local, status.relay_only);
        Some(Findings { entrance, local, profile, mapping, relay_only, around: Around::default(), lifetime: None })
    });
    told.ok_or_else(|| {
        Failure::other("punchline is running and has not found out about the network yet; try again in a few seconds")
    })
}

const NOT_YET: &str = "no router has answered yet";

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
    /// `true` once it is over.
    fn note(&mut self, report: LifetimeReport, bar: &mut Bar) -> bool {
        match report {
            LifetimeReport::Progress { share, span } => {
                self.span = span;
                bar.wait(MEASURING, share);
            }
            LifetimeReport::Done(span) => (self.span, self.done) = (span, true),
            LifetimeReport::Failed(trouble) => (self.trouble, self.done) = (Some(trouble), true),
        }
        self.done
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
    bar: Bar,
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
    pub(crate) fn new(arguments: &cli::Netcheck, lan: bool, relay_only: bool, bar: Bar) -> Self {
        Netcheck {
            timeout: arguments.timeout,
            lan,
            relay_only,
            bar,
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
                self.bar.wait(MEASURING, 0.0);
                out.command(NodeCommand::MeasureLifetime);
            }
            return;
        }
        out.end(Ok(Exit::Done));
    }
}

impl Task for Netcheck {
    fn handle(&mut self, signal: Signal<'_>, _: &mut Room, now: Moment, out: &mut Out) {
        if !matches!(signal, Signal::Node(NodeEvent::Lifetime(_))) {
            // What is printed now stands where the picture was.
            self.bar.clear();
        }
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
                    lifetime.note(report.clone(), &mut self.bar);
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
        self.bar.clear();
        // Whoever stops the measurement of the NAT's memory gets what is known by then.
        match self.findings() {
            Some(findings) if !self.answered => {
                self.answered = true;
                out.show(findings.event());
                Ok(Exit::Done)
            }
            _ => Err(Failure::other("stopped before anything was found out")),
        }
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        self.give_up_at
    }
}
