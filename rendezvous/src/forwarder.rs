//! The relay's driver: takes the frames out of what the sockets received, and sends them on.
//!
//! The kernel puts datagrams of one sender behind each other in one buffer (GRO). A run of frames of one channel goes on
//! from there as it is, in one call of the system, which takes it apart again on the way out (GSO): no byte is copied.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::candidate::canonical;
use common::datagram::RELAY_FIRST_BYTE;
use common::relay::{self, RelayChannel};
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};

use crate::relay::switch::{Counts, Dropped, Passage, Run, Switch};
use crate::relay::{Change, SocketIndex};

/// The most bytes that one call may send: the length field of UDP over IPv4, with the headers.
const MAX_SEND: usize = 65_507;

/// The switch and the sockets that it switches between.
pub struct Forwarder {
    switch: Mutex<Switch>,
    sockets: Vec<Arc<dyn AsyncUdpSocket>>,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Forwarder {
    /// `sockets` by their index.
    pub fn new(switch: Switch, sockets: Vec<Arc<dyn AsyncUdpSocket>>) -> Self {
        Forwarder { switch: Mutex::new(switch), sockets }
    }

    /// The server has decided something.
    pub fn apply(&self, change: Change) {
        self.lock().apply(change, Instant::now());
    }

    /// The channels that carried something since this was last asked.
    pub fn take_used(&self) -> Vec<RelayChannel> {
        self.lock().take_used()
    }

    /// What became of all frames so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts()
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
                self.lock().dropped(Dropped::Malformed, 1);
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
        let source: SocketAddr = canonical(meta.addr);
        // The lock is not held while sending.
        let Some(passage) = self.lock().route(socket, source, run, Instant::now()) else { return };
        let Passage { to, count } = passage;
        let Some(out) = self.sockets.get(to.socket.0) else { return };
        let frames = &frames[..(count * run.size).min(frames.len())];
        let at_once = out.max_transmit_segments().min(MAX_SEND / run.size).max(1);
        for contents in frames.chunks(at_once * run.size) {
            let segment_size = Some(run.size).filter(|size| contents.len() > *size);
            let transmit =
                Transmit { destination: to.address, ecn: meta.ecn, contents, segment_size, src_ip: to.local_ip };
            let sent = out.try_send(&transmit).is_ok();
            let count = contents.len().div_ceil(run.size);
            let mut switch = self.lock();
            if sent {
                switch.sent(count, contents.len());
            } else {
                switch.dropped(Dropped::Full, count);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Switch> {
        // A panic in another task's turn is a bug, but no reason to stop relaying.
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
