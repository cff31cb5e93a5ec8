//! The data folder: who we are, where we register, whom we know, and what the running node is doing.
//!
//! | file | what | written by |
//! |---|---|---|
//! | `identity.key` | the secret seed, never overwritten | `join`, once |
//! | `config.json` | our name and the rendezvous with its pinned key | `join` |
//! | `messages.db` | contacts and what was said, in SQLite, with `-wal` and `-shm` beside it ([`crate::store`]) | the process that is online; `add`, `contacts --remove`, `outbox cancel` |
//! | `contacts.json` | where earlier versions kept the contacts; taken into the database and then called `contacts.json.migrated` | nobody |
//! | `lock` | held by the one process that is online, with its process id inside | `up`, `run`, and other commands if none is up |
//! | `control.sock` | its control socket; `control.path` says where that is if the path is too long ([`crate::control`]) | the same |
//! | `node.log` | what goes wrong in the background | `up` |
//! | `on-NAME.json` | up to where messages were handled, with `on-NAME.lock` beside it | `on message` |
//! | `status.json` | what that process is doing; removed when it ends | the same |
//! | `edit.lock` | held for the moment of a change of the first two, so that two commands do not undo each other's | `join` |
//!
//! Every file says its format. A newer one is refused and left alone; fields that this program does not know are kept.
//! Files are replaced whole (written beside, synced, renamed), so that a power cut leaves the old or the new one.
//! On Unix a new folder is 0700 and every file 0600; a folder that exists keeps the mode that its owner gave it.

pub mod backup;
mod bookmark;
mod config;
mod contacts;
mod edit;
mod error;
mod file;
mod identity;
mod lock;
mod status;

use std::path::{Path, PathBuf};
use std::{fs, io};

use common::identity::Identity;
use jiff::Timestamp;

use crate::store::Store;

pub use config::Config;
pub use contacts::{Added, Contact, ContactError, Contacts, MAX_CONTACTS, check_name};
pub use edit::Edit;
pub use error::DataError;
pub use lock::{Holder, Lock};
pub use status::{AttemptStatus, RefusedStatus, SessionStatus, State, Status, StatusFile};

/// Whoever reads a file has it grow no further than this: a thousand contacts are about 150 kB.
const MAX_FILE: u64 = 4 << 20;

/// Contacts and messages.
const DATABASE: &str = "messages.db";
/// The contacts of earlier versions.
const EARLIER_CONTACTS: &str = "contacts.json";

/// Where everything is kept.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// The folder asked for, or else the platform's own for this program.
    pub fn locate(asked_for: Option<PathBuf>) -> Result<Self, DataError> {
        let path = match asked_for {
            Some(path) => path,
            None => {
                let dirs = directories::ProjectDirs::from("", "", "punchline").ok_or(DataError::NoHome)?;
                dirs.data_dir().to_owned()
            }
        };
        Ok(DataDir { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity, if there is one yet.
    pub fn identity(&self) -> Result<Option<Identity>, DataError> {
        identity::load(&self.file("identity.key"))
    }

    /// The configuration, if a rendezvous was joined.
    pub fn config(&self) -> Result<Option<Config>, DataError> {
        file::load_json(&self.file("config.json"), config::FORMAT)
    }

    /// The contacts; none before the first, and then nothing is made for looking.
    pub fn contacts(&self) -> Result<Contacts, DataError> {
        let there = |name| match self.file(name).symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DataError::io("read", self.file(name))(error)),
        };
        if !there(DATABASE)? && !there(EARLIER_CONTACTS)? {
            return Ok(Contacts::default());
        }
        Ok(self.messages()?.contacts()?)
    }

    /// Where everything that was said is kept, and whom we know: see [`crate::store`].
    pub fn messages(&self) -> Result<Store, DataError> {
        self.prepare()?;
        let mut store = Store::open(&self.file(DATABASE))?;
        self.migrate_contacts(&mut store)?;
        Ok(store)
    }

    /// The contacts of earlier versions come into the database in one transaction, which is on disk before their file gets
    /// another name; a crash in between has them taken in again, which changes nothing.
    fn migrate_contacts(&self, store: &mut Store) -> Result<(), DataError> {
        let path = self.file(EARLIER_CONTACTS);
        if !path.try_exists().map_err(DataError::io("read", &path))? {
            return Ok(());
        }
        // Read while nobody else writes: another process may be about to do the same, and to remove one of them then.
        store.change_contacts(Timestamp::now(), |contacts| contacts.take_in(&path))?;
        let renamed = fs::rename(&path, self.file("contacts.json.migrated"));
        match renamed.and_then(|()| crate::system::sync_dir(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(DataError::io("rename", &path)),
        }
    }

    /// What the running node says of itself. Trust it only while [`DataDir::holder`] says that one runs.
    pub fn status(&self) -> Result<Option<Status>, DataError> {
        file::load_json(&self.file("status.json"), status::FORMAT)
    }

    /// Whether a node runs on this folder.
    pub fn holder(&self) -> Result<Holder, DataError> {
        lock::holder(&self.file("lock"))
    }

    /// Becomes the one process that is online with this folder.
    pub fn lock(&self) -> Result<Lock, DataError> {
        self.prepare()?;
        lock::acquire(&self.file("lock"))
    }

    /// The place where the running node says what it does.
    pub fn status_file(&self, _online: &Lock) -> StatusFile {
        StatusFile::new(self.file("status.json"))
    }

    /// Begins a change of what is kept.
    pub fn edit(&self) -> Result<Edit<'_>, DataError> {
        self.prepare()?;
        Edit::begin(self)
    }

    fn prepare(&self) -> Result<(), DataError> {
        crate::system::create_private_dir(&self.path).map_err(|source| DataError::Io {
            doing: "create the folder",
            path: self.path.clone(),
            source,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
