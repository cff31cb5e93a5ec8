//! One front end's connection, on the node's side: lines in, lines out, both bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;

use super::protocol::{Misspoken, Spoken, parse};
use super::{Greeting, Input, MAX_LINE, MAX_QUEUED, Request};
use crate::exit::Failure;
use crate::online::FrontId;

/// A connection of a front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What the connections tell the host.
#[derive(Debug)]
pub(crate) enum ToHost {
    /// A new one, and where its answers go.
    Connected(ConnectionId, Outbox),
    /// It asks for something.
    Asked(ConnectionId, Box<Request>),
    /// It says something to one of its requests.
    Input(ConnectionId, u64, Input),
    /// It says what is not understood; it goes on, or nothing more of it can be read.
    Misspoken {
        /// Who.
        connection: ConnectionId,
        /// Which request was meant.
        request: Option<u64>,
        /// What is wrong.
        failure: Failure,
        /// Nothing more can be read.
        over: bool,
    },
    /// It has gone.
    Gone(ConnectionId),
    /// The process that runs the node wants to end.
    Stop,
}

/// The host's ends of the channels that every connection has.
#[derive(Debug, Clone)]
pub(crate) struct Wires {
    /// Bounded: who writes faster than the host reads waits.
    pub(crate) host: mpsc::Sender<ToHost>,
    /// Whose lines have all been written up to a mark. At most one for each request.
    pub(crate) drained: mpsc::UnboundedSender<FrontId>,
    /// Closed once the last connection has ended.
    pub(crate) alive: mpsc::Sender<()>,
}

#[derive(Debug)]
enum Item {
    Line(String),
    Mark(FrontId),
}

#[derive(Debug, Default)]
struct Queued {
    bytes: AtomicUsize,
    gone: AtomicBool,
    changed: Notify,
}

/// Where the answers to a front end go. When it is dropped, what waits in it is still written, and then the connection ends.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: mpsc::UnboundedSender<Item>,
    queued: Arc<Queued>,
    task: AbortHandle,
    /// The front end in our own process is waited for; others that do not read are dropped.
    patient: bool,
}

impl Outbox {
    /// Queues a line. `false`: the front end has not read for so long that it is dropped.
    pub(crate) fn line(&self, mut line: String) -> bool {
        line.push('\n');
        let before = self.queued.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if before > MAX_QUEUED && !self.patient {
            self.task.abort();
            return false;
        }
        // A connection that has gone will be told of.
        let _ = self.items.send(Item::Line(line));
        true
    }

    /// Has it told when all lines before have been written.
    pub(crate) fn mark(&self, front: FrontId) {
        let _ = self.items.send(Item::Mark(front));
    }

    /// Must the node wait until this front end has read?
    pub(crate) fn is_full(&self) -> bool {
        self.patient
            && self.queued.bytes.load(Ordering::Relaxed) > MAX_QUEUED
            && !self.queued.gone.load(Ordering::Relaxed)
    }

    /// Waits for that.
    pub(crate) fn has_room(&self) -> impl Future<Output = ()> + use<> {
        let queued = Arc::clone(&self.queued);
        async move {
            loop {
                let changed = queued.changed.notified();
                if queued.bytes.load(Ordering::Relaxed) <= MAX_QUEUED || queued.gone.load(Ordering::Relaxed) {
                    return;
                }
                changed.await;
            }
        }
    }
}

/// Says when the connection is over, however that comes.
struct Leaving(Arc<Queued>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Serves a front end until it goes or is dropped. `permit`: its place among those that may be connected; none for the one in our
/// own process.
pub(crate) async fn serve<S>(
    id: ConnectionId,
    stream: S,
    greeting: Greeting,
    wires: Wires,
    permit: Option<OwnedSemaphorePermit>,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (items, waiting) = mpsc::unbounded_channel();
    let patient = permit.is_none();
    let queued = Arc::new(Queued::default());
    let held = (permit, Leaving(Arc::clone(&queued)), wires.alive);
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let (asking, host, drained) = (wires.host.clone(), wires.host, wires.drained);
    let running = tokio::spawn(async move {
        let queued = Arc::clone(&held.1.0);
        if begun.await.is_err() {
            return;
        }
        let (input, output) = tokio::io::split(stream);
        tokio::select! {
            () = read(id, BufReader::new(input), &asking) => {}
            _ = write(output, waiting, &queued, &drained) => {}
        }
        drop(held);
        let _ = asking.send(ToHost::Gone(id)).await;
    });
    let outbox = Outbox { items, queued, task: running.abort_handle(), patient };
    if let Ok(greeting) = serde_json::to_string(&greeting) {
        outbox.line(greeting);
    }
    if host.send(ToHost::Connected(id, outbox)).await.is_ok() {
        let _ = begin.send(());
    }
}

async fn read(id: ConnectionId, mut input: impl AsyncBufRead + Unpin, host: &mpsc::Sender<ToHost>) {
    loop {
        let said = match read_line(&mut input).await {
            Ok(Some(Ok(line))) if line.trim().is_empty() => continue,
            Ok(Some(Ok(line))) => match parse(&line) {
                Ok(Spoken::Request(request)) => ToHost::Asked(id, request),
                Ok(Spoken::Input(re, input)) => ToHost::Input(id, re, input),
                Err(Misspoken { request, failure }) => {
                    ToHost::Misspoken { connection: id, request, failure, over: false }
                }
            },
            Ok(Some(Err(failure))) => ToHost::Misspoken { connection: id, request: None, failure, over: true },
            Ok(None) | Err(_) => return,
        };
        let over = matches!(said, ToHost::Misspoken { over: true, .. });
        // Nobody listens any more, when the node ends: it may have a last word.
        if host.send(said).await.is_err() || over {
            // Until that has been written.
            std::future::pending::<()>().await;
        }
    }
}

/// The next line; `Err` inside if it is too long or no text. Whatever is sent, at most [`MAX_LINE`] of it is held.
pub(super) async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<Option<Result<String, Failure>>> {
    let mut line = Vec::new();
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            // Half a line is none.
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let piece = &chunk[..end.unwrap_or(chunk.len())];
        if line.len() + piece.len() > MAX_LINE {
            return Ok(Some(Err(Failure::usage(format!("a line has at most {MAX_LINE} bytes; see docs/json.md")))));
        }
        line.extend_from_slice(piece);
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            let text = String::from_utf8(line).map_err(|_| Failure::usage("a line is UTF-8; see docs/json.md"));
            return Ok(Some(text));
        }
    }
}

async fn write(
    output: impl AsyncWrite + Unpin,
    mut waiting: mpsc::UnboundedReceiver<Item>,
    queued: &Queued,
    drained: &mpsc::UnboundedSender<FrontId>,
) -> std::io::Result<()> {
    let mut output = BufWriter::new(output);
    while let Some(item) = waiting.recv().await {
        match item {
            Item::Line(line) => {
                output.write_all(line.as_bytes()).await?;
                queued.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                queued.changed.notify_one();
                if waiting.is_empty() {
                    output.flush().await?;
                }
            }
            Item::Mark(front) => {
                output.flush().await?;
                let _ = drained.send(front);
            }
        }
    }
    output.shutdown().await
}
