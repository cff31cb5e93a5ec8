//! The least that a registration could cost: quinn and the same TLS, one frame read and one written, and nothing that a server
//! is for. No limits, no registry, nobody to introduce.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::identity::Identity;
use common::introduction::{FromServer, MAX_CONTROL_FRAME, Registered, StunEndpoints, ToServer};
use common::link::{Link, Rendezvous as Place};
use common::tls::{ALPN_RENDEZVOUS, Certificate, server_config};
use common::wire::{self, FrameReader};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::runtime::Builder;

use crate::support::Process;

/// The word that makes this program the server.
const WORD: &str = "bare-server";

/// Starts this program again, as the server.
pub(crate) fn start() -> Process {
    let mut command = Command::new(std::env::current_exe().expect("its path"));
    command.arg(WORD).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Process::spawn(command)
}

/// Was it started so? Then it serves until it is killed.
pub(crate) fn serve_if_asked() {
    if std::env::args().nth(1).as_deref() == Some(WORD) {
        Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(serve());
    }
}

async fn serve() {
    let identity = Identity::from_seed(&[0x42; 32]);
    let certificate = Certificate::new(&identity).expect("a certificate");
    let (tls, _) = server_config(&certificate, None, ALPN_RENDEZVOUS).expect("a configuration");
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("a cipher suite")));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(2)).mtu_discovery_config(None);
    config.transport_config(Arc::new(transport));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let port = socket.local_addr().expect("bound").port();
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).expect("an endpoint");
    let place = Place { host: Ipv4Addr::LOCALHOST.to_string(), port, key: identity.peer_id(), tunnel: None };
    println!("join {}", Link::Join(place));
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(answer(incoming));
    }
}

async fn answer(incoming: Incoming) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let mut frames = FrameReader::new(MAX_CONTROL_FRAME);
    while frames.poll::<ToServer>().ok()?.is_none() {
        frames.push(&recv.read_chunk(4096, true).await.ok()??.bytes);
    }
    let stun = StunEndpoints { alternate_port: 1, alternate: None };
    let answer = FromServer::Registered(Registered { observed: connection.remote_address(), stun, now_s: 0 });
    send.write_all(&wire::encode(&answer, MAX_CONTROL_FRAME).ok()?).await.ok()?;
    connection.closed().await;
    Some(())
}
