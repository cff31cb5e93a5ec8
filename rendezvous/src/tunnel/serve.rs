//! One tunnel: TLS, HTTP, and then datagrams both ways until it ends.

use std::io;
use std::time::{Duration, Instant};

use common::tunnel::MAX_DATAGRAM;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::request::{self, Request};
use super::socket::Tunnel;
use crate::limits::{Bucket, Rate};

/// Without a datagram for so long a tunnel is closed: the QUIC in it has been given up by then.
const IDLE: Duration = Duration::from_secs(15);
/// How long one datagram may wait for TCP to take it: whoever reads nothing for so long has gone.
const STALLED: Duration = Duration::from_secs(10);
/// Pings and pongs: programs on the way and at the other end may want some, nobody needs many.
const PINGS: Rate = Rate { burst: 8, interval: Duration::from_secs(1) };

pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Why a tunnel has ended.
#[derive(Debug)]
#[expect(dead_code, reason = "the reasons are for the log")]
pub(super) enum End {
    /// The client has closed it.
    Left,
    /// TCP, TLS or the WebSocket failed: too long a message, no frame, a lost connection.
    Failed(Error),
    /// The client sent what a tunnel does not carry.
    Foreign(&'static str),
    /// Nothing came.
    Idle,
    /// The client did not read.
    Stalled,
}

/// What a datagram was.
pub(super) enum Arrived {
    /// A QUIC packet, which is QUIC's.
    Quic,
    /// Something that has been dealt with.
    Taken,
}

/// From a TCP connection to a WebSocket; `None` if somebody wanted a page, and got one.
pub(super) async fn shake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Option<Socket>> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let (request, rest) = request::read(&mut stream).await?;
    match request {
        Request::Tunnel { answer } => {
            stream.write_all(answer.as_bytes()).await?;
            Ok(Some(WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(websocket())).await))
        }
        Request::Page { answer } => {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            Ok(None)
        }
    }
}

/// What a tunnel's WebSocket takes and keeps.
pub fn websocket() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    // Small: there may be thousands.
    (config.read_buffer_size, config.write_buffer_size) = (4096, 8192);
    config.max_write_buffer_size = 64 * 1024;
    (config.max_message_size, config.max_frame_size) = (Some(MAX_DATAGRAM), Some(MAX_DATAGRAM));
    config
}

/// Carries datagrams both ways; `arrived` is shown each that comes.
pub(super) async fn carry(socket: Socket, tunnel: &Tunnel, arrived: impl Fn(&[u8]) -> Arrived) -> End {
    let (sink, stream) = socket.split();
    tokio::select! {
        end = receive(stream, tunnel, arrived) => end,
        end = send(sink, tunnel) => end,
    }
}

async fn receive(mut stream: SplitStream<Socket>, tunnel: &Tunnel, arrived: impl Fn(&[u8]) -> Arrived) -> End {
    let (mut heard, mut pings) = (Instant::now(), Bucket::default());
    loop {
        let message = match timeout_at((heard + IDLE).into(), stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return End::Failed(error),
            Ok(None) => return End::Left,
            Err(_) => return End::Idle,
        };
        match message {
            Message::Binary(datagram) => {
                heard = Instant::now();
                if let Arrived::Quic = arrived(&datagram) {
                    tunnel.deliver(datagram.into()).await;
                }
            }
            // What answers a ping is sent by the library, one at a time.
            Message::Ping(_) | Message::Pong(_) if pings.take(PINGS, Instant::now()) => {}
            Message::Ping(_) | Message::Pong(_) => return End::Foreign("too many pings"),
            Message::Close(_) => return End::Left,
            Message::Text(_) | Message::Frame(_) => return End::Foreign("text"),
        }
    }
}

async fn send(mut sink: SplitSink<Socket, Message>, tunnel: &Tunnel) -> End {
    loop {
        let next = tunnel.next();
        let waits = next.is_none();
        // What follows closely leaves together; when nothing follows, all of it must have left.
        let sending = async {
            match next {
                Some(datagram) => sink.feed(Message::binary(datagram)).await,
                None => sink.flush().await,
            }
        };
        match timeout(STALLED, sending).await {
            Ok(Ok(())) if waits => tunnel.filled().await,
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Failed(error),
            Err(_) => return End::Stalled,
        }
    }
}
