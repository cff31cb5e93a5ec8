//! Finding words in what was said, in any script.
//!
//! The index knows which trigrams (three characters in a row, without their case and accents) are in which message, so a word
//! is found anywhere in a text, whether or not the script puts spaces between words. A word of one or two characters,
//! which in Chinese or Korean is a whole word, is looked for as *all trigrams that begin with it*; and so that the last
//! characters of a text begin trigrams too, each text is indexed with two marks behind it.

use common::identity::PeerId;
use rusqlite::{Connection, ToSql, params};

use super::read::{COLUMNS, limit};
use super::{Message, Store, StoreError};

/// Stands behind each text in the index, twice. Text does not contain it, and whoever searches for it finds nothing wrong.
const MARK: char = '\u{2}';
/// Trigrams that a short word may stand for. A single letter of an alphabet begins more of them; then messages are so
/// easily found that looking at one after the other is faster.
const MAX_TERMS: usize = 500;
/// Words of one search; more would be a mistake with the clipboard.
const MAX_WORDS: usize = 32;

/// Adds a text to the index.
pub(super) fn index(db: &Connection, number: i64, text: &str) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT INTO word (rowid, text) VALUES (?1, ?2)")?;
    statement.execute(params![number, format!("{text}{MARK}{MARK}")]).map(drop)
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
        let peer = peer.as_ref().map(PeerId::as_bytes);
        let count = limit(count);
        let mut values: Vec<&dyn ToSql> = vec![&peer, &count];
        let mut conditions = "(?1 IS NULL OR peer.id = ?1)".to_owned();
        let mut order = "message.number";
        let mut from = COLUMNS.to_owned();
        if !expression.is_empty() {
            values.push(&expression);
            // The index goes through its matches from the newest on, so that the count ends the search early.
            from.push_str(" JOIN word ON word.rowid = message.number");
            conditions.push_str(" AND word MATCH ?3");
            order = "word.rowid";
        }
        for pattern in &looked {
            values.push(pattern);
            conditions.push_str(&format!(" AND message.text LIKE ?{} ESCAPE '\\'", values.len()));
        }
        let select = format!("SELECT {from} WHERE {conditions} ORDER BY {order} DESC LIMIT ?2");
        self.messages(&select, values.as_slice())
    }

    fn part(&self, word: &str) -> rusqlite::Result<Part> {
        if word.chars().count() >= 3 {
            return Ok(Part::Indexed(quoted(word)));
        }
        let terms = self.terms(&word.to_lowercase())?;
        Ok(match terms.len() {
            0 => Part::Nowhere,
            many if many > MAX_TERMS => Part::Looked(pattern(word)),
            _ => Part::Indexed(terms.iter().map(|term| quoted(term)).collect::<Vec<_>>().join(" OR ")),
        })
    }

    /// The trigrams that begin with this, up to one more than are wanted.
    fn terms(&self, beginning: &str) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.db.prepare_cached("SELECT term FROM term WHERE term >= ?1 AND term < ?2 LIMIT ?3")?;
        let end = format!("{beginning}{}", char::MAX);
        statement.query_map(params![beginning, end, limit(MAX_TERMS + 1)], |row| row.get(0))?.collect()
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
