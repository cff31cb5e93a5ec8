//! Finding again.

use common::identity::PeerId;
use common::session::MessageId;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, params};

use super::{Direction, Message, State, Store, StoreError, timestamp};

/// What every query for messages selects, for [`message`].
pub(super) const COLUMNS: &str =
    "message.number, peer.id, message.sent, message.id, message.at_ms, message.text, message.state";

/// Of the conversation with the peer of the first parameter. Its row is asked for first, so that the index of conversations
/// gives the order.
const OF: &str = "message.peer = (SELECT peer FROM peer WHERE id = ?1)";

/// Of that conversation, or of all.
pub(super) fn of(peer: Option<PeerId>) -> &'static str {
    if peer.is_some() { OF } else { "?1 IS NULL" }
}

/// Which part of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The last so many.
    Last(usize),
    /// The last so many before that number.
    Before(i64, usize),
    /// The first so many after that number.
    After(i64, usize),
}

/// Where a client that starts goes on with one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// What we said and nobody has acknowledged, oldest first.
    pub queue: Vec<Message>,
    /// The ids of the last messages from the peer, oldest first: what comes again is not new.
    pub seen: Vec<MessageId>,
}

impl Store {
    /// Where a client that starts goes on with this peer, with so many ids at most.
    pub fn resume(&self, peer: PeerId, seen: usize) -> Result<Conversation, StoreError> {
        let queue = self.outbox(Some(peer))?;
        let failed = self.failed("read");
        let select = format!("SELECT id FROM message WHERE {OF} AND sent = 0 ORDER BY number DESC LIMIT ?2");
        let mut statement = self.db.prepare_cached(&select).map_err(&failed)?;
        let ids = statement
            .query_map(params![peer.as_bytes(), limit(seen)], |row| row.get(0).map(MessageId))
            .and_then(Iterator::collect);
        let mut seen: Vec<MessageId> = ids.map_err(&failed)?;
        seen.reverse();
        Ok(Conversation { queue, seen })
    }

    /// What waits for this peer, or for anybody, oldest first.
    pub fn outbox(&self, peer: Option<PeerId>) -> Result<Vec<Message>, StoreError> {
        // By its own index: SQLite would rather go through all messages, which are in the right order already.
        let select = format!(
            "SELECT {COLUMNS} FROM message INDEXED BY outbox JOIN peer ON peer.peer = message.peer \
             WHERE sent = 1 AND state = 0 AND {} ORDER BY message.number",
            of(peer)
        );
        self.messages(&select, params![peer.as_ref().map(PeerId::as_bytes)])
    }

    /// A part of the conversation with this peer, oldest first.
    pub fn history(&self, peer: PeerId, page: Page) -> Result<Vec<Message>, StoreError> {
        let (bound, order, from, count) = match page {
            Page::Last(count) => ("<", "DESC", i64::MAX, count),
            Page::Before(number, count) => ("<", "DESC", number, count),
            Page::After(number, count) => (">", "ASC", number, count),
        };
        let select = format!(
            "SELECT {COLUMNS} FROM message JOIN peer ON peer.peer = message.peer \
             WHERE {OF} AND number {bound} ?2 ORDER BY number {order} LIMIT ?3"
        );
        let mut messages = self.messages(&select, params![peer.as_bytes(), from, limit(count)])?;
        if order == "DESC" {
            messages.reverse();
        }
        Ok(messages)
    }

    /// Everybody with whom anything was ever said.
    pub fn peers(&self) -> Result<Vec<PeerId>, StoreError> {
        let failed = self.failed("read");
        let mut statement = self.db.prepare_cached("SELECT id FROM peer ORDER BY peer").map_err(&failed)?;
        let ids = statement.query_map([], |row| row.get::<_, Stored<PeerId>>(0)).and_then(Iterator::collect);
        let ids: Vec<Stored<PeerId>> = ids.map_err(&failed)?;
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    pub(super) fn messages(&self, select: &str, values: impl rusqlite::Params) -> Result<Vec<Message>, StoreError> {
        let failed = self.failed("read");
        let mut statement = self.db.prepare_cached(select).map_err(&failed)?;
        statement.query_map(values, message).and_then(Iterator::collect).map_err(&failed)
    }
}

pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// From [`COLUMNS`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        number: row.get(0)?,
        peer: row.get::<_, Stored<PeerId>>(1)?.0,
        direction: if row.get(2)? { Direction::Sent } else { Direction::Received },
        id: MessageId(row.get(3)?),
        at: timestamp(row.get(4)?),
        text: row.get(5)?,
        state: row.get(6)?,
    })
}

/// A type of another crate, out of the database.
struct Stored<T>(T);

impl FromSql for Stored<PeerId> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes: [u8; 32] = value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)?;
        PeerId::from_bytes(bytes).map(Stored).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        State::ALL.into_iter().find(|state| *state as i64 == number).ok_or(FromSqlError::OutOfRange(number))
    }
}
