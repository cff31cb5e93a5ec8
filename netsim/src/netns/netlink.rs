//! The few requests we make of the kernel over netlink: links, addresses, the default route, the conntrack flush.
//!
//! Every request asks for an acknowledgement and waits for it, one request at a time. We choose interface indices
//! ourselves, so nothing needs to be looked up by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};

use super::prefix::Prefix;

/// `struct nlmsghdr`: length, type, flags, sequence, port; then the body.
const HEADER: usize = 16;
const CREATE_NEW: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE` (linux/netfilter/nfnetlink_conntrack.h).
const CONNTRACK_DELETE: u16 = 1 << 8 | 2;

/// One end of a new cable.
pub(super) struct CableEnd<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
}

/// A netlink socket; it keeps the network namespace it was opened in.
pub(crate) struct Netlink(Mutex<Socket>);

impl Netlink {
    /// Links, addresses and routes of the calling thread's namespace.
    pub(super) fn route() -> io::Result<Netlink> {
        Netlink::open(protocols::NETLINK_ROUTE)
    }

    /// Connection tracking of the calling thread's namespace.
    pub(super) fn netfilter() -> io::Result<Netlink> {
        Netlink::open(protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Netlink> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink(Mutex::new(socket)))
    }

    pub(super) fn add_bridge(&self, index: u32, name: &str) -> io::Result<()> {
        let mut bridge = link(index, Some(true));
        bridge.attributes.push(LinkAttribute::IfName(name.to_owned()));
        bridge.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.ask(RouteNetlinkMessage::NewLink(bridge), CREATE_NEW)
    }

    /// A veth pair: this end up and plugged into `bridge`, the other born, still down, in the namespace `there`.
    pub(super) fn add_cable(
        &self,
        here: CableEnd<'_>,
        bridge: u32,
        there: CableEnd<'_>,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut peer = link(there.index, None);
        peer.attributes.push(LinkAttribute::IfName(there.name.to_owned()));
        peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let mut port = link(here.index, Some(true));
        port.attributes.push(LinkAttribute::IfName(here.name.to_owned()));
        port.attributes.push(LinkAttribute::Controller(bridge));
        port.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.ask(RouteNetlinkMessage::NewLink(port), CREATE_NEW)
    }

    pub(super) fn remove_link(&self, index: u32) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelLink(link(index, None)), 0)
    }

    pub(crate) fn set_link_up(&self, index: u32, up: bool) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::SetLink(link(index, Some(up))), 0)
    }

    /// How many packets may wait in a link for whoever takes them out.
    pub(crate) fn set_queue_length(&self, index: u32, packets: u32) -> io::Result<()> {
        let mut link = link(index, None);
        link.attributes.push(LinkAttribute::TxQueueLen(packets));
        self.ask(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Plugs a link into a bridge, or with 0 out of it.
    pub(super) fn set_bridge(&self, index: u32, bridge: u32) -> io::Result<()> {
        let mut port = link(index, None);
        port.attributes.push(LinkAttribute::Controller(bridge));
        self.ask(RouteNetlinkMessage::SetLink(port), 0)
    }

    /// Whether packets can pass: up, and the other end of the cable as well (`IFF_RUNNING`).
    pub(crate) fn is_running(&self, index: u32) -> io::Result<bool> {
        let answer = self.transact_route(&RouteNetlinkMessage::GetLink(link(index, None)), 0)?;
        // struct ifinfomsg: family, padding, type (4 bytes), index (4 bytes), flags (4 bytes).
        let flags = answer.get(8..12).and_then(|flags| flags.try_into().ok()).map(u32::from_ne_bytes);
        let flags = flags.ok_or_else(|| io::Error::other("the kernel's answer about a link is cut short"))?;
        Ok(flags & libc::IFF_RUNNING as u32 != 0)
    }

    pub(crate) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: Prefix) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::NewAddress(address_message(index, address, prefix)), CREATE_NEW)
    }

    pub(crate) fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: Prefix) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelAddress(address_message(index, address, prefix)), 0)
    }

    pub(super) fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        let mut route = default_route(index, AddressFamily::Inet);
        route.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.ask(RouteNetlinkMessage::NewRoute(route), (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16)
    }

    /// An address of a link without neighbours: no prefix, no route, no duplicate detection.
    pub(crate) fn add_lone_address(&self, index: u32, address: IpAddr) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::NewAddress(lone_address(index, address)), CREATE_NEW)
    }

    pub(crate) fn remove_lone_address(&self, index: u32, address: IpAddr) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelAddress(lone_address(index, address)), 0)
    }

    /// Whether packets to this address stay here, as those to an own address do once the kernel is done with adding it.
    pub(crate) fn is_local(&self, address: IpAddr) -> io::Result<bool> {
        let mut route = RouteMessage::default();
        route.header.address_family = family(address);
        route.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        route.attributes.push(RouteAttribute::Destination(address.into()));
        let answer = self.transact_route(&RouteNetlinkMessage::GetRoute(route), 0)?;
        // struct rtmsg: family, two prefix lengths, TOS, table, protocol, scope, type.
        Ok(answer.get(7) == Some(&libc::RTN_LOCAL))
    }

    /// Everything of the address's version of IP goes into this link.
    pub(crate) fn route_everything(&self, index: u32, like: IpAddr) -> io::Result<()> {
        let route = default_route(index, family(like));
        self.ask(RouteNetlinkMessage::NewRoute(route), (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16)
    }

    /// Everything of IPv4 goes to this gateway, which need not be anybody's neighbour.
    pub(crate) fn route_everything_to(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        let mut route = default_route(index, AddressFamily::Inet);
        route.header.flags = RouteFlags::Onlink;
        route.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.ask(RouteNetlinkMessage::NewRoute(route), (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16)
    }

    /// Forgets every tracked connection of the namespace, and with them every NAT mapping.
    pub(super) fn flush_conntrack(&self) -> io::Result<()> {
        // struct nfgenmsg: family, version, resource id.
        self.transact(CONNTRACK_DELETE, 0, &[libc::AF_INET as u8, 0, 0, 0]).map(drop)
    }

    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.transact_route(&message, flags).map(drop)
    }

    fn transact_route(&self, message: &RouteNetlinkMessage, flags: u16) -> io::Result<Vec<u8>> {
        let mut body = vec![0; message.buffer_len()];
        message.serialize(&mut body);
        self.transact(message.message_type(), flags, &body)
    }

    /// Sends one request and waits for its acknowledgement; returns the body of the answer, if there was one.
    fn transact(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(body);

        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.send(&request, 0)?;
        let mut answer = Vec::new();
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((kind, body, next)) = split_message(rest) {
                if i32::from(kind) != libc::NLMSG_ERROR {
                    answer = body.to_vec();
                } else {
                    // struct nlmsgerr opens with a negative errno, or 0 for "done".
                    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(answer) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                rest = next;
            }
        }
    }
}

/// The first netlink message of a datagram: its type, its body, and what follows.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, next))
}

/// A link by index; `up` says whether to touch its up flag at all.
fn link(index: u32, up: Option<bool>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header = LinkHeader { index, ..LinkHeader::default() };
    if let Some(up) = up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    message
}

/// Everything goes into this link.
fn default_route(index: u32, family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    route.attributes.push(RouteAttribute::Oif(index));
    route
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn lone_address(index: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = if address.is_ipv4() { 32 } else { 128 };
    message.header.index = index;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn address_message(index: u32, address: Ipv4Addr, prefix: Prefix) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix.length();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.into()));
    message.attributes.push(AddressAttribute::Address(address.into()));
    message
}
