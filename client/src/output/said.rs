//! What is said, while it is said, in words.

use jiff::Timestamp;

use super::text::name;
use super::{Direction, Event, Who, sanitize};

/// With the first digits of the message's name, by which one can say something about it.
pub(super) fn render(event: &Event, time: impl Fn(Timestamp) -> String) -> Option<String> {
    let (dir, who, id, at, waiting) = match event {
        Event::Message { dir, who, id, at, waiting, .. }
        | Event::Edited { dir, who, id, at, waiting, .. }
        | Event::Deleted { dir, who, id, at, waiting, .. }
        | Event::Reaction { dir, who, id, at, waiting, .. } => (*dir, who, short(id), *at, *waiting),
        _ => return None,
    };
    let (from, waits) = (from(dir, who), if waiting == Some(true) { ", waiting for a connection" } else { "" });
    // In brackets behind the line, which is about a message that was shown before.
    let waits_alone = if waits.is_empty() { "" } else { "  (waiting for a connection)" };
    let what = match event {
        Event::Message { text, reply_to: None, .. } => format!("{from}: {}  ({id}{waits})", sanitize::line(text)),
        Event::Message { text, reply_to: Some(to), .. } => {
            format!("{from}, to {}: {}  ({id}{waits})", short(to), sanitize::line(text))
        }
        Event::Edited { text, .. } => format!("{from} edited {id}: {}{waits_alone}", sanitize::line(text)),
        Event::Deleted { .. } => format!("{from} deleted {id}{waits_alone}"),
        Event::Reaction { emoji, .. } if emoji.is_empty() => {
            format!("{from} took back the reaction to {id}{waits_alone}")
        }
        Event::Reaction { emoji, .. } => format!("{from} reacted to {id}: {}{waits_alone}", sanitize::line(emoji)),
        _ => return None,
    };
    Some(format!("{} {what}", time(at)))
}

fn from(dir: Direction, who: &Who) -> String {
    match dir {
        Direction::In => name(who),
        Direction::Out => "you".to_owned(),
    }
}

/// The first digits of a message's name.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
