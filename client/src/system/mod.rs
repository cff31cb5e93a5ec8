//! What only one operating system has, behind the same few functions for all of them.

#[cfg(unix)]
#[path = "unix.rs"]
mod this;
#[cfg(not(unix))]
#[path = "windows.rs"]
mod this;

mod gateway;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::NetworkEvents;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::NetworkEvents;

pub(crate) use gateway::default_gateway;

/// What of the network has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A default route came or went: another network, or the same one again.
    DefaultRoute,
    /// Something else, perhaps of no importance.
    Other,
}

pub(crate) use this::{create_private_dir, private, readable_by_others, share_port, stop_requested, sync_dir};
