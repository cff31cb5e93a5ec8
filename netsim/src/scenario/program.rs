//! A program of the scenario while it runs: what it says, line by line, and what is typed into it.

use std::collections::VecDeque;
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
use super::waiting::{Interrupt, Interrupted};
use crate::netns::{self, Process};

/// Lines kept of one program.
const LINES: usize = 20_000;
/// Bytes kept of one line: room for a JSON object, not for a file without line ends.
const LINE: u64 = 64 * 1024;
/// Between two looks whether somebody wants to stop, while a program is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// Lines shown of each program when a step has failed.
const SHOWN: usize = 12;

/// Which of its two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output = 0,
    Error = 1,
}

/// One line and when it came.
#[derive(Debug)]
struct Line {
    at: Instant,
    stream: Stream,
    text: String,
}

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<Line>,
    /// How many lines are no longer kept.
    gone: usize,
    /// How many streams may still bring lines.
    open: usize,
    /// For each stream, the number of the first line that no expectation has gone past.
    next: [usize; 2],
}

/// A running program and all that it has started: killed when dropped.
pub(crate) struct Running {
    process: Process,
    started: Instant,
    stdin: Option<ChildStdin>,
    log: Arc<Mutex<Log>>,
    bell: Interrupt,
}

/// What became of an expectation.
pub(crate) enum Found<T> {
    Yes(T),
    /// Not in time.
    Late,
    /// Nothing more can come.
    Ended,
}

impl Running {
    /// Starts it in the host, in a process group of its own, so that all of it can be stopped.
    pub(crate) fn spawn(lab: &dyn Lab, host: &str, mut command: Command, bell: &Interrupt) -> netns::Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = lab.spawn(host, command)?;
        let log = Arc::new(Mutex::new(Log { open: 2, ..Log::default() }));
        let output = process.take_stdout().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let error = process.take_stderr().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for (stream, pipe) in [(Stream::Output, output), (Stream::Error, error)] {
            let (log, bell) = (log.clone(), bell.clone());
            thread::spawn(move || {
                if let Some(pipe) = pipe {
                    read_lines(pipe, stream, &log, &bell);
                }
                lock(&log).open -= 1;
                bell.ring();
            });
        }
        let stdin = process.take_stdin();
        Ok(Running { process, started: Instant::now(), stdin, log, bell: bell.clone() })
    }

    /// Waits for the next line that fits, in either of its outputs.
    pub(crate) fn find<T>(
        &mut self,
        within: Duration,
        fits: impl Fn(&str) -> Option<T>,
    ) -> Result<Found<T>, Interrupted> {
        let log = self.log.clone();
        let look = || {
            let mut log = lock(&log);
            let gone = log.gone;
            let fresh = |(number, line): &(usize, &Line)| *number >= log.next[line.stream as usize];
            let numbered = log.lines.iter().enumerate().map(|(index, line)| (gone + index, line));
            let found =
                numbered.filter(fresh).find_map(|(number, line)| Some((number, line.stream, fits(&line.text)?)));
            if let Some((number, stream, found)) = found {
                log.next[stream as usize] = number + 1;
                return Some(Found::Yes(found));
            }
            (log.open == 0).then_some(Found::Ended)
        };
        Ok(self.bell.wait_for(Instant::now() + within, look)?.unwrap_or(Found::Late))
    }

    /// As [`Running::find`], in its standard output only.
    pub(crate) fn find_output<T>(
        &mut self,
        within: Duration,
        fits: impl Fn(&str) -> Option<T>,
    ) -> Result<Found<T>, Interrupted> {
        lock(&self.log).next[Stream::Error as usize] = usize::MAX;
        self.find(within, fits)
    }

    /// The lines of its standard output, each with the time when it was read.
    pub(crate) fn output(&self) -> Vec<(Instant, String)> {
        let log = lock(&self.log);
        let output = log.lines.iter().filter(|line| line.stream == Stream::Output);
        output.map(|line| (line.at, line.text.clone())).collect()
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
                    let log = self.log.clone();
                    // What it started may hold its outputs open for longer.
                    let drained = Instant::now() + Duration::from_secs(1);
                    self.bell.wait_for(drained, || (lock(&log).open == 0).then_some(()))?;
                    return Ok(status);
                }
            }
        }
    }

    /// The last JSON object that it said.
    pub(crate) fn last_object(&self) -> Option<Value> {
        let log = lock(&self.log);
        log.lines.iter().rev().find_map(|line| serde_json::from_str(&line.text).ok().filter(Value::is_object))
    }

    /// Its last lines, for a failure.
    pub(crate) fn transcript(&self) -> String {
        let log = lock(&self.log);
        let skipped = log.lines.len().saturating_sub(SHOWN);
        let mut text = String::new();
        if skipped + log.gone > 0 {
            text += &format!("({} earlier lines)\n", skipped + log.gone);
        }
        for line in log.lines.iter().skip(skipped) {
            let after = line.at.saturating_duration_since(self.started).as_secs_f64();
            let mark = if line.stream == Stream::Error { "!" } else { " " };
            text += &format!("{after:8.3}{mark} {}\n", line.text);
        }
        text
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

fn read_lines(pipe: impl Read, stream: Stream, log: &Mutex<Log>, bell: &Interrupt) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = vec![];
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        let mut log = lock(log);
        if log.lines.len() == LINES {
            log.lines.pop_front();
            log.gone += 1;
        }
        log.lines.push_back(Line { at: Instant::now(), stream, text });
        drop(log);
        bell.ring();
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
