//! How far each stream has come, and what is missing in it.

use common::identity::PeerId;
use common::session::{MessageId, Post, PostDigest, StreamId};
use rusqlite::{OptionalExtension, params};

use super::post::{POST, post, signed, unsigned};
use super::read::{OF, limit};
use super::write::Writer;
use super::{Store, StoreError};

/// Numbers between two messages that came in order: as many may fill the gap in front of the second.
pub(super) const SPREAD: i64 = 1 << 20;

/// A stream within a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) row: i64,
    pub(super) highest: i64,
    /// Of ours: up to where the peer has read, and when we heard of it.
    pub(super) read: i64,
    pub(super) read_ms: Option<i64>,
    changed: bool,
}

impl Writer<'_> {
    /// The stream of this name, which is made if there is none.
    pub(super) fn stream(&mut self, peer: i64, ours: bool, id: StreamId) -> rusqlite::Result<&mut Stream> {
        let key = (peer, ours, id.0.cast_signed());
        let known = match self.streams.get(&key) {
            Some(stream) => *stream,
            None => match self.find_stream(key)? {
                Some(stream) => stream,
                None => {
                    let insert = "INSERT INTO stream (peer, sent, id) VALUES (?1, ?2, ?3)";
                    self.db.prepare_cached(insert)?.execute(params![key.0, key.1, key.2])?;
                    let row = self.db.last_insert_rowid();
                    Stream { row, highest: 0, read: 0, read_ms: None, changed: false }
                }
            },
        };
        Ok(self.streams.entry(key).or_insert(known))
    }

    /// The stream of this name, if there is one.
    pub(super) fn find_stream(&mut self, key: (i64, bool, i64)) -> rusqlite::Result<Option<Stream>> {
        if let Some(stream) = self.streams.get(&key) {
            return Ok(Some(*stream));
        }
        let select = "SELECT stream, highest, read, read_ms FROM stream WHERE peer = ?1 AND sent = ?2 AND id = ?3";
        let mut statement = self.db.prepare_cached(select)?;
        let stream = statement.query_row(params![key.0, key.1, key.2], |row| {
            let (row, highest, read, read_ms) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Stream { row, highest, read, read_ms, changed: false })
        });
        stream.optional()
    }

    pub(super) fn save_streams(&mut self) -> rusqlite::Result<()> {
        for stream in self.streams.values().filter(|stream| stream.changed) {
            let update = "UPDATE stream SET highest = ?2 WHERE stream = ?1";
            self.db.prepare_cached(update)?.execute([stream.row, stream.highest])?;
        }
        Ok(())
    }

    /// A post of this number is about to be kept. Which place in the conversation does it get?
    pub(super) fn arrive(&mut self, peer: i64, ours: bool, id: StreamId, seq: i64) -> rusqlite::Result<(i64, i64)> {
        let in_order = self.next * SPREAD;
        let stream = self.stream(peer, ours, id)?;
        let (row, highest) = (stream.row, stream.highest);
        if seq > highest {
            stream.highest = seq;
            stream.changed = true;
            if seq > highest + 1 {
                let insert = "INSERT INTO gap (stream, first, last) VALUES (?1, ?2, ?3)";
                self.db.prepare_cached(insert)?.execute([row, highest + 1, seq - 1])?;
            }
            return Ok((row, in_order));
        }
        self.fill(row, seq)?;
        let select = "SELECT seq, place FROM message WHERE stream = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";
        let successor = self.db.prepare_cached(select)?.query_row([row, seq], |row| Ok((row.get(0)?, row.get(1)?)));
        let place = successor.optional()?.and_then(|(next, place): (i64, i64)| in_front_of(place, next - seq));
        Ok((row, place.unwrap_or(in_order)))
    }

    /// Nobody waits for this one any more.
    fn fill(&mut self, stream: i64, seq: i64) -> rusqlite::Result<()> {
        let select = "SELECT first, last FROM gap WHERE stream = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";
        let gap = self.db.prepare_cached(select)?.query_row([stream, seq], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((first, last)) = gap.optional()?.filter(|(_, last): &(i64, i64)| seq <= *last) else { return Ok(()) };
        self.db.prepare_cached("DELETE FROM gap WHERE stream = ?1 AND first = ?2")?.execute([stream, first])?;
        for (first, last) in [(first, seq - 1), (seq + 1, last)] {
            if first <= last {
                let insert = "INSERT INTO gap (stream, first, last) VALUES (?1, ?2, ?3)";
                self.db.prepare_cached(insert)?.execute([stream, first, last])?;
            }
        }
        Ok(())
    }
}

/// So many places in front of a place, if they are not those of the message that came before. Whoever leaves out a million
/// posts and sends them later has them at the end.
fn in_front_of(place: i64, count: i64) -> Option<i64> {
    // In front of one that came in order, which has a multiple of the spread, or of one that stands in front of such.
    let into = (SPREAD - place.rem_euclid(SPREAD)) % SPREAD;
    (count < SPREAD - into).then(|| place - count)
}

/// A stream in which the peer speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStream {
    /// Its name.
    pub stream: StreamId,
    /// The highest number that is here.
    pub highest: u64,
    /// What is missing below that, the first and the last of each range: the oldest ones, so many that they fit into one
    /// question.
    pub gaps: Vec<(u64, u64)>,
    /// Up to here nothing is missing and our person was shown everything. 0: nothing yet.
    pub read: u64,
}

impl Store {
    /// The last streams in which this peer speaks, the newest first.
    pub fn peer_streams(&self, peer: PeerId, count: usize, gaps: usize) -> Result<Vec<PeerStream>, StoreError> {
        let streams = || {
            let select = "SELECT stream, id, highest FROM stream WHERE peer = (SELECT peer FROM peer WHERE id = ?1) \
                          AND sent = 0 ORDER BY stream DESC LIMIT ?2";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement
                .query_map(params![peer.as_bytes(), limit(count)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let rows: Vec<(i64, i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
            let streams = rows.into_iter().map(|(row, id, highest)| self.peer_stream(row, id, highest, gaps));
            streams.collect::<rusqlite::Result<_>>()
        };
        streams().map_err(self.failed("read"))
    }

    /// Up to which number of the stream in which this peer speaks now our person has read, if they have read anything of it.
    pub fn read_up_to(&self, peer: PeerId) -> Result<Option<(StreamId, u64)>, StoreError> {
        let newest = self.peer_streams(peer, 1, 1)?.pop();
        Ok(newest.filter(|stream| stream.read > 0).map(|stream| (stream.stream, stream.read)))
    }

    fn peer_stream(&self, row: i64, id: i64, highest: i64, count: usize) -> rusqlite::Result<PeerStream> {
        let select = "SELECT first, last FROM gap WHERE stream = ?1 ORDER BY first LIMIT ?2";
        let mut statement = self.db.prepare_cached(select)?;
        let gaps = statement.query_map([row, limit(count.max(1))], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let gaps: Vec<(i64, i64)> = gaps.collect::<rusqlite::Result<_>>()?;
        let select = "SELECT min(seq) FROM message WHERE unread = 1 AND stream = ?1 \
                      AND peer = (SELECT peer FROM stream WHERE stream = ?1)";
        let unread: Option<i64> = self.db.prepare_cached(select)?.query_row([row], |row| row.get(0))?;
        let first_gap = gaps.first().map(|(first, _)| *first);
        let read = [unread, first_gap].into_iter().flatten().map(|seq| seq - 1).fold(highest, i64::min);
        let gaps = gaps.into_iter().take(count).map(|(first, last)| (unsigned(first), unsigned(last))).collect();
        let stream = StreamId(id.cast_unsigned());
        Ok(PeerStream { stream, highest: unsigned(highest), gaps, read: unsigned(read) })
    }

    /// The stream in which we speak to this peer, and the number of the next post there. It is drawn at random, and drawn
    /// again each time until something was said in it.
    pub(super) fn own_stream(&self, peer: PeerId) -> rusqlite::Result<(StreamId, u64)> {
        let select = "SELECT id, highest + 1 FROM stream WHERE peer = (SELECT peer FROM peer WHERE id = ?1) \
                      AND sent = 1 AND retired = 0 ORDER BY stream DESC LIMIT 1";
        let found = self.db.prepare_cached(select)?.query_row([peer.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)));
        let (id, next): (i64, i64) = match found.optional()? {
            Some(found) => found,
            None => (self.db.query_row("SELECT random()", [], |row| row.get(0))?, 1),
        };
        Ok((StreamId(id.cast_unsigned()), unsigned(next)))
    }

    /// From now on we speak in new streams: who has gone on from an older state of this database may have said something
    /// else under the next numbers of these.
    pub fn retire_streams(&mut self) -> Result<(), StoreError> {
        self.db.execute("UPDATE stream SET retired = 1 WHERE sent = 1", []).map(drop).map_err(self.failed("write"))
    }

    /// Posts of ours, by the first and the last number of each range: so many at most, the oldest first.
    pub fn posts(
        &self,
        peer: PeerId,
        stream: StreamId,
        ranges: &[(u64, u64)],
        count: usize,
    ) -> Result<Vec<Post>, StoreError> {
        let failed = self.failed("read");
        let select = format!(
            "SELECT {POST} FROM message JOIN stream ON stream.stream = message.stream \
             WHERE message.stream = (SELECT stream FROM stream WHERE {OF} AND sent = 1 AND id = ?2) \
             AND seq BETWEEN ?3 AND ?4 ORDER BY seq LIMIT ?5"
        )
        .replace("message.peer = (", "stream.peer = (");
        let mut statement = self.db.prepare_cached(&select).map_err(&failed)?;
        let mut posts = Vec::new();
        for (first, last) in ranges {
            let left = limit(count.saturating_sub(posts.len()));
            let values = params![peer.as_bytes(), stream.0.cast_signed(), signed(*first), signed(*last), left];
            let found: rusqlite::Result<Vec<Post>> = statement.query_map(values, post).and_then(Iterator::collect);
            posts.extend(found.map_err(&failed)?);
        }
        Ok(posts)
    }

    /// What exactly this peer has said under this name, if it is here.
    pub fn digest_of(&self, peer: PeerId, id: MessageId) -> Result<Option<PostDigest>, StoreError> {
        let select = format!("SELECT digest FROM message WHERE {OF} AND sent = 0 AND id = ?2");
        let digest = self.db.prepare_cached(&select).and_then(|mut statement| {
            let digest = statement.query_row(params![peer.as_bytes(), id.0], |row| row.get::<_, Option<[u8; 16]>>(0));
            digest.optional()
        });
        Ok(digest.map_err(self.failed("read"))?.flatten().map(PostDigest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_in_front_of_what_came_after_it_and_behind_what_came_before() {
        assert_eq!(in_front_of(5 * SPREAD, 1), Some(5 * SPREAD - 1));
        assert_eq!(in_front_of(5 * SPREAD - 1, 1), Some(5 * SPREAD - 2));
        assert_eq!(in_front_of(5 * SPREAD, SPREAD - 1), Some(4 * SPREAD + 1));
        assert_eq!(in_front_of(5 * SPREAD, SPREAD), None);
        assert_eq!(in_front_of(4 * SPREAD + 1, 1), None);
        assert_eq!(in_front_of(5 * SPREAD, i64::MAX), None);
    }
}
