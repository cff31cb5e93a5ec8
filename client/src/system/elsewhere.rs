//! Systems that are not asked to tell of changes of the network: it is looked at every other second.

use std::io;

use super::Change;

/// Nothing is ever told.
#[derive(Debug)]
pub(crate) struct NetworkEvents;

impl NetworkEvents {
    /// Not here.
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for ever.
    pub(crate) async fn next(&mut self) -> io::Result<Change> {
        std::future::pending().await
    }
}

/// Nobody waits to be told here.
pub(crate) fn notify_ready() {}
