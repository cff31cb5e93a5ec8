//! Listening at the outer interface of a router of the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::SystemTime;

use super::lab::Lab;
use crate::model::RouterId;

/// Packets that may wait for the listener: as many as wait in a host's capture, and bounded, since a network must not stand
/// still for somebody who only watches.
const ROOM: usize = 4096;
/// Bytes of a packet that a listener is given.
const LONGEST: usize = 2048;

/// A packet that a router's outer interface has sent or received.
#[derive(Debug, Clone)]
pub struct Tapped {
    /// When.
    pub at: SystemTime,
    /// Sent by it, and not received.
    pub outwards: bool,
    /// Its beginning, from the IP header on.
    pub bytes: Vec<u8>,
    /// How long it is.
    pub length: usize,
}

/// An ear at a router's outer interface. It hears until it is dropped; another one at the same router takes its place.
pub struct Tap {
    heard: Receiver<Tapped>,
    missed: Arc<AtomicU64>,
}

impl Tap {
    pub(super) fn new(lab: &Lab, router: RouterId) -> Tap {
        let (mouth, heard) = mpsc::sync_channel(ROOM);
        let missed = Arc::new(AtomicU64::new(0));
        lab.with(|core| core.tap(router, Mouth { mouth, missed: missed.clone() }));
        Tap { heard, missed }
    }

    /// All that there is from now on until the network ends or somebody calls [`Site::untap`](super::Site::untap).
    pub fn iter(&self) -> impl Iterator<Item = Tapped> {
        self.heard.iter()
    }

    /// How many packets came while too many were waiting.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// The engine's end of it.
pub(super) struct Mouth {
    mouth: SyncSender<Tapped>,
    missed: Arc<AtomicU64>,
}

impl Mouth {
    pub(super) fn say(&self, outwards: bool, packet: &[u8]) {
        let bytes = packet[..packet.len().min(LONGEST)].to_vec();
        let tapped = Tapped { at: SystemTime::now(), outwards, bytes, length: packet.len() };
        if self.mouth.try_send(tapped).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
