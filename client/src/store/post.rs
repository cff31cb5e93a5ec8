//! Posts as rows: every post is one, so that each fills its place in its stream and can be said again.

use common::session::{Content, MessageId, Post, PostDigest, StreamId};
use rusqlite::Row;

use super::State;

/// The number of a kind of post in the database.
pub(super) const TEXT: i64 = 0;
pub(super) const EDIT: i64 = 1;
pub(super) const DELETE: i64 = 2;
pub(super) const REACTION: i64 = 3;
const VOID: i64 = 4;

/// A content in columns.
pub(super) struct Columns<'a> {
    pub(super) kind: i64,
    pub(super) text: &'a str,
    /// What it is about.
    pub(super) about: Option<MessageId>,
    pub(super) reply_to: Option<MessageId>,
}

impl<'a> From<&'a Content> for Columns<'a> {
    fn from(content: &'a Content) -> Self {
        let (kind, text, about, reply_to) = match content {
            Content::Text { text, reply_to } => (TEXT, text.as_str(), None, *reply_to),
            Content::Edit { of, text } => (EDIT, text.as_str(), Some(*of), None),
            Content::Delete { of } => (DELETE, "", Some(*of), None),
            Content::Reaction { to, emoji } => (REACTION, emoji.as_str(), Some(*to), None),
            Content::Void => (VOID, "", None, None),
        };
        Columns { kind, text, about, reply_to }
    }
}

/// A post of ours that has no receipt yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// As it goes out: a void, if it was taken back, has expired or was deleted.
    pub post: Post,
    /// What has become of it.
    pub state: State,
    /// Until when it is worth delivering, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// The rendezvous keeps it until then, in seconds since 1970.
    pub stored_until_s: Option<u64>,
    /// Of what was said at first: whether that has arrived, or a void.
    pub digest: PostDigest,
}

/// What a query for posts selects, for [`post`] and [`waiting`].
pub(super) const POST: &str = "message.id, stream.id, message.seq, message.at_ms, message.kind, message.text, \
    message.about, message.reply_to, message.voided OR message.deleted, message.state, message.expires_ms, message.digest, \
    message.server_until_s";

/// From [`POST`].
pub(super) fn post(row: &Row<'_>) -> rusqlite::Result<Post> {
    let name = |column| row.get::<_, Option<[u8; 16]>>(column).map(|id| id.map(MessageId));
    let text: String = row.get(5)?;
    let content = match (row.get(8)?, row.get(4)?, name(6)?) {
        (false, TEXT, _) => Content::Text { text, reply_to: name(7)? },
        (false, EDIT, Some(of)) => Content::Edit { of, text },
        (false, DELETE, Some(of)) => Content::Delete { of },
        (false, REACTION, Some(to)) => Content::Reaction { to, emoji: text },
        _ => Content::Void,
    };
    let stream = StreamId(row.get::<_, i64>(1)?.cast_unsigned());
    Ok(Post { id: MessageId(row.get(0)?), stream, seq: unsigned(row.get(2)?), at_ms: unsigned(row.get(3)?), content })
}

/// From [`POST`].
pub(super) fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let post = post(row)?;
    let digest = row.get::<_, Option<[u8; 16]>>(11)?.map_or_else(|| post.digest(), PostDigest);
    let state: State = row.get(9)?;
    let time = |column| row.get::<_, Option<i64>>(column).map(|time| time.map(unsigned));
    let stored_until_s = time(12)?.filter(|_| state == State::AtServer);
    Ok(Waiting { post, state, expires_ms: time(10)?.filter(|_| state.is_open()), stored_until_s, digest })
}

/// Numbers of others may be anything; those that fit are kept as they are.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
