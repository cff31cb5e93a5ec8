//! Everything that is not Unix. A user's profile folder is already closed to other users there.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use socket2::Socket;

/// Makes the folder and those above it.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Files inherit their access from the folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Not to be told from a mode here.
pub(crate) fn readable_by_others(_: &Metadata) -> bool {
    false
}

/// Folders cannot be synced here.
pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Lets the socket have a port that others have, too: all of them hear what is for everybody.
pub(crate) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Nothing to leave.
pub(crate) fn leave_terminal() {}

/// A command line for the system's shell.
pub(crate) fn shell(line: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("cmd");
    command.args(["/C", line]);
    command
}

/// Without a control socket nobody could stop it again.
pub(crate) fn start_detached(_: &mut Command) -> io::Result<Child> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no control socket; use `punchline run`"))
}

/// Listens from its first poll on; comes back on Ctrl-C, or at once if that cannot be listened for.
pub(crate) fn stop_requested() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
