//! Posts as they are shown, ours and theirs: words, and what is said about words.

use common::session::{Content, Post};
use jiff::Timestamp;

use crate::output::{Direction, Event, Who};

/// What is shown of a post, if it is anything to see. `waiting`: it is ours, and no session stands.
pub(super) fn event(dir: Direction, who: Who, post: Post, waiting: bool, now: Timestamp) -> Option<Event> {
    let Post { id, at_ms, content, .. } = post;
    let waiting = waiting.then_some(true);
    let post = id.to_string();
    // A time that no calendar has is replaced by ours.
    let at = from_millis(at_ms).unwrap_or(now);
    Some(match content {
        Content::Text { text, reply_to } => {
            let reply_to = reply_to.map(|id| id.to_string());
            Event::Message { dir, who, id: post, text, at, reply_to, waiting }
        }
        Content::Edit { of, text } => Event::Edited { dir, who, id: of.to_string(), post, text, at, waiting },
        Content::Delete { of } => Event::Deleted { dir, who, id: of.to_string(), post, at, waiting },
        Content::Reaction { to, emoji } => Event::Reaction { dir, who, id: to.to_string(), post, emoji, at, waiting },
        Content::Void => return None,
    })
}

fn from_millis(at_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()
}
