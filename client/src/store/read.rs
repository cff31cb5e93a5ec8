//! Finding again.

use common::identity::PeerId;
use common::session::{MessageId, PostDigest, StreamId};
use rusqlite::params;

use super::message::{COLUMNS, Stored, message};
use super::post::{POST, Waiting, unsigned, waiting};
use super::{Message, PeerStream, Store, StoreError};
use crate::messenger::{MAX_HOLES, MAX_STREAMS};

/// Of the conversation with the peer of the first parameter. Its row is asked for first, so that the index of conversations
/// gives the order.
pub(super) const OF: &str = "message.peer = (SELECT peer FROM peer WHERE id = ?1)";

/// Of that conversation, or of all.
pub(super) fn of(peer: Option<PeerId>) -> &'static str {
    if peer.is_some() { OF } else { "?1 IS NULL" }
}

/// Which part of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The last so many.
    Last(usize),
    /// The last so many before that place.
    Before(i64, usize),
    /// The first so many after that place.
    After(i64, usize),
}

/// Where a client that starts goes on with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The stream in which we speak.
    pub stream: StreamId,
    /// The number of our next post there.
    pub next_seq: u64,
    /// What we said, or took back, and nobody has acknowledged, in the order in which it was said.
    pub queue: Vec<Waiting>,
    /// The names of the last posts from the peer, oldest first, and what has arrived under them (unknown for those of an
    /// earlier version): what comes again is not new.
    pub seen: Vec<(MessageId, Option<PostDigest>)>,
    /// The peer's streams, the newest first.
    pub streams: Vec<PeerStream>,
}

impl Store {
    /// Where a client that starts goes on with this peer, with so many names at most.
    pub fn resume(&self, peer: PeerId, seen: usize) -> Result<Conversation, StoreError> {
        let queue = self.waiting(Some(peer))?.into_iter().map(|(_, waiting)| waiting).collect();
        let failed = self.failed("read");
        let select = format!("SELECT id, digest FROM message WHERE {OF} AND sent = 0 ORDER BY place DESC LIMIT ?2");
        let mut statement = self.db.prepare_cached(&select).map_err(&failed)?;
        let names = statement
            .query_map(params![peer.as_bytes(), limit(seen)], |row| {
                Ok((MessageId(row.get(0)?), row.get::<_, Option<[u8; 16]>>(1)?.map(PostDigest)))
            })
            .and_then(Iterator::collect);
        let mut seen: Vec<_> = names.map_err(&failed)?;
        seen.reverse();
        let (stream, next_seq) = self.own_stream(peer).map_err(&failed)?;
        let streams = self.peer_streams(peer, MAX_STREAMS, MAX_HOLES)?;
        Ok(Conversation { stream, next_seq, queue, seen, streams })
    }

    /// All posts that nobody has acknowledged, voids too, to this peer or to anybody, in the order in which they were said.
    pub fn waiting(&self, peer: Option<PeerId>) -> Result<Vec<(PeerId, Waiting)>, StoreError> {
        let failed = self.failed("read");
        let select = format!(
            "SELECT {POST}, peer.id FROM message INDEXED BY waiting JOIN peer ON peer.peer = message.peer \
             JOIN stream ON stream.stream = message.stream WHERE waits = 1 AND {} ORDER BY message.number",
            of(peer)
        );
        let mut statement = self.db.prepare_cached(&select).map_err(&failed)?;
        let found = statement.query_map(params![peer.as_ref().map(PeerId::as_bytes)], |row| {
            Ok((row.get::<_, Stored<PeerId>>(13)?.0, waiting(row)?))
        });
        found.and_then(Iterator::collect).map_err(&failed)
    }

    /// The messages that nobody has acknowledged and that are still to be delivered, to this peer or to anybody, oldest
    /// first.
    pub fn outbox(&self, peer: Option<PeerId>) -> Result<Vec<Message>, StoreError> {
        // By its own index: SQLite would rather go through all messages, which are in the right order already.
        let select = format!(
            "SELECT {COLUMNS} FROM message INDEXED BY waiting JOIN peer ON peer.peer = message.peer \
             WHERE waits = 1 AND state IN (0, 3) AND kind = 0 AND deleted = 0 AND {} ORDER BY message.number",
            of(peer)
        );
        self.messages(&select, params![peer.as_ref().map(PeerId::as_bytes)])
    }

    /// A part of the conversation with this peer, oldest first.
    pub fn history(&self, peer: PeerId, page: Page) -> Result<Vec<Message>, StoreError> {
        let (bound, order, from, count) = match page {
            Page::Last(count) => ("<", "DESC", i64::MAX, count),
            Page::Before(place, count) => ("<", "DESC", place, count),
            Page::After(place, count) => (">", "ASC", place, count),
        };
        let select = format!(
            "SELECT {COLUMNS} FROM message JOIN peer ON peer.peer = message.peer \
             WHERE {OF} AND kind = 0 AND place {bound} ?2 ORDER BY place {order} LIMIT ?3"
        );
        let mut messages = self.messages(&select, params![peer.as_bytes(), from, limit(count)])?;
        if order == "DESC" {
            messages.reverse();
        }
        Ok(messages)
    }

    /// What this peer has said and our person was not shown yet, the first so many, oldest first.
    pub fn unread_of(&self, peer: PeerId, count: usize) -> Result<Vec<Message>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS} FROM message JOIN peer ON peer.peer = message.peer \
             WHERE {OF} AND unread = 1 ORDER BY place LIMIT ?2"
        );
        self.messages(&select, params![peer.as_bytes(), limit(count)])
    }

    /// How many messages of each peer our person was not shown yet; of those who have any.
    pub fn unread(&self) -> Result<Vec<(PeerId, u64)>, StoreError> {
        let counts = || {
            let select =
                "SELECT peer.id, count(*) FROM message JOIN peer USING (peer) WHERE unread = 1 GROUP BY peer.peer";
            let mut statement = self.db.prepare_cached(select)?;
            let counts =
                statement.query_map([], |row| Ok((row.get::<_, Stored<PeerId>>(0)?.0, unsigned(row.get(1)?))))?;
            counts.collect::<rusqlite::Result<_>>()
        };
        counts().map_err(self.failed("read"))
    }

    /// Everybody with whom anything was ever said.
    pub fn peers(&self) -> Result<Vec<PeerId>, StoreError> {
        let failed = self.failed("read");
        let select =
            "SELECT id FROM peer WHERE EXISTS (SELECT 1 FROM message WHERE message.peer = peer.peer) ORDER BY peer";
        let mut statement = self.db.prepare_cached(select).map_err(&failed)?;
        let ids = statement.query_map([], |row| row.get::<_, Stored<PeerId>>(0)).and_then(Iterator::collect);
        let ids: Vec<Stored<PeerId>> = ids.map_err(&failed)?;
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    pub(super) fn messages(&self, select: &str, values: impl rusqlite::Params) -> Result<Vec<Message>, StoreError> {
        let failed = self.failed("read");
        let mut statement = self.db.prepare_cached(select).map_err(&failed)?;
        statement.query_map(values, message).and_then(Iterator::collect).map_err(&failed)
    }
}

pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
