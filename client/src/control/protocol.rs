//! The lines between a front end and the node.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VERSION;
use crate::cli;
use crate::exit::Failure;
use crate::online::Line;

/// The first line, from the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`].
    pub punchline: u32,
    /// The program's.
    pub version: String,
    /// The node's process.
    pub pid: u32,
    /// It stays online until it is asked to stop, rather than for one command.
    pub stays: bool,
    /// It shows its address to the rendezvous alone.
    pub relay_only: bool,
}

impl Greeting {
    /// Ours.
    pub fn new(stays: bool, relay_only: bool) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Greeting { punchline: VERSION, version, pid: std::process::id(), stays, relay_only }
    }
}

/// What a front end asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Its number; answers carry it as `re`.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
    /// How to answer.
    #[serde(flatten)]
    pub show: Show,
}

/// The commands that need the node. Their arguments are those of the command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Talks with a contact; reads lines.
    Chat(cli::Chat),
    /// Says one thing.
    Msg(cli::Msg),
    /// Answers a message.
    Reply(cli::Reply),
    /// Changes one of ours.
    Edit(cli::Edit),
    /// Deletes one of ours.
    Delete(cli::Delete),
    /// Reacts to one.
    React(cli::React),
    /// Marks what a contact has said as read.
    Read(cli::Read),
    /// Measures a path.
    Ping(cli::Ping),
    /// Explains a path.
    Why(cli::Why),
    /// Measures throughput.
    Speed(cli::Speed),
    /// Looks at the network.
    Netcheck(cli::Netcheck),
    /// Streams the journal of messages.
    Tail(cli::Tail),
    /// Tells of all that happens.
    Watch,
    /// Stops the node.
    Down,
}

impl Command {
    /// Does it take lines of input?
    pub fn reads_input(&self) -> bool {
        matches!(self, Command::Chat(_))
    }

    /// The contact that it is about, if it names one.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Command::Chat(cli::Chat { peer, .. })
            | Command::Msg(cli::Msg { peer, .. })
            | Command::Read(cli::Read { peer })
            | Command::Ping(cli::Ping { peer, .. })
            | Command::Why(cli::Why { peer, .. })
            | Command::Speed(cli::Speed { peer, .. }) => Some(peer),
            // With whom a message was follows from the message.
            Command::Reply(_) | Command::Edit(_) | Command::Delete(_) | Command::React(_) => None,
            Command::Netcheck(_) | Command::Tail(_) | Command::Watch | Command::Down => None,
        }
    }
}

/// How a front end wants its answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Show {
    /// As lines for people, or events.
    #[serde(rename = "as", default, skip_serializing_if = "Form::is_json")]
    pub form: Form,
    /// The time zone of those lines, by its IANA name; without it the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Are `progress` events wanted?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
    /// For how long the front end has been running: `ping` counts from there.
    #[serde(default)]
    pub age_ms: u32,
}

impl Show {
    /// For how long the front end has been running.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms.into())
    }
}

/// For whom answers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Programs: events.
    #[default]
    Json,
    /// People: `text`.
    Text,
}

impl Form {
    fn is_json(&self) -> bool {
        *self == Form::Json
    }
}

/// What a front end says to a command that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A line of input.
    Line(Line),
    /// There is no more.
    Eof,
    /// Ctrl-C.
    Interrupt,
}

impl Input {
    /// As it goes over the wire.
    pub fn to_line(&self, re: u64) -> String {
        let value = match self {
            Input::Line(Line::Text(text)) => json!({"re": re, "line": text}),
            Input::Line(Line::TooLong(bytes)) => json!({"re": re, "too_long": bytes}),
            Input::Eof => json!({"re": re, "eof": true}),
            Input::Interrupt => json!({"re": re, "interrupt": true}),
        };
        value.to_string()
    }
}

/// A line of a front end.
#[derive(Debug, Clone)]
pub(super) enum Spoken {
    Request(Box<Request>),
    Input(u64, Input),
}

/// What is wrong with a line, and with which request, if that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misspoken {
    pub(super) request: Option<u64>,
    pub(super) failure: Failure,
}

const HELP: &str = "see docs/json.md";

/// Understands a line.
pub(super) fn parse(line: &str) -> Result<Spoken, Misspoken> {
    let wrong = |request, what: String| Misspoken { request, failure: Failure::usage(format!("{what}; {HELP}")) };
    let value: Value =
        serde_json::from_str(line).map_err(|error| wrong(None, format!("this line is not JSON: {error}")))?;
    if !value.is_object() {
        return Err(wrong(None, "a line is a JSON object".to_owned()));
    }
    if let Some(re) = value.get("re") {
        let re = re.as_u64().ok_or_else(|| wrong(None, "`re` is the number of a request".to_owned()))?;
        let input = input(&value).ok_or_else(|| {
            wrong(Some(re), "with `re` goes one of `line`, `too_long`, `eof` and `interrupt`".to_owned())
        })?;
        return Ok(Spoken::Input(re, input));
    }
    let Some(id) = value.get("id").and_then(Value::as_u64) else {
        return Err(wrong(None, "a request has a number, `id`, and what belongs to one has `re`".to_owned()));
    };
    let request = serde_json::from_value(value);
    request.map(Spoken::Request).map_err(|error| wrong(Some(id), format!("this request is not understood: {error}")))
}

fn input(value: &Value) -> Option<Input> {
    if let Some(line) = value.get("line") {
        return line.as_str().map(|text| Input::Line(Line::text(text.to_owned())));
    }
    if let Some(bytes) = value.get("too_long") {
        let bytes = usize::try_from(bytes.as_u64()?).ok()?;
        return Some(Input::Line(Line::TooLong(bytes)));
    }
    let is = |name| value.get(name).and_then(Value::as_bool) == Some(true);
    match (is("eof"), is("interrupt")) {
        (_, true) => Some(Input::Interrupt),
        (true, false) => Some(Input::Eof),
        (false, false) => None,
    }
}

/// A line of an answer out of one of `--json`: the number of the request comes first.
pub(crate) fn answer(re: Option<u64>, json: &str) -> String {
    let rest = json.strip_prefix('{').unwrap_or(json);
    match re {
        Some(re) => format!("{{\"re\":{re},{rest}"),
        None => format!("{{\"re\":null,{rest}"),
    }
}

/// The last line of an answer.
pub(crate) fn done(re: u64, code: u8) -> String {
    format!(r#"{{"re":{re},"event":"done","code":{code}}}"#)
}

/// So many more lines of input may come.
pub(crate) fn more(re: u64, lines: usize) -> String {
    format!(r#"{{"re":{re},"event":"more","lines":{lines}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_its_number_its_command_and_whom_it_is_about() {
        let Ok(Spoken::Request(request)) = parse(r#"{"id":1,"command":"ping","peer":"Bob","count":3,"more":[]}"#)
        else {
            panic!("it is a request")
        };
        let Command::Ping(ping) = request.command else { panic!("it is a ping") };
        assert_eq!((ping.peer.as_str(), ping.count, ping.timeout), ("Bob", 3, Duration::from_secs(15)));
        for (line, number, word) in [
            ("hello", None, "not JSON"),
            ("[]", None, "object"),
            ("{}", None, "`id`"),
            (r#"{"id":-1,"command":"watch"}"#, None, "`id`"),
            (r#"{"id":1}"#, Some(1), "missing field `command`"),
            (r#"{"id":2,"command":"pong"}"#, Some(2), "unknown variant `pong`"),
            (r#"{"id":3,"command":"ping"}"#, Some(3), "missing field `peer`"),
            (r#"{"id":4,"command":"ping","peer":"Bob","timeout_s":1e9}"#, Some(4), "0.01 to 86400"),
            (r#"{"re":"x","eof":true}"#, None, "`re`"),
            (r#"{"re":5,"eof":false}"#, Some(5), "`interrupt`"),
        ] {
            let wrong = parse(line).expect_err(line);
            assert_eq!(wrong.request, number, "{line}");
            assert!(wrong.failure.message.contains(word), "{line}: {}", wrong.failure.message);
        }
    }

    #[test]
    fn input_is_understood_as_it_was_written() {
        for input in [
            Input::Line(Line::Text("a \"b\"\n\u{1}".to_owned())),
            Input::Line(Line::TooLong(99_999)),
            Input::Eof,
            Input::Interrupt,
        ] {
            let Ok(Spoken::Input(7, understood)) = parse(&input.to_line(7)) else { panic!("{input:?}") };
            assert_eq!(understood, input);
        }
    }

    #[test]
    fn the_longest_message_fits_on_a_line() {
        let text = "\u{1}".repeat(common::session::MAX_TEXT);
        assert!(Input::Line(Line::Text(text)).to_line(u64::MAX).len() < super::super::MAX_LINE);
    }
}
