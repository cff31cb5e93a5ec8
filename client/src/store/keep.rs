//! What is said, by us and by the peer, and what it changes of what was said before.

use common::identity::PeerId;
use common::session::{Content, MessageId, Post};
use rusqlite::{OptionalExtension, params};

use super::post::{Columns, DELETE, EDIT, REACTION, TEXT, signed};
use super::write::Writer;
use super::{Direction, State, search};

/// A message to which an edit or a deletion applies.
struct Target {
    number: i64,
    deleted: bool,
}

impl Writer<'_> {
    pub(super) fn said(&mut self, peer: PeerId, post: &Post, expires_ms: Option<u64>) -> rusqlite::Result<()> {
        self.insert(peer, Direction::Sent, post, expires_ms)
    }

    pub(super) fn heard(&mut self, peer: PeerId, post: &Post) -> rusqlite::Result<()> {
        self.insert(peer, Direction::Received, post, None)
    }

    /// A second post of the same name is the same post.
    fn insert(
        &mut self,
        peer: PeerId,
        direction: Direction,
        post: &Post,
        expires_ms: Option<u64>,
    ) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let ours = direction == Direction::Sent;
        let known = "SELECT 1 FROM message WHERE peer = ?1 AND sent = ?2 AND id = ?3";
        if self.db.prepare_cached(known)?.exists(params![peer, ours, post.id.0])? {
            return Ok(());
        }
        let seq = signed(post.seq);
        let (stream, place) = self.arrive(peer, ours, post.stream, seq)?;
        let number = self.next;
        let Columns { kind, text, about, reply_to } = (&post.content).into();
        let insert = "INSERT INTO message (number, peer, sent, id, at_ms, text, state, place, kind, stream, seq, about, \
                      reply_to, digest, waits, unread, expires_ms, host) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
        self.db.prepare_cached(insert)?.execute(params![
            number,
            peer,
            ours,
            post.id.0,
            signed(post.at_ms),
            text,
            if ours { State::Queued } else { State::OnDevice } as i64,
            place,
            kind,
            stream,
            seq,
            about.map(|id| id.0),
            reply_to.map(|id| id.0),
            post.digest().0,
            ours,
            !ours && kind == TEXT,
            expires_ms.map(signed),
            Some(self.host).filter(|host| ours && !host.is_empty()),
        ])?;
        self.next += 1;
        match &post.content {
            Content::Text { .. } => {
                // What is said about it may have come before it, but seldom has.
                let said = "SELECT 1 FROM message WHERE peer = ?1 AND about = ?2";
                let said = self.db.prepare_cached(said)?.exists(params![peer, post.id.0])?;
                if said { self.apply(peer, ours, post.id) } else { Ok(()) }
            }
            Content::Edit { of, .. } | Content::Delete { of } => self.apply(peer, ours, *of),
            Content::Reaction { to, .. } => self.keep_newest(peer, ours, *to, REACTION),
            Content::Void => Ok(()),
        }
    }

    /// Has the newest edit, and any deletion, be true of the message that they are about. Both are its writer's alone.
    fn apply(&mut self, peer: i64, ours: bool, of: MessageId) -> rusqlite::Result<()> {
        let said = "SELECT 1 FROM message WHERE peer = ?1 AND about = ?2 AND kind = ?3 AND sent = ?4";
        let deleted = self.db.prepare_cached(said)?.exists(params![peer, of.0, DELETE, ours])?;
        if deleted {
            // Whatever it was to read like must be gone, whether or not it is here itself.
            let clear =
                "UPDATE message SET text = '', voided = 1 WHERE peer = ?1 AND about = ?2 AND kind = ?3 AND sent = ?4";
            self.db.prepare_cached(clear)?.execute(params![peer, of.0, EDIT, ours])?;
        }
        let select = "SELECT number, deleted FROM message WHERE peer = ?1 AND sent = ?2 AND id = ?3 AND kind = ?4";
        let target = self
            .db
            .prepare_cached(select)?
            .query_row(params![peer, ours, of.0, TEXT], |row| Ok(Target { number: row.get(0)?, deleted: row.get(1)? }));
        let Some(target) = target.optional()?.filter(|target| !target.deleted) else { return Ok(()) };
        if deleted {
            let clear = "UPDATE message SET text = '', deleted = 1, unread = 0 WHERE number = ?1";
            self.db.prepare_cached(clear)?.execute([target.number])?;
            return search::changed(&self.db, target.number, peer, None);
        }
        let newest = "SELECT text FROM message WHERE peer = ?1 AND about = ?2 AND kind = ?3 AND sent = ?4 \
                      ORDER BY place DESC LIMIT 1";
        let mut statement = self.db.prepare_cached(newest)?;
        let text = statement.query_row(params![peer, of.0, EDIT, ours], |row| row.get::<_, String>(0)).optional()?;
        drop(statement);
        let Some(text) = text else { return Ok(()) };
        let update = "UPDATE message SET text = ?2, edited = 1 WHERE number = ?1";
        self.db.prepare_cached(update)?.execute(params![target.number, text])?;
        search::changed(&self.db, target.number, peer, Some(&text))?;
        self.keep_newest(peer, ours, of, EDIT)
    }

    /// Of what one side has said about a message only the last counts, and the others lose their words; but not before they
    /// have arrived, so that they can be said again as they were.
    pub(super) fn keep_newest(&mut self, peer: i64, ours: bool, about: MessageId, kind: i64) -> rusqlite::Result<()> {
        let clear = "UPDATE message SET text = '', voided = 1 \
                     WHERE peer = ?1 AND about = ?2 AND kind = ?3 AND sent = ?4 AND waits = 0 AND voided = 0 AND place < \
                     (SELECT max(place) FROM message WHERE peer = ?1 AND about = ?2 AND kind = ?3 AND sent = ?4)";
        self.db.prepare_cached(clear)?.execute(params![peer, about.0, kind, ours]).map(drop)
    }
}
