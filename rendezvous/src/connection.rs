//! The life of one connection: handshake, one stream, frames in, frames out, the end.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::identity::PeerId;
use common::introduction::{CloseCode, MAX_CONTROL_FRAME, StunEndpoints, ToServer};
use common::tls::accepted_peer;
use common::wire::FrameReader;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connecting, Connection, RecvStream, SendStream};
use tokio::time::timeout;
use tracing::debug;

use crate::hub::{Hub, Outbox, Outgoing, close};
use crate::limits::PATIENCE;
use crate::relay::SocketIndex;
use crate::server::ConnectionId;

/// How long the last words may take to be acknowledged: two round trips of a satellite link would be more, but a server
/// that stops has only a second.
const GOODBYE: Duration = Duration::from_millis(700);
/// How long one frame may wait for the client to make room.
const WRITING: Duration = Duration::from_secs(10);
/// How much of the stream is taken at once.
const CHUNK: usize = 16 * 1024;

/// Serves a connection whose handshake was admitted, to its end.
///
/// `source` is where it comes from in truth; it counts to the end, wherever the client moves.
pub async fn serve(hub: Arc<Hub>, connecting: Connecting, source: IpAddr, socket: SocketIndex, stun: StunEndpoints) {
    let connected = timeout(PATIENCE, connecting).await;
    hub.handshake_ended();
    let connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(%error, "handshake failed"),
        Err(_) => return debug!("handshake took too long"),
    };
    if let Err(code) = hub.arrived(source) {
        return close(&connection, code);
    }
    converse(&hub, &connection, source, socket, stun).await;
    hub.departed(source);
}

async fn converse(hub: &Hub, connection: &Connection, source: IpAddr, socket: SocketIndex, stun: StunEndpoints) {
    let Some(peer) = peer_of(connection) else { return close(connection, CloseCode::Protocol) };
    let (send, recv) = match timeout(PATIENCE, connection.accept_bi()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "gone before its first frame"),
        Err(_) => return close(connection, CloseCode::Silent),
    };
    let (id, outbox) = hub.join(connection, peer, source, socket, stun);
    let mut writing = pin!(write(connection, send, outbox));
    tokio::select! {
        () = &mut writing => {}
        end = read(hub, id, recv) => match end {
            ReadEnd::Left => close(connection, CloseCode::Done),
            ReadEnd::Lost => {}
            // The server's last words are on their way.
            ReadEnd::Broken => writing.await,
        },
    }
    hub.leave(id);
}

/// The key that the client proved to hold.
fn peer_of(connection: &Connection) -> Option<PeerId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    accepted_peer(chain.first()?)
}

enum ReadEnd {
    /// The client has ended its stream.
    Left,
    /// The connection is gone.
    Lost,
    /// The client does not speak the protocol.
    Broken,
}

async fn read(hub: &Hub, id: ConnectionId, mut recv: RecvStream) -> ReadEnd {
    let mut frames = FrameReader::new(MAX_CONTROL_FRAME);
    loop {
        let chunk = match recv.read_chunk(CHUNK, true).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => match frames.finish() {
                Ok(()) => return ReadEnd::Left,
                Err(error) => {
                    hub.broken(id, &error);
                    return ReadEnd::Broken;
                }
            },
            Err(error) => {
                debug!(connection = id.0, %error, "reading");
                return ReadEnd::Lost;
            }
        };
        frames.push(&chunk.bytes);
        loop {
            match frames.poll::<ToServer>() {
                Ok(Some(message)) => hub.message(id, message),
                Ok(None) => {
                    if frames.finish().is_ok() {
                        // Between frames it is empty, but would keep the room that the longest one took.
                        frames = FrameReader::new(MAX_CONTROL_FRAME);
                    }
                    break;
                }
                Err(error) => {
                    hub.broken(id, &error);
                    return ReadEnd::Broken;
                }
            }
        }
    }
}

async fn write(connection: &Connection, mut send: SendStream, mut outbox: Outbox) {
    while let Some(next) = outbox.next().await {
        match next {
            Outgoing::Frame(frame) => match timeout(WRITING, send.write_all(&frame)).await {
                Ok(Ok(())) => outbox.written(frame.len()),
                Ok(Err(error)) => return debug!(%error, "writing"),
                Err(_) => return close(connection, CloseCode::Slow),
            },
            Outgoing::Close(code) => {
                // Closing at once would overtake what was written before.
                if send.finish().is_ok() {
                    let _ = timeout(GOODBYE, send.stopped()).await;
                }
                return close(connection, code);
            }
        }
    }
}
