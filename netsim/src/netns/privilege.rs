//! Getting leave to make namespaces: as root there is nothing to do, anyone else becomes root of a user namespace.
//!
//! A user namespace can only be entered by a process with one thread. A program does it first thing in `main`
//! ([`enter_user_namespace_if_needed`]); a test, which libtest runs in a thread, starts its own binary anew for itself
//! alone and lets that child do it before exec ([`in_namespaces`]).

use std::any::type_name;
use std::env;
use std::error::Error as StdError;
use std::ffi::CStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::thread;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, write};

use super::error::{Error, Result};

/// What a story of [`in_namespaces`] returns: `?` works on every error.
pub type Story = std::result::Result<(), Box<dyn StdError>>;

/// Set in the child that runs one story, so that a refusal there ends in a message and not in one more child.
const INSIDE: &str = "NETSIM_STORY_INSIDE";
/// Capability numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Makes this process root of a user namespace of its own, unless it may make network namespaces already.
///
/// Call it first thing in `main`: a process that has more than one thread is refused.
pub fn enter_user_namespace_if_needed() -> Result<()> {
    if may_make_namespaces() {
        return Ok(());
    }
    IdMaps::of_this_user().enter().map_err(|errno| Error::NotPermitted(errno.into()))
}

/// Runs a test's story where network namespaces may be made: right here if this process may, else in a child that runs
/// this one test of the current test binary as root of a user namespace. Call it from the test function itself.
///
/// # Panics
/// If the story fails, with its error and the errors that caused it; if neither way is open, with what to allow.
#[track_caller]
pub fn in_namespaces<F: FnOnce() -> Story>(story: F) {
    if may_make_namespaces() || env::var_os(INSIDE).is_some() {
        if let Err(error) = story() {
            panic!("{}", with_causes(error.as_ref()));
        }
        return;
    }
    match run_alone(&test_name::<F>()) {
        Err(error) => panic!("{}", with_causes(&error)),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            print!("{said}");
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            // A name that fits no test would run none of them, successfully.
            let passed = output.status.success() && said.contains("test result: ok. 1 passed");
            assert!(passed, "the story failed in its user namespace: {}; its output stands above", output.status);
        }
    }
}

fn run_alone(test: &str) -> Result<Output> {
    let command = env::current_exe().map(Command::new);
    let output = command.and_then(|mut command| {
        command.args([test, "--exact", "--nocapture", "--include-ignored"]).env(INSIDE, "1");
        become_root_before_exec(&mut command);
        command.output()
    });
    output.map_err(Error::NotPermitted)
}

/// libtest names a test's thread after the test, except when it runs them all in the main thread; there the closure's
/// type name tells: `binary::module::test::{{closure}}`.
fn test_name<F>() -> String {
    match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => {
            let path = type_name::<F>().trim_end_matches("::{{closure}}");
            path.split_once("::").map_or(path, |(_binary, test)| test).to_owned()
        }
    }
}

/// Whether this thread has the two capabilities that namespaces, links and rules need.
fn may_make_namespaces() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    [CAP_NET_ADMIN, CAP_SYS_ADMIN].iter().all(|capability| capabilities >> capability & 1 == 1)
}

/// The contents of the id map files, made ready beforehand: after fork nothing may be allocated.
struct IdMaps {
    users: String,
    groups: String,
}

impl IdMaps {
    /// One user and one group: we are root inside and ourselves outside.
    fn of_this_user() -> IdMaps {
        IdMaps { users: format!("0 {} 1\n", geteuid()), groups: format!("0 {} 1\n", getegid()) }
    }

    /// System calls only, no allocation: this may run between fork and exec.
    fn enter(&self) -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        // Without this first, an ordinary user may not map any group.
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/uid_map", self.users.as_bytes())?;
        write_file(c"/proc/self/gid_map", self.groups.as_bytes())
    }
}

fn write_file(path: &CStr, content: &[u8]) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(file, content).map(drop)
}

#[allow(unsafe_code, reason = "code between fork and exec is unsafe to set; a user namespace needs one single thread")]
fn become_root_before_exec(command: &mut Command) {
    let maps = IdMaps::of_this_user();
    // The story dies with its test; the test's thread waits for it. After the change of user, which would clear this.
    let before_exec = move || Ok(maps.enter().and_then(|()| prctl::set_pdeathsig(Signal::SIGKILL))?);
    // SAFETY: both make async-signal-safe system calls only, and neither they nor the conversion of their errors allocate
    // or take a lock.
    unsafe { command.pre_exec(before_exec) };
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
