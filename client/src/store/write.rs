//! Keeping: all of one moment in one transaction.

use std::collections::HashMap;
use std::time::Duration;

use common::identity::PeerId;
use common::session::MessageId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::post::unsigned;
use super::state::Change;
use super::streams::Stream;
use super::{BUSY, Record, State, Store, StoreError, search};

/// Why a message could not be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCancelled {
    /// There is no message of ours of this name.
    Unknown,
    /// It is past that.
    Already(State),
}

impl Store {
    /// Keeps all of this, or nothing of it. On disk when it returns.
    pub fn keep(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let failed = self.failed("write");
        let mut writer = Writer::begin(&mut self.db, &self.host).map_err(&failed)?;
        for record in records {
            writer.keep(record).map_err(&failed)?;
        }
        self.indexed = Some(writer.index(self.indexed).map_err(&failed)?);
        let forgot = writer.finish().map_err(&failed)?;
        self.traces |= forgot;
        if self.traces {
            self.traces = !self.wipe().map_err(&failed)?;
        }
        Ok(())
    }

    /// Takes a message of ours back that nobody has acknowledged. A client that is online may have sent it already; the
    /// receipt then says so.
    pub fn cancel(
        &mut self,
        peer: PeerId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Result<(), NotCancelled>, StoreError> {
        let failed = self.failed("write");
        let mut writer = Writer::begin(&mut self.db, &self.host).map_err(&failed)?;
        let refused = match writer.state_of(peer, id).map_err(&failed)? {
            None => Some(NotCancelled::Unknown),
            Some(state) if state.is_open() => None,
            Some(state) => Some(NotCancelled::Already(state)),
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        let at_ms = unsigned(now.as_millisecond());
        writer.end(peer, id, Change::Cancel, at_ms).map_err(&failed)?;
        writer.finish().map_err(&failed)?;
        Ok(Ok(()))
    }

    /// Our person was shown the conversation up to and with this place. How many messages were new to them?
    pub fn mark_read(&mut self, peer: PeerId, place: i64) -> Result<usize, StoreError> {
        let failed = self.failed("write");
        // Most of the time there is nothing to write, and then nobody is disturbed.
        let unread = "SELECT EXISTS (SELECT 1 FROM message WHERE unread = 1 \
                      AND peer = (SELECT peer FROM peer WHERE id = ?1) AND place <= ?2)";
        let unread = self.db.query_row(unread, rusqlite::params![peer.as_bytes(), place], |row| row.get(0));
        if !unread.map_err(&failed)? {
            return Ok(0);
        }
        let mut writer = Writer::begin(&mut self.db, &self.host).map_err(&failed)?;
        let count = writer.shown(peer, place).map_err(&failed)?;
        writer.finish().map_err(&failed)?;
        Ok(count)
    }

    /// Nothing of what was removed stays in the log: it is written to the database, where the place of what was removed is
    /// zeroed, and cut to no length. False: somebody reads, so that it has to be done later.
    fn wipe(&self) -> rusqlite::Result<bool> {
        self.db.busy_timeout(Duration::ZERO)?;
        let busy = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        self.db.busy_timeout(BUSY)?;
        match busy {
            Ok(busy) => Ok(!busy),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A transaction, and what is known within it.
pub(super) struct Writer<'a> {
    pub(super) db: Transaction<'a>,
    pub(super) host: &'a str,
    /// The number of the next message.
    pub(super) next: i64,
    peers: HashMap<PeerId, i64>,
    /// By peer, whether it is ours, and name.
    pub(super) streams: HashMap<(i64, bool, i64), Stream>,
    /// A secret was removed.
    pub(super) forgot: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(db: &'a mut Connection, host: &'a str) -> rusqlite::Result<Self> {
        // Immediate: a transaction that began by reading would fail, not wait, if another process wrote meanwhile.
        let db = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next = db.query_row("SELECT coalesce(max(number), 0) + 1 FROM message", [], |row| row.get(0))?;
        Ok(Writer { db, host, next, peers: HashMap::new(), streams: HashMap::new(), forgot: false })
    }

    /// Indexes what is new, once enough of it waits. Up to this number nothing waited; up to which does nothing now?
    fn index(&self, known: Option<i64>) -> rusqlite::Result<i64> {
        let known = known.map_or_else(|| search::indexed(&self.db), Ok)?;
        if self.next - 1 - known <= search::UNINDEXED {
            return Ok(known);
        }
        search::catch_up(&self.db)?;
        Ok(self.next - 1)
    }

    /// On disk when it returns. Was a secret removed?
    fn finish(mut self) -> rusqlite::Result<bool> {
        self.save_streams()?;
        let forgot = self.forgot;
        self.db.commit()?;
        Ok(forgot)
    }

    fn keep(&mut self, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::Said { peer, post, expires_ms } => self.said(*peer, post, *expires_ms),
            Record::Heard { peer, post } => self.heard(*peer, post),
            Record::Stored { peer, posts, at_ms, until_s, proof } => {
                self.stored(*peer, posts, (*at_ms, *until_s), proof)
            }
            Record::Delivered { peer, posts, at_ms, proof } => self.delivered(*peer, posts, *at_ms, proof),
            Record::ReadByPeer { peer, stream, up_to, at_ms, proof } => {
                self.read_by_peer(*peer, *stream, *up_to, *at_ms, proof)
            }
            Record::Cancelled { peer, id, at_ms } => self.end(*peer, *id, Change::Cancel, *at_ms),
            Record::Expired { peer, id, at_ms } => self.end(*peer, *id, Change::Expire, *at_ms),
            Record::Shown { peer, id } => {
                let place = self.place_of(*peer, *id)?;
                place.map_or(Ok(()), |place| self.shown(*peer, place).map(drop))
            }
            Record::Prekeys(secrets) => self.add_prekeys(secrets),
            Record::PrekeysGone(ids) => self.remove_prekeys(ids),
            Record::PeerPrekey { peer, prekey } => self.set_peer_prekey(*peer, prekey),
        }
    }

    /// The row of a peer, which is made if there is none.
    pub(super) fn peer(&mut self, id: PeerId) -> rusqlite::Result<i64> {
        if let Some(row) = self.peers.get(&id) {
            return Ok(*row);
        }
        let row = row_of(&self.db, id)?;
        self.peers.insert(id, row);
        Ok(row)
    }

    fn place_of(&self, peer: PeerId, id: MessageId) -> rusqlite::Result<Option<i64>> {
        let select = "SELECT max(place) FROM message WHERE peer = (SELECT peer FROM peer WHERE id = ?1) AND id = ?2 \
                      AND sent IN (0, 1)";
        self.db.prepare_cached(select)?.query_row(rusqlite::params![peer.as_bytes(), id.0], |row| row.get(0))
    }

    fn shown(&mut self, peer: PeerId, place: i64) -> rusqlite::Result<usize> {
        let peer = self.peer(peer)?;
        let update = "UPDATE message SET unread = 0 WHERE unread = 1 AND peer = ?1 AND place <= ?2";
        self.db.prepare_cached(update)?.execute([peer, place])
    }
}

pub(super) fn row_of(db: &Connection, peer: PeerId) -> rusqlite::Result<i64> {
    let mut known = db.prepare_cached("SELECT peer FROM peer WHERE id = ?1")?;
    if let Some(row) = known.query_row([peer.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(row);
    }
    db.prepare_cached("INSERT INTO peer (id) VALUES (?1)")?.execute([peer.as_bytes()])?;
    Ok(db.last_insert_rowid())
}
