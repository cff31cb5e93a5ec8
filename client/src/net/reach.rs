//! How the rendezvous is reached: over UDP, and where that stays silent, through a [`Tunnel`].

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::identity::PeerId;
use common::link::Rendezvous;
use common::tls::{Certificate, SERVER_NAME};
use quinn::{Connection, Endpoint};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::control::describe;
use super::eyeballs;
use super::fence::Fence;
use super::transport;
use super::tunnel::{Lanes, Tunnel};

/// A handshake is two round trips; the slowest satellite link needs less than this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2500);
/// The head start of UDP. Most handshakes are done by then; where one is only slow, it wins all the same, because a tunnel
/// takes three round trips more.
const HEAD_START: Duration = Duration::from_millis(250);
/// Between two attempts over UDP while a tunnel is opened.
const BETWEEN: Duration = Duration::from_millis(500);
/// While a tunnel is in use, UDP is tried again after these pauses, in seconds; the last one repeats. At once first: a lost packet
/// costs UDP 300 ms, which is enough for a tunnel to a server nearby to be faster. Then each pause is twice the one before, so
/// that UDP is found again in less time than it was away: the page of a cafe at which one logs in is left within a minute. A
/// network that goes on blocking it costs four packets (1.2 kB each) every two minutes; another network begins anew.
const PAUSES: [u64; 8] = [0, 2, 4, 8, 16, 32, 64, 120];

/// Everything that is needed to get there.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) endpoint: Endpoint,
    pub(super) lanes: Arc<Lanes>,
    pub(super) fence: Arc<Fence>,
    pub(super) certificate: Certificate,
    pub(super) rendezvous: Rendezvous,
}

/// A connection to the rendezvous.
pub(super) struct Reached {
    pub(super) connection: Connection,
    /// Where relay frames go and come from: the server's address, or the tunnel's.
    pub(super) server: SocketAddr,
    /// What it goes through, if not UDP.
    pub(super) tunnel: Option<Tunnel>,
}

impl Reached {
    /// The address for people: the server's, or where the tunnel's TCP leads.
    pub(super) fn remote(&self) -> SocketAddr {
        self.tunnel.as_ref().map_or(self.server, Tunnel::remote)
    }
}

/// There was no way.
#[derive(Debug)]
pub(super) enum NoWay {
    /// What was tried and what came of it.
    Failed(String),
    /// Somebody with another key answered.
    Untrusted(PeerId),
}

impl Reach {
    /// The first way that works.
    pub(super) async fn race(&self) -> Result<Reached, NoWay> {
        let udp_has_failed = Notify::new();
        let mut udp = pin!(self.over_udp_after(Duration::ZERO));
        let mut tunnel = pin!(async {
            let _ = timeout(HEAD_START, udp_has_failed.notified()).await;
            self.through_tunnel().await
        });
        let (mut udp_failed, mut tunnel_failed) = (None, None);
        loop {
            let way = tokio::select! {
                biased;
                way = &mut udp => {
                    way.inspect_err(|no_way| if let NoWay::Failed(reason) = no_way { udp_failed = Some(reason.clone()) })
                }
                way = &mut tunnel, if tunnel_failed.is_none() => {
                    way.inspect_err(|no_way| if let NoWay::Failed(reason) = no_way { tunnel_failed = Some(reason.clone()) })
                }
            };
            match way {
                Err(NoWay::Failed(_)) => {}
                decided => return decided,
            }
            if let (Some(udp), Some(tcp)) = (&udp_failed, &tunnel_failed) {
                let name = self.rendezvous.authority();
                let tried = format!("tried over UDP: {udp}; over TCP: {tcp}");
                return Err(NoWay::Failed(format!("no answer from the rendezvous {name} ({tried})")));
            }
            if udp_failed.is_some() {
                // It may be that the server has only just come back: UDP goes on for as long as TCP is not done.
                udp_has_failed.notify_one();
                udp.set(self.over_udp_after(BETWEEN));
            }
        }
    }

    /// Waits until UDP gets through after all.
    pub(super) async fn back_to_udp(self) -> Reached {
        let [.., last] = PAUSES;
        for pause in PAUSES.into_iter().chain(std::iter::repeat(last)) {
            sleep(Duration::from_secs(pause)).await;
            match self.over_udp().await {
                Ok(reached) => return reached,
                Err(no_way) => tracing::debug!(?no_way, "still in the tunnel"),
            }
        }
        std::future::pending().await
    }

    async fn over_udp_after(&self, pause: Duration) -> Result<Reached, NoWay> {
        sleep(pause).await;
        self.over_udp().await
    }

    async fn over_udp(&self) -> Result<Reached, NoWay> {
        let Rendezvous { host, port, .. } = &self.rendezvous;
        let addresses = match tokio::net::lookup_host((host.as_str(), *port)).await {
            Ok(addresses) => eyeballs::order(addresses),
            Err(error) => return Err(NoWay::Failed(format!("cannot look up {host}: {error}"))),
        };
        self.fence.admit(&addresses);
        let dial = |address| async move {
            let connection = self.handshake(address).await.map_err(|no_way| (address, no_way))?;
            Ok(Reached { connection, server: address, tunnel: None })
        };
        let failures = match eyeballs::race(addresses, dial).await {
            Ok(reached) => return Ok(reached),
            Err(failures) => failures,
        };
        let mut tried = Vec::new();
        for (address, no_way) in failures {
            match no_way {
                NoWay::Failed(reason) => tried.push(format!("{address}: {reason}")),
                untrusted => return Err(untrusted),
            }
        }
        Err(NoWay::Failed(if tried.is_empty() { format!("{host} has no address") } else { tried.join("; ") }))
    }

    async fn through_tunnel(&self) -> Result<Reached, NoWay> {
        let tunnel = Tunnel::open(&self.rendezvous, &self.lanes).await;
        let tunnel =
            tunnel.map_err(|error| NoWay::Failed(format!("port {}: {error}", self.rendezvous.tunnel_port())))?;
        let server = tunnel.address();
        let connection = self.handshake(server).await?;
        Ok(Reached { connection, server, tunnel: Some(tunnel) })
    }

    async fn handshake(&self, address: SocketAddr) -> Result<Connection, NoWay> {
        let configured = transport::rendezvous_client(&self.certificate, self.rendezvous.key);
        let (config, seen) = configured.map_err(|error| NoWay::Failed(error.to_string()))?;
        let connecting = self.endpoint.connect_with(config, address, SERVER_NAME);
        let connecting = connecting.map_err(|error| NoWay::Failed(error.to_string()))?;
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match seen.get() {
                Some(seen) if *seen != self.rendezvous.key => Err(NoWay::Untrusted(*seen)),
                _ => Err(NoWay::Failed(describe(&error))),
            },
            Err(_) => Err(NoWay::Failed(format!("silent for {:.1} s", HANDSHAKE_TIMEOUT.as_secs_f32()))),
        }
    }
}
