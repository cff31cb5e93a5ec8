//! `lock`: one node on one data folder. The operating system keeps it and lets go when the process ends, however it
//! ends; the number inside is for the error message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::DataError;

/// `status` holds the lock for the moment of looking at it; whoever wants it looks again for a tenth of a second.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Held while online.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who is online with a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process, with its number where it can be read.
    Process(Option<u32>),
}

pub(super) fn acquire(path: &Path) -> Result<Lock, DataError> {
    let mut file = crate::system::private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
        .open(path)
        .map_err(DataError::io("write", path))?;
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < TRIES => sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let path = path.parent().map(PathBuf::from).unwrap_or_default();
                return Err(DataError::InUse { path, pid: pid(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(DataError::io("lock", path)(error)),
        }
    }
    write_pid(&mut file).map_err(DataError::io("write", path))?;
    Ok(Lock { file })
}

pub(super) fn holder(path: &Path) -> Result<Holder, DataError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(DataError::io("read", path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(pid(&mut file))),
        Err(TryLockError::Error(error)) => Err(DataError::io("lock", path)(error)),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    // Ten digits and a newline: nothing longer is a number of a process.
    file.take(11).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_learns_who_the_first_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        assert_eq!(holder(&path).expect("readable"), Holder::Nobody);
        let lock = acquire(&path).expect("free");
        let pid = Some(std::process::id());
        assert_eq!(holder(&path).expect("readable"), Holder::Process(pid));
        assert!(matches!(acquire(&path), Err(DataError::InUse { pid: found, .. }) if found == pid));
        drop(lock);
        assert_eq!(holder(&path).expect("readable"), Holder::Nobody);
        acquire(&path).expect("free again");
    }
}
