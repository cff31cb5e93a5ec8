//! The relay's driver: takes the frames out of what the sockets received, and sends them on.
//!
//! The kernel puts datagrams of one sender behind each other in one buffer (GRO). A run of frames of one channel goes on
//! from there as it is, in one call of the system, which takes it apart again on the way out (GSO): no byte is copied.
//! Only when a socket takes no more are frames copied into its queue, and go from there when it does, in a task of their
//! own that gives way to everything else after each turn.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::candidate::canonical;
use common::datagram::RELAY_FIRST_BYTE;
use common::relay::{self, RelayChannel};
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use tokio::sync::Notify;

use crate::limits::RELAY_TURN;
use crate::relay::scheduler::{Scheduler, Waiting};
use crate::relay::switch::{Counts, Dropped, PartyIndex, Passage, Run, Switch};
use crate::relay::{Change, Location, SocketIndex};

/// The most bytes that one call may send: the length field of UDP over IPv4, with the headers.
const MAX_SEND: usize = 65_507;

/// What the queue keeps of a frame beside its bytes.
type Tag = (Location, Option<EcnCodepoint>);
type Queue = Scheduler<PartyIndex, Tag>;

/// A socket and what waits for it.
#[derive(Debug)]
struct Outlet {
    socket: Arc<dyn AsyncUdpSocket>,
    queue: Mutex<Queue>,
    /// Something waits, or is on its way from the queue: whatever comes now goes behind it.
    busy: AtomicBool,
    /// There is something to send.
    filled: Notify,
}

/// The switch and the sockets that it switches between.
pub struct Forwarder {
    switch: Mutex<Switch>,
    outlets: Vec<Outlet>,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("outlets", &self.outlets.len()).finish_non_exhaustive()
    }
}

impl Forwarder {
    /// `sockets` by their index.
    pub fn new(switch: Switch, sockets: Vec<Arc<dyn AsyncUdpSocket>>) -> Self {
        let outlet = |socket| {
            let (queue, busy, filled) = (Mutex::default(), AtomicBool::new(false), Notify::new());
            Outlet { socket, queue, busy, filled }
        };
        Forwarder { switch: Mutex::new(switch), outlets: sockets.into_iter().map(outlet).collect() }
    }

    /// The server has decided something.
    pub fn apply(&self, change: Change) {
        self.switch().apply(change, Instant::now());
    }

    /// The channels that carried something since this was last asked.
    pub fn take_used(&self) -> Vec<RelayChannel> {
        self.switch().take_used()
    }

    /// What became of all frames so far.
    pub fn counts(&self) -> Counts {
        self.switch().counts()
    }

    /// Sends on one relay frame, which came alone.
    pub fn forward_one(&self, socket: SocketIndex, from: SocketAddr, frame: &[u8]) {
        let meta = RecvMeta { addr: from, len: frame.len(), stride: frame.len(), ecn: None, dst_ip: None };
        self.forward(socket, &meta, frame);
    }

    /// Sends on the relay frames among the datagrams of a buffer. They stay in it.
    pub fn forward(&self, socket: SocketIndex, meta: &RecvMeta, buffer: &[u8]) {
        let stride = meta.stride.max(1);
        let mut rest = buffer;
        while !rest.is_empty() {
            let first = &rest[..stride.min(rest.len())];
            if first[0] != RELAY_FIRST_BYTE {
                rest = &rest[first.len()..];
                continue;
            }
            let Some((channel, _)) = relay::parse(first) else {
                self.switch().dropped(Dropped::Malformed, 1);
                rest = &rest[first.len()..];
                continue;
            };
            let same = |frame: &&[u8]| relay::parse(frame).is_some_and(|(other, _)| other == channel);
            let count = rest.chunks(stride).take_while(same).count();
            let (frames, others) = rest.split_at((count * stride).min(rest.len()));
            self.forward_run(socket, meta, frames, Run { channel, count, size: first.len() });
            rest = others;
        }
    }

    fn forward_run(&self, socket: SocketIndex, meta: &RecvMeta, frames: &[u8], run: Run) {
        // The lock is not held while sending.
        let passage = self.switch().route(socket, canonical(meta.addr), run, Instant::now());
        let Some(Passage { parties, to, count }) = passage else { return };
        let Some(outlet) = self.outlets.get(to.socket.0) else { return };
        let frames = &frames[..(count * run.size).min(frames.len())];
        let tag = (to, meta.ecn);
        let at_once = outlet.socket.max_transmit_segments().min(MAX_SEND / run.size).max(1);
        let mut turn = Turn::default();
        for contents in frames.chunks(at_once * run.size) {
            if outlet.send(tag, contents, run.size).is_ok() {
                turn.sent += contents.len().div_ceil(run.size);
                turn.bytes += contents.len();
            } else {
                turn.dropped += outlet.enqueue(parties, tag, contents, run.size);
            }
        }
        self.count(turn);
    }

    fn count(&self, turn: Turn) {
        let mut switch = self.switch();
        switch.sent(turn.sent, turn.bytes);
        switch.dropped(Dropped::Full, turn.dropped);
    }

    /// Sends what has to wait at this socket, for ever.
    pub async fn serve_queue(self: Arc<Self>, socket: SocketIndex) {
        let Some(outlet) = self.outlets.get(socket.0) else { return };
        let mut poller = outlet.socket.clone().create_io_poller();
        loop {
            outlet.filled.notified().await;
            while outlet.busy.load(Ordering::Acquire) {
                if let Err(error) = poll_fn(|cx| poller.as_mut().poll_writable(cx)).await {
                    tracing::trace!(%error, "waiting to send");
                }
                let turn = outlet.serve_turn();
                self.count(turn);
                // Whatever else there is to do, QUIC above all, comes before the next turn.
                tokio::task::yield_now().await;
            }
        }
    }

    fn switch(&self) -> MutexGuard<'_, Switch> {
        // A panic in another task's turn is a bug, but no reason to stop relaying.
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of frames that were sent together.
#[derive(Debug, Default)]
struct Turn {
    sent: usize,
    bytes: usize,
    dropped: usize,
}

impl Outlet {
    /// Sends frames of this size, the last of which may be shorter, unless others wait or the socket takes no more.
    fn send(&self, tag: Tag, contents: &[u8], size: usize) -> io::Result<()> {
        if self.busy.load(Ordering::Acquire) {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.try_send(tag, contents, size)
        }
    }

    fn try_send(&self, (to, ecn): Tag, contents: &[u8], size: usize) -> io::Result<()> {
        let segment_size = Some(size).filter(|size| contents.len() > *size);
        self.socket.try_send(&Transmit { destination: to.address, ecn, contents, segment_size, src_ip: to.local_ip })
    }

    /// Has these frames wait. Returns how many had to go for them.
    fn enqueue(&self, [from, to]: [PartyIndex; 2], tag: Tag, contents: &[u8], size: usize) -> usize {
        let mut queue = self.queue();
        let wait = |frame: &[u8]| queue.push(Waiting { from, to, bytes: frame.into(), tag });
        let dropped = contents.chunks(size).map(wait).sum();
        self.busy.store(true, Ordering::Release);
        self.filled.notify_one();
        dropped
    }

    /// Sends some of what waits.
    fn serve_turn(&self) -> Turn {
        let mut turn = Turn::default();
        for _ in 0..RELAY_TURN {
            let Some(frame) = self.next() else { break };
            if self.try_send(frame.tag, &frame.bytes, frame.bytes.len()).is_ok() {
                turn.sent += 1;
                turn.bytes += frame.bytes.len();
            } else {
                turn.dropped += usize::from(!self.queue().put_back(frame));
                break;
            }
        }
        turn
    }

    /// What goes next. When nothing does, whatever comes goes straight to the socket again.
    fn next(&self) -> Option<Waiting<PartyIndex, Tag>> {
        let mut queue = self.queue();
        let next = queue.pop();
        if next.is_none() {
            self.busy.store(false, Ordering::Release);
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
