//! One file for each command.

#[cfg(target_os = "linux")]
pub(crate) mod interrupt;
pub(crate) mod ladder;
#[cfg(any(feature = "punchline", target_os = "linux"))]
pub(crate) mod matrix;
#[cfg(target_os = "linux")]
pub(crate) mod run;
#[cfg(target_os = "linux")]
pub(crate) mod shell;
pub(crate) mod udp;
#[cfg(target_os = "linux")]
pub(crate) mod verify;
