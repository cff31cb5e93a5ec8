//! `punchline netcheck`: what stands between this machine and the Internet, and what that means.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::discovery::verdict;
use common::nat::NatProfile;

use super::{Context, Online};
use crate::cli;
use crate::data::{DataDir, Holder};
use crate::exit::{Exit, Failure};
use crate::node::{Entrance, NodeEvent, PortMapping};
use crate::online::{End, Moment, Out, Room, Signal, Task};
use crate::output::Event;

pub(super) async fn execute(context: Context<'_>, arguments: &cli::Netcheck) -> End {
    let online = Online::load(&context.data)?;
    // A second registration of the same key would put the running client offline; but it knows the answer.
    if let Holder::Process(_) = context.data.holder()? {
        let event = known(&context.data)?;
        let _ = context.printer.print(&event, jiff::Timestamp::now());
        return Ok(Exit::Done);
    }
    online.stay(context, None, false, Netcheck::new(arguments.timeout)).await
}

/// What the running client has found out.
fn known(data: &DataDir) -> Result<Event, Failure> {
    let told = data.status()?.and_then(|status| {
        let entrance = status.entrance?;
        let profile = if entrance == Entrance::Tunnel { NatProfile::default() } else { status.profile? };
        let mapping = status.port_mapping.ok_or_else(|| status.no_port_mapping.unwrap_or_else(|| NOT_YET.to_owned()));
        Some((entrance, status.local, profile, mapping))
    });
    let Some((entrance, local, profile, mapping)) = told else {
        return Err(Failure::other(
            "punchline is running and has not found out about the network yet; try again in a few seconds",
        ));
    };
    Ok(event(entrance, local, profile, mapping))
}

const NOT_YET: &str = "no router has answered yet";

/// Of a network in which there is nothing to ask.
const UDP_BLOCKED: &str = "UDP is blocked: nothing came back from the rendezvous over UDP, and over TCP it answers. \
                           No direct connections from here; messages go through the rendezvous.";

fn event(
    entrance: Entrance,
    local: Vec<SocketAddr>,
    profile: NatProfile,
    mapping: Result<PortMapping, String>,
) -> Event {
    let verdict = if entrance == Entrance::Tunnel { UDP_BLOCKED } else { verdict(&profile) };
    let (port_mapping, no_port_mapping) = (mapping.as_ref().ok().copied(), mapping.err());
    Event::Netcheck { entrance, local, profile, port_mapping, no_port_mapping, verdict }
}

#[derive(Debug)]
pub(crate) struct Netcheck {
    timeout: Duration,
    give_up_at: Option<Instant>,
    registered: Option<(Entrance, Vec<SocketAddr>)>,
    profile: Option<NatProfile>,
    /// Comes in any case, three seconds after the registration at the latest.
    mapping: Option<Result<PortMapping, String>>,
    /// The last that was heard of the rendezvous.
    obstacle: Option<String>,
}

impl Netcheck {
    pub(crate) fn new(timeout: Duration) -> Self {
        Netcheck { timeout, give_up_at: None, registered: None, profile: None, mapping: None, obstacle: None }
    }
}

impl Netcheck {
    /// Once all is known.
    fn answer(&mut self, out: &mut Out) {
        if let (Some((entrance, local)), Some(profile), Some(mapping)) = (&self.registered, self.profile, &self.mapping)
        {
            out.show(event(*entrance, local.clone(), profile, mapping.clone()));
            out.end(Ok(Exit::Done));
        }
    }
}

impl Task for Netcheck {
    fn handle(&mut self, signal: Signal<'_>, _: &mut Room, now: Moment, out: &mut Out) {
        match signal {
            Signal::Started => self.give_up_at = Some(now.at + self.timeout),
            Signal::Node(NodeEvent::Registered { entrance, local }) => {
                self.registered = Some((*entrance, local.clone()));
                if *entrance == Entrance::Tunnel {
                    self.profile = Some(NatProfile::default());
                }
                self.answer(out);
            }
            Signal::Node(NodeEvent::RendezvousLost { reason }) => self.obstacle = Some(reason.clone()),
            Signal::Node(NodeEvent::Profile(profile)) => {
                self.profile = Some(*profile);
                self.answer(out);
            }
            Signal::Node(NodeEvent::PortMapping(mapping)) => {
                self.mapping = Some(mapping.clone());
                self.answer(out);
            }
            Signal::Wakeup if self.give_up_at.is_some_and(|at| at <= now.at) => {
                let reason = self.obstacle.as_deref().unwrap_or("is there a network, and does it let UDP through?");
                let message = format!("the rendezvous did not answer in time: {reason}");
                out.end(Err(Failure::new(Exit::Timeout, message)));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Room, _: &mut Out) -> End {
        Err(Failure::other("stopped before anything was found out"))
    }

    fn poll_wakeup(&self) -> Option<Instant> {
        self.give_up_at
    }
}
