//! What is wrong with a scenario file, and where.

use std::fmt;
use std::ops::Range;

/// The text of a file, for saying where something stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

/// A scenario that cannot be told as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: String,
    /// The line, from 1; none where the file as a whole is meant.
    pub line: Option<usize>,
    /// What stands to the left of the equals sign, or the table's name.
    pub field: Option<String>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Source<'_> {
    /// A problem with what stands in that range of bytes.
    pub(super) fn problem(&self, at: Range<usize>, message: impl Into<String>) -> Problem {
        let line = self.line(at.start);
        Problem { file: self.file.to_owned(), line: Some(line), field: self.field(line), message: message.into() }
    }

    /// A problem that `toml` found.
    pub(super) fn refused(&self, error: &toml::de::Error) -> Problem {
        match error.span() {
            Some(span) => self.problem(span, error.message()),
            None => Problem {
                file: self.file.to_owned(),
                line: None,
                field: None,
                message: error.message().trim().to_owned(),
            },
        }
    }

    /// The line, from 1, in which that byte stands.
    pub(super) fn line(&self, byte: usize) -> usize {
        self.text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
    }

    /// The field of that line: a key, or a table's name.
    fn field(&self, line: usize) -> Option<String> {
        let text = self.text.lines().nth(line - 1)?.trim();
        let field = match text.strip_prefix('[') {
            Some(table) => table.trim_matches(['[', ']']).trim(),
            None => text.split_once('=')?.0.trim(),
        };
        Some(field.to_owned()).filter(|field| !field.is_empty() && !field.starts_with(['{', '"', '#']))
    }
}
