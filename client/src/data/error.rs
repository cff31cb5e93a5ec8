//! What can be wrong with the data folder.

use std::io;
use std::path::PathBuf;

/// Why something in the data folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No platform folder.
    #[error("your home folder is not known; say where to keep the data with --data DIR or PUNCHLINE_DATA")]
    NoHome,
    /// The operating system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, ...
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Far larger than we would ever write it.
    #[error("{} is too large to be ours; it was left as it is", .0.display())]
    TooLarge(PathBuf),
    /// A format number above ours.
    #[error(
        "{} was made by a newer version of punchline (format {found}, this one knows {known}); update punchline. \
         It was left as it is",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// Not what it should be.
    #[error("{} is damaged: {what}. It was left as it is; bring back a copy of it, or move it away", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An identity is there already.
    #[error("{} exists already and is never overwritten", .0.display())]
    IdentityExists(PathBuf),
    /// The database of messages.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Another process is online with this folder.
    #[error(
        "another punchline{} is online with {}; stop it first, or use another folder with --data DIR",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, where it can be read.
        pid: Option<u32>,
    },
}

impl DataError {
    /// For `map_err`: what was being done, and where.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DataError {
        let path = path.into();
        move |source| DataError::Io { doing, path, source }
    }
}
