//! The socket of QUIC for those who come through tunnels. It has no file: what is sent goes into the queue of a tunnel, and
//! an address that is no open tunnel's gets nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use common::relay::{tunnel_address, tunnel_number};
use common::tunnel::Queue;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::{Notify, mpsc};

/// Datagrams that wait for QUIC, of all tunnels. Whoever brings one more waits with its tunnel, each in its turn.
const INBOX: usize = 1024;

/// A datagram and the tunnel that it came through.
type Arrival = (SocketAddr, Vec<u8>);

/// The way into one tunnel, until this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    number: u64,
    outlet: Arc<Outlet>,
    socket: Arc<TunnelSocket>,
}

/// What waits for one tunnel.
#[derive(Debug)]
struct Outlet {
    /// Where it comes from in truth.
    source: IpAddr,
    queue: Mutex<Queue>,
    filled: Notify,
}

/// All tunnels.
pub struct TunnelSocket {
    open: Mutex<BTreeMap<u64, Arc<Outlet>>>,
    next: AtomicU64,
    /// Datagrams that waited in vain.
    dropped: AtomicU64,
    deliver: mpsc::Sender<Arrival>,
    inbox: Mutex<mpsc::Receiver<Arrival>>,
}

impl fmt::Debug for TunnelSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelSocket").field("open", &self.len()).finish_non_exhaustive()
    }
}

impl TunnelSocket {
    /// No tunnels yet.
    pub fn new() -> Arc<Self> {
        let (deliver, inbox) = mpsc::channel(INBOX);
        // The address of number 0 is the socket's own.
        let (open, next, dropped) = (Mutex::default(), AtomicU64::new(1), AtomicU64::new(0));
        Arc::new(TunnelSocket { open, next, dropped, deliver, inbox: Mutex::new(inbox) })
    }

    /// A new tunnel, from there.
    pub fn open(self: &Arc<Self>, source: IpAddr) -> Tunnel {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let outlet = Arc::new(Outlet { source, queue: Mutex::default(), filled: Notify::new() });
        self.lock().insert(number, outlet.clone());
        Tunnel { number, outlet, socket: self.clone() }
    }

    /// Where the tunnel with this address comes from; `None` if there is none (any more).
    pub fn source_of(&self, address: SocketAddr) -> Option<IpAddr> {
        Some(self.outlet(address)?.source)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Is none?
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// How many datagrams were dropped because a client did not read.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn outlet(&self, address: SocketAddr) -> Option<Arc<Outlet>> {
        self.lock().get(&tunnel_number(address)?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Outlet>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tunnel {
    /// The address that stands for it.
    pub fn address(&self) -> SocketAddr {
        tunnel_address(self.number)
    }

    /// A datagram has come through it. Waits while QUIC has too much to do.
    pub async fn deliver(&self, datagram: Vec<u8>) {
        // The other end lives as long as the socket, which we hold.
        let _ = self.socket.deliver.send((self.address(), datagram)).await;
    }

    /// What is to go through it next, if there is anything.
    pub fn next(&self) -> Option<Vec<u8>> {
        self.outlet.queue().pop()
    }

    /// Waits until there may be something.
    pub async fn filled(&self) {
        self.outlet.filled.notified().await;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.socket.lock().remove(&self.number);
    }
}

impl Outlet {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncUdpSocket for TunnelSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // A tunnel that is gone is a host that does not answer.
        let Some(outlet) = self.outlet(transmit.destination) else { return Ok(()) };
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut queue = outlet.queue();
        let dropped: usize = transmit.contents.chunks(segment).map(|datagram| queue.push(datagram.to_vec())).sum();
        drop(queue);
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        outlet.filled.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(metas) {
            let (addr, datagram) = match inbox.poll_recv(cx) {
                Poll::Ready(Some(arrival)) => arrival,
                _ if count > 0 => break,
                // It has no end: we hold a sender.
                _ => return Poll::Pending,
            };
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(tunnel_address(0))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Nobody ever waits to send: what there is no room for is lost.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(socket: &TunnelSocket, destination: SocketAddr, contents: &[u8]) {
        let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        socket.try_send(&transmit).expect("never an error");
    }

    #[test]
    fn what_is_sent_reaches_its_tunnel_and_no_other_address() {
        let socket = TunnelSocket::new();
        let source = IpAddr::from([192, 0, 2, 1]);
        let (one, other) = (socket.open(source), socket.open(source));
        send(&socket, one.address(), &[0x40, 1]);
        for elsewhere in ["192.0.2.1:443", "127.0.0.1:3478", "[2001:db8::1]:1", "[fd50:756e:6368:1::2]:1"] {
            send(&socket, elsewhere.parse().expect("an address"), &[0x40, 2]);
        }
        send(&socket, tunnel_address(77), &[0x40, 3]);
        assert_eq!((one.next(), one.next(), other.next()), (Some(vec![0x40, 1]), None, None));
    }

    #[test]
    fn a_tunnel_that_is_gone_has_no_source_and_its_number_does_not_come_back() {
        let socket = TunnelSocket::new();
        let source = IpAddr::from([192, 0, 2, 1]);
        let tunnel = socket.open(source);
        let address = tunnel.address();
        assert_eq!(socket.source_of(address), Some(source));
        drop(tunnel);
        assert_eq!((socket.source_of(address), socket.len()), (None, 0));
        assert_ne!(socket.open(source).address(), address);
    }

    #[test]
    fn who_does_not_read_loses_the_oldest_and_costs_others_nothing() {
        let socket = TunnelSocket::new();
        let source = IpAddr::from([192, 0, 2, 1]);
        let (stalled, other) = (socket.open(source), socket.open(source));
        for n in 0..1000u32 {
            send(&socket, stalled.address(), &[&[8, 0], n.to_be_bytes().as_slice(), &[0; 1000]].concat());
            send(&socket, other.address(), &[0x40]);
            assert_eq!(other.next(), Some(vec![0x40]));
        }
        let left = std::iter::from_fn(|| stalled.next()).collect::<Vec<_>>();
        assert!(left.len() < 200 && left.last().is_some_and(|last| last[2..6] == 999u32.to_be_bytes()));
        assert_eq!(socket.dropped() as usize, 1000 - left.len());
    }
}
