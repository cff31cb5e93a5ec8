//! One file for each command.

#[cfg(feature = "punchline")]
pub(crate) mod matrix;
#[cfg(target_os = "linux")]
pub(crate) mod verify;
