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

/// `msg`
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Msg {
    /// A contact: name or id
    pub peer: String,
    /// What to say; - or nothing: from standard input
    pub text: Option<String>,
    /// How far it is to come
    #[arg(long, value_enum, default_value = "server", value_name = "STATE")]
    #[serde(default)]
    pub wait: Goal,
    /// Wait at most so many seconds for that
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    #[serde(rename = "timeout_s", default = "fifteen", with = "span")]
    pub timeout: Duration,
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
    fn a_request_has_the_defaults_of_the_command_line() {
        fn same<T: Serialize + for<'de> Deserialize<'de>>(typed: &T, asked: Value) {
            let asked: T = serde_json::from_value(asked).expect("understood");
            assert_eq!(serde_json::to_value(typed).expect("JSON"), serde_json::to_value(asked).expect("JSON"));
        }
        for command in ["chat", "msg", "tail", "ping", "speed", "why", "netcheck"] {
            let peer = if matches!(command, "tail" | "netcheck") { vec![] } else { vec!["Bob"] };
            let asked = if peer.is_empty() { json!({}) } else { json!({"peer": "Bob"}) };
            match Cli::parse_from(["punchline", command].into_iter().chain(peer)).command {
                Command::Chat(typed) => same(&typed, asked),
                Command::Msg(typed) => same(&typed, asked),
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
