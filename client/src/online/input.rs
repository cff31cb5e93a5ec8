//! Lines of standard input, read on a thread of their own: reading a terminal cannot be interrupted, so nothing may
//! ever wait for that thread.

use std::io::{self, BufRead};

use common::session::MAX_TEXT;
use tokio::sync::mpsc;

/// Lines read ahead of the engine.
const AHEAD: usize = 16;

/// One line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Text; bytes that are not UTF-8 were replaced by the replacement character.
    Text(String),
    /// More bytes than any message has. Only their number was kept.
    TooLong(usize),
}

impl Line {
    /// A line that somebody else has read.
    pub fn text(text: String) -> Self {
        if text.len() > MAX_TEXT { Line::TooLong(text.len()) } else { Line::Text(text) }
    }
}

/// Starts reading. The channel closes at the end of input.
pub(crate) fn lines() -> io::Result<mpsc::Receiver<Line>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::Builder::new().name("standard input".into()).spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(Some(line)) = read_line(&mut input) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The next line; holds at most one message of it in memory, however long it is.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut kept = Vec::new();
    let mut length = 0usize;
    let mut any = false;
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (piece, used, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&chunk[..end], end + 1, true),
            None => (chunk, chunk.len(), chunk.is_empty()),
        };
        any |= used > 0;
        length += piece.len();
        // One byte above the limit, so that a carriage return at the end is not counted as text.
        let room = (MAX_TEXT + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
        input.consume(used);
        if ended {
            break;
        }
    }
    if !any {
        return Ok(None);
    }
    if length == kept.len() && kept.last() == Some(&b'\r') {
        kept.pop();
        length -= 1;
    }
    if length > MAX_TEXT {
        return Ok(Some(Line::TooLong(length)));
    }
    let text = match String::from_utf8(kept) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!("a line of input is not UTF-8; what could not be read is sent as \u{fffd}");
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
    };
    Ok(Some(Line::Text(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Line> {
        // Two bytes at a time, so that every line is cut somewhere.
        let mut input = io::BufReader::with_capacity(2, bytes);
        std::iter::from_fn(|| read_line(&mut input).expect("memory")).collect()
    }

    fn text(text: &str) -> Line {
        Line::Text(text.to_owned())
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_and_the_last_one_with_nothing() {
        assert_eq!(all(b"one\ntwo\r\n\nlast"), [text("one"), text("two"), text(""), text("last")]);
        assert_eq!(all(b""), []);
        assert_eq!(all(b"\n"), [text("")]);
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_the_rest_kept() {
        assert_eq!(all(b"ab\xffcd\n"), [text("ab\u{fffd}cd")]);
    }

    #[test]
    fn a_line_of_any_length_costs_one_message_of_memory() {
        let longest = "x".repeat(MAX_TEXT);
        assert_eq!(all(format!("{longest}\r\n").as_bytes()), [text(&longest)]);
        assert_eq!(all(format!("{longest}y\nnext").as_bytes()), [Line::TooLong(MAX_TEXT + 1), text("next")]);
        assert_eq!(all(&[b'x'; 100_000]), [Line::TooLong(100_000)]);
    }
}
