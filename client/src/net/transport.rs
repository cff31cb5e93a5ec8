//! quinn's configuration: one endpoint for everything, two kinds of connections over it.

use std::sync::Arc;
use std::time::Duration;

use common::identity::PeerId;
use common::introduction::MAX_CONTROL_FRAME;
use common::session::Route;
use common::tls::{self, ALPN_PEER, ALPN_RENDEZVOUS, Certificate, SeenPeer, TlsError};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};

use super::quic_socket::QuicSocket;

/// How often the connection to the rendezvous says that it is alive. It keeps the mapping that peers are told about,
/// and it is how soon we notice that the server was restarted: its stateless reset answers the next packet. Three
/// seconds and a handshake are within the five that a client may be missing.
const RENDEZVOUS_KEEPALIVE: Duration = Duration::from_secs(3);
/// Three keepalives and some: a server that is silent for so long is gone.
const RENDEZVOUS_IDLE: Duration = Duration::from_secs(10);
/// What a rendezvous may send that we have not read: ten of the longest frames.
pub(super) const RENDEZVOUS_WINDOW: u32 = 10 * MAX_CONTROL_FRAME as u32;
/// What a peer may send that we have not read, and we that the peer has not acknowledged: thirteen times what one stream may, which is
/// 1.25 MB. So a measurement with its eight streams leaves room for what else is said.
pub(super) const PEER_WINDOW: u32 = 16 << 20;
/// Bidirectional streams of a peer: the session, a measurement, one that is refused, and one to spare.
const PEER_STREAMS: u8 = 4;
/// Before anything is measured, for the first retransmissions: after 300 and 900 ms, so that two lost packets do not cost
/// a second. With quinn's 333 ms (RFC 9002, section 6.2.2) one would. Where the way is longer, a packet is sent twice.
const RENDEZVOUS_INITIAL_RTT: Duration = Duration::from_millis(100);
/// A measured probe can be faster than the handshake's cryptography on a slow machine.
const MIN_INITIAL_RTT: Duration = Duration::from_millis(20);

pub(super) fn endpoint(socket: Arc<QuicSocket>, own: &Certificate, own_id: PeerId) -> Result<Endpoint, TlsOrIo> {
    let mut config = EndpointConfig::default();
    // A greased bit would make our packets look like anything (RFC 9287), and the demultiplexer drop them.
    config.grease_quic_bit(false);
    // quinn shows incoming connections only to an endpoint with a server configuration. Each is then accepted with one
    // that expects the peer at its address; this one expects ourselves, that is, nobody.
    let (nobody, _) = peer_server(own, own_id, Route::Direct, MIN_INITIAL_RTT)?;
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(nobody), socket, Arc::new(TokioRuntime))?;
    Ok(endpoint)
}

/// Either kind of trouble in making an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsOrIo {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

pub(super) fn rendezvous_client(own: &Certificate, expected: PeerId) -> Result<(ClientConfig, SeenPeer), TlsError> {
    let mut transport = base();
    transport.keep_alive_interval(Some(RENDEZVOUS_KEEPALIVE));
    transport.max_idle_timeout(Some(VarInt::from_u32(RENDEZVOUS_IDLE.as_millis() as u32).into()));
    transport.initial_rtt(RENDEZVOUS_INITIAL_RTT);
    transport.receive_window(VarInt::from_u32(RENDEZVOUS_WINDOW));
    // Frames are small, and each probe of a larger MTU is 1,450 bytes of work for the server.
    transport.mtu_discovery_config(None);
    client(own, expected, ALPN_RENDEZVOUS, transport)
}

/// Whether a direct path lives is the path machine's decision, and whether a channel does is the server's: QUIC itself
/// neither keeps alive nor times out.
pub(super) fn peer_client(
    own: &Certificate,
    expected: PeerId,
    route: Route,
    rtt: Duration,
) -> Result<(ClientConfig, SeenPeer), TlsError> {
    client(own, expected, ALPN_PEER, peer_transport(route, rtt))
}

pub(super) fn peer_server(
    own: &Certificate,
    expected: PeerId,
    route: Route,
    rtt: Duration,
) -> Result<(ServerConfig, SeenPeer), TlsError> {
    let (tls, seen) = tls::server_config(own, Some(expected), ALPN_PEER)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(no_initial_suite)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(peer_transport(route, rtt)));
    Ok((config, seen))
}

fn client(
    own: &Certificate,
    expected: PeerId,
    alpn: &[u8],
    transport: TransportConfig,
) -> Result<(ClientConfig, SeenPeer), TlsError> {
    let (tls, seen) = tls::client_config(own, expected, alpn)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(no_initial_suite)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok((config, seen))
}

fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> TlsError {
    TlsError::Config(rustls::Error::General("the TLS provider has no cipher suite for QUIC's first packets".into()))
}

fn peer_transport(route: Route, rtt: Duration) -> TransportConfig {
    let mut transport = base();
    transport.max_idle_timeout(None);
    transport.receive_window(VarInt::from_u32(PEER_WINDOW));
    transport.send_window(PEER_WINDOW.into());
    transport.max_concurrent_bidi_streams(PEER_STREAMS.into());
    if route == Route::Relayed {
        // A frame around each packet takes nine bytes, and the way on from the server is one more that would have to be
        // probed: 1200 bytes pass everywhere.
        transport.mtu_discovery_config(None);
    }
    transport.initial_rtt(rtt.max(MIN_INITIAL_RTT));
    transport
}

/// Sends the smallest thing that has to be acknowledged, over a connection with this window. What was lost is then known at once,
/// where QUIC would wait for a timer that has doubled for as long as nothing came. quinn has no PING to offer, but tells the
/// other side when its window grows (MAX_DATA): by one byte, which the next update takes back.
pub(super) fn nudge(connection: &Connection, window: u32) {
    connection.set_receive_window(VarInt::from_u32(window + 1));
    connection.set_receive_window(VarInt::from_u32(window));
}

fn base() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(2u8.into());
    transport.max_concurrent_uni_streams(0u8.into());
    transport.datagram_receive_buffer_size(None);
    transport
}
