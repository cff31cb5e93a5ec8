//! The UDP sockets of a node: the main one, for each version of IP, and those that a strategy of punching asks for.
//!
//! Whoever sends QUIC names a destination and no socket. So the set remembers from which socket a destination was reached;
//! everything else leaves from the main one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Waker};

use common::candidate::canonical;
use quinn::udp::Transmit;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

use crate::node::SocketId;

/// What may wait in the kernel while we do not get a processor: 40 ms at 800 Mb/s. It takes memory only while something waits.
/// With Linux's default, 208 KiB, bulk over a long line loses packets here (docs/benchmarks.md, "Speed").
const RECEIVE_BUFFER: usize = 4 << 20;

/// Addresses that send QUIC packets to other sockets than the main one: a path or two for each contact with whom ports had to
/// be guessed.
const MAX_ARRIVED: usize = 256;

/// One socket.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: SocketId,
    pub(super) local: SocketAddr,
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
}

impl Member {
    async fn bind(id: SocketId, address: SocketAddr) -> io::Result<Arc<Self>> {
        let socket = bind(address)?;
        let local = socket.local_addr()?;
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        // tokio refuses to send on a socket until it has once heard that it may.
        let mut poller = socket.clone().create_io_poller();
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await?;
        Ok(Arc::new(Member { id, local, socket }))
    }

    /// Sends one datagram that is not QUIC's. Best effort, like the network.
    fn send(&self, destination: SocketAddr, contents: &[u8]) {
        let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        let _ = self.socket.try_send(&transmit);
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The main ones first, IPv4 before IPv6.
    members: RwLock<Vec<Arc<Member>>>,
    /// Where packets to this address leave from, if not from the main socket.
    leave: RwLock<BTreeMap<SocketAddr, SocketId>>,
    /// To which socket QUIC packets of this address came last, if not to the main one.
    arrived: RwLock<BTreeMap<SocketAddr, SocketId>>,
    /// Who reads them.
    reader: Mutex<Option<Waker>>,
}

impl Sockets {
    /// The main ones, on free ports. IPv6 is optional; without IPv4 *and* IPv6 there is no network.
    pub(super) async fn open() -> io::Result<Self> {
        let mut members = Vec::new();
        let mut trouble = None;
        for any in [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()] {
            match Member::bind(SocketId::MAIN, any).await {
                Ok(member) => members.push(member),
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        match trouble {
            Some(error) if members.is_empty() => Err(error),
            _ => Ok(Sockets {
                members: RwLock::new(members),
                leave: RwLock::default(),
                arrived: RwLock::default(),
                reader: Mutex::default(),
            }),
        }
    }

    /// One more, of this version of IP; its port.
    pub(super) async fn add(&self, id: SocketId, ipv4: bool) -> io::Result<u16> {
        let any = if ipv4 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let member = Member::bind(id, any).await?;
        let port = member.local.port();
        self.members.write().unwrap_or_else(PoisonError::into_inner).push(member);
        // Whoever reads has not heard of it.
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
        Ok(port)
    }

    /// Closes one that was added.
    pub(super) fn remove(&self, id: SocketId) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).retain(|member| member.id != id);
        self.leave.write().unwrap_or_else(PoisonError::into_inner).retain(|_, from| *from != id);
        self.arrived.write().unwrap_or_else(PoisonError::into_inner).retain(|_, at| *at != id);
    }

    /// A QUIC packet of this address came to this socket.
    pub(super) fn note_arrival(&self, source: SocketAddr, id: SocketId) {
        let source = canonical(source);
        if self.arrived(source) == id {
            return;
        }
        let mut arrived = self.arrived.write().unwrap_or_else(PoisonError::into_inner);
        // Forged sources fill no memory; whoever dials says it again with the next packet.
        if arrived.len() >= MAX_ARRIVED {
            arrived.clear();
        }
        match id {
            SocketId::MAIN => arrived.remove(&source),
            id => arrived.insert(source, id),
        };
    }

    /// To which socket it came last.
    pub(super) fn arrived(&self, source: SocketAddr) -> SocketId {
        let arrived = self.arrived.read().unwrap_or_else(PoisonError::into_inner);
        arrived.get(&canonical(source)).copied().unwrap_or(SocketId::MAIN)
    }

    /// Packets to this address leave from this socket from now on.
    pub(super) fn leave(&self, destination: SocketAddr, id: SocketId) {
        let mut leave = self.leave.write().unwrap_or_else(PoisonError::into_inner);
        match id {
            SocketId::MAIN => leave.remove(&canonical(destination)),
            id => leave.insert(canonical(destination), id),
        };
    }

    /// All of them now. `cx` will hear of those that come.
    pub(super) fn members(&self, cx: &Context<'_>) -> Vec<Arc<Member>> {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.snapshot()
    }

    /// All of them now.
    pub(super) fn snapshot(&self) -> Vec<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The socket from which QUIC packets to this address leave.
    pub(super) fn toward(&self, destination: SocketAddr) -> Option<Arc<Member>> {
        let leave = self.leave.read().unwrap_or_else(PoisonError::into_inner);
        let id = leave.get(&destination).copied().unwrap_or(SocketId::MAIN);
        drop(leave);
        self.get(id, destination.is_ipv4())
    }

    fn get(&self, id: SocketId, ipv4: bool) -> Option<Arc<Member>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.iter().find(|member| member.id == id && member.local.is_ipv4() == ipv4).cloned()
    }

    /// Sends one datagram that is not QUIC's, from this socket.
    pub(super) fn send(&self, id: SocketId, destination: SocketAddr, contents: &[u8]) {
        let destination = canonical(destination);
        self.get(id, destination.is_ipv4()).into_iter().for_each(|member| member.send(destination, contents));
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system gives as much of it as it allows (`net.core.rmem_max`), or stays with its default.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
