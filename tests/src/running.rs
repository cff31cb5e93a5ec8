//! A program of the story while it runs: what it says, line by line, and what is typed into it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use netsim::netns::{Process, Signal};
use serde_json::Value;

use crate::person::Computer;

/// One line of output and when it came.
#[derive(Debug, Clone)]
pub struct Said {
    /// When this program read it.
    pub at: Instant,
    /// The JSON object, or a string if the line is none.
    pub event: Value,
}

/// A running `punchline` or `rendezvous`. Killed when dropped; if that is because a story failed, it tells what it said.
pub struct Running {
    who: String,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<Said>,
    /// Everything said, in order.
    said: Vec<Said>,
    /// How many of them expectations have gone past.
    seen: usize,
    stderr: PathBuf,
    /// All of it has been put into words.
    told: bool,
    /// When it was started.
    pub started: Instant,
}

impl Running {
    /// Starts any program on a computer; `command` has its output piped and its errors in the file `stderr`.
    pub fn spawn(who: &str, host: &impl Computer, command: Command, stderr: PathBuf) -> Result<Self> {
        Ok(Running::new(who, host.start(command)?, stderr))
    }

    fn new(who: &str, mut process: Process, stderr: PathBuf) -> Self {
        let started = Instant::now();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = process.take_stdout() {
            thread::spawn(move || read_lines(stdout, &sender));
        }
        let stdin = process.take_stdin();
        Running { who: who.to_owned(), process, stdin, lines, said: Vec::new(), seen: 0, stderr, told: false, started }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next event of this kind, passing over others.
    ///
    /// # Panics
    /// If it does not come in time, or the program ends first; with everything that was said.
    #[track_caller]
    pub fn expect(&mut self, kind: &str, within: Duration) -> Said {
        self.expect_that(kind, within, |event| is_a(kind, event))
    }

    /// Waits until messages go over a direct path. What they go over until then depends on who is faster.
    #[track_caller]
    pub fn expect_direct(&mut self, within: Duration) -> Value {
        self.expect_that("a direct path", within, |e| e["event"] == "path" && e["kind"] == "direct").event
    }

    /// Waits for the next message from a peer.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> Value {
        self.expect_that("an incoming message", within, |e| e["event"] == "message" && e["dir"] == "in").event
    }

    /// Waits for the next line that fits.
    #[track_caller]
    pub fn expect_that(&mut self, what: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Said {
        let deadline = Instant::now() + within;
        loop {
            while let Some(said) = self.said.get(self.seen).cloned() {
                self.seen += 1;
                if fits(&said.event) {
                    return said;
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(said) => self.said.push(said),
                Err(RecvTimeoutError::Timeout) => panic!("no {what} within {within:?}\n{}", self.transcript()),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before {what}\n{}", self.transcript()),
            }
        }
    }

    /// Everything said until now, also what no expectation has asked for.
    pub fn said(&mut self) -> &[Said] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }

    /// How often an event of this kind was said until now.
    pub fn count(&mut self, kind: &str) -> usize {
        self.said().iter().filter(|said| is_a(kind, &said.event)).count()
    }

    /// The next line, for a teller who follows along; `None` at the end or after `within`.
    pub fn next_line(&mut self, within: Duration) -> Option<Said> {
        if self.seen == self.said.len() {
            self.said.push(self.lines.recv_timeout(within).ok()?);
        }
        self.seen += 1;
        self.said.get(self.seen - 1).cloned()
    }

    /// Types a line.
    ///
    /// # Panics
    /// If nobody reads it.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        if let Err(error) = writeln!(stdin, "{line}") {
            panic!("nobody reads what is typed: {error}\n{}", self.transcript());
        }
    }

    /// Ends its input, as Ctrl-D does.
    pub fn end_of_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).expect("it runs");
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.process.kill();
    }

    /// Waits for its end; its exit code.
    ///
    /// # Panics
    /// If it does not end in time or ends by a signal.
    #[track_caller]
    pub fn exit_code(&mut self, within: Duration) -> i32 {
        let status: Option<ExitStatus> = self.process.wait_timeout(within).expect("a child can be waited for");
        match status.and_then(|status| status.code()) {
            Some(code) => {
                // The reader ends with the output, after its last line.
                self.said.extend(self.lines.iter());
                code
            }
            None => panic!("no orderly end within {within:?}: {status:?}\n{}", self.transcript()),
        }
    }

    /// Memory in use, in bytes (`VmRSS` of proc_pid_status(5)).
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
    }

    /// Processor time used so far (`utime` and `stime` of proc_pid_stat(5), in ticks of 10 ms).
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The program's name, in parentheses, may hold spaces: count from behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// All that is known of it, for a failure.
    pub fn transcript(&mut self) -> String {
        self.told = true;
        self.said.extend(self.lines.try_iter());
        let mut text = format!("--- what {} said\n", self.who);
        for said in &self.said {
            let after = said.at.saturating_duration_since(self.started).as_secs_f64();
            text += &format!("{after:8.3} {}\n", said.event);
        }
        text + "--- its log\n" + &self.log()
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() && !self.told {
            // A story has failed, and its assertion may have spoken of one side only.
            eprintln!("{}", self.transcript());
        }
        let log = self.log();
        let error = log.lines().find(|line| line.contains("ERROR") || line.contains("panicked at"));
        if let Some(error) = error.filter(|_| !thread::panicking()) {
            panic!("an error was logged: {error}\n{}", self.transcript());
        }
    }
}

fn read_lines(stdout: ChildStdout, sender: &mpsc::Sender<Said>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
        if sender.send(Said { at: Instant::now(), event }).is_err() {
            return;
        }
    }
}

/// A message is told of several times as it goes; what stories wait for is that it is with whoever it is for.
fn is_a(kind: &str, event: &Value) -> bool {
    event["event"] == kind && (kind != "receipt" || event["state"] == "device")
}
