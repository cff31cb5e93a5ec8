//! The bytes that are measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::speed::{Arrived, BULK_STREAMS, NO_MORE, RunNumber, bulk_header};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// What is written at a time. All that is sent is the same piece of memory, again and again.
const PIECE: usize = 64 * 1024;
/// What is read at a time, in pieces as they came in packets.
const PIECES: usize = 64;
/// Behind messages and whatever else the two say.
const PRIORITY: i32 = -1;

/// Bytes on their way to the peer. When dropped, no more are sent, and those that were lost are not sent again.
pub(super) struct Sending(JoinSet<()>);

impl Sending {
    /// Sends for so long.
    pub(super) fn start(connection: &Connection, run: RunNumber, span: Duration) -> Self {
        let until = Instant::now() + span;
        let mut streams = JoinSet::new();
        for _ in 0..BULK_STREAMS {
            let connection = connection.clone();
            streams.spawn(async move {
                // However it ends, the other side knows what it has got.
                let _ = timeout_at(until, fill(&connection, run)).await;
            });
        }
        Sending(streams)
    }

    /// Waits until the time is over, or the peer wants no more.
    pub(super) async fn done(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// A stream that is reset when it is dropped. Otherwise it would be finished, and all that was written delivered.
struct Bulk(SendStream);

impl Drop for Bulk {
    fn drop(&mut self) {
        // Fails if the peer has stopped it.
        let _ = self.0.reset(VarInt::from_u32(NO_MORE));
    }
}

async fn fill(connection: &Connection, run: RunNumber) -> Option<()> {
    let mut stream = Bulk(connection.open_uni().await.ok()?);
    stream.0.set_priority(PRIORITY).ok()?;
    stream.0.write_all(&bulk_header(run)).await.ok()?;
    let piece = vec![0; PIECE].into();
    loop {
        stream.0.write_chunk(Clone::clone(&piece)).await.ok()?;
    }
}

/// Bytes on their way to us, counted. When dropped, the peer is asked to stop.
pub(super) struct Counting {
    _streams: JoinSet<()>,
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    bytes: AtomicU64,
    first: OnceLock<Instant>,
    micros: AtomicU64,
}

impl Count {
    fn add(&self, bytes: usize) {
        let since = self.first.get_or_init(Instant::now).elapsed();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.micros.fetch_max(u64::try_from(since.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Counting {
    /// Accepts the streams of this run, and reads them.
    pub(super) fn start(connection: &Connection, run: RunNumber) -> Self {
        let count = Arc::new(Count::default());
        let (connection, counted) = (connection.clone(), count.clone());
        let mut streams = JoinSet::new();
        streams.spawn(async move {
            // Each ends before the next may come: the peer has no more streams than it was given.
            let mut readers = JoinSet::new();
            while let Ok(stream) = connection.accept_uni().await {
                readers.spawn(read(stream, run, counted.clone()));
                while readers.try_join_next().is_some() {}
            }
        });
        Counting { _streams: streams, count }
    }

    /// What has arrived so far.
    pub(super) fn arrived(&self) -> Arrived {
        Arrived { bytes: self.count.bytes.load(Ordering::Relaxed), micros: self.count.micros.load(Ordering::Relaxed) }
    }
}

async fn read(mut stream: RecvStream, run: RunNumber, count: Arc<Count>) -> Option<()> {
    let mut header = bulk_header(RunNumber(0));
    stream.read_exact(&mut header).await.ok()?;
    if header != bulk_header(run) {
        // From a run that has ended. Dropping it asks the peer to stop.
        return None;
    }
    let mut pieces = std::array::from_fn::<_, PIECES, _>(|_| Default::default());
    while let Some(filled) = stream.read_chunks(&mut pieces).await.ok()? {
        count.add(pieces[..filled].iter().map(|piece| piece.len()).sum());
    }
    Some(())
}
