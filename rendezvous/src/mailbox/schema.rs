//! The database of the mailbox: its tables, and how it is opened.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// Its name in the folder.
pub const FILE: &str = "mailbox.db";
/// Says in the header of the file whose it is: `PNMB`.
const APPLICATION: i64 = 0x504e_4d42;
/// Each step makes the next version out of the one before. A step that was released is never changed.
const STEPS: [&str; 1] = [FIRST];
/// A server that was just told to stop may still have it.
const BUSY: Duration = Duration::from_secs(2);

/// `pair`, `sender`, `source` and `total` say what waits, for the quotas: triggers keep them, so that they cannot differ from the mail.
/// `clock.served_s` is for how long this mailbox was in service, which no calendar can turn forward: `account.day` and
/// `mail.over_s` count by it.
/// `source.slot` is one of a few thousand into which a keyed hash puts addresses; the addresses themselves are nowhere.
const FIRST: &str = "
CREATE TABLE account (
    account INTEGER PRIMARY KEY,
    peer BLOB NOT NULL UNIQUE CHECK (length(peer) = 32),
    day INTEGER NOT NULL,
    next_mail INTEGER NOT NULL DEFAULT 1,
    waiting INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE consent (
    account INTEGER PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    capabilities BLOB NOT NULL
) STRICT;
CREATE TABLE signed_prekey (
    account INTEGER PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    prekey BLOB NOT NULL
) STRICT;
CREATE TABLE one_time_prekey (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    id INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    prekey BLOB NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE mail (
    account INTEGER NOT NULL REFERENCES account,
    id INTEGER NOT NULL,
    sender BLOB NOT NULL CHECK (length(sender) = 32),
    slot INTEGER NOT NULL,
    over_s INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    UNIQUE (account, id)
) STRICT;
CREATE INDEX over ON mail (over_s);
CREATE TABLE pair (
    sender BLOB NOT NULL,
    account INTEGER NOT NULL,
    mails INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (sender, account)
) STRICT, WITHOUT ROWID;
CREATE TABLE sender (
    sender BLOB PRIMARY KEY,
    mails INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE source (
    slot INTEGER PRIMARY KEY,
    mails INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE total (
    accounts INTEGER NOT NULL,
    mails INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (0, 0, 0);
CREATE TABLE clock (served_s INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (0);
CREATE TRIGGER account_in AFTER INSERT ON account BEGIN
    UPDATE total SET accounts = accounts + 1;
END;
CREATE TRIGGER account_out AFTER DELETE ON account BEGIN
    UPDATE total SET accounts = accounts - 1;
END;
CREATE TRIGGER mail_in AFTER INSERT ON mail BEGIN
    UPDATE account SET next_mail = new.id + 1, waiting = waiting + 1 WHERE account = new.account;
    INSERT INTO pair VALUES (new.sender, new.account, 1, new.cost)
        ON CONFLICT DO UPDATE SET mails = mails + 1, bytes = bytes + excluded.bytes;
    INSERT INTO sender VALUES (new.sender, 1, new.cost)
        ON CONFLICT DO UPDATE SET mails = mails + 1, bytes = bytes + excluded.bytes;
    INSERT INTO source VALUES (new.slot, 1, new.cost)
        ON CONFLICT DO UPDATE SET mails = mails + 1, bytes = bytes + excluded.bytes;
    UPDATE total SET mails = mails + 1, bytes = bytes + new.cost;
END;
CREATE TRIGGER mail_out AFTER DELETE ON mail BEGIN
    UPDATE account SET waiting = waiting - 1 WHERE account = old.account;
    UPDATE pair SET mails = mails - 1, bytes = bytes - old.cost WHERE sender = old.sender AND account = old.account;
    DELETE FROM pair WHERE sender = old.sender AND account = old.account AND mails = 0;
    UPDATE sender SET mails = mails - 1, bytes = bytes - old.cost WHERE sender = old.sender;
    DELETE FROM sender WHERE sender = old.sender AND mails = 0;
    UPDATE source SET mails = mails - 1, bytes = bytes - old.cost WHERE slot = old.slot;
    DELETE FROM source WHERE slot = old.slot AND mails = 0;
    UPDATE total SET mails = mails - 1, bytes = bytes - old.cost;
END;
";

/// Why the mailbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The operating system said no.
    #[error("cannot open the mailbox {}: {source}; give this user access to it, or use --mailbox DIR or --mailbox off", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// Not to be written.
    #[error("the mailbox {}, or the folder that it is in, is read-only; let this user write there, or use --mailbox DIR or --mailbox off", .0.display())]
    ReadOnly(PathBuf),
    /// No room even to begin.
    #[error("there is no room on the disk for the mailbox {}; make room, or use --mailbox DIR or --mailbox off", .0.display())]
    Full(PathBuf),
    /// Another server has it.
    #[error("another program uses the mailbox {}; stop it, or name another folder with --mailbox", .0.display())]
    InUse(PathBuf),
    /// Not what it should be.
    #[error(
        "the mailbox {} is damaged: {what}. It was left as it is; bring back a copy of it, or move it away, and what waited in it is lost",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another program's.
    #[error("{} is a database of another program; it was left as it is. Name another folder with --mailbox", .0.display())]
    Foreign(PathBuf),
    /// A version above ours.
    #[error("the mailbox {} has format {found}, this program knows format {known}; update the program", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Anything else that SQLite says.
    #[error("cannot open the mailbox {}: {source}", path.display())]
    Other {
        /// Which file.
        path: PathBuf,
        /// In its words.
        source: rusqlite::Error,
    },
    /// No thread.
    #[error("starting the mailbox: {0}")]
    Thread(io::Error),
}

impl MailboxError {
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => MailboxError::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                MailboxError::ReadOnly(path)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => MailboxError::InUse(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                MailboxError::Damaged { path, what: error.to_string() }
            }
            _ => MailboxError::Other { path, source: error },
        }
    }
}

/// Opens the database in this folder, and makes both if they are not there.
pub(super) fn open(folder: &Path) -> Result<Connection, MailboxError> {
    let path = folder.join(FILE);
    let fail = |source| MailboxError::Io { path: path.clone(), source };
    crate::data_folder::create_private(folder).map_err(fail)?;
    private_file(&path).map_err(fail)?;
    let mut db = Connection::open(&path).map_err(|error| MailboxError::of(&path, error))?;
    prepare(&mut db, &path)?;
    Ok(db)
}

/// One that is gone when it is closed.
pub(super) fn in_memory() -> Result<Connection, MailboxError> {
    let path = Path::new(":memory:");
    let mut db = Connection::open_in_memory().map_err(|error| MailboxError::of(path, error))?;
    prepare(&mut db, path)?;
    Ok(db)
}

/// Before SQLite makes it, with whatever permissions: it gives those of this file to the ones beside it.
fn private_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.write(true).create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn prepare(db: &mut Connection, path: &Path) -> Result<(), MailboxError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let at = |error| MailboxError::of(path, error);
    db.busy_timeout(BUSY).map_err(at)?;
    // Nobody else's as long as we have it. Before the write-ahead mode, which then needs no shared memory.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(at)?;
    let (application, version) = header(db).map_err(at)?;
    let empty = application == 0 && version == 0 && is_empty(db).map_err(at)?;
    if !empty && application != APPLICATION {
        return Err(MailboxError::Foreign(path.to_owned()));
    }
    if version > known {
        return Err(MailboxError::Newer { path: path.to_owned(), found: version, known });
    }
    // A page that is broken says so now, before anything is written, and not when somebody's mail is to be kept.
    let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(at)?;
    if check != "ok" {
        return Err(MailboxError::Damaged { path: path.to_owned(), what: check });
    }
    db.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    // On the disk when a transaction returns; what is removed is overwritten.
    db.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    db.pragma_update(None, "secure_delete", true).map_err(at)?;
    db.pragma_update(None, "foreign_keys", true).map_err(at)?;
    // A long log is cut off again, and a megabyte of pages is enough for the inner ones of all indexes.
    db.pragma_update(None, "journal_size_limit", 8 << 20).map_err(at)?;
    db.pragma_update(None, "cache_size", -4096).map_err(at)?;
    db.set_prepared_statement_cache_capacity(64);
    bring_up_to_date(db, version).map_err(at)
}

/// Also writes where nothing changes: a database that is read-only must say so at the start.
fn bring_up_to_date(db: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

fn header(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}
