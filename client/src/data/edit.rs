//! One change of the identity and the configuration at a time.

use std::fs::{File, OpenOptions};

use common::identity::Identity;

use super::file::{self, Durability};
use super::{Config, DataDir, DataError, identity};

/// The right to change what is kept; ends when dropped. Whoever reads in order to change reads while holding it.
#[derive(Debug)]
pub struct Edit<'a> {
    data: &'a DataDir,
    // Closing it releases the lock.
    _lock: File,
}

impl<'a> Edit<'a> {
    pub(super) fn begin(data: &'a DataDir) -> Result<Self, DataError> {
        let path = data.file("edit.lock");
        let file = crate::system::private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(&path)
            .map_err(DataError::io("write", &path))?;
        // Held for milliseconds by whoever has it; waiting is right.
        file.lock().map_err(DataError::io("lock", &path))?;
        Ok(Edit { data, _lock: file })
    }

    /// Keeps a new identity; fails if there is one.
    pub fn create_identity(&self, identity: &Identity) -> Result<(), DataError> {
        identity::create(&self.data.file("identity.key"), identity)
    }

    /// Replaces the configuration.
    pub fn save_config(&self, config: &Config) -> Result<(), DataError> {
        file::save_json(&self.data.file("config.json"), config, Durability::Synced)
    }
}
