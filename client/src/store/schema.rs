//! The tables, and how an older database becomes one of today.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Says in the header of the file whose it is: `PNCH`.
const APPLICATION: i64 = 0x504e_4348;

/// Each step makes the next version out of the one before. A step that was released is never changed.
const STEPS: [&str; 2] = [FIRST, super::journal::STEP];

/// `message.number` is the order of arrival here, which no clock can turn round. `word` finds text by its trigrams, in any
/// script; it holds no copy of the text (see `search`).
const FIRST: &str = "
CREATE TABLE peer (
    peer INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 32)
) STRICT;
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    peer INTEGER NOT NULL REFERENCES peer,
    sent INTEGER NOT NULL CHECK (sent IN (0, 1)),
    id BLOB NOT NULL CHECK (length(id) = 16),
    at_ms INTEGER NOT NULL,
    text TEXT NOT NULL,
    state INTEGER NOT NULL,
    delivered_ms INTEGER,
    UNIQUE (peer, sent, id)
) STRICT;
CREATE INDEX conversation ON message (peer, number);
CREATE INDEX outbox ON message (peer, number) WHERE sent = 1 AND state = 0;
CREATE VIRTUAL TABLE word USING fts5 (text, content = '', contentless_delete = 1, tokenize = 'trigram remove_diacritics 1');
CREATE VIRTUAL TABLE term USING fts5vocab (word, row);
";

/// Sets the connection up, and brings the database up to date.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let at = |error| StoreError::of(path, "open", error);
    let (application, version) = header(db).map_err(at)?;
    // A new file says nothing yet; one with tables and without our mark is somebody else's.
    let empty = application == 0 && version == 0 && is_empty(db).map_err(at)?;
    if !empty && application != APPLICATION {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    // In write-ahead mode readers and the writer do not wait for each other. FULL: on disk when a transaction returns.
    db.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    db.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    db.pragma_update(None, "foreign_keys", true).map_err(at)?;
    if version < known { bring_up_to_date(db).map_err(|error| StoreError::of(path, "update", error)) } else { Ok(()) }
}

/// One transaction, and the version is read inside it: another process may have done it meanwhile.
fn bring_up_to_date(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let (_, version) = header(&transaction)?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

fn header(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}
