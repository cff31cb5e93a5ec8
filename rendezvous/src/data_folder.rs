//! The folder with the server's state: its key, and the lock that keeps a second server out.
//!
//! The key is the server: links carry it. So it is written once, whole or not at all, and nothing that is already there
//! is ever overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use common::identity::Identity;
use data_encoding::HEXLOWER;

const KEY_FILE: &str = "rendezvous.key";
const LOCK_FILE: &str = "rendezvous.lock";
/// The first word of the key file. Its number grows with the format.
const KEY_FORMAT: &str = "punchline-rendezvous-key-";
const KEY_VERSION: &str = "1";
/// No key file of any version will be longer.
const MAX_KEY_FILE: u64 = 4096;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system said no.
    #[error("cannot {action} {}: {source}; give this user access to it, or name another folder with --data", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// Another server has it.
    #[error("another rendezvous{} uses the data folder {}; stop it, or name another folder with --data", .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds the lock, as far as it says.
        pid: Option<String>,
    },
    /// Others may read the key or put another in its place.
    #[error(
        "{} is open to other users (mode {mode:03o}), who could take the server's key or put another in its place; chmod {wanted:o} it if they did not, or name another folder with --data", path.display()
    )]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// The key file is from a later version of this program.
    #[error("{} has format {version}, this program knows format {KEY_VERSION}; update the program", path.display())]
    Newer {
        /// The key file.
        path: PathBuf,
        /// Its format.
        version: String,
    },
    /// The key file is not what this program writes.
    #[error(
        "{} does not hold a key; restore it from a backup, or move it away to start with a new key, to which no link handed out so far leads", path.display()
    )]
    Corrupt {
        /// The key file.
        path: PathBuf,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Nobody said where, and the system has no place for it.
    #[error("this system has no folder for data; name one with --data")]
    NoDefault,
}

/// The data folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// Where the data is if nobody says: `/var/lib/rendezvous` for root, as the Filesystem Hierarchy Standard has it; else
/// the user's own folder for data (on Linux `~/.local/share/rendezvous`).
pub fn default_path() -> Result<PathBuf, DataError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Whose process this is, without a system call that would need `unsafe`.
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            return Ok(PathBuf::from("/var/lib/rendezvous"));
        }
    }
    let dirs = directories::ProjectDirs::from("", "", "rendezvous").ok_or(DataError::NoDefault)?;
    Ok(dirs.data_local_dir().to_owned())
}

impl DataFolder {
    /// Makes the folder if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let fail = |action| move |source| DataError::Io { action, path: path.to_owned(), source };
        create_private(path).map_err(fail("create the data folder"))?;
        let metadata = fs::metadata(path).map_err(fail("look at the data folder"))?;
        // Reading the folder gives nothing away; who can write to it can exchange the key.
        refuse_if_open(path, &metadata, 0o022, 0o700)?;
        let lock_path = path.join(LOCK_FILE);
        let fail = |action| {
            let path = lock_path.clone();
            move |source| DataError::Io { action, path, source }
        };
        let mut lock = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(fail("open the lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = lock.take(20).read_to_string(&mut text);
                let pid = Some(text.trim().to_owned()).filter(|pid| pid.parse::<u32>().is_ok());
                return Err(DataError::InUse { path: path.to_owned(), pid });
            }
            Err(fs::TryLockError::Error(source)) => return Err(fail("lock")(source)),
        }
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(fail("write to the lock"))?;
        Ok(DataFolder { path: path.to_owned(), _lock: lock })
    }

    /// The server's key: the one in the folder, or a new one if there is none.
    pub fn identity(&self) -> Result<Identity, DataError> {
        let path = self.path.join(KEY_FILE);
        match File::open(&path) {
            Ok(file) => read_key(&path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_key(&path),
            Err(source) => Err(DataError::Io { action: "read the key", path, source }),
        }
    }

    fn create_key(&self, path: &Path) -> Result<Identity, DataError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(DataError::Random)?;
        let text = format!("{KEY_FORMAT}{KEY_VERSION} {}\n", HEXLOWER.encode(&seed));
        let new = self.path.join("rendezvous.key.new");
        let write = || -> io::Result<()> {
            // A leftover of a power cut; the lock says that nobody else is writing it.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private().write(true).create_new(true).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            #[cfg(unix)]
            File::open(&self.path)?.sync_all()?;
            Ok(())
        };
        write().map_err(|source| DataError::Io { action: "write the key to", path: path.to_owned(), source })?;
        Ok(Identity::from_seed(&seed))
    }
}

fn read_key(path: &Path, file: File) -> Result<Identity, DataError> {
    let fail = |source| DataError::Io { action: "read the key", path: path.to_owned(), source };
    refuse_if_open(path, &file.metadata().map_err(fail)?, 0o077, 0o600)?;
    let mut bytes = Vec::new();
    file.take(MAX_KEY_FILE).read_to_end(&mut bytes).map_err(fail)?;
    let corrupt = || DataError::Corrupt { path: path.to_owned() };
    let text = String::from_utf8(bytes).map_err(|_| corrupt())?;
    let mut words = text.split_whitespace();
    let version = words.next().and_then(|word| word.strip_prefix(KEY_FORMAT)).ok_or_else(corrupt)?;
    if version != KEY_VERSION {
        let known = version.parse::<u32>().map_err(|_| corrupt())?;
        return Err(DataError::Newer { path: path.to_owned(), version: known.to_string() });
    }
    let seed = words.next().and_then(|word| HEXLOWER.decode(word.as_bytes()).ok()).ok_or_else(corrupt)?;
    let seed: [u8; 32] = seed.try_into().map_err(|_| corrupt())?;
    if words.next().is_some() { Err(corrupt()) } else { Ok(Identity::from_seed(&seed)) }
}

/// Options for files that only this user may read.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "elsewhere the user's own folder protects them"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn refuse_if_open(path: &Path, metadata: &fs::Metadata, forbidden: u32, wanted: u32) -> Result<(), DataError> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & forbidden != 0 {
            return Err(DataError::Open { path: path.to_owned(), mode, wanted });
        }
    }
    #[cfg(not(unix))]
    let _ = (path, metadata, forbidden, wanted);
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_private_and_keeps_its_key() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("a/b");
        let first = DataFolder::open(&path).expect("made").identity().expect("a new key").peer_id();
        assert_eq!((mode(&path), mode(&path.join(KEY_FILE)), mode(&path.join(LOCK_FILE))), (0o700, 0o600, 0o600));
        let again = DataFolder::open(&path).expect("unlocked").identity().expect("the same key").peer_id();
        assert_eq!(first, again);
    }

    #[test]
    fn a_folder_in_use_names_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let _held = DataFolder::open(folder.path()).expect("free");
        let error = DataFolder::open(folder.path()).expect_err("taken").to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
    }

    #[test]
    fn what_is_no_key_is_an_error_and_stays_as_it_is() {
        let seed = "11".repeat(32);
        for (text, complaint) in [
            (String::new(), "does not hold a key"),
            ("punchline-rendezvous-key-1 1234\n".into(), "does not hold a key"),
            (format!("punchline-rendezvous-key-1 {seed} {seed}\n"), "does not hold a key"),
            (format!("punchline-rendezvous-key-x {seed}\n"), "does not hold a key"),
            (format!("punchline-rendezvous-key-2 {seed}\n"), "has format 2, this program knows format 1"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(KEY_FILE);
            fs::write(&path, &text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
            let error = DataFolder::open(folder.path()).expect("free").identity().expect_err("no key").to_string();
            assert!(error.contains(complaint), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        DataFolder::open(folder.path()).expect("free").identity().expect("a new key");
        let path = folder.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened");
        let error = DataFolder::open(folder.path()).expect("free").identity().expect_err("open").to_string();
        assert!(error.contains("(mode 640)") && error.contains("chmod 600"), "{error}");
    }
}
