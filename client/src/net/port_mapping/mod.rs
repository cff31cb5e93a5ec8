//! A port of the router's for our main socket: asked for by PCP, NAT-PMP or UPnP, renewed, and given back at the end.
//!
//! It goes on beside everything else and delays nothing: a task of its own hears where the rendezvous sees us, asks the
//! default gateway and nobody else, and hands what it gets to the node's machine, which offers it to peers. What is decided
//! is in `keeper.rs`, without clock and socket; PCP and NAT-PMP are spoken by crab_nat (`port_control.rs`), UPnP in `upnp/`.
//!
//! # Limits
//!
//! IPv4 only, and one router: behind two the outer one is not asked. That a router has restarted is noticed when the
//! rendezvous sees us at another port, or at the next renewal: PCP's announcements are not heard.

mod keeper;
mod port_control;
pub(super) mod upnp;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use common::candidate::canonical;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::node::{Entrance, MappingProtocol, NodeEvent, PortMapping};
use crate::system::default_gateway;
use keeper::{Action, Grant, Keeper, Round};

/// The longest that one protocol is tried: two repetitions of a datagram, or the half dozen round trips of UPnP to a slow box.
const LONGEST_ASK: Duration = Duration::from_millis(2500);
/// How long a client that leaves waits until what it had is given back.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long it waits for answers that are still out, to give back what they bring. A router on the LAN needs milliseconds, and
/// one that is silent must not hold up everybody who leaves; what is missed runs out by itself.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// What happened that matters here.
enum Note {
    Registered { observed: Option<SocketAddr>, local: Vec<SocketAddr> },
    NetworkChanged,
}

/// Tells the task what happens. With it the task ends, after it has given back what it had.
pub(super) struct PortMapper(mpsc::UnboundedSender<Note>);

/// What it says: the port that there is now, or why there is none.
pub(super) type Mapped = Result<PortMapping, String>;

impl PortMapper {
    /// A task that asks for this port of our own, if that is wanted at all.
    pub(super) fn start(wanted: bool, port: Option<u16>) -> (PortMapper, mpsc::Receiver<Mapped>, JoinHandle<()>) {
        let (note, notes) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::channel(4);
        let port = port.and_then(NonZeroU16::new);
        let task = Task { keeper: Keeper::new(wanted), port, tell, asked: JoinSet::new(), releases: JoinSet::new() };
        (PortMapper(note), told, tokio::spawn(task.run(notes)))
    }

    /// Takes note of what the node says.
    pub(super) fn note(&self, event: &NodeEvent) {
        let note = match event {
            NodeEvent::Registered { entrance, local } => {
                let observed = match entrance {
                    Entrance::Udp { observed } => Some(canonical(*observed)),
                    Entrance::Tunnel => None,
                };
                Note::Registered { observed, local: local.clone() }
            }
            NodeEvent::NetworkChanged { .. } => Note::NetworkChanged,
            _ => return,
        };
        let _ = self.0.send(note);
    }
}

/// What renews a port or gives it back.
#[derive(Debug, Clone)]
enum Handle {
    PortControl(Box<crab_nat::PortMapping>),
    Upnp(upnp::Lease),
}

impl Handle {
    fn gateway(&self) -> Option<Ipv4Addr> {
        match self {
            Handle::PortControl(mapping) => port_control::gateway(mapping),
            Handle::Upnp(lease) => Some(lease.gateway()),
        }
    }
}

type Answer = (Round, Result<Grant<Handle>, String>);

struct Task {
    keeper: Keeper<Handle>,
    port: Option<NonZeroU16>,
    tell: mpsc::Sender<Mapped>,
    asked: JoinSet<Answer>,
    releases: JoinSet<()>,
}

impl Task {
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        loop {
            self.act();
            let wakeup = self.keeper.poll_wakeup();
            let sleep = wakeup.map(|at| tokio::time::sleep_until(at.into()));
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Registered { observed, local }) => {
                        self.keeper.handle_registered(observed, &local, Instant::now());
                    }
                    Some(Note::NetworkChanged) => self.keeper.handle_network_change(),
                    None => break,
                },
                Some(answer) = self.asked.join_next() => self.answered(answer),
                Some(_) = self.releases.join_next() => {}
                () = async { sleep.expect("guarded").await }, if wakeup.is_some() => {}
            }
            self.keeper.handle_timeout(Instant::now());
        }
        self.keeper.stop();
        self.act();
        let _ = timeout(GOODBYE, self.goodbye()).await;
    }

    async fn goodbye(&mut self) {
        let last_answers = async {
            while let Some(answer) = self.asked.join_next().await {
                self.answered(answer);
            }
        };
        let _ = timeout(LAST_ANSWERS, last_answers).await;
        self.act();
        while self.releases.join_next().await.is_some() {}
    }

    fn answered(&mut self, answer: Result<Answer, JoinError>) {
        match answer {
            Ok((round, answer)) => self.keeper.handle_answer(round, answer, Instant::now()),
            Err(error) => tracing::error!(%error, "asking for a port mapping broke off"),
        }
    }

    fn act(&mut self) {
        for action in self.keeper.take_actions() {
            match (action, self.port) {
                (Action::Ask { round, protocol, observed }, Some(port)) => {
                    self.asked.spawn(async move { (round, within(protocol, ask(protocol, port, observed)).await) });
                }
                (Action::Renew { round, grant, observed }, Some(port)) => {
                    let protocol = grant.protocol;
                    self.asked.spawn(async move { (round, within(protocol, renew(grant, port, observed)).await) });
                }
                (Action::Release(handle), _) => {
                    self.releases.spawn(async move { drop(timeout(GOODBYE, release(handle)).await) });
                }
                // If nobody listens, the node ends.
                (Action::Tell(told), _) => drop(self.tell.try_send(told)),
                (Action::Ask { round, .. } | Action::Renew { round, .. }, None) => {
                    self.asked.spawn(async move { (round, Err("there is no IPv4 socket".to_owned())) });
                }
            }
        }
    }
}

/// Bounds the time, and says whose answer it is.
async fn within<T>(protocol: MappingProtocol, asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = timeout(LONGEST_ASK, asking).await.unwrap_or_else(|_| Err("no answer".to_owned()));
    answer.map_err(|problem| format!("{protocol}: {problem}"))
}

async fn ask(protocol: MappingProtocol, port: NonZeroU16, observed: Ipv4Addr) -> Result<Grant<Handle>, String> {
    let (gateway, local) = way_out(port).await?;
    match protocol {
        MappingProtocol::Pcp => port_control::ask_by_pcp(gateway, local, port).await,
        MappingProtocol::NatPmp => port_control::ask_by_nat_pmp(gateway, port, observed).await,
        MappingProtocol::Upnp => upnp::ask(gateway, local, observed).await,
    }
}

async fn renew(grant: Grant<Handle>, port: NonZeroU16, observed: Ipv4Addr) -> Result<Grant<Handle>, String> {
    let (gateway, local) = way_out(port).await?;
    if grant.handle.gateway() != Some(gateway) {
        return Err("the way out goes by another router now".to_owned());
    }
    match grant.handle {
        Handle::PortControl(mapping) => port_control::renew(*mapping, gateway, observed).await,
        Handle::Upnp(lease) => upnp::renew(lease, local, observed).await,
    }
}

async fn release(handle: Handle) -> Result<(), String> {
    // In another network that address is somebody else's.
    if default_gateway().await.is_none_or(|gateway| handle.gateway() != Some(gateway)) {
        return Err("its router is not ours any more".to_owned());
    }
    let released = match handle {
        Handle::PortControl(mapping) => port_control::release(*mapping).await,
        Handle::Upnp(lease) => upnp::release(&lease).await,
    };
    released.inspect_err(|problem| tracing::debug!(problem, "a port mapping is left to run out"))
}

/// The default gateway, and our main socket as it knows us.
async fn way_out(port: NonZeroU16) -> Result<(Ipv4Addr, SocketAddrV4), String> {
    let gateway = default_gateway().await.ok_or("there is no default gateway")?;
    // Connecting a UDP socket looks up the route and sends nothing.
    let local = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((gateway, crab_nat::GATEWAY_PORT))?;
        socket.local_addr()
    });
    match local {
        Ok(SocketAddr::V4(local)) => Ok((gateway, SocketAddrV4::new(*local.ip(), port.get()))),
        Ok(SocketAddr::V6(_)) => Err("the default gateway is not reached over IPv4".to_owned()),
        Err(error) => Err(format!("the default gateway is out of reach: {error}")),
    }
}
