//! A copy of the whole database, and whether one is in order.

use std::path::Path;

use super::{Store, StoreError};

impl Store {
    /// Writes a consistent copy, without what was removed, to an empty file. Works while others read and write.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::of(path, "write", error);
        let name = path.to_str().ok_or_else(|| StoreError::Io {
            doing: "write",
            path: path.to_owned(),
            source: std::io::Error::other("SQLite takes only names that are UTF-8"),
        })?;
        self.db.execute("VACUUM INTO ?1", [name]).map(drop).map_err(failed)
    }

    /// Looks at every page and every reference.
    pub fn check(&self) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let damaged = |what: String| StoreError::Damaged { path: self.path.clone(), what };
        let found: String = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&failed)?;
        if found != "ok" {
            return Err(damaged(found));
        }
        let dangling: Option<String> = self
            .db
            .prepare("PRAGMA foreign_key_check")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.next().transpose())
            .map_err(&failed)?;
        dangling.map_or(Ok(()), |table| Err(damaged(format!("{table} refers to what is not there"))))
    }

    /// How many messages there are.
    pub fn message_count(&self) -> Result<u64, StoreError> {
        let count = self.db.query_row("SELECT count(*) FROM message WHERE kind = 0", [], |row| row.get::<_, i64>(0));
        count.map(|count| u64::try_from(count).unwrap_or_default()).map_err(self.failed("read"))
    }
}
