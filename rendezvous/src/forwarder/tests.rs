//! The forwarder with a socket that takes as much as it is told.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::identity::{Identity, PeerId};
use common::relay::MAX_PAYLOAD;
use quinn::UdpPoller;

use super::*;
use crate::limits::RELAY_QUEUE_FRAMES;
use crate::relay::quota::Quota;

const CHANNEL: RelayChannel = RelayChannel(7);

#[tokio::test]
async fn what_the_socket_does_not_take_waits_and_goes_in_order_when_it_does() {
    let (forwarder, network) = alice_and_bob();
    network.takes(2);
    for n in 0..10u8 {
        forwarder.receives(&[frame(n)]);
    }
    assert_eq!(network.sent(), [vec![frame(0)], vec![frame(1)]]);
    network.takes(3);
    // Socket and queue are both served, and still nothing overtakes.
    forwarder.receives(&[frame(10)]);
    let serving = tokio::spawn(forwarder.clone().serve_queue(SocketIndex(0)));
    network.has_sent(5).await;
    network.takes(usize::MAX);
    network.has_sent(11).await;
    assert_eq!(network.sent().concat(), (0..11).map(frame).collect::<Vec<_>>());
    network.takes(1);
    forwarder.receives(&[frame(11)]);
    assert_eq!(network.sent().len(), 12, "straight to the socket again");
    assert_eq!(forwarder.counts().frames, 12);
    serving.abort();
}

#[tokio::test]
async fn a_socket_that_takes_nothing_costs_a_bounded_queue_and_the_oldest_frames() {
    let (forwarder, network) = alice_and_bob();
    network.takes(0);
    for n in 0..100 {
        forwarder.receives(&[frame(n)]);
    }
    network.takes(usize::MAX);
    let serving = tokio::spawn(forwarder.clone().serve_queue(SocketIndex(0)));
    network.has_sent(RELAY_QUEUE_FRAMES).await;
    let newest: Vec<_> = (0..100).map(frame).skip(100 - RELAY_QUEUE_FRAMES).collect();
    assert_eq!(network.sent().concat(), newest);
    let counts = forwarder.counts();
    assert_eq!(counts.frames + counts.dropped(Dropped::Full), 100);
    serving.abort();
}

#[test]
fn a_buffer_goes_in_one_call_and_a_mixed_one_in_runs() {
    let (forwarder, network) = alice_and_bob();
    network.takes(usize::MAX);
    let run: Vec<_> = (0..20).map(frame).collect();
    forwarder.receives(&run);
    assert_eq!(network.sent(), [run]);
    network.forget();
    let mut junk = frame(9);
    junk[0] = 0x45;
    let mut unknown = frame(8);
    unknown[8] ^= 1;
    forwarder.receives(&[frame(1), frame(2), junk, frame(3), unknown, frame(4)[..50].to_vec()]);
    assert_eq!(network.sent(), [vec![frame(1), frame(2)], vec![frame(3)], vec![frame(4)[..50].to_vec()]]);
}

#[test]
fn a_system_without_segmentation_gets_frame_by_frame() {
    let (forwarder, network) = alice_and_bob();
    network.takes(usize::MAX);
    network.lock().segments = 1;
    forwarder.receives(&[frame(1), frame(2), frame(3)]);
    assert_eq!(network.sent(), [[frame(1)], [frame(2)], [frame(3)]]);
}

#[test]
fn what_is_no_frame_is_counted_and_goes_nowhere() {
    let (forwarder, network) = alice_and_bob();
    network.takes(usize::MAX);
    let header = CHANNEL.header();
    for bad in [&header[..1], &header[..], &[header.as_slice(), &[1; MAX_PAYLOAD + 1]].concat(), &[8; 65_000]] {
        forwarder.receives(&[bad.to_vec()]);
    }
    assert_eq!(network.sent().len(), 0);
    assert_eq!(forwarder.counts().dropped(Dropped::Malformed), 4);
}

/// Alice's `n`th.
fn frame(n: u8) -> Vec<u8> {
    [CHANNEL.header().as_slice(), &[n; 100]].concat()
}

fn alice() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000))
}

fn alice_and_bob() -> (Arc<Forwarder>, Arc<Network>) {
    let key = |n| Identity::from_seed(&[n; 32]).peer_id();
    let parties: [(PeerId, Location); 2] =
        [(key(1), alice().into()), (key(2), SocketAddr::from(([192, 0, 2, 2], 2000)).into())];
    let own = SocketAddr::from(([203, 0, 113, 1], 3478));
    let switch = Switch::new(Quota { bytes: u32::MAX, packets: u32::MAX }, vec![own]);
    let network = Arc::new(Network(Mutex::new(Wire { segments: 64, ..Wire::default() })));
    let forwarder = Arc::new(Forwarder::new(switch, vec![network.clone()]));
    forwarder.apply(Change::Open(CHANNEL, parties));
    (forwarder, network)
}

trait Receives {
    /// These datagrams came from Alice in one buffer.
    fn receives(&self, datagrams: &[Vec<u8>]);
}

impl Receives for Arc<Forwarder> {
    fn receives(&self, datagrams: &[Vec<u8>]) {
        let buffer = datagrams.concat();
        let meta = RecvMeta { addr: alice(), len: buffer.len(), stride: datagrams[0].len(), ..RecvMeta::default() };
        self.forward(SocketIndex(0), &meta, &buffer);
    }
}

#[derive(Debug, Default)]
struct Wire {
    room: usize,
    segments: usize,
    sent: Vec<Vec<Vec<u8>>>,
    waiting: Vec<Waker>,
}

/// A socket in memory.
#[derive(Debug)]
struct Network(Mutex<Wire>);

impl Network {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().expect("no panic")
    }

    /// So many calls more.
    fn takes(&self, room: usize) {
        let mut wire = self.lock();
        wire.room = room;
        wire.waiting.drain(..).for_each(Waker::wake);
    }

    /// The frames of each call.
    fn sent(&self) -> Vec<Vec<Vec<u8>>> {
        self.lock().sent.clone()
    }

    fn forget(&self) {
        self.lock().sent.clear();
    }

    /// Gives way until so many calls have been made.
    async fn has_sent(&self, calls: usize) {
        let enough = async {
            while self.lock().sent.len() < calls {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), enough).await.expect("it is sent");
    }
}

#[derive(Debug)]
struct Poller(Arc<Network>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.room > 0 {
            return Poll::Ready(Ok(()));
        }
        wire.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncUdpSocket for Network {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut wire = self.lock();
        wire.room = wire.room.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        wire.sent.push(transmit.contents.chunks(size).map(<[u8]>::to_vec).collect());
        Ok(())
    }

    fn poll_recv(&self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([203, 0, 113, 1], 3478)))
    }

    fn max_transmit_segments(&self) -> usize {
        self.lock().segments
    }
}
