//! The tunnels as the node's socket sees them: addresses that a queue stands behind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use common::relay::{tunnel_address, tunnel_number};
use common::tunnel::Queue;
use tokio::sync::{Notify, mpsc};

/// Datagrams that wait for QUIC. Beyond it TCP waits.
const INBOX: usize = 256;

/// A datagram and the tunnel that it came through.
type Arrival = (SocketAddr, Vec<u8>);

/// Those that are open: one, or two for a moment.
pub(in crate::net) struct Lanes {
    open: Mutex<BTreeMap<u64, Arc<Outlet>>>,
    next: AtomicU64,
    deliver: mpsc::Sender<Arrival>,
    inbox: Mutex<mpsc::Receiver<Arrival>>,
}

#[derive(Default)]
struct Outlet {
    queue: Mutex<Queue>,
    filled: Notify,
}

/// One of them, until this is dropped.
pub(super) struct Lane {
    number: u64,
    outlet: Arc<Outlet>,
    lanes: Arc<Lanes>,
}

impl Lanes {
    pub(in crate::net) fn new() -> Arc<Self> {
        let (deliver, inbox) = mpsc::channel(INBOX);
        Arc::new(Lanes { open: Mutex::default(), next: AtomicU64::new(1), deliver, inbox: Mutex::new(inbox) })
    }

    /// A new one.
    pub(super) fn open(self: &Arc<Self>) -> Lane {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let outlet = Arc::<Outlet>::default();
        self.lock().insert(number, outlet.clone());
        Lane { number, outlet, lanes: self.clone() }
    }

    /// Sends datagrams of this size, the last of which may be shorter, into the tunnel with this address. One that is gone
    /// is a host that does not answer.
    pub(in crate::net) fn send(&self, destination: SocketAddr, contents: &[u8], size: usize) {
        let outlet = tunnel_number(destination).and_then(|number| self.lock().get(&number).cloned());
        let Some(outlet) = outlet else { return };
        let mut queue = outlet.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for datagram in contents.chunks(size.max(1)) {
            queue.push(datagram.to_vec());
        }
        drop(queue);
        outlet.filled.notify_one();
    }

    /// What has come through any of them.
    pub(in crate::net) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        match inbox.poll_recv(cx) {
            Poll::Ready(Some(arrival)) => Poll::Ready(arrival),
            // It has no end: we hold a sender.
            _ => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Outlet>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// The address that stands for it.
    pub(super) fn address(&self) -> SocketAddr {
        tunnel_address(self.number)
    }

    /// A datagram has come.
    pub(super) async fn deliver(&self, datagram: Vec<u8>) {
        let _ = self.lanes.deliver.send((self.address(), datagram)).await;
    }

    /// What is to be sent next, if there is anything.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        self.outlet.queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Waits until there may be something.
    pub(super) async fn filled(&self) {
        self.outlet.filled.notified().await;
    }
}

#[cfg(test)]
impl Lanes {
    /// A tunnel of which only this end is there: as if these datagrams had come through it. What is sent into it is seen by
    /// the second.
    pub(in crate::net) async fn pretend(
        self: &Arc<Self>,
        datagrams: Vec<Vec<u8>>,
    ) -> (SocketAddr, impl Fn() -> Option<Vec<u8>>) {
        let lane = self.open();
        for datagram in datagrams {
            lane.deliver(datagram).await;
        }
        (lane.address(), move || lane.next())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.lock().remove(&self.number);
    }
}
