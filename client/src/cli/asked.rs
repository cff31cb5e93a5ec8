//! The arguments of commands that the node carries out: on the command line, and in requests over the control socket.

use std::time::Duration;

use clap::{Args, ValueEnum};
use common::speed::MAX_EACH_WAY;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `chat`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Chat {
    /// A contact: name or id
    pub peer: String,
    /// How many seconds to wait for receipts after the end of the input
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    #[serde(rename = "wait_s", default = "ten", with = "span")]
    pub wait: Duration,
}

/// How far a message is to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Kept by the server, or farther
    #[default]
    Server,
    /// On the contact's device, or farther
    Device,
    /// Read
    Read,
}

/// How long a command that says something waits, and for what.
#[derive(Debug, Clone, Copy, Args, Serialize, Deserialize)]
pub struct Patience {
    /// How far it is to come
    #[arg(long, value_enum, default_value = "server", value_name = "STATE")]
    #[serde(default)]
    pub wait: Goal,
    /// Wait at most so many seconds for that
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "fifteen", with = "span")]
    pub timeout: Duration,
}

/// Something that is said.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Words {
    /// What to say; - or nothing: from standard input
    pub text: Option<String>,
    /// Do not deliver it any more after this time, such as 90s, 30m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = life)]
    #[serde(rename = "expires_s", default, skip_serializing_if = "Option::is_none", with = "whole_seconds")]
    pub expire: Option<Duration>,
    /// For what to wait.
    #[command(flatten)]
    #[serde(flatten)]
    pub patience: Patience,
}

/// `msg`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Msg {
    /// A contact: name or id
    pub peer: String,
    /// The message.
    #[command(flatten)]
    #[serde(flatten)]
    pub words: Words,
}

/// `reply`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Reply {
    /// Which message, yours or theirs: its id as `history` shows it, or its first four digits or more
    #[arg(value_name = "ID")]
    pub message: String,
    /// The message.
    #[command(flatten)]
    #[serde(flatten)]
    pub words: Words,
}

/// `edit`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Edit {
    /// Which message of yours: its id as `history` shows it, or its first four digits or more
    #[arg(value_name = "ID")]
    pub message: String,
    /// What it is to say; - or nothing: from standard input
    pub text: Option<String>,
    /// For what to wait.
    #[command(flatten)]
    #[serde(flatten)]
    pub patience: Patience,
}

/// `delete`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Delete {
    /// Which message of yours: its id as `history` shows it, or its first four digits or more
    #[arg(value_name = "ID")]
    pub message: String,
    /// For what to wait.
    #[command(flatten)]
    #[serde(flatten)]
    pub patience: Patience,
}

/// `react`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct React {
    /// Which message, yours or theirs: its id as `history` shows it, or its first four digits or more
    #[arg(value_name = "ID")]
    pub message: String,
    /// The reaction; without one, yours is taken back
    pub emoji: Option<String>,
    /// For what to wait.
    #[command(flatten)]
    #[serde(flatten)]
    pub patience: Patience,
}

/// `read`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Read {
    /// A contact: name or id
    pub peer: String,
}

/// `tail`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Tail {
    /// Only the conversation with this contact
    #[arg(long, value_name = "PEER")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Begin behind the line of this number; 0 is the beginning. Without it: from now on
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// `ping`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Ping {
    /// A contact: name or id
    pub peer: String,
    /// Send at most this many
    #[arg(short, long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[serde(default = "ten_times")]
    pub count: u32,
    /// Seconds between two
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    #[serde(rename = "interval_s", default = "one", with = "span")]
    pub interval: Duration,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "fifteen", with = "span")]
    pub timeout: Duration,
}

/// `speed`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Speed {
    /// A contact: name or id
    pub peer: String,
    /// How many seconds to send, each way
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = each_way)]
    #[serde(
        rename = "each_way_s",
        default = "five",
        serialize_with = "span::serialize",
        deserialize_with = "span::each_way"
    )]
    pub seconds: Duration,
    /// Give up after this many seconds without a direct path
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "fifteen", with = "span")]
    pub timeout: Duration,
}

/// `why`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Why {
    /// A contact: name or id
    pub peer: String,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "thirty", with = "span")]
    pub timeout: Duration,
}

/// `netcheck`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Netcheck {
    /// Measure how long the router remembers a silent socket, too
    #[arg(long)]
    #[serde(default)]
    pub lifetime: bool,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "fifteen", with = "span")]
    pub timeout: Duration,
}

// What the command line has as defaults, too; a test holds the two together.
fn one() -> Duration {
    Duration::from_secs(1)
}

fn five() -> Duration {
    Duration::from_secs(5)
}

fn ten() -> Duration {
    Duration::from_secs(10)
}

fn fifteen() -> Duration {
    Duration::from_secs(15)
}

fn thirty() -> Duration {
    Duration::from_secs(30)
}

fn ten_times() -> u32 {
    10
}

/// A span between a hundredth of a second and a day.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>().ok().and_then(bounded).ok_or_else(|| SPAN.to_owned())
}

const SPAN: &str = "a number of seconds from 0.01 to 86400";

fn bounded(seconds: f64) -> Option<Duration> {
    let bounds = Duration::from_millis(10)..=Duration::from_secs(86_400);
    Duration::try_from_secs_f64(seconds).ok().filter(|span| bounds.contains(span))
}

/// How long a message lives: a number with its unit.
fn life(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    let life = number.and_then(|number| number.checked_mul(unit)).and_then(bounded_life);
    life.ok_or_else(|| format!("a number with s, m, h or d, such as 90s, 30m, 2h or 7d: {LIFE}"))
}

const LIFE: &str = "from one second to 365 days";

fn bounded_life(seconds: u64) -> Option<Duration> {
    (1..=365 * 86_400).contains(&seconds).then_some(Duration::from_secs(seconds))
}

/// The life of a message in JSON: whole seconds, in the same bounds.
mod whole_seconds {
    use serde::de::Error;

    use super::*;

    #[expect(clippy::ref_option, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(|span| span.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<u64>::deserialize(deserializer)?;
        let life = |seconds| bounded_life(seconds).ok_or_else(|| D::Error::custom(format!("whole seconds, {LIFE}")));
        seconds.map(life).transpose()
    }
}

/// As long as the other side will measure.
fn each_way(text: &str) -> Result<Duration, String> {
    let span = seconds(text).ok().filter(|span| *span <= MAX_EACH_WAY);
    span.ok_or_else(|| format!("a number of seconds from 0.01 to {}", MAX_EACH_WAY.as_secs()))
}

/// Spans in JSON: a number of seconds, in the same bounds.
mod span {
    use serde::de::Error;

    use super::*;

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(span.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        bounded(f64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(SPAN))
    }

    pub(super) fn each_way<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::each_way(&f64::deserialize(deserializer)?.to_string()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn spans_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "1e30", "", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_life_of_a_message_has_a_unit_and_a_bound() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("2h", 7200), ("365d", 31_536_000)] {
            assert_eq!(life(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "0s", "-1h", "90", "2w", "1.5h", "366d", "18446744073709551615d", "2\u{127}"] {
            assert!(life(text).is_err(), "{text}");
        }
        let asked = |seconds: &Value| serde_json::from_value::<Msg>(json!({"peer": "Bob", "expires_s": seconds}));
        assert_eq!(asked(&json!(7200)).expect("understood").words.expire, Some(Duration::from_secs(7200)));
        for seconds in [json!(0), json!(-1), json!(1e9), json!("2h")] {
            assert!(asked(&seconds).is_err(), "{seconds}");
        }
    }

    #[test]
    fn a_request_has_the_defaults_of_the_command_line() {
        fn same<T: Serialize + for<'de> Deserialize<'de>>(typed: &T, asked: Value) {
            let asked: T = serde_json::from_value(asked).expect("understood");
            assert_eq!(serde_json::to_value(typed).expect("JSON"), serde_json::to_value(asked).expect("JSON"));
        }
        for command in
            ["chat", "msg", "reply", "edit", "delete", "react", "read", "tail", "ping", "speed", "why", "netcheck"]
        {
            let (peer, asked) = match command {
                "tail" | "netcheck" => (vec![], json!({})),
                "reply" | "edit" | "delete" | "react" => (vec!["6f1d"], json!({"message": "6f1d"})),
                _ => (vec!["Bob"], json!({"peer": "Bob"})),
            };
            match Cli::parse_from(["punchline", command].into_iter().chain(peer)).command {
                Command::Chat(typed) => same(&typed, asked),
                Command::Msg(typed) => same(&typed, asked),
                Command::Reply(typed) => same(&typed, asked),
                Command::Edit(typed) => same(&typed, asked),
                Command::Delete(typed) => same(&typed, asked),
                Command::React(typed) => same(&typed, asked),
                Command::Read(typed) => same(&typed, asked),
                Command::Tail(typed) => same(&typed, asked),
                Command::Ping(typed) => same(&typed, asked),
                Command::Speed(typed) => same(&typed, asked),
                Command::Why(typed) => same(&typed, asked),
                Command::Netcheck(typed) => same(&typed, asked),
                other => panic!("{other:?}"),
            }
        }
    }
}
