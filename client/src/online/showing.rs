//! Posts as they are shown, ours and theirs: words, and what is said about words.

use common::session::{Content, MessageId, Post};
use jiff::Timestamp;

use super::Out;
use crate::output::{Direction, Event, Who};
use crate::store::Record;

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

/// What is to be kept of this post has a time after which it shall not go any more.
pub(super) fn keep_until(out: &mut Out, of: MessageId, at_ms: u64) {
    for record in out.records.iter_mut().rev() {
        if let Record::Said { post, expires_ms, .. } = record
            && post.id == of
        {
            *expires_ms = Some(at_ms);
            return;
        }
    }
}

fn from_millis(at_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()
}
