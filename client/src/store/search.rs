//! Finding words in what was said, in any script.
//!
//! The index knows which trigrams (three characters in a row, without their case and accents) are in which message, so a word
//! is found anywhere in a text, whether or not the script puts spaces between words. A word of one or two characters,
//! which in Chinese or Korean is a whole word, is looked for as *all trigrams that begin with it*; and so that the last
//! characters of a text begin trigrams too, each text is indexed with two marks behind it, and a third one that says with
//! whom: so the index finds the few messages of one conversation among the many that have a word.
//!
//! To index a message costs more than all else that is written of it, and many at once cost much less each. So what is new
//! waits, [`UNINDEXED`] messages at most, and the next search begins with indexing it.

use common::identity::PeerId;
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, TransactionBehavior, params};

use super::message::COLUMNS;
use super::read::{limit, of};
use super::{Message, Store, StoreError};

/// Stands behind each text in the index. Text does not contain it, and whoever searches for it finds nothing wrong.
const MARKS: &str = "\u{2}\u{2}";
/// With whom: a character for private use, which no text has for this. Where there are more peers than characters, several have the same.
const PEERS: i64 = 65_534;
const FIRST_PEER: i64 = 0xF_0000;
/// Messages that may wait for being indexed: that takes the search that finds them some 25 ms.
pub(super) const UNINDEXED: i64 = 512;
/// Trigrams that a short word may stand for.
const MAX_TERMS: usize = 500;
/// A word is frequent if it is in more than one message of so many: then some are found faster by looking at one message after
/// the other, from the newest on.
const FREQUENT: i64 = 200;
/// Words of one search; more would be a mistake with the clipboard.
const MAX_WORDS: usize = 32;

/// Indexes everything anew, with whom it was said.
pub(super) const STEP: &str = "
INSERT INTO word (word) VALUES ('delete-all');
INSERT INTO word (rowid, text)
    SELECT number, text || char(2, 2, 0xF0000 + peer % 65534) FROM message WHERE kind = 0 AND deleted = 0 ORDER BY number;
";

/// The number of the last message that is in the index. Whatever is behind it waits.
pub(super) fn indexed(db: &Connection) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached("SELECT rowid FROM word ORDER BY rowid DESC LIMIT 1")?;
    Ok(last.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Indexes what waits.
pub(super) fn catch_up(db: &Connection) -> rusqlite::Result<()> {
    let rest = "INSERT INTO word (rowid, text) SELECT number, text || char(2, 2, ?2 + peer % ?3) FROM message \
                WHERE number > ?1 AND kind = 0 AND deleted = 0 ORDER BY number";
    db.prepare_cached(rest)?.execute([indexed(db)?, FIRST_PEER, PEERS]).map(drop)
}

/// The text of this message is another one, or none any more. One that waits is indexed as it is then.
pub(super) fn changed(db: &Connection, number: i64, peer: i64, text: Option<&str>) -> rusqlite::Result<()> {
    if number > indexed(db)? {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM word WHERE rowid = ?1")?.execute([number])?;
    if let Some(text) = text {
        let mut statement = db.prepare_cached("INSERT INTO word (rowid, text) VALUES (?1, ?2)")?;
        statement.execute(params![number, format!("{text}{}", mark(peer))])?;
    }
    Ok(())
}

/// What stands behind each text of the conversation with this peer.
fn mark(peer: i64) -> String {
    let with = u32::try_from(FIRST_PEER + peer.rem_euclid(PEERS)).ok().and_then(char::from_u32);
    format!("{MARKS}{}", with.unwrap_or(char::MAX))
}

/// What one word of a search becomes.
enum Part {
    /// An expression for the index.
    Indexed(String),
    /// Too short and too frequent for it.
    Looked(String),
    /// No message has it.
    Nowhere,
}

impl Store {
    /// The newest messages, so many at most, in which all of these words occur, newest first; in one conversation or in all.
    pub fn search(&self, words: &str, peer: Option<PeerId>, count: usize) -> Result<Vec<Message>, StoreError> {
        let caught_up = self.catch_up().map_err(self.failed("read"))?;
        let found = self.find(words, peer, count);
        if let Some(Err(error)) = caught_up.map(Transaction::commit) {
            // It was found all the same; the next search begins with it again.
            tracing::debug!(%error, "what is new was not indexed");
        }
        found
    }

    /// In a transaction, if anything waited.
    fn catch_up(&self) -> rusqlite::Result<Option<Transaction<'_>>> {
        let waits = "SELECT EXISTS (SELECT 1 FROM message WHERE number > ?1 AND kind = 0 AND deleted = 0)";
        let waits = |number| self.db.prepare_cached(waits)?.query_row([number], |row| row.get(0));
        if !waits(indexed(&self.db)?)? {
            return Ok(None);
        }
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        catch_up(&transaction)?;
        Ok(Some(transaction))
    }

    fn find(&self, words: &str, peer: Option<PeerId>, count: usize) -> Result<Vec<Message>, StoreError> {
        let mut expression = Vec::new();
        let mut looked = Vec::new();
        for word in words.split_whitespace().take(MAX_WORDS) {
            match self.part(word).map_err(self.failed("read"))? {
                Part::Indexed(part) => expression.push(format!("({part})")),
                Part::Looked(pattern) => looked.push(pattern),
                Part::Nowhere => return Ok(Vec::new()),
            }
        }
        if expression.is_empty() && looked.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(peer) = peer {
            match self.row(peer).map_err(self.failed("read"))? {
                Some(row) => expression.push(quoted(&mark(row))),
                None => return Ok(Vec::new()),
            }
        }
        let expression = expression.join(" AND ");
        let mut conditions = of(peer).to_owned();
        let peer = peer.as_ref().map(PeerId::as_bytes);
        let count = limit(count);
        let mut values: Vec<&dyn ToSql> = vec![&peer, &count];
        // Either way from the newest on, so that the count ends the search early; CROSS keeps SQLite from changing the order.
        let (from, order) = if expression.is_empty() {
            ("message", "message.number")
        } else {
            values.push(&expression);
            conditions.push_str(" AND word MATCH ?3");
            ("word CROSS JOIN message ON message.number = word.rowid", "word.rowid")
        };
        for pattern in &looked {
            values.push(pattern);
            conditions.push_str(&format!(" AND message.text LIKE ?{} ESCAPE '\\'", values.len()));
        }
        let select = format!(
            "SELECT {COLUMNS} FROM {from} CROSS JOIN peer ON peer.peer = message.peer WHERE message.kind = 0 AND {conditions} ORDER BY {order} DESC LIMIT ?2"
        );
        self.messages(&select, values.as_slice())
    }

    fn part(&self, word: &str) -> rusqlite::Result<Part> {
        if word.contains(MARKS) {
            return Ok(Part::Nowhere);
        }
        if word.chars().count() >= 3 {
            return Ok(Part::Indexed(quoted(word)));
        }
        let beginning = word.to_lowercase();
        let mut terms = Vec::new();
        let (mut messages, enough) = (0, self.count()? / FREQUENT);
        let mut statement = self.db.prepare_cached("SELECT term, doc FROM term WHERE term >= ?1 AND term < ?2")?;
        let mut rows = statement.query(params![beginning, format!("{beginning}{}", char::MAX)])?;
        // Each row costs as much as it counts, so the counting ends early, too.
        while let Some(row) = rows.next()? {
            let term: String = row.get(0)?;
            // That is with whom, not what.
            if term.starts_with(MARKS) {
                continue;
            }
            messages += row.get::<_, i64>(1)?;
            terms.push(quoted(&term));
            if terms.len() > MAX_TERMS || messages > enough.max(1000) {
                return Ok(Part::Looked(pattern(word)));
            }
        }
        Ok(if terms.is_empty() { Part::Nowhere } else { Part::Indexed(terms.join(" OR ")) })
    }

    fn row(&self, peer: PeerId) -> rusqlite::Result<Option<i64>> {
        let mut row = self.db.prepare_cached("SELECT peer FROM peer WHERE id = ?1")?;
        row.query_row([peer.as_bytes()], |row| row.get(0)).optional()
    }

    /// How many messages there are; nothing is ever deleted.
    fn count(&self) -> rusqlite::Result<i64> {
        self.db.query_row("SELECT coalesce(max(number), 0) FROM message", [], |row| row.get(0))
    }
}

/// A string of FTS5's language, in which nothing has a meaning.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// For LIKE: anywhere in the text.
fn pattern(word: &str) -> String {
    let mut pattern = String::from("%");
    for letter in word.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}
