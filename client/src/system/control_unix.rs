//! The control socket: a Unix socket that only its owner's processes may use.

use std::fs::{DirBuilder, Permissions, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};

/// One end of a connection.
pub(crate) type ControlStream = UnixStream;

/// The longest path that every Unix takes: `sun_path` has 104 bytes on the BSDs and macOS, 108 on Linux, with a zero at the end.
pub(crate) const LONGEST_PATH: usize = 103;

/// The socket, listening.
#[derive(Debug)]
pub(crate) struct ControlListener(UnixListener);

impl ControlListener {
    /// Listens there.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(ControlListener(listener))
    }

    /// The next connection, and whether it is from a process of the same user.
    pub(crate) async fn accept(&self) -> io::Result<(ControlStream, bool)> {
        let (stream, _) = self.0.accept().await?;
        let ours = is_ours(&stream);
        Ok((stream, ours))
    }
}

/// Connects to the socket there, if it is a process of the same user that listens.
pub(crate) async fn connect_control(path: &Path) -> io::Result<ControlStream> {
    let stream = UnixStream::connect(path).await?;
    match is_ours(&stream) {
        true => Ok(stream),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket is another user's")),
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == Uid::effective().as_raw())
}

/// A folder of ours alone for sockets whose own folder has too long a path.
pub(crate) fn short_folder() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = runtime.unwrap_or_else(std::env::temp_dir).join(format!("punchline-{}", Uid::effective()));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In a folder where everybody may write, somebody else may have been there first.
    let metadata = symlink_metadata(&folder)?;
    if !metadata.is_dir() || metadata.uid() != Uid::effective().as_raw() || metadata.mode() & 0o077 != 0 {
        let message = format!("{} is not a folder of yours alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(folder)
}
