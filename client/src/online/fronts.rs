//! The front ends of a node: which connection asked for what, what each of them hears, and the lines of input that wait for a task.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{End, FrontId, Line, Reading, To};
use crate::control::{Command, ConnectionId, Form, Input, MAX_REQUESTS, Outbox, Request, WINDOW, answer, done, more};
use crate::exit::Failure;
use crate::output::{Event, Mode, Renderer, json};

/// Lines that a task has taken before its front end is told: not each by itself.
const WORTH_TELLING: usize = WINDOW / 2;

#[derive(Debug)]
struct Connection {
    outbox: Outbox,
    requests: BTreeMap<u64, FrontId>,
    /// Nothing more will come of it; what it has asked for is answered still.
    over: bool,
}

/// What comes in, in order.
#[derive(Debug)]
pub(super) enum Typed {
    Line(Line),
    Eof,
}

#[derive(Debug)]
struct Front {
    connection: ConnectionId,
    request: u64,
    renderer: Renderer,
    progress: bool,
    listens: bool,
    watches: bool,
    /// It is the only one of its kind that may be carried out.
    measures: bool,
    typed: VecDeque<Typed>,
    /// Lines that it may still send.
    granted: usize,
    /// Lines that were taken since it was told.
    taken: usize,
    reading: Option<Reading>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    connections: BTreeMap<ConnectionId, Connection>,
    fronts: BTreeMap<FrontId, Front>,
    /// Connections that did not read.
    dropped: Vec<ConnectionId>,
    next: u32,
}

impl Fronts {
    pub(super) fn connected(&mut self, id: ConnectionId, outbox: Outbox) {
        self.connections.insert(id, Connection { outbox, requests: BTreeMap::new(), over: false });
    }

    /// It has gone; the commands that it had asked for.
    pub(super) fn gone(&mut self, id: ConnectionId) -> Vec<FrontId> {
        self.connections.remove(&id).map(|connection| connection.requests.into_values().collect()).unwrap_or_default()
    }

    /// A number for what a connection asks for, if it may.
    pub(super) fn admit(&mut self, id: ConnectionId, request: &Request) -> Result<FrontId, Failure> {
        let Some(connection) = self.connections.get(&id) else { return Err(Failure::other("it has gone")) };
        if connection.requests.contains_key(&request.id) {
            return Err(Failure::usage(format!(
                "request {} is still being carried out; take another number",
                request.id
            )));
        }
        if connection.requests.len() >= MAX_REQUESTS {
            return Err(Failure::usage(format!("a connection has at most {MAX_REQUESTS} requests at a time")));
        }
        let measures = matches!(request.command, Command::Speed(_));
        if measures && self.fronts.values().any(|front| front.measures) {
            return Err(Failure::other("a measurement is under way already; one at a time, or both would be wrong"));
        }
        let front = FrontId(self.next);
        self.next = self.next.wrapping_add(1);
        Ok(front)
    }

    /// From now on it hears what is said.
    pub(super) fn begin(&mut self, front: FrontId, connection: ConnectionId, request: &Request, listens: bool) {
        let Some(of) = self.connections.get_mut(&connection) else { return };
        of.requests.insert(request.id, front);
        let mode = match request.show.form {
            Form::Json => Mode::Json,
            Form::Text => Mode::Text,
        };
        let zone = request.show.zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let renderer = Renderer::new(mode, zone.unwrap_or_else(TimeZone::system));
        let granted = if request.command.reads_input() { WINDOW } else { 0 };
        let begun = Front {
            connection,
            request: request.id,
            renderer,
            progress: request.show.progress,
            listens,
            watches: matches!(request.command, Command::Watch),
            measures: matches!(request.command, Command::Speed(_)),
            typed: VecDeque::new(),
            granted,
            taken: 0,
            reading: None,
        };
        self.fronts.insert(front, begun);
        if granted > 0 {
            self.line(connection, more(request.id, granted));
        }
    }

    /// Is it for people?
    pub(super) fn is_text(request: &Request) -> bool {
        request.show.form == Form::Text
    }

    pub(super) fn show(&mut self, to: To, event: &Event, now: Timestamp) {
        let progress = matches!(event, Event::Progress { .. });
        let mut lines = Vec::new();
        for (id, front) in &mut self.fronts {
            let hears = match to {
                To::Everybody => front.listens,
                To::Only(only) => only == *id,
            };
            if !hears || progress && !front.progress {
                continue;
            }
            if progress {
                lines.push((front.connection, answer(Some(front.request), &json(event))));
            } else if let Some(line) = front.renderer.render(event, now) {
                let line = match front.renderer.mode() {
                    Mode::Json => answer(Some(front.request), &line),
                    Mode::Text => serde_json::json!({"re": front.request, "text": line}).to_string(),
                };
                lines.push((front.connection, line));
            }
        }
        lines.into_iter().for_each(|(connection, line)| self.line(connection, line));
    }

    /// A command has ended.
    pub(super) fn end(&mut self, front: FrontId, end: End) {
        let Some(front) = self.fronts.remove(&front) else { return };
        if let Some(connection) = self.connections.get_mut(&front.connection) {
            connection.requests.remove(&front.request);
        }
        self.finish(front.connection, Some(front.request), end);
    }

    /// The last words to a request, or to what was no request.
    pub(super) fn finish(&mut self, connection: ConnectionId, request: Option<u64>, end: End) {
        let code = match &end {
            Ok(exit) => exit.code(),
            Err(failure) => {
                self.line(connection, answer(request, &json(&Event::error(failure))));
                failure.exit.code()
            }
        };
        if let Some(request) = request {
            self.line(connection, done(request, code));
        }
        let over = |of: &Connection| of.over && of.requests.is_empty();
        if self.connections.get(&connection).is_some_and(over) {
            // Its outbox goes with it, and ends the connection once all is written.
            self.connections.remove(&connection);
        }
    }

    /// It says what nobody can read on after.
    pub(super) fn over(&mut self, connection: ConnectionId) -> Vec<FrontId> {
        let Some(of) = self.connections.get_mut(&connection) else { return Vec::new() };
        of.over = true;
        of.requests.values().copied().collect()
    }

    /// What it says to one of its requests; `Some` if that is to be interrupted.
    pub(super) fn input(&mut self, connection: ConnectionId, request: u64, input: Input) -> Option<FrontId> {
        let known = self.connections.get(&connection).and_then(|of| of.requests.get(&request)).copied();
        let Some((id, front)) = known.and_then(|id| Some((id, self.fronts.get_mut(&id)?))) else {
            // It may have ended just now.
            return None;
        };
        match input {
            Input::Interrupt => return Some(id),
            Input::Eof if matches!(front.typed.back(), Some(Typed::Eof)) => {}
            Input::Eof => front.typed.push_back(Typed::Eof),
            Input::Line(line) if front.granted > 0 => {
                front.granted -= 1;
                front.typed.push_back(Typed::Line(line));
            }
            Input::Line(_) => {
                let why = format!(
                    "this line was not taken: only chat takes input, {WINDOW} lines at a time, and `more` says when more may come"
                );
                self.line(connection, answer(Some(request), &json(&Event::error(&Failure::usage(why)))));
            }
        }
        None
    }

    /// Somebody whose next line can be taken.
    pub(super) fn ready(&self, takes: impl Fn(FrontId) -> bool) -> Option<FrontId> {
        let ready = |front: &Front| !front.typed.is_empty();
        self.fronts.iter().find(|(id, front)| ready(front) && takes(**id)).map(|(id, _)| *id)
    }

    /// Takes it.
    pub(super) fn take(&mut self, id: FrontId) -> Option<Typed> {
        let front = self.fronts.get_mut(&id)?;
        let typed = front.typed.pop_front()?;
        if matches!(typed, Typed::Line(_)) {
            front.taken += 1;
        }
        if front.taken >= WORTH_TELLING || front.taken > 0 && front.typed.is_empty() {
            let (connection, line) = (front.connection, more(front.request, front.taken));
            front.granted += std::mem::take(&mut front.taken);
            self.line(connection, line);
        }
        Some(typed)
    }

    /// It wants to read on, once it has written all that it was told.
    pub(super) fn reads(&mut self, id: FrontId, reading: Reading) {
        let Some(front) = self.fronts.get_mut(&id) else { return };
        front.reading = Some(reading);
        if let Some(connection) = self.connections.get(&front.connection) {
            connection.outbox.mark(id);
        }
    }

    /// What it wants to read now.
    pub(super) fn drained(&mut self, id: FrontId) -> Option<Reading> {
        self.fronts.get_mut(&id)?.reading.take()
    }

    /// Commands under way, and whether each of them is there to watch the node, and ends well when that ends.
    pub(super) fn all(&self) -> Vec<(FrontId, bool)> {
        self.fronts.iter().map(|(id, front)| (*id, front.watches)).collect()
    }

    /// The outbox that the node must wait for.
    pub(super) fn full(&self) -> Option<&Outbox> {
        self.connections.values().map(|connection| &connection.outbox).find(|outbox| outbox.is_full())
    }

    fn line(&mut self, connection: ConnectionId, line: String) {
        let Some(of) = self.connections.get(&connection) else { return };
        if !of.outbox.line(line) {
            tracing::warn!("a front end that does not read was dropped");
            self.dropped.push(connection);
        }
    }

    /// Commands of the connections that were dropped since the last call.
    pub(super) fn orphans(&mut self) -> Vec<FrontId> {
        let dropped = std::mem::take(&mut self.dropped);
        dropped.into_iter().flat_map(|id| self.gone(id)).collect()
    }
}
