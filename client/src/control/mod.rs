//! The control socket: how front ends and the node that is online talk, as docs/json.md describes it.
//!
//! The walk of a command. The front end (`front`) connects to the socket (`place` says where it is), or to a node in its own
//! process; it writes a request (`protocol`) as a line of JSON. On the node's side a `connection` reads it and hands it to
//! [`online`](crate::online), where it becomes a task. What that says comes back line by line, each with the number of the request, and
//! `done` is the last. The same lines go between the two whether they are one process or two.
//!
//! Everything is bounded: the length of a line, the connections, the requests of each, the lines of input ahead of the task, and what
//! waits for a front end that does not read: it is dropped.

mod connection;
mod front;
mod listener;
mod place;
mod protocol;
#[cfg(test)]
mod tests;

pub(crate) use connection::{ConnectionId, Outbox, ToHost, Wires, serve};
pub(crate) use front::{Front, Said, attend};
pub(crate) use listener::listen;
pub(crate) use place::{connect, remove};
pub use protocol::{Command, Form, Greeting, Input, Request, Show};
pub(crate) use protocol::{answer, done, more};

/// Of the protocol. A newer node still understands this one; see docs/json.md for what may be added to it.
pub const VERSION: u32 = 1;
/// Bytes of a line. A message has at most 16 KiB, and JSON may need six bytes for each of them (control characters).
pub const MAX_LINE: usize = 128 << 10;
/// Connections at a time: many more than anybody has windows and scripts; each costs two buffers.
pub const MAX_CONNECTIONS: usize = 64;
/// Requests at a time of each connection.
pub const MAX_REQUESTS: usize = 16;
/// Bytes that may wait for a front end that does not read, before it is dropped: some ten thousand events.
pub const MAX_QUEUED: usize = 4 << 20;
/// Lines of input that a front end may send ahead of what the task has taken: as many as share a transaction, and as many to come.
pub const WINDOW: usize = 512;

/// How many lines of these bytes, as a front end says them, the node understands: a door to its reader for the fuzz targets in
/// `fuzz/`. Nothing is done about them.
pub async fn understood(mut said: &[u8]) -> usize {
    let mut understood = 0;
    while let Ok(Some(Ok(line))) = connection::read_line(&mut said).await {
        understood += usize::from(protocol::parse(&line).is_ok());
    }
    understood
}
