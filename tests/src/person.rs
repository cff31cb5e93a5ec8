//! Somebody with a computer and a data folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netsim::netns::Process;
use serde_json::Value;

use crate::binaries::binary;
use crate::running::Running;

/// The longest that a command which only touches files may take, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(20);

/// Where programs of a story run: a host behind kernel routers, or one of the model's.
pub trait Computer: Clone {
    /// Starts a program there.
    fn start(&self, command: Command) -> netsim::netns::Result<Process>;

    /// Does something there.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> netsim::netns::Result<T>;
}

impl Computer for netsim::netns::Host {
    fn start(&self, command: Command) -> netsim::netns::Result<Process> {
        self.spawn(command)
    }

    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> netsim::netns::Result<T> {
        self.enter(act)
    }
}

impl Computer for netsim::wire::Host {
    fn start(&self, command: Command) -> netsim::netns::Result<Process> {
        self.spawn(command)
    }

    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> netsim::netns::Result<T> {
        self.enter(act)
    }
}

/// Somebody's node in the background. It is stopped when this is dropped, also if the story has failed.
pub struct Background<'a, C: Computer = netsim::netns::Host> {
    person: &'a Person<C>,
    pid: u64,
}

impl<C: Computer> Background<'_, C> {
    /// Its process.
    pub fn id(&self) -> u64 {
        self.pid
    }
}

impl<C: Computer> Drop for Background<'_, C> {
    fn drop(&mut self) {
        if self.person.command(&["down"]).is_err() {
            // It belongs to this story alone, and would outlive it.
            let _ = Command::new("kill").args(["-9", &self.pid.to_string()]).status();
        }
    }
}

/// A person of the story.
pub struct Person<C = netsim::netns::Host> {
    name: String,
    host: C,
    data: PathBuf,
    /// The person's id.
    pub id: String,
    /// The link to hand out.
    pub link: String,
    /// What the computer takes for /etc/hosts.
    names: Option<PathBuf>,
    runs: AtomicUsize,
    lan: bool,
    /// How far the computer's clock is off, as faketime(1) takes it.
    clock: Option<&'static str>,
}

impl<C: Computer> Person<C> {
    /// Sits down at this computer and joins the rendezvous; the data folder is made in `folder`.
    pub fn new(name: &str, host: &C, folder: &Path, join: &str) -> Result<Self> {
        let mut person = Person {
            name: name.to_owned(),
            host: host.clone(),
            data: folder.join(name),
            id: String::new(),
            link: String::new(),
            names: None,
            runs: AtomicUsize::new(0),
            lan: false,
            clock: None,
        };
        person.command(&["join", join, "--name", name])?;
        let id = person.command(&["id"])?;
        person.id = id["id"].as_str().context("an id")?.to_owned();
        person.link = id["link"].as_str().context("a link")?.to_owned();
        Ok(person)
    }

    /// Is found on the LAN from now on. Without this nobody is: all public hosts are on one, and who meets whom shall be the story's
    /// choice.
    pub fn on_lan(self) -> Self {
        Person { lan: true, ..self }
    }

    /// Is not found there any more.
    pub fn off_lan(self) -> Self {
        Person { lan: false, ..self }
    }

    /// The same at a computer whose clock is off by this, as in `+365d`; `None` puts it right. Only what calls itself the time of day
    /// is: time passes as it does.
    pub fn whose_clock_is_off(self, by: Option<&'static str>) -> Self {
        Person { clock: by, ..self }
    }

    /// What others call this person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The computer.
    pub fn host(&self) -> &C {
        &self.host
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The same at a computer that knows these names: lines of hosts(5).
    pub fn who_knows(mut self, names: &str) -> Result<Self> {
        let path = self.data.with_extension("hosts");
        fs::write(&path, names)?;
        self.names = Some(path);
        Ok(self)
    }

    /// Writes somebody into the contacts.
    pub fn add(&self, other: &Person<C>) -> Result<()> {
        self.command(&["add", &other.link, "--name", &other.name]).map(drop)
    }

    /// Runs a command to its end; the last line that it says.
    pub fn command(&self, arguments: &[&str]) -> Result<Value> {
        let mut running = self.start(arguments)?;
        let code = running.exit_code(AT_ONCE);
        ensure!(code == 0, "`punchline {}` ended with {code}\n{}", arguments.join(" "), running.transcript());
        Ok(running.said().last().map(|said| said.event.clone()).unwrap_or_default())
    }

    /// Starts a command with `--json` and lets it run.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        self.start_with(arguments, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Running> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let stderr = self.data.with_extension(format!("{run}.log"));
        let mut command = self.punchline(arguments);
        command.envs(variables.iter().copied());
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&stderr)?);
        Running::spawn(&self.name, &self.host, command, stderr)
    }

    /// The command line, for a caller who wants to see it as a person would.
    pub fn punchline(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.names {
            None => Command::new(binary("punchline")),
            Some(names) => {
                // In a mount namespace of its own, which ends with it.
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(names);
                command.arg(binary("punchline"));
                command
            }
        };
        command.args(arguments).arg("--data").arg(&self.data);
        command.env("PUNCHLINE_NO_LAN", if self.lan { "0" } else { "1" });
        command.env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()));
        if let Some(offset) = self.clock {
            // What faketime(1) does, but without a process in between. The loader fills in $LIB.
            command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
            command.env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// Opens a chat with somebody.
    pub fn chat(&self, with: &Person<C>) -> Result<Running> {
        self.chat_with(&with.name)
    }

    /// Opens a chat with a contact by name.
    pub fn chat_with(&self, name: &str) -> Result<Running> {
        self.start(&["chat", name])
    }

    /// Is online in the background until that is dropped.
    pub fn up(&self) -> Result<Background<'_, C>> {
        let pid = self.command(&["up"])?["pid"].as_u64().context("a process")?;
        Ok(Background { person: self, pid })
    }

    /// A script of the system's shell, which knows the program as `punchline` and whose data is where.
    pub fn script(&self, script: &str) -> Result<Running> {
        let stderr = self.data.with_extension(format!("{}.log", self.runs.fetch_add(1, Ordering::Relaxed)));
        let program = self.punchline(&[]);
        let folder = binary("punchline").parent().map(Path::to_owned).unwrap_or_default();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("/bin/sh");
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-c", script]).env("PATH", path).env("PUNCHLINE_DATA", &self.data);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&stderr)?);
        Running::spawn(&self.name, &self.host, command, stderr)
    }

    /// Goes online and stays there.
    pub fn run(&self) -> Result<Running> {
        self.start(&["run"])
    }
}
