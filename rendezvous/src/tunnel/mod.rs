//! The tunnel: clients whose network lets no UDP through come over TCP, TLS and a WebSocket, with the same datagrams.
//!
//! # The life of a tunnel
//!
//! Whoever connects is judged as on UDP, by where it comes from ([`crate::admission`]); it has [`PATIENCE`] to finish TLS
//! and to ask by HTTP for a WebSocket at [`PATH`](common::tunnel::PATH) (`request.rs`). Anything else it asks for is a page
//! that is not there. Then it has an address that no host has ([`tunnel_address`](common::relay::tunnel_address)), and
//! each of its binary messages is a datagram from there (`serve.rs`): QUIC goes to an endpoint of its own, whose socket
//! ([`TunnelSocket`]) knows tunnels and nothing else; relay frames go to the relay, for which a tunnel is one more place where a
//! client can be. STUN has nothing to tell here, and is dropped.
//!
//! What goes into a tunnel waits in a short queue that loses its oldest: a client that does not read costs others nothing.
//!
//! # Limits
//!
//! Each tunnel is an open file: a server for many of them needs a higher limit than the usual 1024 (`ulimit -n`,
//! `LimitNOFILE=` of systemd).

mod listen;
pub mod request;
mod serve;
mod socket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::tls::{Certificate, TlsError, tunnel_server};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::admission::{Admission, Verdict};
use crate::forwarder::Forwarder;
use crate::limits::PATIENCE;
use crate::relay::SocketIndex;
use crate::socket::Counters;

pub use listen::{Listeners, TunnelError};
pub use serve::websocket;
pub use socket::TunnelSocket;

/// After a failure to accept: there are no files left, or no memory. Others must close some first.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts tunnels and serves them.
pub struct Tunnels {
    acceptor: TlsAcceptor,
    socket: Arc<TunnelSocket>,
    index: SocketIndex,
    forwarder: Arc<Forwarder>,
    counters: Arc<Counters>,
    /// Tunnels are counted like connections over UDP, and beside them: what comes out of one is counted again.
    admission: Mutex<Admission>,
    /// Those that live.
    serving: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Tunnels {
    /// `socket` has this index among those of the forwarder.
    pub fn new(
        identity: &Identity,
        socket: Arc<TunnelSocket>,
        index: SocketIndex,
        forwarder: Arc<Forwarder>,
        counters: Arc<Counters>,
        admission: Admission,
    ) -> Result<Arc<Self>, TlsError> {
        let acceptor = TlsAcceptor::from(Arc::new(tunnel_server(&Certificate::new(identity)?)?));
        let (admission, serving) = (Mutex::new(admission), Mutex::default());
        Ok(Arc::new(Tunnels { acceptor, socket, index, forwarder, counters, admission, serving }))
    }

    /// Accepts, for ever.
    pub async fn accept(self: Arc<Self>, listener: Arc<TcpListener>) {
        loop {
            match listener.accept().await {
                Ok((stream, source)) => self.clone().admit(stream, source),
                Err(error) => {
                    tracing::warn!(%error, "no tunnel can be accepted; may this program open more files (ulimit -n)?");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn admit(self: Arc<Self>, stream: TcpStream, source: SocketAddr) {
        // TCP has proved the address. Whoever is not admitted sees the connection closed.
        if self.admission().judge(source.ip(), true, Instant::now()) != Verdict::Accept {
            return;
        }
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        while serving.try_join_next().is_some() {}
        let tunnels = self.clone();
        serving.spawn(async move { tunnels.serve(stream, source).await });
    }

    async fn serve(&self, stream: TcpStream, source: SocketAddr) {
        let shaken = timeout(PATIENCE, serve::shake(&self.acceptor, stream)).await;
        self.admission().handshake_ended();
        let socket = match shaken {
            Ok(Ok(Some(socket))) => socket,
            Ok(Ok(None)) => return tracing::debug!("somebody asked for a page"),
            Ok(Err(error)) => return tracing::debug!(%error, "no tunnel came of it"),
            Err(_) => return tracing::debug!("the handshake of a tunnel took too long"),
        };
        if let Err(code) = self.admission().connected(source.ip()) {
            return tracing::debug!(?code, "no room for this tunnel");
        }
        let tunnel = self.socket.open(source.ip());
        let end = serve::carry(socket, &tunnel, |datagram| self.arrived(tunnel.address(), datagram)).await;
        tracing::debug!(?end, "a tunnel has ended");
        self.admission().closed(source.ip());
    }

    /// A relay frame goes on at once; the rest is QUIC's, or nobody's.
    fn arrived(&self, from: SocketAddr, datagram: &[u8]) -> serve::Arrived {
        use common::datagram::{Kind, classify};
        match classify(datagram) {
            Kind::Quic => serve::Arrived::Quic,
            Kind::Relay => {
                self.forwarder.forward_one(self.index, from, datagram);
                serve::Arrived::Taken
            }
            Kind::Stun | Kind::Junk => {
                self.counters.junk.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                serve::Arrived::Taken
            }
        }
    }

    /// Ends all tunnels.
    pub fn close(&self) {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn admission(&self) -> std::sync::MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
