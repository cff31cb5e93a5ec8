//! Standard output, a line at a time.

use std::fmt;
use std::io::{self, Write};

use common::identity::PeerId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Event, text};
use crate::exit::Failure;

/// The `v` of every JSON line. A field that goes away or changes its meaning is a new version; a new field or a new
/// event is not.
const VERSION: u8 = 1;

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// Standard output cannot be written to any more: its reader has gone, which ends a command quietly.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed: {0}")]
pub struct Gone(#[from] io::Error);

/// Makes lines out of events, for one reader.
#[derive(Debug)]
pub struct Renderer {
    mode: Mode,
    zone: TimeZone,
    /// The last one that people read.
    last: Option<Event>,
}

impl Renderer {
    /// For a reader in this zone.
    pub fn new(mode: Mode, zone: TimeZone) -> Self {
        Renderer { mode, zone, last: None }
    }

    /// For whom it renders.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The line for an event that happens now, without its end; `None` if there is nothing to say.
    pub fn render(&mut self, event: &Event, now: Timestamp) -> Option<String> {
        match self.mode {
            Mode::Json => Some(json(event)),
            Mode::Text if repeats(event, self.last.as_ref()) => None,
            Mode::Text => {
                let line = text::render(event, now, &self.zone)?;
                self.last = Some(event.clone());
                Some(line)
            }
        }
    }
}

/// Prints events.
pub struct Printer {
    renderer: Renderer,
    out: Box<dyn Write + Send>,
    complaints: Box<dyn Write + Send>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    #[serde(flatten)]
    event: &'a Event,
}

impl Printer {
    /// A printer to standard output and, for errors in words, standard error.
    pub fn standard(mode: Mode) -> Self {
        let renderer = Renderer::new(mode, TimeZone::system());
        Printer { renderer, out: Box::new(io::stdout()), complaints: Box::new(io::stderr()) }
    }

    /// Prints one event that happens now, and flushes: whoever reads it may be waiting for it.
    pub fn print(&mut self, event: &Event, now: Timestamp) -> Result<(), Gone> {
        match self.renderer.render(event, now) {
            Some(line) => self.line(&line),
            None => Ok(()),
        }
    }

    /// For whom it prints.
    pub fn mode(&self) -> Mode {
        self.renderer.mode
    }

    /// For whom it prints from now on.
    pub fn set_mode(&mut self, mode: Mode) {
        self.renderer.mode = mode;
    }

    /// Says something to people that is no answer, on standard error.
    pub fn remark(&mut self, words: &str) {
        let _ = writeln!(self.complaints, "punchline: {words}");
    }

    /// Prints a line, and flushes.
    pub fn line(&mut self, line: &str) -> Result<(), Gone> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// A time as people here read it.
    pub fn local(&self, at: Timestamp) -> impl fmt::Display + use<> {
        at.to_zoned(self.renderer.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Says why the command failed: in words on standard error, and in JSON on standard output if that was asked for.
    pub fn fail(&mut self, failure: &Failure, now: Timestamp) {
        if self.mode() == Mode::Json {
            let _ = self.print(&Event::error(failure), now);
        }
        for line in text::failure(failure) {
            let _ = writeln!(self.complaints, "{line}");
        }
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("mode", &self.mode()).finish_non_exhaustive()
    }
}

/// People need not read again that the client is still trying, and in vain.
fn repeats(event: &Event, last: Option<&Event>) -> bool {
    let trying = matches!(event, Event::Refused { .. } | Event::RendezvousLost { .. } | Event::NoPath { .. });
    trying && last == Some(event)
}

/// One event as its line of JSON.
pub(crate) fn json(event: &Event) -> String {
    serde_json::to_string(&Line { v: VERSION, event }).unwrap_or_else(|error| {
        format!(r#"{{"v":{VERSION},"event":"error","code":1,"kind":"other","message":"{error}"}}"#)
    })
}

/// What a peer is called on a terminal.
pub(super) fn label(peer: PeerId, name: Option<&str>) -> String {
    name.map_or_else(|| peer.short(), super::sanitize::line)
}
