//! The one set of UDP sockets, in the shape in which quinn 0.11 wants a socket.
//!
//! Everything a client sends leaves from here, because a NAT mapping belongs to a socket. There is one socket for IPv4
//! and, where the machine has it, one for IPv6, and those that punching asks for ([`Sockets`]). quinn sees a single IPv6 socket: IPv4 addresses are mapped into IPv6 on
//! the way in and taken out on the way out. Datagrams that are STUN are split off before quinn sees them.
//!
//! A relay channel looks to quinn like one more address ([`RelayChannel::address`]): what it sends there leaves as relay
//! frames to the rendezvous, and the payload of a frame from the rendezvous comes in as if from there.
//!
//! A tunnel is an address too ([`tunnel_address`](relay::tunnel_address)): while the rendezvous is reached through one, that
//! is where relay frames go. What comes out of it has come from the rendezvous.
//!
//! quinn changes this trait in its next version: nothing outside this file may depend on it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use common::candidate::canonical;
use common::datagram::{self, Kind};
use common::relay::{self, HEADER, RelayChannel, is_synthetic};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use super::fence::Fence;
use super::silence::RelayTraffic;
use super::sockets::{Member, Sockets};
use super::tunnel::Lanes;
use crate::node::SocketId;

/// STUN datagrams waiting for the driver. More than this is a flood, and is dropped as a full socket buffer would.
const STUN_QUEUE: usize = 256;
/// Relayed datagrams that were received in one buffer with others. quinn asks for them next, so one batch is the most.
const UNWRAPPED: usize = 2048;
/// No STUN message that concerns us is longer.
const MAX_STUN: usize = 512;

/// A STUN datagram: which socket it came to, where from, and its bytes.
pub(super) type Stun = (SocketId, SocketAddr, Vec<u8>);

/// The sockets of a client.
pub(super) struct QuicSocket {
    sockets: Sockets,
    fence: Arc<Fence>,
    /// Which socket a send was last refused by, hence which one to wait for.
    blocked: Mutex<Option<Arc<Member>>>,
    stun: mpsc::Sender<Stun>,
    /// The rendezvous, to which relay frames go and from which they come.
    relay: RwLock<Option<SocketAddr>>,
    lanes: Arc<Lanes>,
    /// When frames came from there.
    traffic: Arc<RelayTraffic>,
    /// Payloads of frames that did not fit where they were received.
    unwrapped: Mutex<VecDeque<(SocketAddr, Vec<u8>)>>,
}

impl QuicSocket {
    /// Opens the main sockets.
    pub(super) async fn open(fence: Fence) -> io::Result<(Arc<Self>, mpsc::Receiver<Stun>)> {
        let sockets = Sockets::open().await?;
        let (stun, inbox) = mpsc::channel(STUN_QUEUE);
        let (blocked, relay, unwrapped, traffic) = Default::default();
        let (lanes, fence) = (Lanes::new(), Arc::new(fence));
        Ok((Arc::new(QuicSocket { sockets, fence, blocked, stun, relay, lanes, traffic, unwrapped }), inbox))
    }

    /// Whom they talk to.
    pub(super) fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// The sockets themselves.
    pub(super) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The tunnels.
    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// When relay frames came over UDP. In a tunnel they need no watch: TCP tells at once that a server was restarted.
    pub(super) fn traffic(&self) -> &Arc<RelayTraffic> {
        &self.traffic
    }

    /// Where relay frames go and come from.
    pub(super) fn relay(&self) -> Option<SocketAddr> {
        *self.relay.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on they go and come here.
    pub(super) fn set_relay(&self, server: Option<SocketAddr>) {
        *self.relay.write().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// The local ports of the main sockets, by family.
    pub(super) fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.snapshot().into_iter().filter(|member| member.id == SocketId::MAIN).map(|member| member.local)
    }

    /// Sends one datagram that is not QUIC's. Best effort, like the network.
    pub(super) fn send(&self, from: SocketId, destination: SocketAddr, payload: &[u8]) {
        // Nobody has a synthetic address, and STUN has nothing to do in a tunnel.
        if !is_synthetic(destination.ip()) && self.fence.lets_through(destination) {
            self.sockets.send(from, destination, payload);
        }
    }

    /// Takes STUN and relay frames out of what was received and gives the rest the addresses that quinn expects.
    fn sift(&self, at: SocketId, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) {
        let relay = self.relay().filter(|_| at == SocketId::MAIN);
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let source = canonical(meta.addr);
            if is_synthetic(source.ip()) || !self.fence.lets_through(source) {
                // Nobody has such an address: forged. Or nobody is to hear that we are here.
                meta.len = 0;
                continue;
            }
            let (from_relay, received) = (relay == Some(source), &mut buffer[..meta.len]);
            if let Some((channel, stride, length)) = from_relay.then(|| unwrap_all(received, meta.stride)).flatten() {
                *meta = RecvMeta { addr: channel.address(), len: length, stride, ecn: None, dst_ip: None };
                self.traffic.heard(Instant::now());
                continue;
            }
            // A datagram of which nothing stays has length 0, and quinn passes over it.
            meta.len = datagram::sift(received, meta.stride, |kind, bytes| match kind {
                Kind::Stun if bytes.len() <= MAX_STUN => drop(self.stun.try_send((at, source, bytes.to_vec()))),
                Kind::Relay if from_relay => self.unwrap(bytes),
                _ => {}
            });
            if meta.len > 0 {
                self.sockets.note_arrival(source, at);
            }
            meta.addr = mapped(meta.addr);
        }
    }

    /// Takes the payload of one frame out, for the next time that quinn asks.
    fn unwrap(&self, frame: &[u8]) {
        let Some((channel, packet)) = packet_in(frame) else { return };
        self.traffic.heard(Instant::now());
        let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        if unwrapped.len() < UNWRAPPED {
            unwrapped.push_back((channel.address(), packet.to_vec()));
        }
    }

    /// Hands out what was taken out of frames.
    fn take_unwrapped(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((addr, payload)) = unwrapped.pop_front() else { break };
            hand_out(&payload, addr, buffer, meta);
            count += 1;
        }
        count
    }

    /// Sends through the channel, as frames of one datagram each.
    fn try_send_relayed(&self, channel: RelayChannel, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(server) = self.relay() else { return Ok(()) };
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut frames =
            Vec::with_capacity(transmit.contents.len() + HEADER * transmit.contents.len().div_ceil(segment));
        for payload in transmit.contents.chunks(segment) {
            frames.extend(channel.header());
            frames.extend(payload);
        }
        let segment_size = transmit.segment_size.map(|size| size + HEADER);
        self.send_from_member(&Transmit {
            destination: server,
            ecn: None,
            contents: &frames,
            segment_size,
            src_ip: None,
        })
    }

    /// Takes what has come through tunnels: QUIC as it is, relay frames without what stands around them.
    fn poll_tunnelled(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut count = 0;
        while let Some((buffer, meta)) = buffers.get_mut(count).zip(metas.get_mut(count)) {
            let Poll::Ready((tunnel, datagram)) = self.lanes.poll_recv(cx) else { break };
            let (addr, packet) = match datagram::classify(&datagram) {
                Kind::Quic => (tunnel, datagram.as_slice()),
                Kind::Relay => match packet_in(&datagram) {
                    Some((channel, packet)) => (channel.address(), packet),
                    None => continue,
                },
                Kind::Stun | Kind::Junk => continue,
            };
            hand_out(packet, addr, buffer, meta);
            count += 1;
        }
        if count > 0 { Poll::Ready(count) } else { Poll::Pending }
    }

    fn send_from_member(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let destination = transmit.destination;
        if is_synthetic(destination.ip()) {
            self.lanes.send(destination, transmit.contents, transmit.segment_size.unwrap_or(transmit.contents.len()));
            return Ok(());
        }
        // Any error but WouldBlock would end the connection: what has no way out is dropped, and the protocol notices.
        if !self.fence.lets_through(destination) {
            tracing::debug!("a datagram for somebody else than the rendezvous");
            return Ok(());
        }
        let Some(member) = self.sockets.toward(transmit.destination) else { return Ok(()) };
        match member.socket.try_send(transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = Some(member);
                Err(error)
            }
            Err(error) => {
                tracing::debug!(%error, "a datagram was not sent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The QUIC packet in a relay frame, and its channel. Nothing else is ever sent in one.
fn packet_in(frame: &[u8]) -> Option<(RelayChannel, &[u8])> {
    relay::parse(frame).filter(|(_, payload)| datagram::classify(payload) == Kind::Quic)
}

/// Gives quinn one packet, as if it had been received from this address.
fn hand_out(packet: &[u8], addr: SocketAddr, buffer: &mut [u8], meta: &mut RecvMeta) {
    let len = packet.len().min(buffer.len());
    buffer[..len].copy_from_slice(&packet[..len]);
    *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
}

/// If a receive buffer holds nothing but frames of one channel: removes what stands around their payloads, in place. The
/// channel, the stride of what remains, and its length.
fn unwrap_all(buffer: &mut [u8], stride: usize) -> Option<(RelayChannel, usize, usize)> {
    let stride = stride.max(1);
    let (channel, _) = packet_in(buffer.get(..stride.min(buffer.len()))?)?;
    let fits = |frame: &[u8]| packet_in(frame).is_some_and(|(of, _)| of == channel);
    if !buffer.chunks(stride).all(fits) {
        return None;
    }
    let mut kept = 0;
    for start in (0..buffer.len()).step_by(stride) {
        let end = (start + stride).min(buffer.len());
        buffer.copy_within(start + HEADER..end, kept);
        kept += end - start - HEADER;
    }
    Some((channel, stride - HEADER, kept))
}

/// The address as an IPv6 socket would report it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    }
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sockets.fmt(f)
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, waits: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if let Some(channel) = RelayChannel::from_address(transmit.destination) {
            return self.try_send_relayed(channel, transmit);
        }
        let destination = canonical(transmit.destination);
        let src_ip = transmit.src_ip.map(|ip| ip.to_canonical()).filter(|ip| ip.is_ipv4() == destination.is_ipv4());
        self.send_from_member(&Transmit { destination, src_ip, ..transmit.clone() })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let unwrapped = self.take_unwrapped(buffers, metas);
        if unwrapped > 0 {
            return Poll::Ready(Ok(unwrapped));
        }
        if let Poll::Ready(count) = self.poll_tunnelled(cx, buffers, metas) {
            return Poll::Ready(Ok(count));
        }
        for member in self.sockets.members(cx) {
            match member.socket.poll_recv(cx, buffers, metas) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    // ICMP errors and interfaces that went away concern one destination, not the socket. The error has
                    // been taken from the socket: ask again soon.
                    tracing::debug!(%error, "receiving");
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Ok(count)) => {
                    self.sift(member.id, &mut buffers[..count], &mut metas[..count]);
                    return Poll::Ready(Ok(count));
                }
            }
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let port = self.local_addresses().next().map_or(0, |local| local.port());
        Ok((Ipv6Addr::UNSPECIFIED, port).into())
    }

    fn max_transmit_segments(&self) -> usize {
        self.sockets.snapshot().iter().map(|member| member.socket.max_transmit_segments()).min().unwrap_or(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.sockets.snapshot().iter().map(|member| member.socket.max_receive_segments()).max().unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        self.sockets.snapshot().iter().any(|member| member.socket.may_fragment())
    }
}

/// Waits for the socket that refused a send. quinn asks for this before the destination is known, so it is the last one
/// that refused; a wrong guess costs one more refusal.
#[derive(Debug)]
struct Poller {
    socket: Arc<QuicSocket>,
    waits: Option<Wait>,
}

type Wait = (Arc<Member>, Pin<Box<dyn UdpPoller>>);

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let blocked = self.socket.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(blocked) = blocked else { return Poll::Ready(Ok(())) };
        if !self.waits.as_ref().is_some_and(|(member, _)| Arc::ptr_eq(member, &blocked)) {
            let poller = blocked.socket.clone().create_io_poller();
            self.waits = Some((blocked, poller));
        }
        match &mut self.waits {
            Some((_, poller)) => poller.as_mut().poll_writable(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::task::ready;

    use super::*;

    /// Receives one batch and says how many bytes of each buffer are left for QUIC.
    async fn receive(socket: &QuicSocket) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut storage = vec![[0u8; 2048]; 4];
        let mut metas = vec![RecvMeta::default(); 4];
        poll_fn(|cx| {
            let mut buffers: Vec<_> = storage.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let count = ready!(socket.poll_recv(cx, &mut buffers, &mut metas)).expect("received");
            let kept = (0..count).map(|i| (metas[i].addr, buffers[i][..metas[i].len].to_vec()));
            Poll::Ready(kept.collect())
        })
        .await
    }

    fn loopback(socket: &QuicSocket) -> SocketAddr {
        let port = socket.local_addresses().find(SocketAddr::is_ipv4).expect("IPv4").port();
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[tokio::test]
    async fn stun_goes_to_the_driver_and_quic_to_quinn_with_mapped_addresses() {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, mut stun) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let request = common::stun::encode_request(common::stun::TransactionId([1; 12]), Default::default());
        a.send(SocketId::MAIN, loopback(&b), &request);
        let kept = receive(&b).await;
        assert!(kept.iter().all(|(_, bytes)| bytes.is_empty()), "nothing of it reaches quinn");
        assert_eq!(stun.try_recv().expect("the driver has it"), (SocketId::MAIN, loopback(&a), request));
        a.send(SocketId::MAIN, loopback(&b), &[0x40, 1, 2, 3]);
        let kept = receive(&b).await;
        assert_eq!(kept, [(mapped(loopback(&a)), vec![0x40, 1, 2, 3])]);
        assert!(stun.try_recv().is_err());
    }

    /// What `b` hands to quinn once `a` has sent it this as the relay.
    async fn relayed(datagrams: &[&[u8]]) -> Vec<(SocketAddr, Vec<u8>)> {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        b.set_relay(Some(loopback(&a)));
        for datagram in datagrams {
            a.send(SocketId::MAIN, loopback(&b), datagram);
        }
        let mut kept = Vec::new();
        while kept.len() < datagrams.len() {
            kept.extend(receive(&b).await.into_iter().filter(|(_, bytes)| !bytes.is_empty()));
        }
        kept
    }

    #[tokio::test]
    async fn a_channel_is_an_address_like_any_other() {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let channel = RelayChannel(7);
        a.set_relay(Some(loopback(&b)));
        // As if each were the other's relay.
        b.set_relay(Some(loopback(&a)));
        let contents = [[0x40, 1, 2], [0x41, 3, 4]].concat();
        let transmit = Transmit {
            destination: channel.address(),
            ecn: None,
            contents: &contents,
            segment_size: Some(3),
            src_ip: None,
        };
        a.try_send(&transmit).expect("sent");
        let mut bytes = Vec::new();
        while bytes.len() < contents.len() {
            for (from, part) in receive(&b).await {
                assert!(part.is_empty() || from == channel.address(), "from {from}");
                bytes.extend(part);
            }
        }
        assert_eq!(bytes, contents);
    }

    #[tokio::test]
    async fn frames_of_several_channels_and_what_is_none_are_told_apart() {
        let frame = |channel: u64, payload: &[u8]| [RelayChannel(channel).header().as_slice(), payload].concat();
        let (one, other, quic) = (frame(1, &[0x40; 20]), frame(2, &[0x41; 20]), [0x42; 29]);
        let mut kept = relayed(&[&one, &other, &quic]).await;
        kept.sort_by_key(|(_, bytes)| bytes[0]);
        assert_eq!(kept[0], (RelayChannel(1).address(), vec![0x40; 20]));
        assert_eq!(kept[1], (RelayChannel(2).address(), vec![0x41; 20]));
        assert_eq!(kept[2].1, quic);
    }

    #[tokio::test]
    async fn behind_a_fence_nothing_goes_to_or_comes_from_anybody_but_the_rendezvous() {
        let (server, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (stranger, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let fence = Fence::around_rendezvous();
        fence.admit(&[loopback(&server)]);
        let (shy, mut stun) = QuicSocket::open(fence).await.expect("sockets");
        let request = common::stun::encode_request(common::stun::TransactionId([1; 12]), Default::default());
        for to in [loopback(&stranger), loopback(&server)] {
            shy.send(SocketId::MAIN, to, &request);
            let quic = Transmit { destination: to, ecn: None, contents: &[0x40, 7], segment_size: None, src_ip: None };
            shy.try_send(&quic).expect("dropped or sent");
        }
        // What comes to the stranger first is what it has sent to itself.
        stranger.send(SocketId::MAIN, loopback(&stranger), &[0x40, 1]);
        assert_eq!(receive(&stranger).await, [(mapped(loopback(&stranger)), vec![0x40, 1])]);
        let mut sent = Vec::new();
        while sent.is_empty() {
            sent.extend(receive(&server).await.into_iter().filter(|(_, bytes)| !bytes.is_empty()));
        }
        assert_eq!(sent, [(mapped(loopback(&shy)), vec![0x40, 7])]);
        // quinn answers what looks like the beginning or the middle of a connection: it must not see it.
        stranger.send(SocketId::MAIN, loopback(&shy), &request);
        stranger.send(SocketId::MAIN, loopback(&shy), &[0xc0; 1200]);
        stranger.send(SocketId::MAIN, loopback(&shy), &[0x40; 1200]);
        server.send(SocketId::MAIN, loopback(&shy), &[0x40, 2]);
        let mut kept = Vec::new();
        while kept.is_empty() {
            kept.extend(receive(&shy).await.into_iter().filter(|(_, bytes)| !bytes.is_empty()));
        }
        assert_eq!(kept, [(mapped(loopback(&server)), vec![0x40, 2])]);
        assert!(stun.try_recv().is_err(), "no probe either");
    }

    #[tokio::test]
    async fn a_frame_from_anybody_but_the_rendezvous_is_dropped() {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let frame = [RelayChannel(1).header().as_slice(), &[0x40; 20]].concat();
        a.send(SocketId::MAIN, loopback(&b), &frame);
        a.send(SocketId::MAIN, loopback(&b), &[0x40, 1]);
        let kept: Vec<_> = receive(&b).await.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        assert!(kept.iter().all(|(from, bytes)| *from == mapped(loopback(&a)) && bytes == &[0x40, 1]), "{kept:?}");
    }

    #[test]
    fn a_buffer_of_one_channel_is_unwrapped_where_it_is() {
        let frame = |channel: u64, payload: &[u8]| [RelayChannel(channel).header().as_slice(), payload].concat();
        let mut buffer = [frame(1, &[0x40; 8]), frame(1, &[0x41; 8]), frame(1, &[0x42; 3])].concat();
        let unwrapped = unwrap_all(&mut buffer, 17);
        assert_eq!(unwrapped, Some((RelayChannel(1), 8, 19)));
        assert_eq!(buffer[..19], [[0x40; 8].as_slice(), &[0x41; 8], &[0x42; 3]].concat());
        let mut mixed = [frame(1, &[0x40; 8]), frame(2, &[0x41; 8])].concat();
        assert_eq!(unwrap_all(&mut mixed, 17), None);
        let mut hidden = frame(1, &[8; 8]);
        assert_eq!(unwrap_all(&mut hidden, 17), None, "a frame in a frame is no QUIC");
    }

    #[tokio::test]
    async fn what_comes_through_a_tunnel_is_told_apart_like_what_comes_over_udp() {
        let (socket, mut stun) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let frame = |payload: &[u8]| [RelayChannel(7).header().as_slice(), payload].concat();
        let request = common::stun::encode_request(common::stun::TransactionId([1; 12]), Default::default());
        let hidden = frame(&frame(&[0x40]));
        let datagrams = vec![request, frame(&[0x40, 1]), hidden, vec![0x80; 9], vec![0x41, 2]];
        let (tunnel, _next) = socket.lanes().pretend(datagrams).await;
        let kept = receive(&socket).await;
        assert_eq!(kept, [(RelayChannel(7).address(), vec![0x40, 1]), (tunnel, vec![0x41, 2])]);
        assert!(stun.try_recv().is_err(), "nobody asks for STUN there");
    }

    #[tokio::test]
    async fn while_there_is_a_tunnel_relay_frames_go_into_it_and_nothing_else_does() {
        let (socket, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (tunnel, next) = socket.lanes().pretend(vec![]).await;
        socket.set_relay(Some(tunnel));
        let send = |destination, contents: &[u8], segment_size| {
            let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            socket.try_send(&transmit).expect("sent");
        };
        send(RelayChannel(7).address(), &[0x40, 1, 0x41], Some(2));
        send(tunnel, &[0xc0; 1200], None);
        send(common::relay::tunnel_address(99), &[0xc1], None);
        send("127.0.0.1:9".parse().expect("an address"), &[0xc2], None);
        socket.send(SocketId::MAIN, tunnel, &[0; 20]);
        let mut sent: Vec<_> = std::iter::from_fn(next).collect();
        sent.sort();
        let frame = |payload: &[u8]| [RelayChannel(7).header().as_slice(), payload].concat();
        assert_eq!(sent, [frame(&[0x40, 1]), frame(&[0x41]), vec![0xc0; 1200]]);
    }

    #[tokio::test]
    async fn quic_leaves_from_the_socket_that_has_found_the_peer_until_that_is_closed() {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let port = a.sockets().add(SocketId(7), true).await.expect("one more");
        let send = || {
            let transmit =
                Transmit { destination: loopback(&b), ecn: None, contents: &[0x40], segment_size: None, src_ip: None };
            a.try_send(&transmit).expect("sent");
        };
        a.sockets().leave(loopback(&b), SocketId(7));
        send();
        let from = |port| mapped((Ipv4Addr::LOCALHOST, port).into());
        assert_eq!(receive(&b).await, [(from(port), vec![0x40])]);
        a.sockets().remove(SocketId(7));
        send();
        assert_eq!(receive(&b).await, [(from(loopback(&a).port()), vec![0x40])]);
    }

    #[tokio::test]
    async fn a_socket_that_is_added_is_read_by_who_waits_already() {
        let (a, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let (b, mut stun) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let reading = tokio::spawn({
            let b = b.clone();
            async move { receive(&b).await }
        });
        tokio::task::yield_now().await;
        let port = b.sockets().add(SocketId(7), true).await.expect("one more");
        let request = common::stun::encode_request(common::stun::TransactionId([1; 12]), Default::default());
        a.send(SocketId::MAIN, (Ipv4Addr::LOCALHOST, port).into(), &request);
        reading.await.expect("read");
        assert_eq!(stun.try_recv().expect("the driver has it"), (SocketId(7), loopback(&a), request));
    }

    #[tokio::test]
    async fn a_destination_without_a_socket_is_dropped_and_no_error() {
        let (socket, _) = QuicSocket::open(Fence::default()).await.expect("sockets");
        let destination = "[2001:db8::1]:9".parse().expect("an address");
        socket.sockets().leave(destination, SocketId(7));
        let transmit = Transmit { destination, ecn: None, contents: &[0x40], segment_size: None, src_ip: None };
        assert!(socket.try_send(&transmit).is_ok());
    }
}
