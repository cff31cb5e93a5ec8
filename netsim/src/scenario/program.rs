//! A program of the scenario while it runs: what it says, line by line, and what is typed into it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::lab::Lab;
use super::log::{Found, Log, Stream};
use super::waiting::{Interrupt, Interrupted};
use crate::netns::{self, Process};

/// Bytes kept of one line: room for a JSON object, not for a file without line ends.
const LINE: u64 = 64 * 1024;
/// Between two looks whether somebody wants to stop, while a program is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// What of a line an expectation was looking for; none if the line does not fit.
pub(crate) type LineFits = dyn Fn(&str) -> Option<Value>;

/// What its threads write and we read.
#[derive(Debug)]
struct Heard {
    log: Log,
    /// How many streams may still bring lines.
    open: usize,
}

/// A running program and all that it has started: killed when dropped.
pub(crate) struct Running {
    process: Process,
    started: Instant,
    stdin: Option<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    bell: Interrupt,
}

impl Running {
    /// Starts it in the host, in a process group of its own, so that all of it can be stopped.
    pub(crate) fn spawn(lab: &dyn Lab, host: &str, command: Command, bell: &Interrupt) -> netns::Result<Running> {
        Running::start(&mut |command| lab.spawn(host, command), command, bell)
    }

    pub(super) fn start(
        start: &mut dyn FnMut(Command) -> netns::Result<Process>,
        mut command: Command,
        bell: &Interrupt,
    ) -> netns::Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = start(command)?;
        let heard = Arc::new(Mutex::new(Heard { log: Log::default(), open: 2 }));
        let output = process.take_stdout().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let error = process.take_stderr().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for (stream, pipe) in [(Stream::Output, output), (Stream::Error, error)] {
            let (heard, bell) = (heard.clone(), bell.clone());
            thread::spawn(move || {
                if let Some(pipe) = pipe {
                    read_lines(pipe, stream, &heard, &bell);
                }
                lock(&heard).open -= 1;
                bell.ring();
            });
        }
        let stdin = process.take_stdin();
        Ok(Running { process, started: Instant::now(), stdin, heard, bell: bell.clone() })
    }

    /// Waits for the next line that fits, in either of its outputs.
    pub(crate) fn find<T>(
        &mut self,
        within: Duration,
        fits: impl Fn(&str) -> Option<T>,
    ) -> Result<Found<T>, Interrupted> {
        let heard = self.heard.clone();
        let look = || {
            let mut heard = lock(&heard);
            let found = heard.log.look_for(&fits).map(Found::Yes);
            found.or_else(|| (heard.open == 0).then_some(Found::Ended))
        };
        Ok(self.bell.wait_for(Instant::now() + within, look)?.unwrap_or(Found::Late))
    }

    /// As [`Running::find`], in its standard output only.
    pub(crate) fn find_output<T>(
        &mut self,
        within: Duration,
        fits: impl Fn(&str) -> Option<T>,
    ) -> Result<Found<T>, Interrupted> {
        lock(&self.heard).log.ignore(Stream::Error);
        self.find(within, fits)
    }

    /// The lines of its standard output, each with the time when it was read.
    pub(crate) fn output(&self) -> Vec<(Instant, String)> {
        lock(&self.heard).log.lines_of(Stream::Output).map(|(at, line)| (at, line.to_owned())).collect()
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, text: &str) -> io::Result<()> {
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "its input was closed");
        let stdin = self.stdin.as_mut().ok_or_else(closed)?;
        stdin.write_all(format!("{text}\n").as_bytes())
    }

    /// Ends its input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Has it ended?
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Asks it to end.
    pub(crate) fn terminate(&mut self) -> io::Result<()> {
        self.process.signal(Signal::SIGTERM)
    }

    /// Kills it and what it has started.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        // Not reaped, or reaped and gone: in both cases the group is ours or empty.
        let _ = killpg(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        self.process.kill()
    }

    /// Waits for its end and its last line; none if it still runs.
    pub(crate) fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, Interrupted> {
        let deadline = Instant::now() + within;
        loop {
            if self.bell.is_raised() {
                return Err(Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.process.wait_timeout(left.min(LOOK)) {
                Ok(None) if !left.is_zero() => {}
                Ok(None) | Err(_) => return Ok(None),
                Ok(status) => {
                    let heard = self.heard.clone();
                    // What it started may hold its outputs open for longer.
                    let drained = Instant::now() + Duration::from_secs(1);
                    self.bell.wait_for(drained, || (lock(&heard).open == 0).then_some(()))?;
                    return Ok(status);
                }
            }
        }
    }

    /// The last JSON object that it said.
    pub(crate) fn last_object(&self) -> Option<Value> {
        lock(&self.heard).log.last_object()
    }

    /// All that is kept of what it said.
    pub(crate) fn all_lines(&self) -> String {
        lock(&self.heard).log.all_lines(self.started)
    }

    /// Its last lines, for a failure.
    pub(crate) fn transcript(&self) -> String {
        lock(&self.heard).log.transcript(self.started)
    }
}

/// A program on the stage, real or not.
pub(crate) trait Program {
    /// Waits for the next line that fits, in either of its outputs.
    fn find(&mut self, within: Duration, fits: &LineFits) -> Result<Found<Value>, Interrupted>;
    /// Types a line.
    fn type_line(&mut self, text: &str) -> io::Result<()>;
    /// Ends its input.
    fn close(&mut self);
    /// Has it ended?
    fn has_ended(&mut self) -> bool;
    /// Asks it to end.
    fn terminate(&mut self) -> io::Result<()>;
    /// Kills it and what it has started.
    fn kill(&mut self) -> io::Result<()>;
    /// Waits for its end and its last line; none if it still runs.
    fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, Interrupted>;
    /// The last JSON object that it said.
    fn last_object(&self) -> Option<Value>;
    /// Its last lines, for a failure.
    fn transcript(&self) -> String;
}

impl Program for Running {
    fn find(&mut self, within: Duration, fits: &LineFits) -> Result<Found<Value>, Interrupted> {
        Running::find(self, within, fits)
    }

    fn type_line(&mut self, text: &str) -> io::Result<()> {
        Running::type_line(self, text)
    }

    fn close(&mut self) {
        Running::close(self);
    }

    fn has_ended(&mut self) -> bool {
        Running::has_ended(self)
    }

    fn terminate(&mut self) -> io::Result<()> {
        Running::terminate(self)
    }

    fn kill(&mut self) -> io::Result<()> {
        Running::kill(self).map(drop)
    }

    fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, Interrupted> {
        Running::wait(self, within)
    }

    fn last_object(&self) -> Option<Value> {
        Running::last_object(self)
    }

    fn transcript(&self) -> String {
        Running::transcript(self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `Process` reaps it.
        let _ = killpg(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
    }
}

/// As people write it: `3`, or the signal that ended it.
pub(crate) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal().and_then(|signal| Signal::try_from(signal).ok())) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn read_lines(pipe: impl Read, stream: Stream, heard: &Mutex<Heard>, bell: &Interrupt) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = vec![];
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        lock(heard).log.push(stream, text, Instant::now());
        bell.ring();
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
