//! Opens the TCP ports of the tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::tunnel::SEND_BUFFER;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel holds until they are accepted: as many handshakes as may be under way.
const BACKLOG: i32 = crate::limits::HANDSHAKES as i32;

/// Why the tunnel's ports were not opened.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Different ports.
    #[error("all --tunnel addresses have the same port, because a link names one; here are {0} and {1}")]
    Ports(u16, u16),
    /// Taken.
    #[error(
        "TCP {0} is in use by another program, perhaps a web server (ss -ltnp shows it): give the tunnel another port with --tunnel IP:PORT, and hand out the new link"
    )]
    InUse(SocketAddr),
    /// Not ours.
    #[error("this machine has no address {0}; give one that `ip address` shows, or 0.0.0.0, with --tunnel")]
    NotLocal(IpAddr),
    /// Below 1024 and not root.
    #[error(
        "this user may not open TCP {0}; allow it (AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd), or choose a port from 1024 on"
    )]
    Forbidden(SocketAddr),
    /// Anything else.
    #[error("opening TCP {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

impl TunnelError {
    /// Did the operator ask for something that cannot be, whatever the machine?
    pub fn is_usage(&self) -> bool {
        matches!(self, TunnelError::Ports(..))
    }
}

/// The open ports.
#[derive(Debug)]
pub struct Listeners {
    /// One for each address.
    pub sockets: Vec<Arc<TcpListener>>,
    /// Theirs.
    pub port: u16,
}

impl Listeners {
    /// Opens all of them; `None` if there is no address, hence no tunnel. Port 0 stands for any, the same for all. Must be
    /// called within a tokio runtime.
    pub fn open(addresses: &[SocketAddr]) -> Result<Option<Self>, TunnelError> {
        let Some(mut port) = addresses.first().map(SocketAddr::port) else { return Ok(None) };
        if let Some(other) = addresses.iter().find(|address| address.port() != port) {
            return Err(TunnelError::Ports(port, other.port()));
        }
        let mut sockets = Vec::new();
        for address in addresses {
            let address = SocketAddr::new(address.ip(), port);
            let listener = bind(address)?;
            port = listener.local_addr().map_err(|source| TunnelError::Io { address, source })?.port();
            sockets.push(Arc::new(listener));
        }
        Ok(Some(Listeners { sockets, port }))
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, TunnelError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A server that is started again must not wait for the tunnels of the one before to be forgotten.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        // Of the connections, which inherit it.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => TunnelError::InUse(address),
        io::ErrorKind::AddrNotAvailable => TunnelError::NotLocal(address.ip()),
        io::ErrorKind::PermissionDenied => TunnelError::Forbidden(address),
        _ => TunnelError::Io { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ports_that_cannot_be_opened_are_named() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let taken = Listeners::open(&[any]).expect("a port").expect("asked for");
        let again = SocketAddr::new(any.ip(), taken.port);
        let error = Listeners::open(&[again]).expect_err("taken").to_string();
        assert!(error.contains(&again.to_string()) && error.contains("--tunnel"), "{error}");
        let two = ["127.0.0.1:443", "127.0.0.1:444"].map(|text| text.parse().expect("an address"));
        assert!(Listeners::open(&two).is_err_and(|error| error.is_usage()));
        assert!(Listeners::open(&[]).expect("nothing to open").is_none());
    }
}
