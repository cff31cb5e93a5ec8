//! `on-NAME.json`: up to which entry of the journal `punchline on message --name NAME` has handled messages.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{self, Durability};
use super::{DataDir, DataError};

const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Bookmark {
    format: u64,
    handled: i64,
}

impl DataDir {
    /// Where the number of this name is kept.
    pub fn bookmark_file(&self, name: &str) -> PathBuf {
        self.file(&format!("on-{name}.json"))
    }

    /// The number of this name, if there is one yet.
    pub fn bookmark(&self, name: &str) -> Result<Option<i64>, DataError> {
        let kept: Option<Bookmark> = file::load_json(&self.bookmark_file(name), FORMAT)?;
        Ok(kept.map(|kept| kept.handled))
    }

    /// Keeps it. A power cut may cost the last one: its message is then handled twice, as after a kill.
    pub fn save_bookmark(&self, path: &Path, handled: i64) -> Result<(), DataError> {
        file::save_json(path, &Bookmark { format: FORMAT, handled }, Durability::Volatile)
    }

    /// Held by the one process that handles messages under this name; `None`: another one does.
    pub fn bookmark_lock(&self, name: &str) -> Result<Option<File>, DataError> {
        self.prepare()?;
        let path = self.file(&format!("on-{name}.lock"));
        let mut options = OpenOptions::new();
        let file = crate::system::private(options.write(true).create(true).truncate(false))
            .open(&path)
            .map_err(DataError::io("write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(DataError::io("lock", path)(error)),
        }
    }
}
