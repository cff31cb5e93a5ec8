//! A message as it is shown, out of the database.

use common::identity::PeerId;
use common::session::MessageId;
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};

use super::{Direction, State, timestamp};

/// A message as it is kept: words, with all that was said about them later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the conversation: later ones have greater numbers. It never changes.
    pub place: i64,
    /// With whom.
    pub peer: PeerId,
    /// Which way.
    pub direction: Direction,
    /// Its name.
    pub id: MessageId,
    /// When it was written, by its writer's clock.
    pub at: Timestamp,
    /// What, after the last edit; empty if it was deleted.
    pub text: String,
    /// Does it read otherwise than at first?
    pub edited: bool,
    /// Did its writer delete it?
    pub deleted: bool,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// What has become of it.
    pub state: State,
    /// When that was, and what came before.
    pub times: Times,
    /// The machine on which it was written, of one of ours.
    pub host: Option<String>,
    /// Not yet shown to our person.
    pub unread: bool,
    /// So many of the peer's posts right before this one are not here (yet).
    pub missing_before: u64,
    /// Our person's reaction.
    pub own_reaction: Option<String>,
    /// The peer's reaction.
    pub peer_reaction: Option<String>,
}

/// When we heard what of a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// It is to be delivered until then.
    pub expires: Option<Timestamp>,
    /// At the server.
    pub server: Option<Timestamp>,
    /// On the peer's device.
    pub device: Option<Timestamp>,
    /// Read.
    pub read: Option<Timestamp>,
    /// Taken back, or too late.
    pub ended: Option<Timestamp>,
}

/// What every query for messages selects, for [`message`]. Only a stream that has gaps is asked how many are missing: since the last
/// message that is shown, for what stands in between (edits, reactions) may miss some before it, too.
pub(super) const COLUMNS: &str = "message.place, peer.id, message.sent, message.id, message.at_ms, message.text, \
    message.edited, message.deleted, message.reply_to, message.state, message.expires_ms, message.server_ms, \
    message.delivered_ms, message.read_ms, message.ended_ms, message.host, message.unread, \
    CASE WHEN message.sent = 0 AND EXISTS (SELECT 1 FROM gap WHERE gap.stream = message.stream) THEN \
    (SELECT coalesce(sum(last - first + 1), 0) FROM gap WHERE gap.stream = message.stream AND gap.last < message.seq \
    AND gap.first > coalesce((SELECT max(seq) FROM message AS shown WHERE shown.stream = message.stream \
    AND shown.seq < message.seq AND shown.kind = 0), 0)) ELSE 0 END, \
    (SELECT text FROM message AS r WHERE r.peer = message.peer AND r.about = message.id AND r.kind = 3 AND r.sent = 1 \
    ORDER BY r.place DESC LIMIT 1), \
    (SELECT text FROM message AS r WHERE r.peer = message.peer AND r.about = message.id AND r.kind = 3 AND r.sent = 0 \
    ORDER BY r.place DESC LIMIT 1)";

/// From [`COLUMNS`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|ms| ms.map(timestamp));
    let reaction = |column| row.get::<_, Option<String>>(column).map(|text| text.filter(|text| !text.is_empty()));
    Ok(Message {
        place: row.get(0)?,
        peer: row.get::<_, Stored<PeerId>>(1)?.0,
        direction: if row.get(2)? { Direction::Sent } else { Direction::Received },
        id: MessageId(row.get(3)?),
        at: timestamp(row.get(4)?),
        text: row.get(5)?,
        edited: row.get(6)?,
        deleted: row.get(7)?,
        reply_to: row.get::<_, Option<[u8; 16]>>(8)?.map(MessageId),
        state: row.get(9)?,
        times: Times { expires: time(10)?, server: time(11)?, device: time(12)?, read: time(13)?, ended: time(14)? },
        host: row.get(15)?,
        unread: row.get(16)?,
        missing_before: u64::try_from(row.get::<_, i64>(17)?).unwrap_or_default(),
        own_reaction: reaction(18)?,
        peer_reaction: reaction(19)?,
    })
}

/// A type of another crate, out of the database.
pub(super) struct Stored<T>(pub(super) T);

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
