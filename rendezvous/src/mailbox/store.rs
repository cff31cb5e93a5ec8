//! What the mailbox keeps: accounts with what they consent to, their prekeys, and mail. Each method is a step of a transaction that the
//! caller makes of several ([`Store::transact`]).

use common::identity::PeerId;
use common::pairing::Capability;
use rusqlite::types::FromSqlError;
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Result, Row, named_params, params};

use super::quota::{Standing, Usage, cost};

/// A row of the accounts: somebody for whom mail is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account(i64);

/// A public prekey as it is kept, and whether it is to be used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPrekey {
    /// Its name among those of its owner.
    pub id: u64,
    /// Nobody is given it after this.
    pub expires_s: u64,
    /// As its owner sent it.
    pub bytes: Vec<u8>,
}

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number among the recipient's.
    pub id: u64,
    /// Whose it is.
    pub sender: PeerId,
    /// What.
    pub envelope: Vec<u8>,
}

/// A mail that is to wait.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Whose it is.
    pub sender: PeerId,
    /// Where the sender is, as far as quotas need it.
    pub slot: u64,
    /// When it has waited for long enough, by [`Store::served`].
    pub over_s: u64,
    /// What.
    pub envelope: &'a [u8],
}

/// The database, open.
#[derive(Debug)]
pub struct Store {
    db: Connection,
}

impl Store {
    pub(super) fn new(db: Connection) -> Self {
        Store { db }
    }

    /// Does all of it or nothing; it is on the disk when this returns.
    pub fn transact<T>(&mut self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self).and_then(|done| self.db.execute_batch("COMMIT").map(|()| done));
        if done.is_err() && !self.db.is_autocommit() {
            // What failed may have ended the transaction already; and that this fails changes nothing.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        done
    }

    /// The account of this key.
    pub fn account(&self, peer: &PeerId) -> Result<Option<Account>> {
        let mut find = self.statement("SELECT account FROM account WHERE peer = ?1")?;
        find.query_row([peer.as_bytes()], |row| row.get(0)).optional().map(|found| found.map(Account))
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> Result<u64> {
        self.statement("SELECT accounts FROM total")?.query_row([], |row| number(row, 0))
    }

    /// A new account, with nothing in it.
    pub fn open_account(&self, peer: &PeerId, day: i64) -> Result<Account> {
        self.statement("INSERT INTO account (peer, day) VALUES (?1, ?2)")?.execute(params![peer.as_bytes(), day])?;
        Ok(Account(self.db.last_insert_rowid()))
    }

    /// Its owner is here, and accepts these, which are sorted. Writes what has changed, and nothing if nothing has.
    pub fn consent(&self, account: Account, capabilities: &[Capability], day: i64) -> Result<()> {
        self.statement("UPDATE account SET day = ?2 WHERE account = ?1 AND day <> ?2")?.execute([account.0, day])?;
        let bytes: Vec<u8> = capabilities.iter().flat_map(|capability| capability.0).collect();
        let same = |kept: &[u8]| kept == bytes;
        if !self.with_consent(account, same)?.unwrap_or(false) {
            let write =
                "INSERT INTO consent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET capabilities = excluded.capabilities";
            self.statement(write)?.execute(params![account.0, bytes])?;
        }
        Ok(())
    }

    /// Who accepts this capability and has this key. Of one who is not known as much is asked as of one who refuses.
    pub fn accepting(&self, peer: &PeerId, capability: &Capability) -> Result<Option<Account>> {
        let account = self.account(peer)?;
        let accepts = |kept: &[u8]| kept.as_chunks().0.binary_search(&capability.0).is_ok();
        let accepted = self.with_consent(account.unwrap_or(Account(0)), accepts)?.unwrap_or(false);
        Ok(account.filter(|_| accepted))
    }

    fn with_consent<T>(&self, account: Account, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let mut find = self.statement("SELECT capabilities FROM consent WHERE account = ?1")?;
        find.query_row([account.0], |row| Ok(look(row.get_ref(0)?.as_blob()?))).optional()
    }

    /// The prekey for those who find no other, and more of the other kind, up to so many.
    pub fn publish(&self, account: Account, signed: &[u8], one_time: &[KeptPrekey], most: usize) -> Result<()> {
        let write = "INSERT INTO signed_prekey VALUES (?1, ?2)
            ON CONFLICT DO UPDATE SET prekey = excluded.prekey WHERE prekey <> excluded.prekey";
        self.statement(write)?.execute(params![account.0, signed])?;
        let held: u64 = self
            .statement("SELECT count(*) FROM one_time_prekey WHERE account = ?1")?
            .query_row([account.0], |row| number(row, 0))?;
        let mut write = self.statement("INSERT OR IGNORE INTO one_time_prekey VALUES (?1, ?2, ?3, ?4)")?;
        for KeptPrekey { id, expires_s, bytes } in one_time.iter().take(most.saturating_sub(held as usize)) {
            write.execute(params![account.0, id.cast_signed(), expires_s.cast_signed(), bytes])?;
        }
        Ok(())
    }

    /// How many one-time prekeys somebody could still be given, and how many mails wait.
    pub fn held(&self, account: Account, now_s: u64) -> Result<(u64, u64)> {
        // Those that nobody will be given make room for others.
        self.statement("DELETE FROM one_time_prekey WHERE account = ?1 AND expires_s <= ?2")?
            .execute([account.0, now_s.cast_signed()])?;
        let mut count = self.statement(
            "SELECT (SELECT count(*) FROM one_time_prekey WHERE account = ?1), waiting FROM account WHERE account = ?1",
        )?;
        count.query_row([account.0], |row| Ok((number(row, 0)?, number(row, 1)?)))
    }

    /// The prekey for those who find no other.
    pub fn signed_prekey(&self, account: Account) -> Result<Option<Vec<u8>>> {
        let mut find = self.statement("SELECT prekey FROM signed_prekey WHERE account = ?1")?;
        find.query_row([account.0], |row| row.get(0)).optional()
    }

    /// A prekey that nobody is given again.
    pub fn take_one_time_prekey(&self, account: Account, now_s: u64) -> Result<Option<Vec<u8>>> {
        let mut take = self.statement(
            "DELETE FROM one_time_prekey WHERE account = ?1 AND id =
                (SELECT id FROM one_time_prekey WHERE account = ?1 AND expires_s > ?2 LIMIT 1)
             RETURNING prekey",
        )?;
        take.query_row([account.0, now_s.cast_signed()], |row| row.get(0)).optional()
    }

    /// What waits already, seen from this deposit.
    pub fn standing(&self, account: Account, sender: &PeerId, slot: u64) -> Result<Standing> {
        let usage = |row: &Row<'_>| Ok(Usage { mails: number(row, 0)?, bytes: number(row, 1)? });
        let none = |usage: Option<Usage>| usage.unwrap_or_default();
        let mut pair = self.statement("SELECT mails, bytes FROM pair WHERE sender = ?1 AND account = ?2")?;
        let mut of_sender = self.statement("SELECT mails, bytes FROM sender WHERE sender = ?1")?;
        let mut source = self.statement("SELECT mails, bytes FROM source WHERE slot = ?1")?;
        let sender = sender.as_bytes();
        Ok(Standing {
            pair: none(pair.query_row(params![sender, account.0], usage).optional()?),
            sender: none(of_sender.query_row([sender], usage).optional()?),
            source: none(source.query_row([slot.cast_signed()], usage).optional()?).bytes,
            all: self.total()?.bytes,
        })
    }

    /// All that waits.
    pub fn total(&self) -> Result<Usage> {
        let usage = |row: &Row<'_>| Ok(Usage { mails: number(row, 0)?, bytes: number(row, 1)? });
        self.statement("SELECT mails, bytes FROM total")?.query_row([], usage)
    }

    /// Keeps a mail. Its number is one that none of the recipient's had before.
    pub fn deposit(&self, account: Account, letter: &Letter<'_>) -> Result<()> {
        let Letter { sender, slot, over_s, envelope } = letter;
        let mut write = self.statement(
            "INSERT INTO mail (account, id, sender, slot, over_s, cost, envelope)
             SELECT :account, next_mail, :sender, :slot, :over, :cost, :envelope FROM account WHERE account = :account",
        )?;
        write.execute(named_params! {
            ":account": account.0,
            ":sender": sender.as_bytes(),
            ":slot": slot.cast_signed(),
            ":over": over_s.cast_signed(),
            ":cost": cost(envelope.len()).cast_signed(),
            ":envelope": envelope,
        })?;
        Ok(())
    }

    /// The mails that wait behind this number, as many and of as many bytes at most; and whether that is all.
    pub fn waiting(&self, account: Account, after: u64, mails: usize, bytes: usize) -> Result<(Vec<Waiting>, bool)> {
        let mut find =
            self.statement("SELECT id, sender, envelope FROM mail WHERE account = ?1 AND id > ?2 ORDER BY id")?;
        let mut rows = find.query([account.0, after.cast_signed()])?;
        let (mut found, mut left) = (Vec::new(), bytes);
        while let Some(row) = rows.next()? {
            let envelope = row.get_ref(2)?.as_blob()?;
            if found.len() >= mails || envelope.len() > left {
                return Ok((found, false));
            }
            left -= envelope.len();
            let sender = row.get(1).map(PeerId::from_bytes)?.map_err(|error| FromSqlError::Other(Box::new(error)))?;
            found.push(Waiting { id: number(row, 0)?, sender, envelope: envelope.to_vec() });
        }
        Ok((found, true))
    }

    /// Removes these mails of this recipient, and says how many of them there were.
    pub fn collect(&self, account: Account, mails: impl IntoIterator<Item = u64>) -> Result<usize> {
        let mut remove = self.statement("DELETE FROM mail WHERE account = ?1 AND id = ?2")?;
        mails.into_iter().map(|id| remove.execute([account.0, id.cast_signed()])).sum()
    }

    /// For how many seconds this mailbox was in service when that was last [written](Store::serve).
    pub fn served(&self) -> Result<u64> {
        self.statement("SELECT served_s FROM clock")?.query_row([], |row| number(row, 0))
    }

    /// It was in service for so long. While nothing waits, time need not pass.
    pub fn serve(&self, served_s: u64) -> Result<()> {
        let write = "UPDATE clock SET served_s = ?1 WHERE served_s < ?1 AND (SELECT mails FROM total) > 0";
        self.statement(write)?.execute([served_s.cast_signed()]).map(|_| ())
    }

    /// Removes up to so many mails whose time is over, and says how many.
    pub fn expire(&self, served_s: u64, most: u32) -> Result<usize> {
        let remove =
            "DELETE FROM mail WHERE rowid IN (SELECT rowid FROM mail WHERE over_s <= ?1 ORDER BY over_s LIMIT ?2)";
        self.statement(remove)?.execute(params![served_s.cast_signed(), most])
    }

    /// Forgets up to so many who were last here before this day, and for whom nothing waits.
    pub fn forget(&self, before: i64, most: u32) -> Result<usize> {
        let remove = "DELETE FROM account WHERE account IN
            (SELECT account FROM account WHERE day < ?1 AND waiting = 0 LIMIT ?2)";
        self.statement(remove)?.execute(params![before, most])
    }

    /// Writes the log into the file and cuts it off: until then what was removed can still be read in it.
    pub fn tidy(&self) -> Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// The disk is as small as the database is now, with so many pages to spare; `None`: it is a large one again.
    #[cfg(test)]
    pub(super) fn limit_disk(&self, spare: Option<u64>) {
        let pages: u64 = self.db.query_row("PRAGMA page_count", [], |row| number(row, 0)).expect("a number");
        let most = spare.map_or(u64::from(u32::MAX) - 1, |spare| pages + spare);
        self.db.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).expect("limited");
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.db.prepare_cached(sql)
    }
}

/// Is this but a want of room?
pub fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn number(row: &Row<'_>, at: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}
