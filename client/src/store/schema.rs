//! The tables, and how an older database becomes one of today.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Says in the header of the file whose it is: `PNCH`.
pub(super) const APPLICATION: i64 = 0x504e_4348;

/// Each step makes the next version out of the one before. A step that was released is never changed.
pub(super) const STEPS: [&str; 5] = [FIRST, CONTACTS, POSTS, super::journal::STEP, super::search::STEP];

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

/// Whom we know, in the order in which we met.
const CONTACTS: &str = "
CREATE TABLE contact (
    contact INTEGER PRIMARY KEY,
    peer INTEGER NOT NULL UNIQUE REFERENCES peer,
    name TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;
";

/// Posts with their places in streams, what becomes of ours with the proofs, and prekeys. `message` has a row for each post:
///
/// - `kind`: 0 text, 1 edit, 2 deletion, 3 reaction, 4 void; `about` is what 1 to 3 are about;
/// - `place`: the order of a conversation (see `streams`);
/// - `waits`: ours, and the peer has not acknowledged it; `voided`: a void goes out in its place;
/// - `digest`: of the post as it was said first; `state`: as in `State`.
///
/// What waited before gets a stream; of what was delivered then, no place in a stream is known. `gap` has what is missing in
/// the streams, `stream.read` (of ours) up to where the peer has read.
const POSTS: &str = "
CREATE TABLE proof (
    proof INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE stream (
    stream INTEGER PRIMARY KEY,
    peer INTEGER NOT NULL REFERENCES peer,
    sent INTEGER NOT NULL CHECK (sent IN (0, 1)),
    id INTEGER NOT NULL,
    highest INTEGER NOT NULL DEFAULT 0,
    retired INTEGER NOT NULL DEFAULT 0,
    read INTEGER NOT NULL DEFAULT 0,
    read_ms INTEGER,
    read_proof INTEGER REFERENCES proof,
    UNIQUE (peer, sent, id)
) STRICT;
CREATE TABLE gap (
    stream INTEGER NOT NULL REFERENCES stream,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (first <= last),
    PRIMARY KEY (stream, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE prekey (
    id INTEGER PRIMARY KEY,
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    one_time INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
ALTER TABLE peer ADD COLUMN prekey BLOB;
ALTER TABLE message ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN stream INTEGER REFERENCES stream;
ALTER TABLE message ADD COLUMN seq INTEGER;
ALTER TABLE message ADD COLUMN about BLOB;
ALTER TABLE message ADD COLUMN reply_to BLOB;
ALTER TABLE message ADD COLUMN digest BLOB;
ALTER TABLE message ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN voided INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN edited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN expires_ms INTEGER;
ALTER TABLE message ADD COLUMN server_ms INTEGER;
ALTER TABLE message ADD COLUMN server_until_s INTEGER;
ALTER TABLE message ADD COLUMN server_proof INTEGER REFERENCES proof;
ALTER TABLE message ADD COLUMN device_proof INTEGER REFERENCES proof;
ALTER TABLE message ADD COLUMN read_ms INTEGER;
ALTER TABLE message ADD COLUMN ended_ms INTEGER;
ALTER TABLE message ADD COLUMN host TEXT;
UPDATE message SET place = number << 20;
INSERT INTO stream (peer, sent, id, highest)
    SELECT peer, 1, random(), count(*) FROM message WHERE sent = 1 AND state = 0 GROUP BY peer;
UPDATE message SET waits = 1, seq = waiting.seq, stream = (SELECT stream FROM stream WHERE stream.peer = message.peer)
    FROM (SELECT number, row_number() OVER (PARTITION BY peer ORDER BY number) AS seq
          FROM message WHERE sent = 1 AND state = 0) AS waiting
    WHERE message.number = waiting.number;
DROP INDEX conversation;
DROP INDEX outbox;
CREATE INDEX conversation ON message (peer, place);
CREATE INDEX waiting ON message (peer, number) WHERE waits = 1;
CREATE INDEX position ON message (stream, seq) WHERE stream IS NOT NULL;
CREATE INDEX about ON message (peer, about, kind, sent, place) WHERE about IS NOT NULL;
CREATE INDEX unread ON message (peer, stream, seq) WHERE unread = 1;
";

/// Sets the connection up, and brings the database up to date.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let at = |error| StoreError::of(path, "open", error);
    // All of it at one moment: another process may be making the tables now.
    let moment = db.transaction().map_err(at)?;
    let (application, version) = header(&moment).map_err(at)?;
    // A new file says nothing yet; one with tables and without our mark is somebody else's.
    let empty = application == 0 && version == 0 && is_empty(&moment).map_err(at)?;
    drop(moment);
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
    // What is removed is zeroed; and what does not fit into memory goes to no file that is not one of ours.
    db.pragma_update(None, "secure_delete", true).map_err(at)?;
    db.pragma_update(None, "temp_store", "MEMORY").map_err(at)?;
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
