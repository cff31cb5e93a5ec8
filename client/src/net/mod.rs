//! The node: sockets, QUIC, and the driver of [`crate::node`]'s machine.
//!
//! The walk of a packet: the sockets (`quic_socket.rs`) receive it and look at its first bytes. QUIC goes on to quinn and comes out
//! as frames of a session, or as messages of the rendezvous. STUN goes to the driver, which offers it to the machine;
//! the agent whose probe it is takes it, and what the agent then wants to send leaves by the same sockets.
//!
//! Changes of the network are noticed in `watch.rs`. Where UDP is blocked the rendezvous is reached through a tunnel
//! (`reach.rs`, `tunnel/`). For everything else here that is one more address: relayed connections go on over it, and over
//! UDP again when that comes back.
//!
//! A rendezvous that was restarted says so to whoever sends it anything: `silence.rs` sees to it that somebody does.
//!
//! Contacts on our LAN are found by the sockets of `lan/`.
//!
//! A task of its own asks the router for a port (`port_mapping/`); what it gets is one more candidate. `speed/` measures the line
//! to a peer, beside its session.
//!
//! # Limits
//!
//! Bulk on a long line needs a receive buffer that Linux grants only if `net.core.rmem_max` allows it.
//! A tunnel leads to the rendezvous alone. There is no other server to go through.

mod around;
mod control;
pub mod decode;
mod discovering;
mod driver;
mod eyeballs;
mod fence;
mod interfaces;
mod lan;
mod lifetime;
mod port_mapping;
mod quic_socket;
mod reach;
mod session;
mod silence;
mod sockets;
mod speed;
mod transport;
mod tunnel;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use common::identity::{Identity, PeerId};
use common::link::Rendezvous;
use common::tls::Certificate;
use tokio::sync::mpsc;
use tokio::sync::watch::channel as watch_channel;
use tokio::task::JoinHandle;

use crate::node::{Config, Machine, NodeCommand, NodeEvent, Random};
pub(crate) use around::look as look_around;
use driver::{Driver, Inputs, Means};
use fence::Fence;
use lan::{LanSockets, Overheard};
pub(crate) use lifetime::measure as measure_lifetime;
use port_mapping::PortMapper;
use quic_socket::QuicSocket;
use reach::Reach;
use transport::TlsOrIo;

/// Everything a node needs to know before it starts.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Who we are.
    pub identity: Identity,
    /// The certificate shown to peers: [`Certificate::new`] of the identity. The rendezvous is always shown the
    /// identity's own.
    pub certificate: Certificate,
    /// Where we register.
    pub rendezvous: Rendezvous,
    /// The name that we suggest for ourselves to peers.
    pub name: String,
    /// Whom we know; nobody else is answered.
    pub contacts: Vec<PeerId>,
    /// Whether the router is asked for a port.
    pub port_mapping: bool,
    /// May hundreds of sockets be opened, for seconds, where no other strategy finds a path?
    pub birthday: bool,
    /// Are contacts on our LAN looked for? Never if the rendezvous is on this very machine, which is where programs are tried out.
    pub lan: bool,
    /// Do we talk through the relay alone? Then no datagram of ours goes anywhere but to the rendezvous, and to the network's name
    /// servers if its link has a name.
    pub relay_only: bool,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No socket.
    #[error("cannot open a UDP socket: {0}; is there a network, and may this program use it?")]
    Socket(#[source] std::io::Error),
    /// The identity makes no certificate, or TLS no configuration.
    #[error(transparent)]
    Tls(#[from] common::tls::TlsError),
}
/// A running node. Dropping it ends everything; [`Node::shutdown`] also waits until the goodbyes are sent.
#[derive(Debug)]
pub struct Node {
    commands: mpsc::UnboundedSender<NodeCommand>,
    driver: JoinHandle<()>,
    port_mapping: JoinHandle<()>,
}

impl Node {
    /// Opens the sockets and starts to register. What happens comes as events; whoever does not read them stops the
    /// node from reading its sessions.
    pub async fn start(config: NodeConfig) -> Result<(Node, mpsc::Receiver<NodeEvent>), NodeError> {
        let fence = if config.relay_only { Fence::around_rendezvous() } else { Fence::default() };
        let (socket, stun) = QuicSocket::open(fence).await.map_err(NodeError::Socket)?;
        let own_id = config.identity.peer_id();
        let endpoint =
            transport::endpoint(socket.clone(), &config.certificate, own_id).map_err(|error| match error {
                TlsOrIo::Tls(error) => NodeError::Tls(error),
                TlsOrIo::Io(error) => NodeError::Socket(error),
            })?;
        let (events, outbox) = mpsc::channel(256);
        let (requests, asked) = mpsc::channel(64);
        let (control_events, control) = mpsc::channel(64);
        let (reports, sessions) = mpsc::channel(256);
        let machine = Machine::new(Config {
            identity: config.identity.clone(),
            rendezvous: config.rendezvous.key,
            epoch: seconds_now(),
            contacts: config.contacts,
            birthday: config.birthday,
            relay_only: config.relay_only,
            random: Random::new(|bytes| getrandom::fill(bytes).is_ok()),
        });
        let (lan, overheard) = match config.lan && !config.relay_only && !is_here(&config.rendezvous) {
            true => open_lan().await,
            false => (None, mpsc::channel(1).1),
        };
        let (register, registration) = watch_channel(machine.registration().clone());
        let (certificate, rendezvous) = (Certificate::new(&config.identity)?, config.rendezvous.clone());
        let (lanes, fence) = (socket.lanes().clone(), socket.fence().clone());
        let reach = Reach { endpoint: endpoint.clone(), lanes, fence, certificate, rendezvous };
        let relay = socket.traffic().clone();
        let (move_on, moved) = watch_channel(0);
        let means = Means {
            certificate: config.certificate,
            name: config.name,
            socket,
            endpoint,
            requests,
            reports,
            register,
            move_on,
            desk: Default::default(),
            rendezvous: config.rendezvous.clone(),
            events: events.clone(),
        };
        let own_port = means.socket.local_addresses().find(SocketAddr::is_ipv4).map(|own| own.port());
        let (port_mapper, mapped, port_mapping) =
            PortMapper::start(config.port_mapping && !config.relay_only, own_port);
        let driver = Driver::new(machine, means, port_mapper, lan);
        let (changes, network) = mpsc::channel(4);
        tokio::spawn(watch::watch(changes));
        let link = control::Control {
            reach,
            relay,
            register: registration,
            requests: asked,
            network: moved,
            events: control_events,
        };
        tokio::spawn(link.run());
        let (commands, inbox) = mpsc::unbounded_channel();
        let driver = tokio::spawn(driver.run(Inputs {
            commands: inbox,
            stun,
            control,
            sessions,
            network,
            mapped,
            overheard,
            events,
        }));
        Ok((Node { commands, driver, port_mapping }, outbox))
    }

    /// Hands over a command. Never waits: commands come from this program alone, and each is small.
    pub fn command(&self, command: NodeCommand) {
        let _ = self.commands.send(command);
    }

    /// Sends what was handed over, tells the peers and the rendezvous that we go, gives the router its port back, and waits
    /// for that at most a second.
    pub async fn shutdown(self) {
        drop(self.commands);
        let _ = self.driver.await;
        // It began when the driver said goodbye.
        let _ = self.port_mapping.await;
    }
}

/// Since 1970, by the clock of this computer.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Is it on this machine?
fn is_here(rendezvous: &Rendezvous) -> bool {
    let loopback = rendezvous.host.parse::<IpAddr>().map(|ip| ip.to_canonical().is_loopback());
    loopback.unwrap_or_else(|_| rendezvous.host.eq_ignore_ascii_case("localhost"))
}

async fn open_lan() -> (Option<LanSockets>, mpsc::Receiver<Overheard>) {
    match LanSockets::open().await {
        Ok((lan, overheard)) => (Some(lan), overheard),
        Err(error) => {
            tracing::warn!(%error, "contacts on the same network are not found without the rendezvous");
            (None, mpsc::channel(1).1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_tries_the_programs_out_on_one_machine_tells_no_network_of_it() {
        let key = Identity::from_seed(&[9; 32]).peer_id();
        let at = |host: &str| is_here(&Rendezvous { host: host.into(), port: 3478, key, tunnel: None });
        assert!(["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost"].into_iter().all(at));
        assert!(!["11.1.1.1", "2001:db8::1", "example.org", "localhost.example.org"].into_iter().any(at));
    }
}
