//! A session with one peer over one QUIC connection: frames in, frames out, until it ends.

use std::time::Duration;

use common::identity::PeerId;
use common::session::{MAX_PEER_FRAME, PeerFrame, Route};
use common::tls::SeenPeer;
use common::wire::{self, FrameReader};
use quinn::{Connecting, Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::control::describe;
use super::speed;
use crate::node::{Bye, SessionEvent, SessionId};

/// A handshake over a punched path and the greetings: three round trips and a lost packet or two. QUIC itself would wait for
/// ever, as long as it is not told otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Frames waiting to be written. The messenger bounds its messages, the peer's messages bound our receipts; a session
/// beyond this has a peer who does not read, and is closed, so that everything unacknowledged is sent again later.
pub(super) const WRITE_QUEUE: usize = 4096;
/// Bytes of frames that wait for each other's company: a dozen packets. quinn wakes its connection for each write.
const TOGETHER: usize = 16 << 10;
/// How long a session that is to be closed waits until the peer has what was written before: receipts above all.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Closes a connection with its code.
pub(super) fn close(connection: &Connection, bye: Bye) {
    connection.close(VarInt::from_u32(bye as u32), b"");
}

/// What the driver gives to a session.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// To be written.
    Frame(PeerFrame),
    /// The last word: to be closed once the peer has all that was written before.
    Close(Bye),
}

/// What the driver hears of a session.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer: PeerId,
    pub(super) id: SessionId,
    pub(super) event: SessionEvent,
    /// With [`SessionEvent::Up`], to close it by.
    pub(super) connection: Option<Connection>,
}

/// Why nothing more is read.
enum Read {
    /// The connection is closed.
    Over,
    /// The other side does not keep to what was agreed.
    Refused(Bye),
    /// The peer has ended its stream, and its close did not come.
    Left,
}

/// Until the session is to be closed. Nothing is written to one that does not stand.
async fn given_up(outgoing: &mut mpsc::Receiver<Outgoing>) {
    loop {
        match outgoing.recv().await {
            Some(Outgoing::Close(_)) => return,
            Some(Outgoing::Frame(_)) => {}
            // The driver is gone; its endpoint ends what is under way.
            None => std::future::pending().await,
        }
    }
}

/// One attempt at a session, from the handshake on.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) peer: PeerId,
    /// Which way it goes.
    pub(super) route: Route,
    /// Did we dial? Then we open the stream.
    pub(super) dialled: bool,
    pub(super) seen: SeenPeer,
    /// Our greeting.
    pub(super) hello: PeerFrame,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    /// For whoever asks to measure the line.
    pub(super) desk: speed::Desk,
    pub(super) events: mpsc::Sender<Report>,
}

impl Session {
    /// Runs the session to its end, which is always told.
    pub(super) async fn run(mut self, connecting: Connecting) {
        let by = Instant::now() + HANDSHAKE_TIMEOUT;
        let handshake = tokio::select! {
            handshake = timeout_at(by, connecting) => Some(handshake),
            () = given_up(&mut self.outgoing) => None,
        };
        let failed = |reason: &str| SessionEvent::Down { reason: reason.to_owned(), by_peer: false };
        let event = match handshake {
            Some(Ok(Ok(connection))) => self.converse(connection, by).await,
            Some(Ok(Err(error))) => match self.seen.get() {
                Some(seen) if *seen != self.peer => SessionEvent::Untrusted { seen: *seen },
                _ => Session::down(&error),
            },
            Some(Err(_)) => failed("the handshake was not answered"),
            None => failed("the handshake was given up"),
        };
        let _ = self.report(event, None).await;
    }

    async fn report(&self, event: SessionEvent, connection: Option<Connection>) -> Result<(), Bye> {
        let report = Report { peer: self.peer, id: self.id, event, connection };
        self.events.send(report).await.map_err(|_| Bye::Stopping)
    }

    fn down(error: &ConnectionError) -> SessionEvent {
        let stopped = VarInt::from_u32(Bye::Stopping as u32);
        match error {
            ConnectionError::ApplicationClosed(close) if close.error_code == stopped => Session::stopped(),
            error => SessionEvent::Down { reason: describe(error), by_peer: false },
        }
    }

    async fn converse(&mut self, connection: Connection, by: Instant) -> SessionEvent {
        let opened = match self.dialled {
            true => connection.open_bi().await,
            false => match timeout_at(by, connection.accept_bi()).await {
                Ok(opened) => opened,
                Err(_) => {
                    close(&connection, Bye::PathLost);
                    return Session::down(&connection.closed().await);
                }
            },
        };
        let Ok((send, receive)) = opened else { return Session::down(&connection.closed().await) };
        // Further streams are the peer's, who is a contact and has shown its key. They end with the connection.
        tokio::spawn(speed::serve(connection.clone(), self.peer, self.route, self.desk.clone()));
        let (_, never) = mpsc::channel(1);
        // With our greeting the dialler closes what this connection takes the place of. So the side that accepts greets
        // only when its driver has been told of this one: else the end of the old one could be told first, as a loss.
        let (told, may_greet) = oneshot::channel();
        let mut told = Some(told);
        if self.dialled {
            tell(&mut told);
        }
        let writing = write(send, self.hello.clone(), may_greet, std::mem::replace(&mut self.outgoing, never));
        let reading = self.read(&connection, receive, told, by);
        tokio::select! {
            bye = writing => close(&connection, bye),
            end = reading => match end {
                Read::Over => {}
                Read::Refused(bye) => close(&connection, bye),
                Read::Left => {
                    close(&connection, Bye::Stopping);
                    return Session::stopped();
                }
            },
        }
        Session::down(&connection.closed().await)
    }

    fn stopped() -> SessionEvent {
        SessionEvent::Down { reason: "the peer's client has stopped".into(), by_peer: true }
    }

    /// Reads frames until the connection or the peer's protocol ends.
    async fn read(
        &self,
        connection: &Connection,
        mut receive: RecvStream,
        mut told: Option<oneshot::Sender<()>>,
        by: Instant,
    ) -> Read {
        let mut reader = FrameReader::new(MAX_PEER_FRAME);
        let mut buffer = vec![0; 16 * 1024];
        let mut greeted = false;
        loop {
            let more = match greeted {
                true => receive.read(&mut buffer).await,
                false => match timeout_at(by, receive.read(&mut buffer)).await {
                    Ok(more) => more,
                    Err(_) => return Read::Refused(Bye::PathLost),
                },
            };
            let count = match more {
                Ok(Some(count)) => count,
                // The peer has said its last word; its close follows when it knows that we have it. Through the relay it may be
                // behind the peer's farewell to the rendezvous, which then carries it no more.
                Ok(None) => {
                    let closed = timeout(LAST_WORDS * 2, connection.closed()).await;
                    return if closed.is_err() { Read::Left } else { Read::Over };
                }
                Err(_) => return Read::Over,
            };
            reader.push(&buffer[..count]);
            loop {
                let rtt = connection.rtt();
                let (event, stands) = match (reader.poll::<PeerFrame>(), greeted) {
                    (Ok(None), _) => break,
                    // The peer has seen our key and found it right: only now is the session real for both.
                    (Ok(Some(hello @ PeerFrame::Hello { .. })), false) => {
                        greeted = true;
                        let remote = connection.remote_address();
                        (SessionEvent::Up { remote, rtt, hello }, Some(connection.clone()))
                    }
                    (Ok(Some(frame)), true) => (SessionEvent::Frame { rtt, frame }, None),
                    (Ok(Some(_)), false) | (Err(_), _) => return Read::Refused(Bye::Protocol),
                };
                if let Err(bye) = self.report(event, stands).await {
                    return Read::Refused(bye);
                }
                // The first event is that this session is up.
                tell(&mut told);
            }
        }
    }
}

/// Lets the greeting go, once.
fn tell(told: &mut Option<oneshot::Sender<()>>) {
    if let Some(told) = told.take() {
        // Whoever waited for it may be gone.
        let _ = told.send(());
    }
}

/// Writes until the session is to be closed; why.
async fn write(
    mut send: SendStream,
    hello: PeerFrame,
    may_greet: oneshot::Receiver<()>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> Bye {
    // Before the greeting nothing can be given to a session but its end.
    let mut next = tokio::select! {
        biased;
        Ok(()) = may_greet => Outgoing::Frame(hello),
        end = outgoing.recv() => end.unwrap_or(Outgoing::Close(Bye::Stopping)),
    };
    let mut together = Vec::new();
    loop {
        match next {
            Outgoing::Frame(frame) => {
                match wire::encode(&frame, MAX_PEER_FRAME) {
                    Ok(bytes) => together.extend(bytes),
                    Err(error) => tracing::error!(%error, "a frame of ours is too long"),
                }
                if together.len() < TOGETHER
                    && let Ok(another) = outgoing.try_recv()
                {
                    next = another;
                    continue;
                }
                // If this fails the connection is at its end, which the reading side reports.
                if send.write_all(&together).await.is_err() {
                    std::future::pending().await
                }
                together.clear();
            }
            Outgoing::Close(bye) => {
                let _ = send.write_all(&together).await;
                // QUIC's close throws away what is not acknowledged yet.
                let _ = send.finish();
                let _ = timeout(LAST_WORDS, send.stopped()).await;
                return bye;
            }
        }
        next = outgoing.recv().await.unwrap_or(Outgoing::Close(Bye::Stopping));
    }
}
