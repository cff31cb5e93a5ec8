//! Where the pure server meets the connections: one lock, one numbering, one bounded queue for each client.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::identity::PeerId;
use common::introduction::{CloseCode, MAX_CONTROL_FRAME, StunEndpoints, ToServer};
use common::wire;
use quinn::{Connection, VarInt};
use tokio::sync::Notify;

use crate::admission::{Admission, Verdict};
use crate::forwarder::Forwarder;
use crate::limits::{OUTGOING_BYTES, OUTGOING_QUEUE};
use crate::mailbox::Event;
use crate::mailbox::thread::{Commands, unix_now};
use crate::memory::Memory;
use crate::relay::{Location, SocketIndex};
use crate::server::{ConnectionId, Output, Server};

/// What a connection is to write next.
#[derive(Debug)]
pub enum Outgoing {
    /// This frame.
    Frame(Vec<u8>),
    /// Nothing any more, and then close.
    Close(CloseCode),
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    queue: Arc<Queue>,
}

/// What waits for one client. A channel of tokio would keep room for 32 frames of each client for as long as it is there.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Outgoing>,
    /// Of the frames in the queue and of the one that is being written.
    bytes: usize,
    /// Nothing will be added.
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, next: Outgoing) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + if let Outgoing::Frame(frame) = &next { frame.len() } else { 0 };
        let room = bytes <= OUTGOING_BYTES && waiting.queue.len() < OUTGOING_QUEUE;
        if room {
            waiting.bytes = bytes;
            waiting.queue.push_back(next);
            drop(waiting);
            self.news.notify_one();
        }
        room
    }
}

/// What a connection is to write.
#[derive(Debug)]
pub struct Outbox(Arc<Queue>);

impl Outbox {
    /// The next one. Before it asks for another one, the caller must have written it.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            {
                let mut waiting = self.0.lock();
                let next = waiting.queue.pop_front();
                if waiting.queue.is_empty() {
                    // Clients are silent most of the time.
                    waiting.queue = VecDeque::new();
                }
                if next.is_some() || waiting.ended {
                    return next;
                }
            }
            self.0.news.notified().await;
        }
    }

    /// A frame of this length is on its way.
    pub fn written(&self, bytes: usize) {
        self.0.lock().bytes -= bytes;
    }
}

impl Client {
    /// False if the client has not read what was sent before.
    fn send(&self, frame: Vec<u8>) -> bool {
        self.queue.push(Outgoing::Frame(frame))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.news.notify_one();
    }
}

#[derive(Debug)]
struct State {
    server: Server,
    admission: Admission,
    clients: BTreeMap<ConnectionId, Client>,
    next: u64,
    forwarder: Arc<Forwarder>,
    mailbox: Option<Commands>,
}

/// Shared by all connections.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
}

/// Closes with a code and its name, which helps whoever reads a capture.
pub fn close(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.code()), format!("{code:?}").as_bytes());
}

impl Hub {
    /// No connections yet.
    pub fn new(server: Server, admission: Admission, forwarder: Arc<Forwarder>) -> Self {
        let clients = BTreeMap::new();
        Hub { state: Mutex::new(State { server, admission, clients, next: 0, forwarder, mailbox: None }) }
    }

    /// Where what is asked of the mailbox goes.
    pub fn set_mailbox(&self, mailbox: Commands) {
        self.lock().mailbox = Some(mailbox);
    }

    /// What the mailbox says.
    pub fn mailbox(&self, events: Vec<Event>) {
        let mut state = self.lock();
        for event in events {
            state.server.handle_mailbox(event, Instant::now());
        }
        state.pump();
    }

    /// What to do with a first packet.
    pub fn judge(&self, ip: IpAddr, proven: bool) -> Verdict {
        self.lock().admission.judge(ip, proven, Instant::now())
    }

    /// A handshake that was begun has ended.
    pub fn handshake_ended(&self) {
        self.lock().admission.handshake_ended();
    }

    /// May this source have one more connection? If so, [`Hub::departed`] must follow.
    pub fn arrived(&self, ip: IpAddr) -> Result<(), CloseCode> {
        self.lock().admission.connected(ip)
    }

    /// A connection of this source has ended.
    pub fn departed(&self, ip: IpAddr) {
        self.lock().admission.closed(ip);
    }

    /// A connection to this socket, that comes from there in truth, has opened its stream: its number, and what is to be written to it.
    pub fn join(
        &self,
        connection: &Connection,
        peer: PeerId,
        source: IpAddr,
        socket: SocketIndex,
        stun: StunEndpoints,
    ) -> (ConnectionId, Outbox) {
        let queue = Arc::new(Queue::default());
        let outbox = Outbox(queue.clone());
        let mut state = self.lock();
        let id = ConnectionId(state.next);
        state.next += 1;
        state.clients.insert(id, Client { connection: connection.clone(), queue });
        let location = Location { socket, local_ip: connection.local_ip(), address: connection.remote_address() };
        state.server.handle_connected(id, peer, location, stun, Instant::now());
        state.server.handle_source(id, source);
        state.pump();
        (id, outbox)
    }

    /// A frame has arrived.
    pub fn message(&self, from: ConnectionId, message: ToServer) {
        let mut state = self.lock();
        state.server.handle_message(from, message, Instant::now());
        state.pump();
    }

    /// Something has arrived that is no frame.
    pub fn broken(&self, from: ConnectionId, why: &dyn fmt::Display) {
        let mut state = self.lock();
        state.server.handle_broken(from, why, Instant::now());
        state.pump();
    }

    /// A connection that had joined is gone.
    pub fn leave(&self, id: ConnectionId) {
        let mut state = self.lock();
        state.clients.remove(&id);
        state.server.handle_closed(id, Instant::now());
        state.pump();
    }

    /// Once a second: who has moved, and what has run out.
    pub fn tick(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let State { server, clients, forwarder, .. } = &mut *state;
        server.handle_relayed(forwarder.take_used(), now);
        for (id, client) in clients.iter() {
            server.handle_moved(*id, client.connection.remote_address(), now);
        }
        server.handle_calendar(unix_now(), now);
        server.handle_timeout(now);
        state.pump();
    }

    /// Sends everybody away.
    pub fn drain(&self) {
        let mut state = self.lock();
        state.server.handle_drain(Instant::now());
        state.pump();
    }

    /// How many clients are registered.
    pub fn registered(&self) -> usize {
        self.lock().server.registered()
    }

    /// How many relay channels live.
    pub fn channels(&self) -> usize {
        self.lock().server.channels()
    }

    /// How many outcomes of introductions counted, and how many hints came of them.
    pub fn remembered(&self) -> (u64, u64) {
        self.lock().server.memory().map(Memory::counts).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another connection's turn is a bug, but no reason to send everybody away.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pump(&mut self) {
        loop {
            while let Some(change) = self.server.poll_change() {
                self.forwarder.apply(change);
            }
            while let Some(command) = self.server.poll_command() {
                let refused = match &self.mailbox {
                    Some(mailbox) => mailbox.push(command).err(),
                    None => Some(Box::new(command)),
                };
                if let Some(command) = refused {
                    self.server.handle_mailbox_busy(*command, Instant::now());
                }
            }
            let Some(output) = self.server.poll_output() else { return };
            match output {
                Output::Send(to, message) => {
                    let Some(client) = self.clients.get(&to) else { continue };
                    let frame = match wire::encode(&message, MAX_CONTROL_FRAME) {
                        Ok(frame) => frame,
                        Err(error) => {
                            tracing::error!(%error, "a message of our own does not fit into a frame");
                            continue;
                        }
                    };
                    if !client.send(frame) {
                        tracing::debug!(connection = to.0, "the client does not read; closing");
                        close(&client.connection, CloseCode::Slow);
                        self.clients.remove(&to);
                        self.server.handle_closed(to, Instant::now());
                    }
                }
                Output::Close(to, code) => {
                    let Some(client) = self.clients.remove(&to) else { continue };
                    tracing::debug!(connection = to.0, ?code, "closing");
                    if !client.queue.push(Outgoing::Close(code)) {
                        close(&client.connection, code);
                    }
                }
            }
        }
    }
}
