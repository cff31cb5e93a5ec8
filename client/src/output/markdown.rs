//! A conversation as Markdown (CommonMark), to read or to print. What people wrote stands there as they wrote it: no character of it
//! means anything to Markdown.

use common::identity::PeerId;

use super::printer::{Printer, label};
use super::{kept, sanitize};
use crate::store::{Direction, Message, State};

/// Above a conversation.
pub fn heading(peer: PeerId, name: Option<&str>) -> String {
    format!("# {}\n\n`{peer}`\n", literal(&label(peer, name)))
}

/// One message: a paragraph of its own.
pub fn message(message: &Message, name: Option<&str>, printer: &Printer) -> String {
    let who = match (message.direction, &message.host) {
        (Direction::Received, _) => literal(&label(message.peer, name)),
        (Direction::Sent, None) => "you".to_owned(),
        (Direction::Sent, Some(host)) => format!("you@{}", literal(&sanitize::line(host))),
    };
    let became = match message.state {
        State::Queued => " *(queued)*",
        State::AtServer => " *(at the server)*",
        State::Cancelled => " *(taken back)*",
        State::Expired => " *(expired)*",
        State::OnDevice | State::Read => "",
    };
    let edited = if message.edited && !message.deleted { " *(edited)*" } else { "" };
    let text = if message.deleted { "*(deleted)*".to_owned() } else { literal(&sanitize::line(&message.text)) };
    let reactions = [&message.own_reaction, &message.peer_reaction].into_iter().flatten();
    let reactions: String = reactions.map(|reaction| format!(" {}", literal(&sanitize::line(reaction)))).collect();
    let missing = kept::missing(message.missing_before).map(|words| format!("*{words}*\n\n")).unwrap_or_default();
    let at = printer.local(message.at);
    format!("{missing}**{who}**, {at}{became}{edited}: {text}{reactions}\n")
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
