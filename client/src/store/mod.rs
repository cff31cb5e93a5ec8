//! What was said, on disk: `messages.db`, an SQLite database beside the other files of the data folder.
//!
//! The client writes it down **before** it acts: a message of ours is kept before it is sent, one of the peer's before it is
//! shown and acknowledged. What happens at one moment is one transaction ([`Store::keep`]), synced to the disk when that
//! returns, so that neither a kill nor a power cut can make a receipt untrue. A client that starts goes on where the last
//! one stood ([`Store::resume`]).
//!
//! Several processes may have the database open: one is online and writes, others read ([`Store::history`],
//! [`Store::search`]) or take a waiting message back ([`Store::cancel`]).
//!
//! # Limits
//!
//! Nothing is ever deleted. The text is not encrypted on disk: whoever can read the data folder has the identity as well.

mod error;
mod journal;
mod read;
mod schema;
mod search;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::identity::PeerId;
use common::session::MessageId;
use jiff::Timestamp;
use rusqlite::Connection;

pub use error::StoreError;
pub use journal::{Entry, What};
pub use read::{Conversation, Page};
pub use write::NotCancelled;

/// How long to wait for another process that writes. Each of them holds the database for a transaction, milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the peer to us.
    Received,
    /// From us to the peer.
    Sent,
}

/// What has become of a message of ours. Of one that was received: that it is [`State::OnDevice`], ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Here alone; it goes to the peer as soon as there is a way.
    Queued,
    /// The receiving client has it, and has said so.
    OnDevice,
    /// Taken back before anybody had acknowledged it.
    Cancelled,
}

impl State {
    const ALL: [State; 3] = [State::Queued, State::OnDevice, State::Cancelled];

    /// As it is called in JSON and to people.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::OnDevice => "device",
            State::Cancelled => "cancelled",
        }
    }
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the order in which messages came to be here: later ones have greater numbers.
    pub number: i64,
    /// With whom.
    pub peer: PeerId,
    /// Which way.
    pub direction: Direction,
    /// Its name.
    pub id: MessageId,
    /// When it was written, by its writer's clock.
    pub at: Timestamp,
    /// What.
    pub text: String,
    /// What has become of it.
    pub state: State,
}

/// What is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// We said something.
    Said {
        /// To whom.
        peer: PeerId,
        /// Its name.
        id: MessageId,
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// What.
        text: String,
    },
    /// The peer said something.
    Heard {
        /// Who.
        peer: PeerId,
        /// Its name.
        id: MessageId,
        /// When, by the peer's clock, in milliseconds since 1970.
        at_ms: u64,
        /// What.
        text: String,
    },
    /// The peer's client has what we said.
    Delivered {
        /// Whose.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// When we heard of it, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// The database, open.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
    /// SQLite's number for the state of the file, which only writes of others change.
    version: i64,
}

impl Store {
    /// Opens the database, and makes it if it is not there. One of an older version is brought up to date, in one
    /// transaction; one of a newer version, or something else of this name, is left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |error| StoreError::of(path, "open", error);
        prepare(path)?;
        let mut db = Connection::open(path).map_err(at)?;
        db.busy_timeout(BUSY).map_err(at)?;
        schema::prepare(&mut db, path)?;
        db.set_prepared_statement_cache_capacity(32);
        let version = data_version(&db).map_err(at)?;
        Ok(Store { db, path: path.to_owned(), version })
    }

    /// Has another process written anything since the last call?
    pub fn changed_by_others(&mut self) -> Result<bool, StoreError> {
        let version = data_version(&self.db).map_err(self.failed("read"))?;
        Ok(std::mem::replace(&mut self.version, version) != version)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |error| StoreError::of(&path, doing, error)
    }
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// The file is its owner's alone; SQLite gives the files beside it the same mode.
fn prepare(path: &Path) -> Result<(), StoreError> {
    let opened =
        crate::system::private(std::fs::OpenOptions::new().write(true).create(true).truncate(false)).open(path);
    opened.map(drop).map_err(|source| StoreError::Io { doing: "write", path: path.to_owned(), source })
}

/// A time in the database. What a peer's clock says may be any number; the years that people use are kept as they are.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
