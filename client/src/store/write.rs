//! Keeping.

use common::identity::PeerId;
use common::session::MessageId;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Direction, Record, State, Store, StoreError, search};

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
        // Immediate: a transaction that began by reading would fail, not wait, if another process wrote meanwhile.
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        for record in records {
            keep(&transaction, record).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    /// Takes a message of ours back that nobody has acknowledged. A client that is online may have sent it already; the
    /// receipt then says so.
    pub fn cancel(&mut self, peer: PeerId, id: MessageId) -> Result<Result<(), NotCancelled>, StoreError> {
        let failed = self.failed("write");
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let state = state_of(&transaction, peer, id).map_err(&failed)?;
        let refused = match state {
            None => Some(NotCancelled::Unknown),
            Some(State::Queued) => None,
            Some(state) => Some(NotCancelled::Already(state)),
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        change(&transaction, peer, id, State::Cancelled, None).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(Ok(()))
    }
}

fn keep(db: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Said { peer, id, at_ms, text } => insert(db, *peer, Direction::Sent, *id, *at_ms, text, State::Queued),
        Record::Heard { peer, id, at_ms, text } => {
            insert(db, *peer, Direction::Received, *id, *at_ms, text, State::OnDevice)
        }
        Record::Delivered { peer, id, at_ms } => change(db, *peer, *id, State::OnDevice, Some(*at_ms)),
    }
}

/// A second message of the same name is the same message.
fn insert(
    db: &Connection,
    peer: PeerId,
    direction: Direction,
    id: MessageId,
    at_ms: u64,
    text: &str,
    state: State,
) -> rusqlite::Result<()> {
    let peer = row_of(db, peer)?;
    let mut statement = db.prepare_cached(
        "INSERT INTO message (peer, sent, id, at_ms, text, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO NOTHING",
    )?;
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    let values = params![peer, direction == Direction::Sent, id.0, at_ms, text, state as i64];
    if statement.execute(values)? == 1 {
        search::index(db, db.last_insert_rowid(), text)?;
    }
    Ok(())
}

fn change(db: &Connection, peer: PeerId, id: MessageId, state: State, at_ms: Option<u64>) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "UPDATE message SET state = ?3, delivered_ms = ?4 \
         WHERE peer = (SELECT peer FROM peer WHERE id = ?1) AND sent = 1 AND id = ?2",
    )?;
    let at_ms = at_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    statement.execute(params![peer.as_bytes(), id.0, state as i64, at_ms]).map(drop)
}

fn state_of(db: &Connection, peer: PeerId, id: MessageId) -> rusqlite::Result<Option<State>> {
    let mut statement = db.prepare_cached(
        "SELECT state FROM message WHERE peer = (SELECT peer FROM peer WHERE id = ?1) AND sent = 1 AND id = ?2",
    )?;
    let state = statement.query_row(params![peer.as_bytes(), id.0], |row| row.get::<_, State>(0));
    state.optional()
}

fn row_of(db: &Connection, peer: PeerId) -> rusqlite::Result<i64> {
    let mut known = db.prepare_cached("SELECT peer FROM peer WHERE id = ?1")?;
    if let Some(row) = known.query_row([peer.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(row);
    }
    db.prepare_cached("INSERT INTO peer (id) VALUES (?1)")?.execute([peer.as_bytes()])?;
    Ok(db.last_insert_rowid())
}
