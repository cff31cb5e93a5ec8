//! Drives [`common::discovery`]: gives it the node's own socket and a fresh one that lives as long as the run.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use common::candidate::canonical;
use common::discovery::{Config, Discovery, Event, Received, Socket};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::quic_socket::QuicSocket;
use crate::node::SocketId;

/// Answers waiting for the driver: a run asks thirty questions at the most.
const QUEUE: usize = 64;

/// A datagram to the fresh socket: where from, and its bytes.
pub(super) type Answer = (SocketAddr, Vec<u8>);

/// One run against one server.
pub(super) struct Discovering {
    machine: Discovery,
    fresh: Arc<UdpSocket>,
    answers: mpsc::Receiver<Answer>,
    reader: JoinHandle<()>,
    finished: bool,
}

impl Discovering {
    /// Starts a run. `None`, with a word in the log, if there is no socket to be had.
    pub(super) async fn start(config: Config, main: &QuicSocket, now: Instant) -> Option<Self> {
        let any: SocketAddr = match config.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let bound = UdpSocket::bind(any).await.and_then(|socket| Ok((socket.local_addr()?.port(), Arc::new(socket))));
        let (fresh_port, fresh) =
            bound.inspect_err(|error| tracing::warn!(%error, "no second socket: the NAT is not looked at")).ok()?;
        let (sender, answers) = mpsc::channel(QUEUE);
        // tokio knows only after this that it may send at once.
        let _ = fresh.writable().await;
        let reader = tokio::spawn(read(fresh.clone(), sender));
        let machine = Discovery::new(Config { fresh_port, ..config }, now);
        let mut run = Discovering { machine, fresh, answers, reader, finished: false };
        run.send(main);
        Some(run)
    }

    /// The next answer to the fresh socket. Does not lose any when cancelled.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Takes an answer to the fresh socket.
    pub(super) fn fresh(&mut self, (source, payload): &Answer, main: &QuicSocket, now: Instant) {
        self.machine.handle_datagram(Received { socket: Socket::Fresh, source: *source, payload }, now);
        self.send(main);
    }

    /// Takes a datagram of the main socket; `false` if it is for somebody else.
    pub(super) fn main(&mut self, source: SocketAddr, payload: &[u8], main: &QuicSocket, now: Instant) -> bool {
        let mine = self.machine.handle_datagram(Received { socket: Socket::Main, source, payload }, now);
        self.send(main);
        mine
    }

    pub(super) fn wakeup(&self) -> Option<Instant> {
        self.machine.poll_wakeup().map(|wakeup| wakeup.at)
    }

    pub(super) fn timeout(&mut self, main: &QuicSocket, now: Instant) {
        if self.wakeup().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
            self.send(main);
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.machine.poll_event();
        self.finished |= matches!(event, Some(Event::Finished(_)));
        event
    }

    /// Has it told all?
    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    /// In the order of the machine: it is the order in which the NAT makes its mappings.
    fn send(&mut self, main: &QuicSocket) {
        while let Some(transmit) = self.machine.poll_transmit() {
            match transmit.socket {
                Socket::Main => main.send(SocketId::MAIN, transmit.destination, &transmit.payload),
                // Best effort, like the network: the machine repeats what matters.
                Socket::Fresh => drop(self.fresh.try_send_to(&transmit.payload, transmit.destination)),
            }
        }
    }
}

impl Drop for Discovering {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(socket: Arc<UdpSocket>, answers: mpsc::Sender<Answer>) {
    let mut buffer = [0; 1500];
    loop {
        let (count, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // Windows reports ICMP errors of earlier sends here; they concern one destination, not the socket.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
            Err(error) => return tracing::debug!(%error, "the fresh socket is of no more use"),
        };
        if answers.send((canonical(source), buffer[..count].to_vec())).await.is_err() {
            return;
        }
    }
}
