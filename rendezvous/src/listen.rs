//! Opens the sockets: for each address a port for QUIC, STUN and relay frames, and the next port up for STUN alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::stun_service::{Layout, Place};

/// How often a pair of free ports is looked for if the port does not matter.
const TRIES: u32 = 50;

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// More than two addresses of one family, or two of which one is the wildcard, or the same one twice.
    #[error(
        "cannot listen on {0} addresses of one family like this: one address, or two different ones (RFC 5780), neither of them the wildcard"
    )]
    Addresses(usize),
    /// Different ports.
    #[error("all --listen addresses have the same port, because a link names one; here are {0} and {1}")]
    Ports(u16, u16),
    /// Nothing.
    #[error("no address to listen on; give at least one with --listen")]
    Nothing,
    /// There is no port above.
    #[error("port 65535 has no next one for the alternate STUN port; choose another port")]
    LastPort,
    /// Taken.
    #[error(
        "UDP {0} is in use by another program, perhaps another rendezvous: stop that one (ss -lunp shows it), or choose another port with --listen IP:PORT; the port above it is used as well"
    )]
    InUse(SocketAddr),
    /// Not ours.
    #[error("this machine has no address {0}; give one that `ip address` shows, or 0.0.0.0, with --listen")]
    NotLocal(IpAddr),
    /// Below 1024 and not root.
    #[error("this user may not open UDP {0}; choose a port from 1024 on")]
    Forbidden(SocketAddr),
    /// Anything else.
    #[error("opening UDP {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

/// The open sockets of one family.
#[derive(Debug)]
pub struct Family {
    /// Their addresses.
    pub layout: Layout,
    /// Two, or four with a second address.
    pub ports: Vec<Port>,
}

/// An open port.
#[derive(Debug)]
pub struct Port {
    /// Which one.
    pub place: Place,
    /// Gets whatever has no socket of its own.
    pub socket: UdpSocket,
    /// The others.
    pub shared: Shared,
}

/// More sockets at a port. None at the alternate port, nor where the system cannot tell datagrams apart.
#[derive(Debug, Default)]
pub struct Shared {
    /// Gets strangers' first packets.
    pub strangers: Option<UdpSocket>,
    /// Gets relay frames.
    pub relay: Option<UdpSocket>,
}

/// Where to listen if nobody says: everywhere, on both families.
pub fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

/// Opens all sockets. All addresses have one port; 0 stands for any, and all get the same one. An address of
/// `optional` that this machine does not have at all is left out (no IPv6).
pub fn open(addresses: &[SocketAddr], optional: bool) -> Result<Vec<Family>, ListenError> {
    let port = addresses.first().ok_or(ListenError::Nothing)?.port();
    if let Some(other) = addresses.iter().find(|address| address.port() != port) {
        return Err(ListenError::Ports(port, other.port()));
    }
    let ips = |ipv6| addresses.iter().map(SocketAddr::ip).filter(move |ip| ip.is_ipv6() == ipv6).collect::<Vec<_>>();
    let families: Vec<_> = [ips(false), ips(true)].into_iter().filter(|ips| !ips.is_empty()).collect();
    for ips in &families {
        let wildcard = ips.iter().any(IpAddr::is_unspecified);
        if ips.len() > 2 || ips.len() == 2 && (wildcard || ips[0] == ips[1]) {
            return Err(ListenError::Addresses(ips.len()));
        }
    }
    if port != 0 {
        return open_at(&families, port, optional);
    }
    let mut tried = 0;
    loop {
        // The system proposes; that the port above is free too, and both on all addresses, must be tried.
        let address = SocketAddr::new(families[0][0], 0);
        let proposed = open_one(address)?.local_addr().map_err(|source| ListenError::Io { address, source })?;
        tried += 1;
        match open_at(&families, proposed.port(), optional) {
            Err(ListenError::InUse(_) | ListenError::LastPort) if tried < TRIES => {}
            done => return done,
        }
    }
}

fn open_at(families: &[Vec<IpAddr>], port: u16, optional: bool) -> Result<Vec<Family>, ListenError> {
    let second_port = port.checked_add(1).ok_or(ListenError::LastPort)?;
    let mut opened = Vec::new();
    for ips in families {
        let mut ports = Vec::new();
        for (second_ip, ip) in [false, true].into_iter().zip(ips) {
            for (second_port, port) in [(false, port), (true, second_port)] {
                match open_one(SocketAddr::new(*ip, port)) {
                    Ok(socket) => {
                        let shared = if second_port { Shared::default() } else { share(&socket) };
                        ports.push(Port { place: Place { second_ip, second_port }, socket, shared });
                    }
                    Err(ListenError::NotLocal(_)) if optional && ip.is_ipv6() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if !ports.is_empty() {
            let layout = Layout { ip: ips[0], second_ip: ips.get(1).copied(), port, second_port };
            opened.push(Family { layout, ports });
        }
    }
    Ok(opened)
}

/// A burst that waits while a handshake is computed: a millisecond of a full gigabit is 125 KiB, and twenty handshakes at
/// once take 20 ms.
const RECEIVE_BUFFER: usize = 4 << 20;

fn open_one(address: SocketAddr) -> Result<UdpSocket, ListenError> {
    bind(address, |_| Ok(())).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotLocal(address.ip()),
        io::ErrorKind::PermissionDenied => ListenError::Forbidden(address),
        // EAFNOSUPPORT of Linux, macOS and Windows: a system without IPv6. It has no ErrorKind of its own.
        _ if address.is_ipv6() && matches!(source.raw_os_error(), Some(97 | 47 | 10047)) => {
            ListenError::NotLocal(address.ip())
        }
        _ => ListenError::Io { address, source },
    })
}

/// A socket at this address, with such options set before it is bound.
pub(crate) fn bind(address: SocketAddr, options: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // IPv4 has its own sockets, so that no address ever appears in two forms.
        socket.set_only_v6(true)?;
    }
    // As much as the system grants (Linux: net.core.rmem_max); what it refuses is no error.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    options(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// More sockets for this port. Without them everything arrives at the one, and relay frames and first packets may delay the rest.
#[cfg(target_os = "linux")]
fn share(port: &UdpSocket) -> Shared {
    crate::linux::share(port).unwrap_or_else(|error| {
        tracing::info!(%error, "one socket for everything: under load the relay delays registrations");
        Shared::default()
    })
}

/// See above: Linux alone can tell datagrams apart.
#[cfg(not(target_os = "linux"))]
fn share(_port: &UdpSocket) -> Shared {
    Shared::default()
}

/// The address with which this machine goes out, for links. Connecting a UDP socket looks the route up and sends
/// nothing; 192.0.2.1 and 2001:db8::1 are for documentation (RFC 5737, RFC 3849), so the route is the default one.
pub fn outgoing_ip(ipv6: bool) -> Option<IpAddr> {
    let (from, to): (SocketAddr, SocketAddr) = if ipv6 {
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into())
    } else {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into())
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
