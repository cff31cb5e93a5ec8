//! Host candidates: the addresses of this machine's own interfaces (RFC 8445, section 5.1.1.1).

use std::net::{IpAddr, SocketAddr};

use common::introduction::MAX_ADDRESSES;

use super::quic_socket::QuicSocket;

/// Where somebody on the same network reaches our sockets: IPv4 first, at most as many as an introduction carries.
pub(super) fn host_candidates(socket: &QuicSocket) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the network interfaces; peers on the same network may not be reached");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> = interfaces.iter().filter(|i| !i.is_loopback()).map(|i| i.ip()).collect();
    addresses.retain(|ip| match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        // A link-local address means nothing to the peer without its interface.
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified() && !v6.is_multicast(),
    });
    addresses.sort_by_key(|ip| ip.is_ipv6());
    addresses.dedup();
    let port = |ip: &IpAddr| socket.local_addresses().find(|local| local.is_ipv4() == ip.is_ipv4()).map(|l| l.port());
    let candidates = addresses.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port(ip)?)));
    candidates.take(MAX_ADDRESSES).collect()
}
