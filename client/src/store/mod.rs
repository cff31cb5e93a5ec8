//! What was said and whom we know, on disk: `messages.db`, an SQLite database beside the other files of the data folder.
//!
//! The client writes it down **before** it acts: a message of ours is kept before it is sent, one of the peer's before it is
//! shown and acknowledged. What happens at one moment is one transaction ([`Store::keep`]), synced to the disk when that
//! returns, so that neither a kill nor a power cut can make a receipt untrue. A client that starts goes on where the last
//! one stood ([`Store::resume`]).
//!
//! Several processes may have the database open: one is online and writes, others read ([`Store::history`],
//! [`Store::search`]) or take a waiting message back ([`Store::cancel`]).
//!
//! Every post, ours and theirs, is a row that fills its place in its stream: words, and what is said about words, which
//! is applied to them. A history is in order of `place`: the order of arrival, but what fills a gap in a stream stands in
//! front of what came after it.
//!
//! What is removed is zeroed in the file (`secure_delete`), and after secrets were removed the log is cut, too.
//!
//! # Limits
//!
//! Nothing goes by itself, however old it is. Of a deleted text the search may keep its trigrams for some time, without an
//! order, until it tidies up. The text is not encrypted on disk: whoever can read the data folder has the identity as well.

mod contacts;
mod copy;
mod error;
mod journal;
mod keep;
mod message;
mod named;
mod post;
mod prekeys;
mod read;
mod receipts;
mod record;
mod schema;
mod search;
mod state;
mod streams;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

pub use error::StoreError;
pub use journal::{Entry, What};
pub use message::{Message, Times};
pub use post::Waiting;
pub use read::{Conversation, Page};
pub use receipts::Proofs;
pub use record::Record;
pub use state::State;
pub use streams::PeerStream;
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

/// The database, open.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
    /// The name of this machine: where what we write was written.
    host: String,
    /// Something secret was removed, and the log may still have it.
    traces: bool,
    /// SQLite's number for the state of the file, which only writes of others change; `None` before the first look.
    version: Option<i64>,
    /// Up to this number no message waits for being indexed; `None` before the first look.
    indexed: Option<i64>,
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
        let host = crate::system::host_name();
        Ok(Store { db, path: path.to_owned(), host, traces: false, version: None, indexed: None })
    }

    /// Has another process written anything since the last call? The first one says yes: what was before is not known.
    pub fn changed_by_others(&mut self) -> Result<bool, StoreError> {
        let version = Some(data_version(&self.db).map_err(self.failed("read"))?);
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
