//! What only one operating system has, behind the same few functions for all of them.

#[cfg(unix)]
#[path = "unix.rs"]
mod this;
#[cfg(not(unix))]
#[path = "windows.rs"]
mod this;

#[cfg(unix)]
#[path = "control_unix.rs"]
mod control;
#[cfg(not(unix))]
#[path = "control_elsewhere.rs"]
mod control;
pub(crate) use control::{ControlListener, ControlStream, LONGEST_PATH, connect_control, short_folder};

mod gateway;
mod host;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{NetworkEvents, notify_ready};
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{NetworkEvents, notify_ready};

pub(crate) use gateway::default_gateway;
pub(crate) use host::host_name;

/// What of the network has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A default route came or went: another network, or the same one again.
    DefaultRoute,
    /// Something else, perhaps of no importance.
    Other,
}

pub(crate) use this::{
    create_private_dir, leave_terminal, private, readable_by_others, share_port, shell, start_detached, stop_requested,
    sync_dir,
};
