//! What a program says, line by line, with the time when each came, and how far expectations have come in it.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::Value;

/// Lines kept of one program.
const LINES: usize = 20_000;
/// Lines shown of each program when a step has failed.
const SHOWN: usize = 12;

/// Which of its two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output = 0,
    Error = 1,
}

/// One line and when it came.
#[derive(Debug)]
struct Line {
    at: Instant,
    stream: Stream,
    text: String,
}

/// All that is kept of one program.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<Line>,
    /// How many lines are no longer kept.
    gone: usize,
    /// For each stream, the number of the first line that no expectation has gone past.
    next: [usize; 2],
}

/// What became of an expectation.
pub(crate) enum Found<T> {
    Yes(T),
    /// Not in time.
    Late,
    /// Nothing more can come.
    Ended,
}

impl Log {
    /// Its next line.
    pub(super) fn push(&mut self, stream: Stream, text: String, at: Instant) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.gone += 1;
        }
        self.lines.push_back(Line { at, stream, text });
    }

    /// How many lines there have been.
    pub(super) fn count(&self) -> usize {
        self.gone + self.lines.len()
    }

    /// The next line that fits, in either stream; the next look in that stream begins behind it.
    pub(super) fn look_for<T>(&mut self, fits: impl Fn(&str) -> Option<T>) -> Option<T> {
        let fresh = |(number, line): &(usize, &Line)| *number >= self.next[line.stream as usize];
        let numbered = self.lines.iter().enumerate().map(|(index, line)| (self.gone + index, line));
        let found = numbered.filter(fresh).find_map(|(number, line)| Some((number, line.stream, fits(&line.text)?)));
        let (number, stream, found) = found?;
        self.next[stream as usize] = number + 1;
        Some(found)
    }

    /// Nobody looks at this stream any more.
    pub(super) fn ignore(&mut self, stream: Stream) {
        self.next[stream as usize] = usize::MAX;
    }

    /// The lines of this stream with their times.
    pub(super) fn lines_of(&self, stream: Stream) -> impl Iterator<Item = (Instant, &str)> {
        let lines = self.lines.iter().filter(move |line| line.stream == stream);
        lines.map(|line| (line.at, line.text.as_str()))
    }

    /// The last JSON object.
    pub(super) fn last_object(&self) -> Option<Value> {
        self.lines.iter().rev().find_map(|line| serde_json::from_str(&line.text).ok().filter(Value::is_object))
    }

    /// The last lines, for a failure, with the time since the program's start.
    pub(super) fn transcript(&self, started: Instant) -> String {
        self.last_lines(SHOWN, started)
    }

    /// All lines that are kept, in the same way.
    pub(super) fn all_lines(&self, started: Instant) -> String {
        self.last_lines(usize::MAX, started)
    }

    fn last_lines(&self, count: usize, started: Instant) -> String {
        let skipped = self.lines.len().saturating_sub(count);
        let mut text = String::new();
        if skipped + self.gone > 0 {
            text += &format!("({} earlier lines)\n", skipped + self.gone);
        }
        for line in self.lines.iter().skip(skipped) {
            let after = line.at.saturating_duration_since(started).as_secs_f64();
            let mark = if line.stream == Stream::Error { "!" } else { " " };
            text += &format!("{after:8.3}{mark} {}\n", line.text);
        }
        text
    }
}
