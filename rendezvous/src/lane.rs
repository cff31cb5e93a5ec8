//! The socket of a port that gets its relay frames, and what is done with what it receives: a task beside QUIC's, so that neither
//! waits for the other.
//!
//! Which socket a datagram goes to the kernel decides by its first byte. But where it has put several of one sender behind each
//! other (GRO), it looks at the first one only, so a lane meets everything that a port does: it answers STUN itself, and
//! hands QUIC over.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use quinn::AsyncUdpSocket;
use quinn::udp::{BATCH_SIZE, RecvMeta};
use tokio::sync::mpsc;

use crate::forwarder::Forwarder;
use crate::limits::RELAY_TURN;
use crate::relay::SocketIndex;
use crate::socket::{Counters, StunSockets};
use crate::stun_service::Place;

/// The kernel puts up to 64 KiB of datagrams behind each other.
const BUFFER: usize = 64 * 1024;
/// Buffers on their way to QUIC: it takes 32 at a time.
const STRAYS: usize = 64;

/// A buffer of QUIC packets that arrived behind a relay frame.
pub type Stray = (RecvMeta, Box<[u8]>);

/// What arrives for QUIC where relay frames do.
#[derive(Debug)]
pub struct Strays(mpsc::Receiver<Stray>);

/// The relay's socket of one port.
#[derive(Debug)]
pub struct Lane {
    place: Place,
    index: SocketIndex,
    socket: Arc<dyn AsyncUdpSocket>,
    stun: Arc<StunSockets>,
    forwarder: Arc<Forwarder>,
    counters: Arc<Counters>,
    strays: mpsc::Sender<Stray>,
}

impl Lane {
    /// `socket` shares the port at this place of the STUN sockets, which has this index among those of the forwarder.
    pub fn new(
        place: Place,
        index: SocketIndex,
        socket: Arc<dyn AsyncUdpSocket>,
        strays: mpsc::Sender<Stray>,
        stun: Arc<StunSockets>,
        forwarder: Arc<Forwarder>,
        counters: Arc<Counters>,
    ) -> Self {
        Lane { place, index, socket, strays, stun, forwarder, counters }
    }

    /// Sends on what arrives, for ever.
    pub async fn serve(self) {
        let mut buffers = vec![vec![0; BUFFER]; BATCH_SIZE];
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut handled = 0;
        loop {
            let received = poll_fn(|cx| {
                let polled = self.socket.poll_recv(cx, &mut slices, &mut metas);
                if polled.is_pending() {
                    // Others have their turn now.
                    handled = 0;
                }
                polled
            });
            match received.await {
                Ok(count) => {
                    for (meta, buffer) in metas.iter().zip(&mut slices).take(count) {
                        handled += meta.len.div_ceil(meta.stride.max(1));
                        self.handle(*meta, &mut buffer[..meta.len]);
                    }
                }
                // An ICMP error that some earlier datagram caused. Anything else is as little our fault; but let others run.
                Err(error) => {
                    tracing::trace!(%error, "receiving relay frames");
                    handled = RELAY_TURN;
                }
            }
            if handled >= RELAY_TURN {
                handled = 0;
                // Whatever else there is to do, QUIC above all, comes before the next turn.
                tokio::task::yield_now().await;
            }
        }
    }

    fn handle(&self, mut meta: RecvMeta, buffer: &mut [u8]) {
        self.forwarder.forward(self.index, &meta, buffer);
        meta.len = self.stun.sift(self.place, &meta, buffer);
        if meta.len > 0 && self.strays.try_send((meta, buffer[..meta.len].into())).is_err() {
            self.counters.strays_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Strays {
    /// And the end at which they come.
    pub fn new() -> (mpsc::Sender<Stray>, Self) {
        let (sender, strays) = mpsc::channel(STRAYS);
        (sender, Strays(strays))
    }

    /// How many buffers there are for QUIC.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(metas) {
            let Poll::Ready(Some((arrived, bytes))) = self.0.poll_recv(cx) else { break };
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            *meta = RecvMeta { len, ..arrived };
            count += 1;
        }
        count
    }
}
