//! What only one operating system has, behind the same few functions for all of them.

#[cfg(unix)]
#[path = "unix.rs"]
mod this;
#[cfg(not(unix))]
#[path = "windows.rs"]
mod this;

pub(crate) use this::{create_private_dir, private, readable_by_others, stop_requested, sync_dir};
