//! The node: sockets, QUIC, and the driver of the core's machines.
//!
//! The walk of a packet: the sockets (`quic_socket.rs`) receive it and looks at its first bytes. QUIC goes on to quinn and comes out
//! as frames of a session, or as messages of the rendezvous. STUN goes to the driver, which offers it to its
//! peers; the agent whose probe it is takes it, and what the agent then wants to send leaves by the same sockets.
//!
//! The walk of a wish: [`NodeCommand::Want`] makes the driver ask the rendezvous for an introduction; the answer becomes a
//! punching agent ([`common::path`]) and a connection through the relay; the agent's first answered probe becomes another,
//! direct one. The side with the lower id dials both; the first frame of the peer on each becomes [`NodeEvent::Up`].
//!
//! When the network changes (`watch.rs`), the connection to the rendezvous is made anew at once, and everybody with whom we
//! talk or want to is met again. Relayed connections outlive that: the rendezvous knows the key, not the address.
//!
//! Where UDP is blocked the rendezvous is reached through a tunnel (`reach.rs`, `tunnel/`). For everything else here that is one
//! more address: relayed connections go on over it, and over UDP again when that comes back.
//!
//! # Limits
//!
//! A tunnel leads to the rendezvous alone. There is no other server to go through.

pub mod api;
mod control;
mod discovering;
mod driver;
mod interfaces;
mod lines;
mod peer;
mod quic_socket;
mod reach;
mod resources;
mod session;
mod transport;
mod tunnel;
mod watch;

use std::collections::VecDeque;

use common::tls::Certificate;

pub use api::{Entrance, NodeCommand, NodeConfig, NodeError, NodeEvent, Party, SessionId};
use tokio::sync::mpsc;
use tokio::sync::watch::channel as watch_channel;
use tokio::task::JoinHandle;

use driver::{Driver, Inputs};
use quic_socket::QuicSocket;
use reach::Reach;
use resources::Resources;
use transport::TlsOrIo;

/// A running node. Dropping it ends everything; [`Node::shutdown`] also waits until the goodbyes are sent.
#[derive(Debug)]
pub struct Node {
    commands: mpsc::UnboundedSender<NodeCommand>,
    driver: JoinHandle<()>,
}

impl Node {
    /// Opens the sockets and starts to register. What happens comes as events; whoever does not read them stops the
    /// node from reading its sessions.
    pub async fn start(config: NodeConfig) -> Result<(Node, mpsc::Receiver<NodeEvent>), NodeError> {
        let (socket, stun) = QuicSocket::open().await.map_err(NodeError::Socket)?;
        let own_id = config.identity.peer_id();
        let endpoint =
            transport::endpoint(socket.clone(), &config.certificate, own_id).map_err(|error| match error {
                TlsOrIo::Tls(error) => NodeError::Tls(error),
                TlsOrIo::Io(error) => NodeError::Socket(error),
            })?;
        let (requests, asked) = mpsc::channel(64);
        let (control_events, control) = mpsc::channel(64);
        let (session_events, sessions) = mpsc::channel(256);
        let (register, registration) = watch_channel(driver::first_registration());
        let (certificate, rendezvous) = (Certificate::new(&config.identity)?, config.rendezvous.clone());
        let reach = Reach { endpoint: endpoint.clone(), lanes: socket.lanes().clone(), certificate, rendezvous };
        let node = Resources {
            config,
            own_id,
            socket,
            endpoint,
            requests,
            sessions: session_events,
            outbox: VecDeque::new(),
            connected: false,
            observed: None,
            relay_remote: None,
            server_rtt: None,
            next_request: 0,
            next_session: 0,
        };
        let (move_on, moved) = watch_channel(0);
        let driver = Driver::new(node, register, move_on);
        let (changes, network) = mpsc::channel(4);
        tokio::spawn(watch::watch(changes));
        let link =
            control::Control { reach, register: registration, requests: asked, network: moved, events: control_events };
        tokio::spawn(link.run());
        let (commands, inbox) = mpsc::unbounded_channel();
        let (events, outbox) = mpsc::channel(256);
        let driver = tokio::spawn(driver.run(Inputs { commands: inbox, stun, control, sessions, network, events }));
        Ok((Node { commands, driver }, outbox))
    }

    /// Hands over a command. Never waits: commands come from this program alone, and each is small.
    pub fn command(&self, command: NodeCommand) {
        let _ = self.commands.send(command);
    }

    /// Sends what was handed over, tells the peers and the rendezvous that we go, and waits for that at most a second.
    pub async fn shutdown(self) {
        drop(self.commands);
        let _ = self.driver.await;
    }
}
