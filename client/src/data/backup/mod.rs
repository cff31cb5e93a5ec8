//! `punchline backup` and `restore`: the identity, the configuration, and a consistent copy of the database in one file
//! under a passphrase (`sealed.rs` says how). Inside stands a list in JSON, its length in four bytes before it, and then the
//! files of the list, one after the other.
//!
//! # Limits
//!
//! The secrets of prekeys are in the copy, so that mail that waits can be opened after a restoration; whoever has the
//! passphrase opens what was sealed to them. Two clients that go on from one backup are one person twice: the rendezvous
//! lets the newest one in.

mod restore;
mod sealed;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use common::identity::PeerId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DATABASE, DataDir, DataError};
use crate::store::StoreError;
use crate::system;
pub(crate) use restore::refuse_what_is_there;
pub use restore::{Found, Restoration};
use sealed::{Opener, SealedError, Sealer};

const IDENTITY: &str = "identity.key";
const CONFIG: &str = "config.json";
/// The list is three lines; nothing much longer is one.
const MAX_LIST: usize = 64 * 1024;

/// Why there is no backup, or no restoration.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
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
    /// There is a file of this name.
    #[error("{} exists already and is not overwritten; name another file", .0.display())]
    Exists(PathBuf),
    /// Nothing to back up.
    #[error("there is no identity in {} yet, so there is nothing to back up", .0.display())]
    Empty(PathBuf),
    /// Not a backup, of a newer version, or damaged.
    #[error("cannot restore {}: {what}. Nothing was changed", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The wrong passphrase.
    #[error("cannot restore {}: {}. Nothing was changed", .0.display(), SealedError::Passphrase)]
    Passphrase(PathBuf),
    /// There is something that would be overwritten.
    #[error(
        "{} has {what} already. Use another folder with --data DIR, or --replace to put the backup in their place; the \
         files that are there now are kept aside", path.display()
    )]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// What is there.
        what: String,
    },
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        BackupError::Data(error.into())
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}

/// What is in a backup.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    made: Timestamp,
    id: PeerId,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    length: u64,
}

/// What a backup holds, for who made it or brought it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whose.
    pub id: PeerId,
    /// When it was made.
    pub made: Timestamp,
    /// How many contacts.
    pub contacts: usize,
    /// How many messages.
    pub messages: u64,
}

/// A file that goes when this does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a backup of the folder to a file that is not there yet. Works while a client is online.
pub fn back_up(
    data: &DataDir,
    to: &Path,
    passphrase: &str,
    salt: [u8; 16],
    now: Timestamp,
) -> Result<Contents, BackupError> {
    let identity = data.identity()?.ok_or_else(|| BackupError::Empty(data.path().to_owned()))?;
    data.config()?;
    refuse_existing(to)?;
    let store = data.messages()?;
    // What a process that was killed has left behind.
    let copy = Scratch(data.file(".backup.db"));
    let _ = fs::remove_file(&copy.0);
    system::private(OpenOptions::new().write(true).create_new(true)).open(&copy.0).map_err(failed("write", &copy.0))?;
    store.copy_to(&copy.0)?;
    let contents = Contents {
        id: identity.peer_id(),
        made: now,
        contacts: store.contacts()?.iter().count(),
        messages: store.message_count()?,
    };
    let sources = [(IDENTITY, data.file(IDENTITY)), (CONFIG, data.file(CONFIG)), (DATABASE, copy.0.clone())];
    let beside = Scratch(super::file::beside(to));
    let _ = fs::remove_file(&beside.0);
    write(&beside.0, passphrase, salt, &contents, &sources)?;
    refuse_existing(to)?;
    fs::rename(&beside.0, to).map_err(failed("write", to))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    system::sync_dir(folder).map_err(failed("write", to))?;
    Ok(contents)
}

/// Refuses a file that is there.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    if path.symlink_metadata().is_ok() { Err(BackupError::Exists(path.to_owned())) } else { Ok(()) }
}

/// Refuses a file that is not there, or is not to be read.
pub(crate) fn refuse_unreadable(path: &Path) -> Result<(), BackupError> {
    File::open(path).map(drop).map_err(failed("read", path))
}

fn write(
    to: &Path,
    passphrase: &str,
    salt: [u8; 16],
    contents: &Contents,
    sources: &[(&str, PathBuf)],
) -> Result<(), BackupError> {
    let mut list = List { made: contents.made, id: contents.id, files: Vec::new() };
    let mut files = Vec::new();
    for (name, path) in sources {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", path)(error)),
        };
        let length = file.metadata().map_err(failed("read", path))?.len();
        list.files.push(Entry { name: (*name).to_owned(), length });
        files.push((path, file, length));
    }
    let list = serde_json::to_vec(&list).map_err(|error| failed("write", to)(io::Error::other(error)))?;
    let out = system::private(OpenOptions::new().write(true).create_new(true)).open(to).map_err(failed("write", to))?;
    let sealing = |error| match error {
        SealedError::Io(error) => failed("write", to)(error),
        other => failed("write", to)(io::Error::other(other)),
    };
    let mut sealer = Sealer::new(BufWriter::new(out), passphrase, salt).map_err(sealing)?;
    let length = u32::try_from(list.len()).map_err(|error| failed("write", to)(io::Error::other(error)))?;
    sealer.write_all(&length.to_be_bytes()).and_then(|()| sealer.write_all(&list)).map_err(failed("write", to))?;
    for (path, mut file, length) in files {
        let copied = io::copy(&mut io::Read::take(&mut file, length), &mut sealer).map_err(failed("write", to))?;
        if copied != length {
            return Err(failed("read", path)(io::Error::other("it has become shorter while it was read")));
        }
    }
    let mut out = sealer.finish().map_err(failed("write", to))?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed("write", to))
}

/// Opens a backup and writes its files to a folder that has none of them.
fn unpack(from: &Path, passphrase: &str, folder: &Path) -> Result<List, BackupError> {
    let file = File::open(from).map_err(failed("read", from))?;
    let unfit = |what: &str| BackupError::Unfit { path: from.to_owned(), what: what.to_owned() };
    let opening = |error| match error {
        SealedError::Io(error) => failed("restore", from)(error),
        SealedError::Passphrase => BackupError::Passphrase(from.to_owned()),
        other => unfit(&other.to_string()),
    };
    let mut opener = Opener::new(BufReader::new(file), passphrase).map_err(opening)?;
    let length = opener.take(4).map_err(opening)?.try_into().map_or(u32::MAX, u32::from_be_bytes) as usize;
    if length > MAX_LIST {
        return Err(unfit("its list makes no sense"));
    }
    let list = opener.take(length).map_err(opening)?;
    let list: List =
        serde_json::from_slice(&list).map_err(|error| unfit(&format!("its list makes no sense: {error}")))?;
    for (at, Entry { name, length }) in list.files.iter().enumerate() {
        // The names are ours alone: no file is ever written anywhere else.
        let known = [IDENTITY, CONFIG, DATABASE].contains(&name.as_str());
        if !known || list.files[..at].iter().any(|entry| entry.name == *name) {
            return Err(unfit("it holds a file that this version does not know"));
        }
        let path = folder.join(name);
        let out = system::private(OpenOptions::new().write(true).create_new(true)).open(&path);
        let mut out = out.map_err(failed("write", &path))?;
        opener.copy(*length, &mut out).map_err(opening)?;
        out.sync_all().map_err(failed("write", &path))?;
    }
    if !opener.at_end().map_err(opening)? {
        return Err(unfit("there is more in it than its list says"));
    }
    Ok(list)
}
