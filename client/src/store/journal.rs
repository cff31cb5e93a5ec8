//! What has happened to messages, in order: `tail` and `on message` go on by its numbers, over restarts too.

use common::identity::PeerId;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{OptionalExtension, params};

use super::message::{COLUMNS, message};
use super::read::{limit, of};
use super::{Message, State, Store, StoreError};

/// The database writes the journal by itself, in the transaction of what it tells of. `what`: see [`What`]; `state`: the one that
/// the message had then.
pub(super) const STEP: &str = "
CREATE TABLE journal (
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    message INTEGER NOT NULL REFERENCES message,
    what INTEGER NOT NULL,
    state INTEGER NOT NULL
) STRICT;
INSERT INTO journal (message, what, state) SELECT number, 0, state FROM message WHERE kind = 0 ORDER BY number;
CREATE TRIGGER journal_of_messages AFTER INSERT ON message WHEN NEW.kind = 0 BEGIN
    INSERT INTO journal (message, what, state) VALUES (NEW.number, 0, NEW.state);
END;
CREATE TRIGGER journal_of_states AFTER UPDATE OF state ON message WHEN NEW.kind = 0 AND NEW.state <> OLD.state BEGIN
    INSERT INTO journal (message, what, state) VALUES (NEW.number, 1, NEW.state);
END;
CREATE TRIGGER journal_of_texts AFTER UPDATE OF text, deleted ON message
WHEN NEW.kind = 0 AND (NEW.text <> OLD.text OR NEW.deleted <> OLD.deleted) BEGIN
    INSERT INTO journal (message, what, state) VALUES (NEW.number, 2, NEW.state);
END;
CREATE TRIGGER journal_of_reactions AFTER INSERT ON message WHEN NEW.kind = 3 BEGIN
    INSERT INTO journal (message, what, state)
        SELECT number, 3, state FROM message WHERE peer = NEW.peer AND id = NEW.about AND kind = 0;
END;
";

/// What an entry tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The message is new.
    Message,
    /// It has come farther, or was taken back.
    State,
    /// Its text is another one, or it was deleted.
    Text,
    /// Somebody feels something about it.
    Reaction,
}

impl What {
    const ALL: [What; 4] = [What::Message, What::State, What::Text, What::Reaction];

    /// As it is called in JSON.
    pub fn word(self) -> &'static str {
        match self {
            What::Message => "message",
            What::State => "state",
            What::Text => "text",
            What::Reaction => "reaction",
        }
    }
}

impl FromSql for What {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        What::ALL.into_iter().find(|what| *what as i64 == number).ok_or(FromSqlError::OutOfRange(number))
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its own number: each is greater than those before.
    pub number: i64,
    /// What has happened.
    pub what: What,
    /// The state of the message then.
    pub state: State,
    /// The message as it is now.
    pub message: Message,
}

impl Store {
    /// The first so many entries after this number, of the conversation with this peer or of all.
    pub fn journal(&self, after: i64, peer: Option<PeerId>, count: usize) -> Result<Vec<Entry>, StoreError> {
        let failed = self.failed("read");
        // CROSS JOIN: in the order of the journal, whatever SQLite thinks of the conversations.
        let select = format!(
            "SELECT {COLUMNS}, journal.entry, journal.what, journal.state FROM journal \
             CROSS JOIN message ON message.number = journal.message JOIN peer ON peer.peer = message.peer \
             WHERE {} AND journal.entry > ?2 ORDER BY journal.entry LIMIT ?3",
            of(peer)
        );
        let mut statement = self.db.prepare_cached(&select).map_err(&failed)?;
        let behind = statement.column_count().saturating_sub(3);
        let values = params![peer.as_ref().map(PeerId::as_bytes), after, limit(count)];
        let entries = statement.query_map(values, |row| {
            let message = message(row)?;
            Ok(Entry { number: row.get(behind)?, what: row.get(behind + 1)?, state: row.get(behind + 2)?, message })
        });
        entries.and_then(Iterator::collect).map_err(&failed)
    }

    /// The number of the last entry; 0 before the first.
    pub fn newest(&self) -> Result<i64, StoreError> {
        let newest = self.db.query_row("SELECT max(entry) FROM journal", [], |row| row.get::<_, Option<i64>>(0));
        Ok(newest.optional().map_err(self.failed("read"))?.flatten().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use common::identity::Identity;
    use common::session::{Content, MessageId, Post, StreamId};

    use super::*;
    use crate::store::Record;

    fn peer(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).peer_id()
    }

    fn said(peer: PeerId, n: u8) -> Record {
        let content = Content::Text { text: format!("message {n}"), reply_to: None };
        let post = Post { id: MessageId([n; 16]), stream: StreamId(1), seq: u64::from(n), at_ms: 1000, content };
        Record::Said { peer, post, expires_ms: None }
    }

    #[test]
    fn the_journal_tells_of_each_message_and_each_change_once_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("messages.db")).expect("a store");
        assert_eq!(store.newest().expect("read"), 0);
        store.keep(&[said(peer(2), 1), said(peer(3), 2)]).expect("kept");
        let Record::Said { post, .. } = said(peer(2), 1) else { panic!("said") };
        let (posts, proof) = (vec![(post.id, post.digest())], Vec::new());
        let delivered = Record::Delivered { peer: peer(2), posts, at_ms: 2000, proof };
        store.keep(&[delivered.clone(), said(peer(2), 1)]).expect("kept");
        store.keep(&[delivered]).expect("kept");
        let all = store.journal(0, None, 10).expect("read");
        let told: Vec<_> = all.iter().map(|entry| (entry.what, entry.state, entry.message.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (What::Message, State::Queued, "message 1"),
                (What::Message, State::Queued, "message 2"),
                (What::State, State::OnDevice, "message 1"),
            ]
        );
        assert!(all.is_sorted_by(|a, b| a.number < b.number));
        assert_eq!(store.newest().expect("read"), all[2].number);
        assert_eq!(store.journal(all[0].number, None, 1).expect("read"), all[1..2]);
        assert_eq!(store.journal(0, Some(peer(3)), 10).expect("read"), all[1..2]);
        assert_eq!(store.journal(0, Some(peer(4)), 10).expect("read"), []);
    }
}
