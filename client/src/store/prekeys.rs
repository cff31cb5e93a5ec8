//! Secrets of our prekeys, and the public halves of others'.

use common::identity::PeerId;
use common::prekey::{Prekey, PrekeyId, PrekeySecret};
use rusqlite::{OptionalExtension, params};

use super::message::Stored;
use super::post::{signed, unsigned};
use super::write::Writer;
use super::{Store, StoreError};

impl Writer<'_> {
    pub(super) fn add_prekeys(&mut self, secrets: &[PrekeySecret]) -> rusqlite::Result<()> {
        let insert = "INSERT INTO prekey (id, secret, one_time, created_s, expires_s) VALUES (?1, ?2, ?3, ?4, ?5) \
                      ON CONFLICT DO NOTHING";
        let mut insert = self.db.prepare_cached(insert)?;
        for PrekeySecret { id, secret, one_time, created_s, expires_s } in secrets {
            let times = (signed(*created_s), signed(*expires_s));
            insert.execute(params![id.0.cast_signed(), secret, one_time, times.0, times.1])?;
        }
        Ok(())
    }

    pub(super) fn remove_prekeys(&mut self, ids: &[PrekeyId]) -> rusqlite::Result<()> {
        let mut delete = self.db.prepare_cached("DELETE FROM prekey WHERE id = ?1")?;
        for id in ids {
            self.forgot |= delete.execute([id.0.cast_signed()])? > 0;
        }
        Ok(())
    }

    pub(super) fn set_peer_prekey(&mut self, peer: PeerId, prekey: &Prekey) -> rusqlite::Result<()> {
        let peer = self.peer(peer)?;
        let select = "SELECT prekey FROM peer WHERE peer = ?1";
        let known = self.db.prepare_cached(select)?.query_row([peer], |row| row.get::<_, Option<Vec<u8>>>(0))?;
        let known = known.and_then(|bytes| postcard::from_bytes::<Prekey>(&bytes).ok());
        if known.is_some_and(|known| known.expires_s >= prekey.expires_s) {
            return Ok(());
        }
        let bytes =
            postcard::to_stdvec(prekey).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        self.db.prepare_cached("UPDATE peer SET prekey = ?2 WHERE peer = ?1")?.execute(params![peer, bytes]).map(drop)
    }
}

impl Store {
    /// All secrets that are kept.
    pub fn prekeys(&self) -> Result<Vec<PrekeySecret>, StoreError> {
        let secrets = || {
            let select = "SELECT id, secret, one_time, created_s, expires_s FROM prekey ORDER BY created_s, id";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([], |row| {
                Ok(PrekeySecret {
                    id: PrekeyId(row.get::<_, i64>(0)?.cast_unsigned()),
                    secret: row.get(1)?,
                    one_time: row.get(2)?,
                    created_s: unsigned(row.get(3)?),
                    expires_s: unsigned(row.get(4)?),
                })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        secrets().map_err(self.failed("read"))
    }

    /// The prekey to which envelopes for this peer are sealed, if one is known.
    pub fn peer_prekey(&self, peer: PeerId) -> Result<Option<Prekey>, StoreError> {
        let select = "SELECT prekey FROM peer WHERE id = ?1";
        let bytes = self.db.prepare_cached(select).and_then(|mut statement| {
            statement.query_row([peer.as_bytes()], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()
        });
        let bytes = bytes.map_err(self.failed("read"))?.flatten();
        // One of another version is as good as none: the peer says it again with the next greeting.
        Ok(bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()))
    }

    /// Those of all contacts.
    pub fn peer_prekeys(&self) -> Result<Vec<(PeerId, Prekey)>, StoreError> {
        let prekeys = || {
            let select =
                "SELECT peer.id, peer.prekey FROM peer JOIN contact USING (peer) WHERE peer.prekey IS NOT NULL";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, Stored<PeerId>>(0)?.0, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(PeerId, Vec<u8>)>>>()
        };
        let found = prekeys().map_err(self.failed("read"))?;
        Ok(found.into_iter().filter_map(|(peer, bytes)| Some((peer, postcard::from_bytes(&bytes).ok()?))).collect())
    }
}
