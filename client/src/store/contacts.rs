//! Whom we know, in the database. What is allowed is said in [`Contacts`]; here it is kept.

use common::identity::PeerId;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::message::Stored;
use super::write::row_of;
use super::{Store, StoreError, timestamp};
use crate::data::{Contact, Contacts};

impl Store {
    /// Everybody we know, in the order in which we met.
    pub fn contacts(&self) -> Result<Contacts, StoreError> {
        contacts(&self.db).map_err(self.failed("read"))
    }

    /// Changes the contacts in one transaction, unless the change refuses; while it looks at them nobody else changes them.
    pub fn change_contacts<T, E: From<StoreError>>(
        &mut self,
        now: Timestamp,
        change: impl FnOnce(&mut Contacts) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = self.failed("write");
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let before = contacts(&transaction).map_err(&failed)?;
        let mut after = before.clone();
        let answer = change(&mut after)?;
        replace(&transaction, &before, &after, now).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(answer)
    }
}

fn contacts(db: &Connection) -> rusqlite::Result<Contacts> {
    let mut statement = db.prepare_cached(
        "SELECT peer.id, contact.name, contact.since_ms FROM contact JOIN peer USING (peer) ORDER BY contact.contact",
    )?;
    let contact = |row: &rusqlite::Row<'_>| {
        let id = row.get::<_, Stored<PeerId>>(0)?.0;
        Ok(Contact { id, name: row.get(1)?, since: Some(timestamp(row.get(2)?)) })
    };
    statement.query_map([], contact)?.collect()
}

fn replace(db: &Connection, before: &Contacts, after: &Contacts, now: Timestamp) -> rusqlite::Result<()> {
    for contact in before.iter().filter(|contact| after.name_of(contact.id).is_none()) {
        let mut delete = db.prepare_cached("DELETE FROM contact WHERE peer = ?1")?;
        delete.execute([row_of(db, contact.id)?])?;
    }
    for contact in after.iter() {
        let row = row_of(db, contact.id)?;
        match before.name_of(contact.id) {
            Some(name) if name == contact.name => {}
            Some(_) => {
                let mut rename = db.prepare_cached("UPDATE contact SET name = ?2 WHERE peer = ?1")?;
                rename.execute(params![row, contact.name])?;
            }
            None => {
                let since = contact.since.unwrap_or(now).as_millisecond();
                let mut insert = db.prepare_cached("INSERT INTO contact (peer, name, since_ms) VALUES (?1, ?2, ?3)")?;
                insert.execute(params![row, contact.name, since])?;
            }
        }
    }
    Ok(())
}
