//! A person with a data folder of their own and the real program. Nothing here reaches beyond loopback: the only
//! rendezvous ever joined is port 9 of 127.0.0.1, where nobody listens.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::identity::{Identity, PeerId};
use serde_json::Value;
use tempfile::TempDir;

/// Whatever of this person is still online in the background is ended with the test, however that ends.
pub(crate) struct Person {
    folder: TempDir,
}

impl Drop for Person {
    fn drop(&mut self) {
        if self.file("lock").exists() {
            let _ = self.command(["down"]).stdin(Stdio::null()).output();
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The lines of JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The only line of JSON, which ended the command with `code`.
    #[track_caller]
    pub(crate) fn event(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{self:?}");
        assert_eq!(events[0]["v"], 1);
        events.remove(0)
    }

    /// It was refused with this code, in words on standard error that contain each of these.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        assert!(self.stderr.starts_with("punchline: "), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
    }
}

impl Person {
    /// Somebody who has not used the program yet.
    pub(crate) fn new() -> Self {
        Person { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Somebody who has joined and calls a contact Bob.
    pub(crate) fn joined() -> Self {
        let person = Person::new();
        assert_eq!(person.punchline(["join", &join_link(), "--name", "Alice"]).code, 0);
        assert_eq!(person.punchline(["add", &bob().to_string(), "--name", "Bob"]).code, 0);
        person
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// A path outside the data folder.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.folder.path().join(name).into_os_string().into_string().expect("UTF-8")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect(name)
    }

    fn command<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, arguments: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_punchline"));
        command.env_remove("RUST_LOG").env("PUNCHLINE_DATA", self.data()).env("TZ", "UTC").env("COLUMNS", "100");
        // Nobody registers here, and then no router is asked; this is for the day when that changes.
        command.env("PUNCHLINE_NO_PORT_MAPPING", "1");
        // Nor is the network of whoever runs the tests told of them.
        command.env("PUNCHLINE_NO_LAN", "1");
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command
    }

    /// A file to read this from.
    fn input(&self, input: &[u8]) -> fs::File {
        let file = self.folder.path().join("input");
        fs::write(&file, input).expect("written");
        fs::File::open(&file).expect("there")
    }

    /// A command of the system's shell, which knows the program as `punchline`.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let program = self.command(Vec::<String>::new());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let folder = PathBuf::from(env!("CARGO_BIN_EXE_punchline"));
        let folder = folder.parent().expect("it is in a folder").display().to_string();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
        command
    }

    /// Runs a command to its end, without input.
    pub(crate) fn punchline<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, arguments: I) -> Answer {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("the program starts");
        Answer {
            code: output.status.code().expect("not killed"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs a command to its end, with this on standard input.
    pub(crate) fn punchline_with_input<I: IntoIterator<Item = S>, S: AsRef<str>>(
        &self,
        arguments: I,
        input: &[u8],
    ) -> Answer {
        let output = self.command(arguments).stdin(self.input(input)).output().expect("the program starts");
        Answer {
            code: output.status.code().expect("not killed"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Starts a command that stays, with this on standard input and nothing after it.
    pub(crate) fn start_with_input<I: IntoIterator<Item = S>, S: AsRef<str>>(
        &self,
        arguments: I,
        input: &[u8],
    ) -> Running {
        Running::begin(self.command(arguments).stdin(self.input(input)))
    }

    /// Starts a command that stays.
    pub(crate) fn start<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, arguments: I) -> Running {
        Running::begin(self.command(arguments).stdin(Stdio::null()))
    }
}

/// A process that is killed when the test ends, however it ends.
pub(crate) struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn begin(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, lines: Some(lines) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until this event.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        let lines = self.lines.as_mut().expect("its output is still open");
        loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).expect("text"), 0, "it ended before {event}");
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if value["event"] == event {
                return value;
            }
        }
    }

    /// The next event, whatever it is; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let lines = self.lines.as_mut().expect("its output is still open");
        (lines.read_line(&mut line).expect("text") > 0).then(|| serde_json::from_str(&line).expect("JSON"))
    }

    /// Stops reading what it prints.
    pub(crate) fn stop_reading(&mut self) {
        self.lines = None;
    }

    /// Its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().expect("it is ours").code()
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("small"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody's id.
pub(crate) fn somebody(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer_id()
}

pub(crate) fn bob() -> PeerId {
    somebody(2)
}

/// The key of the rendezvous that everybody here joins.
pub(crate) fn key() -> PeerId {
    somebody(9)
}

pub(crate) fn join_link() -> String {
    format!("punchline://127.0.0.1:9/join#{}", key())
}

pub(crate) fn peer_link(peer: PeerId, name: &str) -> String {
    format!("punchline://127.0.0.1:9/p/{peer}?name={name}#{}", key())
}
