//! Unix: modes, folders that can be synced, SIGTERM.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command};

use socket2::Socket;
use tokio::signal::unix::{SignalKind, signal};

/// Makes the folder and those above it, for its owner only; one that exists is left as it is.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Files made with these options are their owner's only.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// May somebody else on this machine read it?
pub(crate) fn readable_by_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

/// Makes a rename in this folder survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Lets the socket have a port that others have, too: all of them hear what is for everybody.
pub(crate) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    // The BSDs and macOS want this as well.
    socket.set_reuse_port(true)
}

/// This process goes on when its terminal is closed, and hears nothing of what is typed there.
pub(crate) fn leave_terminal() {
    // It fails for a process that leads a group already, which is one whose terminal has let go of it.
    let _ = nix::unistd::setsid();
}

/// A command line for the system's shell.
pub(crate) fn shell(line: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/bin/sh");
    command.args(["-c", line]);
    command
}

/// Starts a program that shall outlive this one; it leaves the terminal by itself.
pub(crate) fn start_detached(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// Listens from this call on; the future comes back when somebody asks the program to stop: Ctrl-C, `kill`, or its
/// terminal closing.
pub(crate) fn stop_requested() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
