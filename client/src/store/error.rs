//! What can be wrong with the database, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// Why something could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, ...
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No room.
    #[error(
        "cannot {doing} {}: the disk is full. Make room and start again: nothing that was acknowledged is lost",
        path.display()
    )]
    Full {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Not to be written.
    #[error("cannot {doing} {}: it, or the folder that it is in, is read-only", path.display())]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Another process had it for too long.
    #[error("cannot {doing} {}: another program keeps it locked; close that one and try again", path.display())]
    Busy {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Not what it should be.
    #[error(
        "{} is damaged: {what}. It was left as it is; bring back a copy of it, or move it away and begin a new one",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another program's.
    #[error("{} is a database of another program; it was left as it is. Move it away, or use --data DIR", .0.display())]
    Foreign(PathBuf),
    /// A version above ours.
    #[error(
        "{} was made by a newer version of punchline (format {found}, this one knows {known}); update punchline. \
         It was left as it is",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Anything else that SQLite says.
    #[error("cannot {doing} {}: {source}", path.display())]
    Other {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// In its words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    pub(super) fn of(path: &Path, doing: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        // The memory that processes share is a file that grows when the first one opens the database.
        let no_room_to_share = error.sqlite_error().map(|error| error.extended_code) == Some(SQLITE_IOERR_SHMSIZE);
        match error.sqlite_error_code() {
            _ if no_room_to_share => StoreError::Full { doing, path },
            Some(ErrorCode::DiskFull) => StoreError::Full { doing, path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::ReadOnly { doing, path }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { doing, path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path, what: error.to_string() }
            }
            _ => StoreError::Other { doing, path, source: error },
        }
    }
}
