//! Systems without Unix sockets: there is no control socket, and every command runs the node itself.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::DuplexStream;

/// Never made.
pub(crate) type ControlStream = DuplexStream;

/// There is none; as long as elsewhere.
pub(crate) const LONGEST_PATH: usize = 107;

/// Never made.
#[derive(Debug)]
pub(crate) struct ControlListener;

impl ControlListener {
    /// Not here.
    pub(crate) fn bind(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for ever.
    pub(crate) async fn accept(&self) -> io::Result<(ControlStream, bool)> {
        std::future::pending().await
    }
}

/// Nobody listens.
pub(crate) async fn connect_control(_: &Path) -> io::Result<ControlStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not needed.
pub(crate) fn short_folder() -> io::Result<PathBuf> {
    Err(io::ErrorKind::Unsupported.into())
}
