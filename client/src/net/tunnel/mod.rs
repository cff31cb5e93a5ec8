//! The way to the rendezvous where UDP is blocked: the same datagrams in WebSocket messages over TLS over TCP, perhaps
//! through an HTTP proxy (see [`common::tunnel`]).
//!
//! [`Tunnel::open`] makes one; from then on it is an address of the node's socket ([`lanes`]). Dropping it ends it, after
//! the last words have been sent. One in which nothing comes any more, not even the answer to a ping, has ended: a firewall that
//! forgot the TCP connection says nothing, and TCP itself would try for a quarter of an hour.
//!
//! # Limits
//!
//! Proxies are spoken to by HTTP, with a password in the clear as HTTP has it; not by SOCKS, nor with NTLM or Kerberos. One that opens
//! TLS itself is refused: it has not the rendezvous' key.

mod lanes;
pub(super) mod proxy;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::link::Rendezvous;
use common::tls::tunnel_client;
use common::tunnel::{MAX_DATAGRAM, PATH, SEND_BUFFER};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use proxy::{Proxy, ProxyError};

use super::eyeballs;
use lanes::Lane;
pub(super) use lanes::Lanes;

/// TCP, TLS, HTTP and a proxy are four round trips and some work; the slowest satellite link needs 2.5 s.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a tunnel that is not needed any more goes on, so that the last words get out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// When nothing has come for so long, the server is asked for a sign of life, by a ping of the WebSocket. It allows one a second.
const QUIET: Duration = Duration::from_millis(1250);
/// How long the answer may take: two repetitions of TCP on a path of half a second. Together this is 2.3 to 3.5 s, where the
/// keepalive of QUIC needs 10 to 13: it has to allow for lost packets, and between the ends of TCP nothing is lost.
const ANSWER: Duration = Duration::from_millis(2250);

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// An open tunnel.
pub(super) struct Tunnel {
    address: SocketAddr,
    remote: SocketAddr,
    carrying: JoinHandle<String>,
    /// Dropped with this.
    _wanted: oneshot::Sender<()>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("cannot look up {0}: {1}")]
    Lookup(String, io::Error),
    #[error("{0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("{0} has no address")]
    NoAddress(String),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("whoever answers at {0} is not the rendezvous: {1}")]
    Stranger(String, io::Error),
    #[error("{0} is no tunnel: {1}")]
    NoTunnel(String, tungstenite::Error),
    #[error("TLS: {0}")]
    Tls(#[from] common::tls::TlsError),
    #[error("silent for {0:.1} s")]
    Silent(f32),
}

impl Tunnel {
    /// Opens one, through the proxy that the environment names, if any.
    pub(super) async fn open(rendezvous: &Rendezvous, lanes: &Arc<Lanes>) -> Result<Tunnel, TunnelError> {
        let opened = timeout(TIMEOUT, open(rendezvous)).await;
        let (socket, remote) = opened.map_err(|_| TunnelError::Silent(TIMEOUT.as_secs_f32()))??;
        let lane = lanes.open();
        let address = lane.address();
        let (wanted, unwanted) = oneshot::channel();
        let carrying = tokio::spawn(async move {
            tokio::select! {
                end = carry(socket, &lane) => end,
                () = async { let _ = unwanted.await; sleep(LAST_WORDS).await } => String::new(),
            }
        });
        Ok(Tunnel { address, remote, carrying, _wanted: wanted })
    }

    /// The address that stands for it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where TCP leads: the rendezvous, or the proxy.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Waits until it has ended by itself; why. Not to be asked again.
    pub(super) async fn ended(&mut self) -> String {
        (&mut self.carrying).await.unwrap_or_else(|error| error.to_string())
    }
}

async fn open(rendezvous: &Rendezvous) -> Result<(Socket, SocketAddr), TunnelError> {
    let (host, port) = (rendezvous.host.as_str(), rendezvous.tunnel_port());
    let proxy = Proxy::of(host, |name| std::env::var(name).ok())?;
    let (stream, remote) = match proxy {
        None => connect(host, port).await?,
        Some(proxy) => {
            let (mut stream, remote) = connect(&proxy.host, proxy.port).await?;
            proxy.connect(&mut stream, host, port).await?;
            (stream, remote)
        }
    };
    let authority = Rendezvous { port, ..rendezvous.clone() }.authority();
    let stranger = |error| TunnelError::Stranger(authority.clone(), error);
    let (config, _) = tunnel_client(rendezvous.key)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| stranger(io::Error::other(error)))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(stranger)?;
    let no_tunnel = |error| TunnelError::NoTunnel(authority.clone(), error);
    let request = format!("wss://{authority}{PATH}").into_client_request().map_err(no_tunnel)?;
    let mut config = WebSocketConfig::default();
    (config.read_buffer_size, config.write_buffer_size) = (16 * 1024, 8 * 1024);
    config.max_write_buffer_size = 64 * 1024;
    (config.max_message_size, config.max_frame_size) = (Some(MAX_DATAGRAM), Some(MAX_DATAGRAM));
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(no_tunnel)?;
    Ok((socket, remote))
}

/// The first of a host's addresses that answers.
async fn connect(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), TunnelError> {
    let looked_up = lookup_host((host, port)).await;
    let addresses = eyeballs::order(looked_up.map_err(|error| TunnelError::Lookup(host.to_owned(), error))?);
    let dial = |address| async move {
        dial(address).await.map(|stream| (stream, address)).map_err(|error| TunnelError::Connect(address, error))
    };
    let raced = eyeballs::race(addresses, dial).await;
    raced.map_err(|mut failures| failures.pop().unwrap_or_else(|| TunnelError::NoAddress(host.to_owned())))
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What the system refuses is no error.
    let _ = socket.set_send_buffer_size(SEND_BUFFER as u32);
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Carries datagrams both ways; why that has ended.
async fn carry(socket: Socket, lane: &Lane) -> String {
    let (sink, stream) = socket.split();
    let quiet = Notify::new();
    let end = tokio::select! {
        end = receive(stream, lane, &quiet) => end,
        end = send(sink, lane, &quiet) => end,
    };
    end.to_string()
}

/// Why a tunnel has ended, for people.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the rendezvous closed the TCP connection")]
    Closed,
    #[error("the TCP connection fell silent for {:.1} s", (QUIET + ANSWER).as_secs_f32())]
    Silent,
    #[error(transparent)]
    Failed(#[from] tungstenite::Error),
}

async fn receive(mut stream: SplitStream<Socket>, lane: &Lane, quiet: &Notify) -> End {
    loop {
        let next = match timeout(QUIET, stream.next()).await {
            Ok(next) => Ok(next),
            Err(_) => {
                quiet.notify_one();
                // Looks at what has come before it looks at the time: this program may have stood still.
                timeout(ANSWER, stream.next()).await
            }
        };
        let Ok(next) = next else { return End::Silent };
        match next {
            Some(Ok(Message::Binary(datagram))) => lane.deliver(datagram.into()).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => return error.into(),
            Some(Ok(_)) | None => return End::Closed,
        }
    }
}

async fn send(mut sink: SplitSink<Socket, Message>, lane: &Lane, quiet: &Notify) -> End {
    loop {
        // What follows closely leaves together; when nothing follows, all of it must have left.
        let sent = match lane.next() {
            Some(datagram) => sink.feed(Message::binary(datagram)).await,
            None => match sink.flush().await {
                Ok(()) => tokio::select! {
                    () = lane.filled() => continue,
                    () = quiet.notified() => sink.feed(Message::Ping(Default::default())).await,
                },
                error => error,
            },
        };
        if let Err(error) = sent {
            return error.into();
        }
    }
}
