//! One UDP port for QUIC, STUN and relay frames: a socket that answers the second and sends on the third by itself, and
//! hands only QUIC to quinn.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use common::datagram::{Kind, sift};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::forwarder::Forwarder;
use crate::lane::Strays;
use crate::relay::SocketIndex;
use crate::stun_service::{Place, StunService};

/// What became of datagrams that are not QUIC.
#[derive(Debug, Default)]
pub struct Counters {
    /// STUN requests that were answered.
    pub stun_answered: AtomicU64,
    /// STUN that was not: no request, over the limit, or the network was full.
    pub stun_dropped: AtomicU64,
    /// None of ours.
    pub junk: AtomicU64,
    /// QUIC that arrived behind a relay frame, faster than it is taken.
    pub strays_dropped: AtomicU64,
}

/// The up to four sockets of one address family and what answers STUN on them.
pub struct StunSockets {
    service: Mutex<StunService>,
    sockets: Vec<(Place, Arc<dyn AsyncUdpSocket>)>,
    counters: Arc<Counters>,
}

impl fmt::Debug for StunSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StunSockets").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl StunSockets {
    /// `service` answers from and through these sockets.
    pub fn new(
        service: StunService,
        sockets: Vec<(Place, Arc<dyn AsyncUdpSocket>)>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(StunSockets { service: Mutex::new(service), sockets, counters })
    }

    /// Answers what arrives at the alternate ports, for ever.
    pub async fn serve_alternate_ports(self: Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for (place, socket) in self.sockets.iter().filter(|(place, _)| place.second_port) {
            tasks.spawn(self.clone().serve_alternate_port(*place, socket.clone()));
        }
        tasks.join_all().await;
    }

    async fn serve_alternate_port(self: Arc<Self>, place: Place, socket: Arc<dyn AsyncUdpSocket>) {
        // The kernel may put up to 64 KiB of datagrams behind each other.
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut metas = [RecvMeta::default()];
            let received =
                std::future::poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas));
            match received.await {
                Ok(0) => {}
                Ok(_) => {
                    let [meta] = metas;
                    self.sift(place, &meta, &mut buffer[..meta.len]);
                }
                // An ICMP error that some earlier answer caused. Anything else is as little our fault; but let others run.
                Err(error) => {
                    tracing::trace!(%error, "receiving on the alternate port");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Answers the STUN in a buffer, drops the rest but QUIC, and returns how much is left of it.
    pub(crate) fn sift(&self, place: Place, meta: &RecvMeta, buffer: &mut [u8]) -> usize {
        sift(buffer, meta.stride, |kind, datagram| match kind {
            Kind::Stun if self.answer(place, meta.dst_ip, meta.addr, datagram) => count(&self.counters.stun_answered),
            Kind::Stun => count(&self.counters.stun_dropped),
            // Relay frames were sent on before; at the alternate ports nobody is relayed.
            Kind::Relay if !place.second_port => {}
            Kind::Quic | Kind::Relay | Kind::Junk => count(&self.counters.junk),
        })
    }

    fn answer(&self, place: Place, local_ip: Option<IpAddr>, source: SocketAddr, datagram: &[u8]) -> bool {
        let answer = {
            let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
            service.handle_datagram(place, local_ip, source, datagram, Instant::now())
        };
        let Some(answer) = answer else { return false };
        let Some((_, socket)) = self.sockets.iter().find(|(place, _)| *place == answer.from) else { return false };
        let transmit = Transmit {
            destination: answer.to,
            ecn: None,
            contents: &answer.bytes,
            segment_size: None,
            src_ip: answer.source_ip,
        };
        // STUN clients repeat their requests; nothing waits for a full socket buffer.
        socket.try_send(&transmit).is_ok()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How often a call receives what is not QUIC before it lets others run: each time up to 32 buffers, which the relay, where
/// it has no [lane](crate::lane), sends on in a quarter of a millisecond if each holds one datagram, and in one or two if
/// each is as full as it can be.
const ROUNDS: usize = 4;

/// However much clients send, one in so many times a stranger's packet is looked for first.
const STRANGERS_TURN: u64 = 8;

/// A primary port as quinn sees it.
#[derive(Debug)]
pub struct DemuxSocket {
    place: Place,
    index: SocketIndex,
    inner: Arc<dyn AsyncUdpSocket>,
    /// At the same port, where the system can tell: gets strangers' first packets.
    strangers: Option<Arc<dyn AsyncUdpSocket>>,
    turn: AtomicU64,
    stun: Arc<StunSockets>,
    forwarder: Arc<Forwarder>,
    strays: Mutex<Strays>,
}

impl DemuxSocket {
    /// `socket` is at this place of the STUN sockets and has this index among those of the forwarder.
    pub fn new(
        place: Place,
        index: SocketIndex,
        socket: Arc<dyn AsyncUdpSocket>,
        strangers: Option<Arc<dyn AsyncUdpSocket>>,
        stun: Arc<StunSockets>,
        forwarder: Arc<Forwarder>,
        strays: Strays,
    ) -> Self {
        let (turn, strays) = (AtomicU64::new(0), Mutex::new(strays));
        DemuxSocket { place, index, inner: socket, strangers, turn, stun, forwarder, strays }
    }

    /// Strangers come after those who are in the middle of something, but for each [`STRANGERS_TURN`]th time.
    fn poll_sockets(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(strangers) = &self.strangers else { return self.inner.poll_recv(cx, bufs, metas) };
        let mut order = [&self.inner, strangers];
        if self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRANGERS_TURN) {
            order.reverse();
        }
        match order[0].poll_recv(cx, bufs, metas) {
            Poll::Pending => order[1].poll_recv(cx, bufs, metas),
            ready => ready,
        }
    }
}

impl AsyncUdpSocket for DemuxSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx, bufs, metas);
        if strays > 0 {
            return Poll::Ready(Ok(strays));
        }
        for _ in 0..ROUNDS {
            let received = ready!(self.poll_sockets(cx, bufs, metas))?;
            let mut kept = 0;
            for at in 0..received {
                let meta = &mut metas[at];
                let length = meta.len;
                self.forwarder.forward(self.index, meta, &bufs[at][..length]);
                meta.len = self.stun.sift(self.place, meta, &mut bufs[at][..length]);
                if meta.len > 0 {
                    // quinn pairs buffers with metas by their order.
                    bufs.swap(kept, at);
                    metas.swap(kept, at);
                    kept += 1;
                }
            }
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
        // There may be more, but QUIC has other things to do than to receive.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
