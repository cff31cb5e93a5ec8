//! The client's end of a tunnel: a bridge with a UDP socket at its near end, so that everybody in these tests can use it as if it
//! were the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use common::link::Rendezvous as Place;
use common::tls::tunnel_client;
use common::tunnel::PATH;
use futures_util::{SinkExt, StreamExt};
use quinn::rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::soon;

pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A TCP connection to the tunnel's port, and nothing said.
pub async fn tcp(place: &Place) -> TcpStream {
    let stream = soon(TcpStream::connect((place.host.as_str(), place.tunnel_port()))).await.expect("the port is open");
    // As the client does: each message leaves by itself.
    stream.set_nodelay(true).expect("TCP");
    stream
}

/// TLS with the pinned key.
pub async fn tls(place: &Place) -> std::io::Result<TlsStream<TcpStream>> {
    let (config, _) = tunnel_client(place.key).expect("a configuration");
    let name = ServerName::try_from(place.host.clone()).expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, tcp(place).await)).await
}

/// The tunnel itself.
pub async fn open(place: &Place) -> Result<Socket, Error> {
    let stream = tls(place).await?;
    let request = format!("wss://{}:{}{PATH}", place.host, place.tunnel_port()).into_client_request()?;
    let (socket, _) = soon(client_async(request, stream)).await?;
    Ok(socket)
}

/// What the other end does with what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// All of it.
    Everything,
    /// Nothing after so many messages.
    Only(usize),
}

/// A UDP socket that leads into a tunnel.
pub struct Bridge {
    /// The server, as it is reached through the tunnel.
    pub place: Place,
    carrying: JoinHandle<()>,
}

impl Bridge {
    pub async fn to(server: &Place) -> Self {
        Bridge::that_reads(server, Reads::Everything).await
    }

    pub async fn that_reads(server: &Place, reads: Reads) -> Self {
        let (mut sink, mut stream) = open(server).await.expect("a tunnel").split();
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket"));
        let address = near.local_addr().expect("bound");
        let carrying = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            let (mut count, mut client): (_, Option<SocketAddr>) = (0, None);
            loop {
                let reading = reads == Reads::Everything || matches!(reads, Reads::Only(most) if count < most);
                tokio::select! {
                    received = near.recv_from(&mut buffer) => {
                        let Ok((length, from)) = received else { return };
                        client = Some(from);
                        if sink.send(Message::binary(buffer[..length].to_vec())).await.is_err() { return }
                    }
                    message = stream.next(), if reading => match message {
                        Some(Ok(Message::Binary(datagram))) => {
                            count += 1;
                            if let Some(client) = client { let _ = near.send_to(&datagram, client).await; }
                        }
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        });
        Bridge { place: Place { host: "127.0.0.1".into(), port: address.port(), ..server.clone() }, carrying }
    }

    /// Whether the tunnel is still open.
    pub fn is_open(&self) -> bool {
        !self.carrying.is_finished()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}
