//! Where the control socket is: `control.sock` in the data folder, or, if that path is too long for a socket, in a short folder of the
//! user's, and then `control.path` in the data folder says where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::{ControlListener, ControlStream, LONGEST_PATH, connect_control, private, short_folder};

const SOCKET: &str = "control.sock";
const POINTER: &str = "control.path";
/// No path is longer (PATH_MAX).
const LONGEST_POINTER: u64 = 4096;

/// Connects to the node that is online with this data folder. [`io::ErrorKind::NotFound`] and
/// [`io::ErrorKind::ConnectionRefused`] say that none is.
pub(crate) async fn connect(data: &Path) -> io::Result<ControlStream> {
    connect_control(&known(data)).await
}

/// Listens there. Only for who holds the lock of the data folder: what a process that was killed has left is removed.
pub(super) fn bind(data: &Path) -> io::Result<ControlListener> {
    let path = place(data)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    ControlListener::bind(&path)
}

/// Takes the socket away.
pub(crate) fn remove(data: &Path) {
    let _ = fs::remove_file(known(data));
}

fn known(data: &Path) -> PathBuf {
    pointed(data).unwrap_or_else(|| data.join(SOCKET))
}

fn pointed(data: &Path) -> Option<PathBuf> {
    let pointer = data.join(POINTER);
    fs::metadata(&pointer).ok().filter(|metadata| metadata.len() <= LONGEST_POINTER)?;
    let text = fs::read_to_string(pointer).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n'))).filter(|path| path.is_absolute())
}

/// Where to listen.
fn place(data: &Path) -> io::Result<PathBuf> {
    let socket = data.join(SOCKET);
    if socket.as_os_str().len() <= LONGEST_PATH {
        // The folder may have been moved from where its path was longer.
        let _ = fs::remove_file(data.join(POINTER));
        return Ok(socket);
    }
    let folder = short_folder()?;
    if let Some(path) = pointed(data).filter(|path| path.parent() == Some(&folder)) {
        return Ok(path);
    }
    let random: [u8; 8] = crate::random::bytes().map_err(|failure| io::Error::other(failure.message))?;
    let path = folder.join(format!("{:016x}.sock", u64::from_be_bytes(random)));
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, format!("{} is too long a path", path.display())));
    }
    let mut options = fs::OpenOptions::new();
    let mut pointer = private(options.write(true).create(true).truncate(true)).open(data.join(POINTER))?;
    io::Write::write_all(&mut pointer, path.as_os_str().as_encoded_bytes())?;
    Ok(path)
}
