//! A look at this machine's own network: IPv6, a VPN, and whether multicast comes back.
//!
//! To the LAN go two datagrams of sixteen bytes for each interface, to a port that is our own, and only if that is allowed. They
//! are for another socket of this machine; whoever else hears them has no use for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use common::candidate::canonical;
use common::link::Rendezvous;
use common::stun::{self, Change, Message, TransactionId};
use if_addrs::{IfAddr, Interface};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::node::{Around, Ipv6Access, LanLink};

/// The group of mDNS (RFC 6762, section 3): what a network lets through of multicast, it lets through of this.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// What leaves a socket of this machine for another one is there at once.
const COMES_BACK: Duration = Duration::from_millis(300);
/// Interfaces that are looked at.
const INTERFACES: usize = 8;
/// Tries over IPv6, and how long each waits: nobody is farther from a server.
const TRIES: u32 = 3;
const ANSWER: Duration = Duration::from_millis(400);
/// How the interfaces of VPNs are called on the systems that we run on.
const VPNS: [&str; 9] = ["tun", "tap", "wg", "utun", "tailscale", "zt", "nordlynx", "proton", "ipsec"];

/// Looks; half a second, one and a half where the rendezvous has an IPv6 address that does not answer.
pub(crate) async fn look(rendezvous: &Rendezvous, lan: bool) -> Around {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let found = tokio::net::lookup_host((rendezvous.host.as_str(), rendezvous.port)).await;
    let servers: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
    let address = interfaces.iter().find_map(global_ipv6);
    let six = servers.iter().find(|server| server.is_ipv6());
    let (answers, links) = tokio::join!(
        async {
            match (address, six) {
                (Some(_), Some(server)) => Some(answers(*server).await),
                _ => None,
            }
        },
        async { if lan { Some(links(&interfaces).await) } else { None } }
    );
    let vpn = servers.first().and_then(|server| leaves_by(*server, &interfaces)).filter(|name| is_vpn(name));
    Around { ipv6: Ipv6Access { address, rendezvous: answers }, vpn, lan: links }
}

fn global_ipv6(interface: &Interface) -> Option<Ipv6Addr> {
    let IfAddr::V6(v6) = &interface.addr else { return None };
    let local = v6.ip.is_loopback() || v6.ip.is_unicast_link_local() || v6.ip.is_unique_local() || v6.ip.is_multicast();
    (!local).then_some(v6.ip)
}

/// The interface by which packets to this address leave. Nothing is sent to find out.
fn leaves_by(server: SocketAddr, interfaces: &[Interface]) -> Option<String> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(server).ok()?;
    let own = socket.local_addr().ok()?.ip();
    interfaces.iter().find(|interface| interface.ip() == own).map(|interface| interface.name.clone())
}

fn is_vpn(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    VPNS.iter().any(|vpn| name.starts_with(vpn)) || name.contains("vpn")
}

/// Does it answer STUN?
async fn answers(server: SocketAddr) -> bool {
    let mut id = [0; 12];
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await else { return false };
    if getrandom::fill(&mut id).is_err() {
        return false;
    }
    let request = stun::encode_request(TransactionId(id), Change::default());
    for _ in 0..TRIES {
        if socket.send_to(&request, server).await.is_ok()
            && let Ok(Ok(())) = timeout(ANSWER, response(&socket, TransactionId(id), server)).await
        {
            return true;
        }
    }
    false
}

async fn response(socket: &UdpSocket, id: TransactionId, server: SocketAddr) -> io::Result<()> {
    let mut buffer = [0; 1500];
    loop {
        let (count, source) = socket.recv_from(&mut buffer).await?;
        let ours =
            matches!(stun::decode(&buffer[..count]), Ok(Message::Response(response)) if response.transaction == id);
        if ours && canonical(source) == canonical(server) {
            return Ok(());
        }
    }
}

async fn links(interfaces: &[Interface]) -> Vec<LanLink> {
    let mut links = Vec::new();
    for interface in interfaces.iter().filter(|interface| !interface.is_loopback()) {
        let IfAddr::V4(v4) = &interface.addr else { continue };
        if v4.ip.is_link_local() || is_vpn(&interface.name) || links.len() == INTERFACES {
            continue;
        }
        let multicast = comes_back(v4.ip, GROUP).await.unwrap_or_else(|error| {
            tracing::debug!(%error, interface = interface.name, "no multicast");
            false
        });
        let broadcast = match v4.broadcast.filter(|address| *address != v4.ip && !interface.is_p2p) {
            Some(address) => Some(comes_back(v4.ip, address).await.unwrap_or(false)),
            None => None,
        };
        links.push(LanLink { interface: interface.name.clone(), address: v4.ip, multicast, broadcast });
    }
    links
}

/// Does what one socket sends to this group or broadcast address by this interface come to another one?
async fn comes_back(own: Ipv4Addr, to: Ipv4Addr) -> io::Result<bool> {
    let mut word = [0; 16];
    getrandom::fill(&mut word).map_err(|_| io::Error::other("no randomness"))?;
    let [ear, mouth] = [socket(Ipv4Addr::UNSPECIFIED)?, socket(own)?];
    if to.is_multicast() {
        ear.join_multicast_v4(&to, &own)?;
        mouth.set_multicast_if_v4(&own)?;
        mouth.set_multicast_ttl_v4(1)?;
        mouth.set_multicast_loop_v4(true)?;
    } else {
        mouth.set_broadcast(true)?;
    }
    let ear = UdpSocket::from_std(ear.into())?;
    mouth.send_to(&word, &SocketAddrV4::new(to, ear.local_addr()?.port()).into())?;
    let heard = timeout(COMES_BACK, async {
        let mut buffer = [0; 64];
        while let Ok((count, _)) = ear.recv_from(&mut buffer).await {
            if buffer[..count] == word {
                return true;
            }
        }
        false
    });
    Ok(heard.await.unwrap_or(false))
}

fn socket(own: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpn_is_known_by_the_name_of_its_interface() {
        for (name, vpn) in
            [("wg0", true), ("utun3", true), ("MyVPN", true), ("eth0", false), ("wlan0", false), ("en0", false)]
        {
            assert_eq!(is_vpn(name), vpn, "{name}");
        }
    }
}
