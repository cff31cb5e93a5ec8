//! A program that runs in a host, and never outlives its owner.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::spawner::on_spawner_thread;

/// A running program in a namespace: killed and reaped on drop, killed by the kernel if we are killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
}

impl Process {
    pub(crate) fn spawn(namespace: &Namespace, mut command: Command) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = namespace.descriptor().try_clone_to_owned().and_then(|descriptor| {
            enter_before_exec(&mut command, descriptor);
            on_spawner_thread(move || command.spawn())
        });
        match spawned {
            Ok(child) => {
                tracing::debug!(host = namespace.name(), program, id = child.id(), "started a program");
                Ok(Process { child, program })
            }
            Err(source) => Err(Error::Spawn { host: namespace.name().to_owned(), program, source }),
        }
    }

    /// The process id, on this machine.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's standard input, once, if the command had [`Stdio::piped`](std::process::Stdio::piped) there.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The program's standard output, once, if it is piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The program's standard error, once, if it is piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends a signal; to a program that has already ended, nothing.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Not reaped before this returns `Some`, so the id is still this program's and nobody else's.
        if self.try_wait()?.is_none() {
            kill(self.pid(), signal)?;
        }
        Ok(())
    }

    /// Whether and how the program has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the program has ended.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Waits until the program has ended, at most so long; `None` if it still runs.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.try_wait()? {
            return Ok(Some(status));
        }
        let ended = pidfd(self.pid())?;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last turn does not spin.
            let milliseconds = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], milliseconds) {
                Ok(0) if Instant::now() < deadline => {}
                Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return self.try_wait(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Kills the program and reaps it.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(refused) = self.kill() {
            tracing::warn!(program = self.program, id = self.id(), %refused, "could not kill a program");
        }
    }
}

/// Makes the command's child die with us and start in the namespace.
#[allow(unsafe_code, reason = "code between fork and exec is unsafe to set; there is no other way into a namespace")]
fn enter_before_exec(command: &mut Command, namespace: OwnedFd) {
    let owner = Pid::this();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The owner may have died before that call; then nobody is left to send the signal.
        if getppid() != owner {
            return Err(io::ErrorKind::NotConnected.into());
        }
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        // What we block to hear of Ctrl-C in order, the program should not.
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: these are four system calls, and neither
    // they nor the conversion of their errors allocate or take a lock.
    unsafe { command.pre_exec(before_exec) };
}

/// A descriptor that becomes readable when the process ends (Linux 5.3).
#[allow(unsafe_code, reason = "nix has no pidfd_open")]
fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and no pointers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    debug_assert!(pidfd.as_raw_fd() >= 0);
    Ok(pidfd)
}
