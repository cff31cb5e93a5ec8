//! A conversation as Markdown (CommonMark), to read or to print. What people wrote stands there as they wrote it: no character of it
//! means anything to Markdown.

use common::identity::PeerId;

use super::printer::{Printer, label};
use super::sanitize;
use crate::store::{Direction, Message, State};

/// Above a conversation.
pub fn heading(peer: PeerId, name: Option<&str>) -> String {
    format!("# {}\n\n`{peer}`\n", literal(&label(peer, name)))
}

/// One message: a paragraph of its own.
pub fn message(message: &Message, name: Option<&str>, printer: &Printer) -> String {
    let who = match message.direction {
        Direction::Received => literal(&label(message.peer, name)),
        Direction::Sent => "you".to_owned(),
    };
    let became = match message.state {
        State::Queued => " *(queued)*",
        State::Cancelled => " *(taken back)*",
        State::OnDevice => "",
    };
    let at = printer.local(message.at);
    format!("**{who}**, {at}{became}: {}\n", literal(&sanitize::line(&message.text)))
}

/// CommonMark, section 2.4: a backslash in front of any ASCII punctuation takes its meaning away.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            literal.push('\\');
        }
        literal.push(letter);
    }
    literal
}
