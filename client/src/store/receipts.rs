//! What becomes of our posts, with the receipts that prove it.

use common::identity::PeerId;
use common::session::{MessageId, PostDigest, StreamId};
use rusqlite::{OptionalExtension, params};

use super::post::{EDIT, REACTION, signed};
use super::state::Change;
use super::streams::Stream;
use super::write::Writer;
use super::{State, Store, StoreError};

/// A post of ours, as far as a receipt concerns it.
struct Ours {
    number: i64,
    state: State,
    waits: bool,
    kind: i64,
    digest: Option<[u8; 16]>,
    about: Option<[u8; 16]>,
    /// Its stream, and its number there.
    seq: Option<i64>,
    stream: Option<i64>,
}

/// A receipt that is kept once, when it proves something.
struct Proof<'a> {
    bytes: &'a [u8],
    row: Option<i64>,
}

impl Writer<'_> {
    fn proof(&self, proof: &mut Proof<'_>) -> rusqlite::Result<Option<i64>> {
        if proof.row.is_none() && !proof.bytes.is_empty() {
            self.db.prepare_cached("INSERT INTO proof (bytes) VALUES (?1)")?.execute([proof.bytes])?;
            proof.row = Some(self.db.last_insert_rowid());
        }
        Ok(proof.row)
    }

    fn ours(&self, peer: i64, id: MessageId) -> rusqlite::Result<Option<Ours>> {
        let select = "SELECT number, state, waits, kind, digest, about, seq, stream FROM message \
                      WHERE peer = ?1 AND sent = 1 AND id = ?2";
        let ours = self.db.prepare_cached(select)?.query_row(params![peer, id.0], |row| {
            Ok(Ours {
                number: row.get(0)?,
                state: row.get(1)?,
                waits: row.get(2)?,
                kind: row.get(3)?,
                digest: row.get(4)?,
                about: row.get(5)?,
                seq: row.get(6)?,
                stream: row.get(7)?,
            })
        });
        ours.optional()
    }

    pub(super) fn state_of(&mut self, peer: PeerId, id: MessageId) -> rusqlite::Result<Option<State>> {
        let peer = self.peer(peer)?;
        Ok(self.ours(peer, id)?.map(|ours| ours.state))
    }

    pub(super) fn stored(
        &mut self,
        peer: PeerId,
        posts: &[MessageId],
        (at_ms, until_s): (u64, u64),
        proof: &[u8],
    ) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let mut proof = Proof { bytes: proof, row: None };
        for id in posts {
            let Some(ours) = self.ours(peer, *id)? else { continue };
            let state = ours.state.after(Change::Stored);
            // Again in a mailbox, after the first time was over: the last receipt counts.
            if state == State::AtServer {
                let proof = self.proof(&mut proof)?;
                let update = "UPDATE message SET state = ?2, server_ms = ?3, server_until_s = ?4, server_proof = ?5 \
                              WHERE number = ?1";
                let values = params![ours.number, state as i64, signed(at_ms), signed(until_s), proof];
                self.db.prepare_cached(update)?.execute(values)?;
            }
        }
        Ok(())
    }

    pub(super) fn delivered(
        &mut self,
        peer: PeerId,
        posts: &[(MessageId, PostDigest)],
        at_ms: u64,
        proof: &[u8],
    ) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let mut proof = Proof { bytes: proof, row: None };
        for (id, digest) in posts {
            let Some(ours) = self.ours(peer, *id)? else { continue };
            // While it is open, nothing else was ever sent under its name.
            let as_written = ours.state.is_open() || ours.digest.is_none_or(|first| first == digest.0);
            let mut state = ours.state.after(if as_written { Change::Arrived } else { Change::ArrivedVoid });
            if state == ours.state && !ours.waits {
                continue;
            }
            let mut read_ms = None;
            if let Some(read) = self.read_up_to(ours.stream, ours.seq)? {
                (state, read_ms) = (state.after(Change::Shown), Some(read).filter(|_| state == State::OnDevice));
            }
            let proof = self.proof(&mut proof)?;
            let update = "UPDATE message SET state = ?2, waits = 0, delivered_ms = ?3, device_proof = ?4, read_ms = ?5, \
                          voided = voided AND ?2 NOT IN (1, 4) WHERE number = ?1";
            let values = params![ours.number, state as i64, signed(at_ms), proof, read_ms];
            self.db.prepare_cached(update)?.execute(values)?;
            if let (EDIT | REACTION, Some(about)) = (ours.kind, ours.about) {
                self.keep_newest(peer, true, MessageId(about), ours.kind)?;
            }
        }
        Ok(())
    }

    /// When we heard that this one was read, if the peer said so before it acknowledged it.
    fn read_up_to(&mut self, stream: Option<i64>, seq: Option<i64>) -> rusqlite::Result<Option<i64>> {
        let (Some(stream), Some(seq)) = (stream, seq) else { return Ok(None) };
        let select = "SELECT read_ms FROM stream WHERE stream = ?1 AND read >= ?2";
        let found = self.db.prepare_cached(select)?.query_row([stream, seq], |row| row.get(0));
        Ok(found.optional()?.flatten())
    }

    pub(super) fn read_by_peer(
        &mut self,
        peer: PeerId,
        stream: StreamId,
        up_to: u64,
        at_ms: u64,
        proof: &[u8],
    ) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let key = (peer, true, stream.0.cast_signed());
        let Some(Stream { row, highest, read, .. }) = self.find_stream(key)? else { return Ok(()) };
        // Nobody has read what was never said.
        let up_to = signed(up_to).min(highest);
        if up_to <= read {
            return Ok(());
        }
        let proof = self.proof(&mut Proof { bytes: proof, row: None })?;
        let select = "SELECT read_proof FROM stream WHERE stream = ?1";
        let before: Option<i64> = self.db.prepare_cached(select)?.query_row([row], |row| row.get(0))?;
        let update = "UPDATE stream SET read = ?2, read_ms = ?3, read_proof = ?4 WHERE stream = ?1";
        self.db.prepare_cached(update)?.execute(params![row, up_to, signed(at_ms), proof])?;
        // The new one says all that the last one said.
        self.db.prepare_cached("DELETE FROM proof WHERE proof = ?1")?.execute([before])?;
        if let Some(known) = self.streams.get_mut(&key) {
            (known.read, known.read_ms) = (up_to, Some(signed(at_ms)));
        }
        let update = "UPDATE message SET state = ?4, read_ms = ?5 \
                      WHERE stream = ?1 AND seq > ?2 AND seq <= ?3 AND state = ?6";
        let (shown, device) = (State::OnDevice.after(Change::Shown) as i64, State::OnDevice as i64);
        let values = params![row, read, up_to, shown, signed(at_ms), device];
        self.db.prepare_cached(update)?.execute(values).map(drop)
    }

    /// Takes one of ours back, or has it expire: a void goes in its place. The words stay here, for the history.
    pub(super) fn end(&mut self, peer: PeerId, id: MessageId, change: Change, at_ms: u64) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let Some(ours) = self.ours(peer, id)? else { return Ok(()) };
        let state = ours.state.after(change);
        if state == ours.state {
            return Ok(());
        }
        let update = "UPDATE message SET state = ?2, voided = 1, ended_ms = ?3 WHERE number = ?1";
        self.db.prepare_cached(update)?.execute(params![ours.number, state as i64, signed(at_ms)]).map(drop)
    }
}

/// The receipts that prove the state of a message of ours, in the wire's form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proofs {
    /// The rendezvous's.
    pub server: Option<Vec<u8>>,
    /// The peer's, that it is on the device.
    pub device: Option<Vec<u8>>,
    /// The peer's, that it was read: for this one and all before it.
    pub read: Option<Vec<u8>>,
}

impl Store {
    /// What proves the state of this message of ours.
    pub fn proofs(&self, peer: PeerId, id: MessageId) -> Result<Proofs, StoreError> {
        let select = "SELECT (SELECT bytes FROM proof WHERE proof = message.server_proof), \
                      (SELECT bytes FROM proof WHERE proof = message.device_proof), \
                      (SELECT bytes FROM proof JOIN stream ON proof.proof = stream.read_proof \
                      WHERE stream.stream = message.stream AND message.state = 4) \
                      FROM message WHERE peer = (SELECT peer FROM peer WHERE id = ?1) AND sent = 1 AND id = ?2";
        let proofs = self.db.prepare_cached(select).and_then(|mut statement| {
            let proofs = statement.query_row(params![peer.as_bytes(), id.0], |row| {
                Ok(Proofs { server: row.get(0)?, device: row.get(1)?, read: row.get(2)? })
            });
            proofs.optional()
        });
        Ok(proofs.map_err(self.failed("read"))?.unwrap_or_default())
    }
}
