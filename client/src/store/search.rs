//! Finding words in what was said, in any script.
//!
//! The index knows which trigrams (three characters in a row, without their case and accents) are in which message, so a word
//! is found anywhere in a text, whether or not the script puts spaces between words. A word of one or two characters,
//! which in Chinese or Korean is a whole word, is looked for as *all trigrams that begin with it*; and so that the last
//! characters of a text begin trigrams too, each text is indexed with two marks behind it.

use common::identity::PeerId;
use rusqlite::{Connection, ToSql, params};

use super::message::COLUMNS;
use super::read::{limit, of};
use super::{Message, Store, StoreError};

/// Stands behind each text in the index, twice. Text does not contain it, and whoever searches for it finds nothing wrong.
const MARK: char = '\u{2}';
/// Trigrams that a short word may stand for.
const MAX_TERMS: usize = 500;
/// A word is frequent if it is in more than one message of so many: then some are found faster by looking at one message after
/// the other, from the newest on.
const FREQUENT: i64 = 200;
/// Words of one search; more would be a mistake with the clipboard.
const MAX_WORDS: usize = 32;

/// Adds a text to the index.
pub(super) fn index(db: &Connection, number: i64, text: &str) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT INTO word (rowid, text) VALUES (?1, ?2)")?;
    statement.execute(params![number, format!("{text}{MARK}{MARK}")]).map(drop)
}

/// Takes it out again.
pub(super) fn forget(db: &Connection, number: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM word WHERE rowid = ?1")?.execute([number]).map(drop)
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
            messages += row.get::<_, i64>(1)?;
            terms.push(quoted(&row.get::<_, String>(0)?));
            if terms.len() > MAX_TERMS || messages > enough.max(1000) {
                return Ok(Part::Looked(pattern(word)));
            }
        }
        Ok(if terms.is_empty() { Part::Nowhere } else { Part::Indexed(terms.join(" OR ")) })
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
