//! Bringing a backup back: everything is checked in a folder of its own, and only then put in its place.

use std::fs;
use std::path::{Path, PathBuf};

use common::identity::PeerId;
use jiff::Timestamp;

use super::{BackupError, CONFIG, Contents, IDENTITY, failed, unpack};
use crate::data::{Config, DATABASE, DataDir, DataError, EARLIER_CONTACTS, Edit, Lock};
use crate::store::{Store, StoreError};
use crate::system;

/// What a restoration moves aside, in this order. The log goes before the database that it belongs to, so that no log ever
/// stands beside a database of another time.
const REPLACED: [&str; 6] = [IDENTITY, CONFIG, EARLIER_CONTACTS, "messages.db-wal", "messages.db-shm", DATABASE];
/// What a restoration brings, in this order: a folder with an identity is complete.
const BROUGHT: [&str; 3] = [DATABASE, CONFIG, IDENTITY];

/// What is in the folder already, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The files.
    pub files: Vec<&'static str>,
    /// Whose.
    pub id: Option<PeerId>,
    /// How many contacts.
    pub contacts: Option<usize>,
    /// How many messages.
    pub messages: Option<u64>,
}

/// A backup that was opened and found in order, not yet in its place.
#[derive(Debug)]
pub struct Restoration<'a> {
    data: &'a DataDir,
    /// Where the files wait.
    staging: Staging,
    contents: Contents,
    name: String,
    found: Option<Found>,
    // Nobody is online and nobody changes anything meanwhile.
    _locks: (Edit<'a>, Lock),
}

/// A folder that goes when this does; and the folder around it, if that was made for it and nothing else is in it.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    made_for_it: Option<PathBuf>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        if let Some(folder) = &self.made_for_it
            && !folder.join(IDENTITY).exists()
        {
            for file in ["lock", "edit.lock"] {
                let _ = fs::remove_file(folder.join(file));
            }
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Refuses a folder in which something would be overwritten.
pub(crate) fn refuse_what_is_there(data: &DataDir) -> Result<(), BackupError> {
    let files = files(data);
    if files.is_empty() {
        return Ok(());
    }
    Err(BackupError::InTheWay { path: data.path().to_owned(), what: files.join(", ") })
}

fn files(data: &DataDir) -> Vec<&'static str> {
    REPLACED.into_iter().filter(|name| data.file(name).symlink_metadata().is_ok()).collect()
}

impl<'a> Restoration<'a> {
    /// Opens the backup and checks everything in it. Nothing is changed.
    pub fn prepare(
        data: &'a DataDir,
        from: &Path,
        passphrase: &str,
        replace: bool,
    ) -> Result<Restoration<'a>, BackupError> {
        let made_for_it = (!data.path().exists()).then(|| data.path().to_owned());
        let edit = data.edit()?;
        let staging = Staging { path: data.file(".restore"), made_for_it };
        let lock = data.lock()?;
        if !replace {
            refuse_what_is_there(data)?;
        }
        // What a process that was killed has left behind.
        let _ = fs::remove_dir_all(&staging.path);
        system::create_private_dir(&staging.path).map_err(failed("create the folder", &staging.path))?;
        let list = unpack(from, passphrase, &staging.path)?;
        let unfit = |what: String| BackupError::Unfit { path: from.to_owned(), what };
        let inside = DataDir { path: staging.path.clone() };
        // What is wrong is wrong in the backup, not in a file that nobody will find any more.
        let checked = |error: DataError| match error {
            error @ (DataError::Newer { .. } | DataError::Store(StoreError::Newer { .. })) => {
                unfit(format!("a newer version of punchline made it; update punchline ({error})"))
            }
            error => unfit(format!("what is in it is not in order ({error})")),
        };
        let identity = inside.identity().map_err(checked)?;
        if identity.map(|identity| identity.peer_id()) != Some(list.id) {
            return Err(unfit("its identity is missing, or another one than it says".to_owned()));
        }
        let name = inside.config().map_err(checked)?.map_or_else(String::new, |config: Config| config.name);
        let (contacts, messages) = Self::check_database(&inside).map_err(checked)?;
        let found = Some(look_at(data)).filter(|found| !found.files.is_empty());
        let contents = Contents { id: list.id, made: list.made, contacts, messages };
        Ok(Restoration { data, staging, contents, name, found, _locks: (edit, lock) })
    }

    /// In order, of today's version, and with new streams: what this client says from now on is not what the one that went
    /// on from the same state has said.
    fn check_database(inside: &DataDir) -> Result<(usize, u64), DataError> {
        let mut store = inside.messages()?;
        store.check()?;
        store.retire_streams()?;
        Ok((store.contacts()?.iter().count(), store.message_count()?))
    }

    /// What the backup holds.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The name that its owner suggests for themself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it would replace; `None`: nothing.
    pub fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Where what it replaces is kept.
    pub fn aside(&self, now: Timestamp) -> PathBuf {
        let mut path = self.data.file(&format!("replaced-{}", now.strftime("%Y%m%dT%H%M%SZ")));
        for n in 2.. {
            if path.symlink_metadata().is_err() {
                break;
            }
            path = self.data.file(&format!("replaced-{}-{n}", now.strftime("%Y%m%dT%H%M%SZ")));
        }
        path
    }

    /// Puts it in its place, and what was there aside. A crash in between leaves every file either in its old place or aside,
    /// and no identity in the folder unless everything else is there.
    pub fn carry_out(self, aside: &Path) -> Result<Contents, BackupError> {
        let folder = self.data.path();
        let there = files(self.data);
        if !there.is_empty() {
            system::create_private_dir(aside).map_err(failed("create the folder", aside))?;
            for name in there {
                rename(&self.data.file(name), &aside.join(name))?;
            }
            system::sync_dir(aside).and_then(|()| system::sync_dir(folder)).map_err(failed("write", folder))?;
        }
        for name in BROUGHT {
            let from = self.staging.path.join(name);
            if from.exists() {
                rename(&from, &self.data.file(name))?;
                system::sync_dir(folder).map_err(failed("write", folder))?;
            }
        }
        Ok(self.contents.clone())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(failed("move", from))
}

/// As much as can be read: a restoration is for folders that are broken, too.
fn look_at(data: &DataDir) -> Found {
    let files = files(data);
    // Opened and closed, it leaves no log behind, unless another process has it open.
    let store: Option<Store> = files.contains(&DATABASE).then(|| Store::open(&data.file(DATABASE)).ok()).flatten();
    let contacts = store.as_ref().and_then(|store| store.contacts().ok()).map(|contacts| contacts.iter().count());
    let messages = store.and_then(|store| store.message_count().ok());
    let id = data.identity().ok().flatten().map(|identity| identity.peer_id());
    Found { files, id, contacts, messages }
}
