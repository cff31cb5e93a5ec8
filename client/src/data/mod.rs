//! The data folder: who we are, where we register, whom we know, and what the running node is doing.
//!
//! | file | what | written by |
//! |---|---|---|
//! | `identity.key` | the secret seed, never overwritten | `join`, once |
//! | `config.json` | our name and the rendezvous with its pinned key | `join` |
//! | `contacts.json` | ids and petnames | `add`, `contacts --remove` |
//! | `messages.db` | what was said, in SQLite, with `-wal` and `-shm` beside it ([`crate::store`]) | the process that is online; `outbox --cancel` |
//! | `lock` | held by the one process that is online, with its process id inside | `up`, `run`, and other commands if none is up |
//! | `control.sock` | its control socket; `control.path` says where that is if the path is too long ([`crate::control`]) | the same |
//! | `node.log` | what goes wrong in the background | `up` |
//! | `on-NAME.json` | up to where messages were handled, with `on-NAME.lock` beside it | `on message` |
//! | `status.json` | what that process is doing; removed when it ends | the same |
//! | `edit.lock` | held for the moment of a change, so that two commands do not undo each other's | all that change |
//!
//! Every file says its format. A newer one is refused and left alone; fields that this program does not know are kept.
//! Files are replaced whole (written beside, synced, renamed), so that a power cut leaves the old or the new one.
//! On Unix a new folder is 0700 and every file 0600; a folder that exists keeps the mode that its owner gave it.

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

use common::identity::Identity;

use crate::store::Store;

pub use config::Config;
pub use contacts::{Added, Contact, ContactError, Contacts, MAX_CONTACTS, check_name};
pub use edit::Edit;
pub use error::DataError;
pub use lock::{Holder, Lock};
pub use status::{AttemptStatus, RefusedStatus, SessionStatus, State, Status, StatusFile};

/// Whoever reads a file has it grow no further than this: a thousand contacts are about 150 kB.
const MAX_FILE: u64 = 4 << 20;

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

    /// The contacts; none before the first.
    pub fn contacts(&self) -> Result<Contacts, DataError> {
        Ok(file::load_json(&self.file("contacts.json"), contacts::FORMAT)?.unwrap_or_default())
    }

    /// Where the contacts are, for who watches whether they change.
    pub fn contacts_file(&self) -> PathBuf {
        self.file("contacts.json")
    }

    /// Where everything that was said is kept: see [`crate::store`].
    pub fn messages(&self) -> Result<Store, DataError> {
        self.prepare()?;
        Ok(Store::open(&self.file("messages.db"))?)
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
