//! A scenario after the check: every name resolved, every step one action.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;

use super::file::{Made, PortMapping};
use super::template::Template;
use crate::model::{Access, Line};

/// All of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// In an order in which they can be built: a router after the one that it is behind.
    pub(super) routers: Vec<(String, RouterPlan)>,
    pub(super) hosts: BTreeMap<String, HostPlan>,
    pub(super) programs: BTreeMap<String, ProgramPlan>,
    pub(super) steps: Vec<StepPlan>,
}

#[derive(Debug)]
pub(crate) struct RouterPlan {
    /// The line of the file.
    pub(crate) at: usize,
    pub(crate) access: Access,
    /// The driver's choice, if the file makes none.
    pub(crate) made_of: Option<Made>,
    /// Of the nearest router.
    pub(crate) port_mapping: Option<PortMapping>,
    pub(crate) behind: Option<String>,
    pub(crate) line: Line,
}

#[derive(Debug)]
pub(crate) struct HostPlan {
    /// The line of the file.
    pub(crate) at: usize,
    pub(crate) behind: Option<String>,
    pub(crate) addresses: u8,
    pub(crate) line: Line,
}

#[derive(Debug)]
pub(super) struct ProgramPlan {
    /// The line of the file in which its command stands.
    pub(super) at: usize,
    pub(super) host: String,
    pub(super) command: Vec<Template>,
    pub(super) env: BTreeMap<String, Template>,
}

#[derive(Debug)]
pub(super) struct StepPlan {
    /// The line of the file.
    pub(super) at_line: usize,
    /// Not before so long after the first step.
    pub(super) at: Option<Duration>,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Start(String),
    Run { program: String, exit: i32, within: Duration, save: Saves },
    Send { text: Template, to: String },
    Close(String),
    Stop(String),
    Kill(String),
    Roam { host: String, behind: Option<String> },
    Reboot(String),
    Renumber(String),
    Cut { place: String, cut: bool },
    Plug { host: String, plugged: bool },
    Change { place: String, line: Line },
    Wait(Duration),
    Expect { program: String, what: Expectation, within: Duration, absent: bool, save: Saves },
    Exit { program: String, code: i32, within: Duration },
}

/// Variables, and the fields of the JSON line whose values they get.
pub(super) type Saves = BTreeMap<String, String>;

#[derive(Debug)]
pub(super) enum Expectation {
    Says(Template),
    Matches(Regex),
    Event { event: Option<String>, fields: Vec<(String, Check)> },
}

/// What a field is to be.
#[derive(Debug)]
pub(super) enum Check {
    Equal(Value),
    EqualText(Template),
    Not(Value),
    Below(f64),
    Above(f64),
    Contains(Template),
    Matches(Regex),
}

impl fmt::Display for Action {
    /// As a step is called in a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Start(program) => write!(f, "start {program}"),
            Action::Run { program, exit: 0, .. } => write!(f, "run {program}"),
            Action::Run { program, exit, .. } => write!(f, "run {program}, which ends with {exit}"),
            Action::Send { text, to } => write!(f, "send \"{text}\" to {to}"),
            Action::Close(program) => write!(f, "close the input of {program}"),
            Action::Stop(program) => write!(f, "stop {program}"),
            Action::Kill(program) => write!(f, "kill {program}"),
            Action::Roam { host, behind: Some(router) } => write!(f, "roam {host} behind {router}"),
            Action::Roam { host, behind: None } => write!(f, "roam {host} to the Internet"),
            Action::Reboot(router) => write!(f, "reboot {router}"),
            Action::Renumber(router) => write!(f, "renumber {router}"),
            Action::Cut { place, cut: true } => write!(f, "cut {place}"),
            Action::Cut { place, cut: false } => write!(f, "restore {place}"),
            Action::Plug { host, plugged: true } => write!(f, "plug {host}"),
            Action::Plug { host, plugged: false } => write!(f, "unplug {host}"),
            Action::Change { place, .. } => write!(f, "change the line of {place}"),
            Action::Wait(time) => write!(f, "wait {} s", time.as_secs_f64()),
            Action::Expect { program, what, absent, .. } => {
                write!(f, "{program} says {}{what}", if *absent { "nothing like " } else { "" })
            }
            Action::Exit { program, code, .. } => write!(f, "{program} ends with {code}"),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::Says(text) => write!(f, "\"{text}\""),
            Expectation::Matches(pattern) => write!(f, "/{pattern}/"),
            Expectation::Event { event, fields } => {
                f.write_str(event.as_deref().unwrap_or("an object"))?;
                for (number, (path, check)) in fields.iter().enumerate() {
                    write!(f, "{} {path} {check}", if number == 0 { " where" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Equal(value) => write!(f, "= {value}"),
            Check::EqualText(text) => write!(f, "= \"{text}\""),
            Check::Not(value) => write!(f, "is not {value}"),
            Check::Below(number) => write!(f, "< {number}"),
            Check::Above(number) => write!(f, "> {number}"),
            Check::Contains(text) => write!(f, "has \"{text}\" in it"),
            Check::Matches(pattern) => write!(f, "matches /{pattern}/"),
        }
    }
}
