//! The one connection to the rendezvous: made, registered, kept, and made again, for as long as the node runs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::identity::PeerId;
use common::introduction::{CloseCode, FromServer, MAX_CONTROL_FRAME, Register, ToServer};
use common::wire::{self, FrameReader};
use quinn::{ConnectionError, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::reach::{NoWay, Reach, Reached};
use super::session::LAST_WORDS;
use super::silence::{Listener, RelayTraffic};
use super::transport::{RENDEZVOUS_WINDOW, nudge};
use super::tunnel::Tunnel;
use crate::node::ControlEvent;

/// The first pause after a failure, at most; doubled up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// So that a client is back within five seconds of the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After "you ask too much" or "no room".
const PENALTY_PAUSE: Duration = Duration::from_secs(30);
/// How long a connection through a tunnel is kept after one over UDP has taken its place: until the server has noticed.
const TAKEOVER: Duration = Duration::from_secs(5);
/// A rendezvous with the wrong key may be an old server that comes back; there is no hurry.
const UNTRUSTED_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Control {
    pub(super) reach: Reach,
    pub(super) relay: Arc<RelayTraffic>,
    /// What to register; a change is sent as an update.
    pub(super) register: watch::Receiver<Register>,
    pub(super) requests: mpsc::Receiver<ToServer>,
    /// Counts the changes of our network.
    pub(super) network: watch::Receiver<u64>,
    pub(super) events: mpsc::Sender<ControlEvent>,
}

/// Why an attempt or a connection ended.
enum End {
    /// Try again after the usual pause.
    Failed(String),
    /// The server is a new one, and there.
    Restarted(String),
    /// Try again after this pause.
    Later(String, Duration),
    Untrusted(PeerId),
    Replaced,
    /// Our network has changed: at once, from the new one.
    Moved,
    /// The connection went through a tunnel, and here is one over UDP.
    BackOnUdp(Box<Reached>),
    /// The driver is gone.
    Over,
}

impl Control {
    /// Runs until the driver goes away or another client has taken our place.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.network.mark_unchanged();
            let (event, wait) = match self.attempt(&mut pause).await {
                End::Moved => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                End::Failed(reason) => (ControlEvent::Lost { reason }, pause),
                // It answers, so nobody has to wait for it; and each client learns of it by its own next packet, which spreads
                // them. One that is restarted again and again is a failure.
                End::Restarted(reason) if pause == FIRST_PAUSE => (ControlEvent::Lost { reason }, Duration::ZERO),
                End::Restarted(reason) => (ControlEvent::Lost { reason }, pause),
                End::Later(reason, wait) => (ControlEvent::Lost { reason }, wait),
                End::Untrusted(seen) => (ControlEvent::Untrusted { seen }, UNTRUSTED_PAUSE),
                End::Replaced => {
                    let _ = self.events.send(ControlEvent::Replaced).await;
                    return;
                }
                End::BackOnUdp(_) | End::Over => return,
            };
            if self.events.send(event).await.is_err() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Full jitter, so that a thousand clients of a server that was restarted do not come in step; a change of
            // network may be what everybody waits for.
            tokio::select! {
                () = sleep(wait.mul_f64(fraction())) => {}
                Ok(()) = self.network.changed() => pause = FIRST_PAUSE,
            }
            // Requests of the time without a connection: their askers have been told.
            while self.requests.try_recv().is_ok() {}
        }
    }

    async fn attempt(&mut self, pause: &mut Duration) -> End {
        let reach = self.reach.clone();
        let mut network = self.network.clone();
        let reached = tokio::select! {
            reached = reach.race() => reached,
            Ok(()) = network.changed() => return End::Moved,
        };
        let mut reached = match reached {
            Ok(reached) => reached,
            Err(NoWay::Failed(reason)) => return End::Failed(reason),
            Err(NoWay::Untrusted(seen)) => return End::Untrusted(seen),
        };
        loop {
            let (server, remote, rtt) = (reached.server, reached.remote(), reached.connection.rtt());
            if self.events.send(ControlEvent::Connected { server, remote, rtt }).await.is_err() {
                return End::Over;
            }
            match self.serve(&mut reached, pause).await {
                End::BackOnUdp(over_udp) => {
                    let through_tunnel = std::mem::replace(&mut reached, *over_udp);
                    tokio::spawn(outlive(through_tunnel));
                }
                end => {
                    reached.connection.close(VarInt::from_u32(CloseCode::Done.code()), b"");
                    return end;
                }
            }
        }
    }

    /// Registers and passes messages both ways until the connection ends.
    async fn serve(&mut self, reached: &mut Reached, pause: &mut Duration) -> End {
        let Reached { connection, tunnel, .. } = reached;
        let mut back_to_udp = pin!(maybe(tunnel.is_some().then(|| self.reach.clone().back_to_udp())));
        let mut tunnel_ended = pin!(maybe(tunnel.as_mut().map(Tunnel::ended)));
        let mut listener = Listener::default();
        let Ok((mut send, mut receive)) = connection.open_bi().await else {
            return end_of(connection.closed().await);
        };
        let first = ToServer::Register(self.register.borrow_and_update().clone());
        let mut outgoing = Some(first);
        let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
        loop {
            if let Some(message) = outgoing.take() {
                let frame = match wire::encode(&message, MAX_CONTROL_FRAME) {
                    Ok(frame) => frame,
                    Err(error) => {
                        tracing::error!(%error, "a message of ours does not fit in a frame");
                        continue;
                    }
                };
                if send.write_all(&frame).await.is_err() {
                    return end_of(connection.closed().await);
                }
            }
            let mut buffer = [0; 4096];
            tokio::select! {
                read = receive.read(&mut buffer) => match read {
                    Ok(Some(count)) => {
                        reader.push(&buffer[..count]);
                        loop {
                            match reader.poll::<FromServer>() {
                                Ok(Some(message)) => {
                                    if matches!(message, FromServer::Registered(_)) {
                                        *pause = FIRST_PAUSE;
                                    }
                                    if self.events.send(ControlEvent::Message(message)).await.is_err() {
                                        return End::Over;
                                    }
                                }
                                Ok(None) => break,
                                Err(error) => return End::Failed(format!("the rendezvous sent nonsense: {error}")),
                            }
                        }
                    }
                    Ok(None) => return End::Failed("the rendezvous ended the conversation".into()),
                    Err(_) => return end_of(connection.closed().await),
                },
                request = self.requests.recv() => match request {
                    Some(request) => outgoing = Some(request),
                    None => {
                        // The driver's last words are written; QUIC's close would throw away what is not acknowledged.
                        let _ = send.finish();
                        let _ = timeout(LAST_WORDS, send.stopped()).await;
                        return End::Over;
                    }
                },
                () = listener.silence(&self.relay) => nudge(connection, RENDEZVOUS_WINDOW),
                Ok(()) = self.network.changed() => return End::Moved,
                over_udp = &mut back_to_udp => return End::BackOnUdp(Box::new(over_udp)),
                reason = &mut tunnel_ended => return End::Failed(reason),
                // When the driver goes, its last requests are still to be read from the other channel.
                Ok(()) = self.register.changed() => {
                    outgoing = Some(ToServer::Update(self.register.borrow_and_update().clone()));
                }
            }
        }
    }
}

/// Keeps a connection until the server closes it, because we have registered over another one.
async fn outlive(replaced: Reached) {
    let _ = timeout(TAKEOVER, replaced.connection.closed()).await;
}

/// Waits for ever if there is nothing to wait for.
async fn maybe<T>(what: Option<impl Future<Output = T>>) -> T {
    match what {
        Some(what) => what.await,
        None => std::future::pending().await,
    }
}

/// What the server's way of closing means for us.
fn end_of(error: ConnectionError) -> End {
    let reason = describe(&error);
    let close = match error {
        ConnectionError::ApplicationClosed(close) => close,
        // The key of stateless resets outlives the server that was asked.
        ConnectionError::Reset => return End::Restarted(reason),
        _ => return End::Failed(reason),
    };
    match CloseCode::from_code(close.error_code.into_inner()) {
        Some(CloseCode::Replaced) => End::Replaced,
        Some(CloseCode::RateLimited | CloseCode::Full | CloseCode::Protocol) => End::Later(reason, PENALTY_PAUSE),
        _ => End::Failed(reason),
    }
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// A connection's end in words for a person.
pub(super) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => match CloseCode::from_code(close.error_code.into_inner()) {
            Some(CloseCode::Draining) => "the rendezvous is stopping".into(),
            Some(CloseCode::RateLimited) => "the rendezvous says that we ask too much".into(),
            Some(CloseCode::Full) => "the rendezvous has no room".into(),
            _ => format!("closed by the other side: {close}"),
        },
        ConnectionError::Reset => "the other side was restarted".into(),
        ConnectionError::TimedOut => "no answer any more".into(),
        other => other.to_string(),
    }
}
