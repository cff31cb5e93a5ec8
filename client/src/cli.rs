//! The command line: what can be asked for, and the help that teaches it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::speed::MAX_EACH_WAY;

use crate::exit::Exit;
use crate::output::Mode;

/// A messenger that gets through: you and a friend, behind any two routers, over a direct encrypted path.
#[derive(Debug, Parser)]
#[command(name = "punchline", version, max_term_width = 100, after_help = after_help())]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Keep identity, contacts and status in this folder [default: the platform's data folder]
    #[arg(long, value_name = "DIR", env = "PUNCHLINE_DATA", hide_env_values = true, global = true)]
    pub data: Option<PathBuf>,
    /// Print one JSON object a line (docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask the router for a port (PCP, NAT-PMP, UPnP)
    #[arg(long, env = "PUNCHLINE_NO_PORT_MAPPING", hide_env_values = true, global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_port_mapping: bool,
    /// Never open hundreds of sockets for some seconds to guess a port, where nothing less finds a direct path
    #[arg(long, env = "PUNCHLINE_NO_BIRTHDAY", hide_env_values = true, global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_birthday: bool,
    /// Do not look for contacts on your own network (mDNS and broadcast), nor be found there
    #[arg(long, env = "PUNCHLINE_NO_LAN", hide_env_values = true, global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_lan: bool,
    /// Show your address to the rendezvous alone: no direct paths, everything goes through its relay
    #[arg(long, env = "PUNCHLINE_RELAY_ONLY", hide_env_values = true, global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub relay_only: bool,
    /// Say more on standard error; twice for everything. RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// For people or for programs.
    pub fn mode(&self) -> Mode {
        if self.json { Mode::Json } else { Mode::Text }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Join a rendezvous, the server where you and your contacts find each other
    #[command(after_help = "\
Example:
  punchline join 'punchline://example.org:3478/join#KEY' --name Alice

Makes your identity the first time. Put the link in quotes: a shell may take # for a comment.
Joining another rendezvous later keeps your identity and your contacts.")]
    Join(Join),
    /// Show your id and the link to give to others
    #[command(after_help = "Example:\n  punchline id")]
    Id,
    /// Add a contact, or rename one. Each of you must add the other
    #[command(after_help = "\
Examples:
  punchline add 'punchline://example.org:3478/p/PEER-ID?name=Bob#KEY'
  punchline add PEER-ID --name Bob")]
    Add(Add),
    /// List your contacts, or remove one
    #[command(after_help = "Examples:\n  punchline contacts\n  punchline contacts --remove Bob")]
    Contacts(Contacts),
    /// Be online until Ctrl-C and print what happens
    #[command(after_help = "\
Example:
  punchline run

Your contacts reach you while it runs; what they write is shown and acknowledged. `add` and
`contacts` may be used meanwhile, and so may `status`.")]
    Run,
    /// Talk with a contact, a line a message
    #[command(after_help = "\
Examples:
  punchline chat Bob
  echo 'the build is done' | punchline chat Bob

Lines typed before the connection stands wait for it. At the end of the input (Ctrl-D) it waits for
the receipts that are still out, and says what was not delivered.")]
    Chat(Chat),
    /// Show what you and a contact have said
    #[command(after_help = "\
Examples:
  punchline history Bob
  punchline history Bob --last 500
  punchline history Bob --all --json

Oldest first. A message of yours that no receipt came back for says (queued).")]
    History(History),
    /// Find words in what was ever said
    #[command(after_help = "\
Examples:
  punchline search train noon
  punchline search 東京 --with Bob

Messages in which all of the words occur, anywhere in a word and in any script, the newest last.
Capitals and accents make no difference.")]
    Search(Search),
    /// List the messages that wait for their contacts, or take one back
    #[command(after_help = "\
Examples:
  punchline outbox
  punchline outbox cancel 6f1d0c7c

They go as soon as you and the contact are online at the same time. What is already on its way
when you take it back may arrive all the same; the history then says so.")]
    Outbox(Outbox),
    /// Write out everything that was said, for another program or to read
    #[command(after_help = "\
Examples:
  punchline export > talks.jsonl
  punchline export --format markdown --with Bob > bob.md")]
    Export(Export),
    /// Find a direct path to a contact and measure it
    #[command(after_help = "\
Example:
  punchline ping Bob

Stops at the first reply over a direct path (exit 0). After COUNT pings or the timeout without one
it says what stood in the way, and exits with 4. With --relay-only it stops at the first reply through
the relay (exit 0).")]
    Ping(Ping),
    /// Say why the path to a contact is what it is, and what would make it better
    #[command(after_help = "\
Example:
  punchline why Bob

Makes an attempt at a direct path and tells of it: the addresses tried, the strategies, the two
routers, the reason. While a client of yours is online, tells of the last attempt of that one.")]
    Why(Why),
    /// Measure how much goes over the direct path to a contact, each way
    #[command(after_help = "\
Example:
  punchline speed Bob --seconds 3

The other side is any client of theirs that is online; nobody is asked there. Only a direct path is
measured, because whoever runs the relay pays for every byte. Messages go on meanwhile.")]
    Speed(Speed),
    /// Find out what your router does to your packets, and what that means
    #[command(after_help = "\
Example:
  punchline netcheck

Asks the rendezvous from several ports, and the router for one; one to three seconds. Filtering and
mapping are known fully only if the rendezvous has two addresses. While a client of yours is online,
shows what that knows. With --lifetime it also finds out how long your router remembers a silent
socket, which takes up to four minutes; Ctrl-C ends it with what is known by then.")]
    Netcheck(Netcheck),
    /// Show whether punchline is online, and with whom
    #[command(after_help = "Example:\n  punchline status --json")]
    Status,
}

/// `join`
#[derive(Debug, Args)]
pub struct Join {
    /// The line that the server prints when it starts: punchline://HOST:PORT/join#KEY
    pub link: String,
    /// The name that you suggest to others for yourself
    #[arg(long)]
    pub name: Option<String>,
}

/// `add`
#[derive(Debug, Args)]
pub struct Add {
    /// What `punchline id` shows at the other's: the link, or the id alone
    #[arg(value_name = "ID-OR-LINK")]
    pub who: String,
    /// What you call them; may be left out if the link suggests a name
    #[arg(long)]
    pub name: Option<String>,
}

/// `contacts`
#[derive(Debug, Args)]
pub struct Contacts {
    /// Remove this contact: a name or an id
    #[arg(long, value_name = "PEER")]
    pub remove: Option<String>,
}

/// `chat`
#[derive(Debug, Args)]
pub struct Chat {
    /// A contact: name or id
    pub peer: String,
    /// How many seconds to wait for receipts after the end of the input
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub wait: Duration,
}

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// A contact: name or id
    pub peer: String,
    /// The last so many
    #[arg(short = 'n', long, value_name = "N", default_value = "50", conflicts_with = "all")]
    pub last: usize,
    /// Those before the message of this number, as --json shows it
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    pub before: Option<i64>,
    /// All of it
    #[arg(long)]
    pub all: bool,
}

/// `search`
#[derive(Debug, Args)]
pub struct Search {
    /// What to look for
    #[arg(required = true)]
    pub words: Vec<String>,
    /// Only in the conversation with this contact
    #[arg(long, value_name = "PEER")]
    pub with: Option<String>,
    /// The newest so many
    #[arg(short = 'n', long, value_name = "N", default_value = "50")]
    pub last: usize,
}

/// `outbox`
#[derive(Debug, Args)]
pub struct Outbox {
    /// What to do; without, all that waits is listed
    #[command(subcommand)]
    pub action: Option<OutboxAction>,
}

/// `outbox ...`
#[derive(Debug, Subcommand)]
pub enum OutboxAction {
    /// Take a message back
    Cancel {
        /// As `outbox` shows it; the first four digits or more, if they belong to one message only
        id: String,
    },
}

/// `export`
#[derive(Debug, Args)]
pub struct Export {
    /// JSON lines as of `history --json`, or Markdown
    #[arg(long, value_enum, default_value = "json")]
    pub format: ExportFormat,
    /// Only the conversation with this contact
    #[arg(long, value_name = "PEER")]
    pub with: Option<String>,
}

/// How `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line: docs/json.md
    Json,
    /// To read
    Markdown,
}

/// `ping`
#[derive(Debug, Args)]
pub struct Ping {
    /// A contact: name or id
    pub peer: String,
    /// Send at most this many
    #[arg(short, long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Seconds between two
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub timeout: Duration,
}

/// `speed`
#[derive(Debug, Args)]
pub struct Speed {
    /// A contact: name or id
    pub peer: String,
    /// How many seconds to send, each way
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = each_way)]
    pub seconds: Duration,
    /// Give up after this many seconds without a direct path
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub timeout: Duration,
}

/// `why`
#[derive(Debug, Args)]
pub struct Why {
    /// A contact: name or id
    pub peer: String,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// `netcheck`
#[derive(Debug, Args)]
pub struct Netcheck {
    /// Measure how long the router remembers a silent socket, too
    #[arg(long)]
    pub lifetime: bool,
    /// Give up after this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub timeout: Duration,
}

/// A span between a hundredth of a second and a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(10)..=Duration::from_secs(86_400);
    let span = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| bounds.contains(span)).ok_or_else(|| "a number of seconds from 0.01 to 86400".to_owned())
}

/// As long as the other side will measure.
fn each_way(text: &str) -> Result<Duration, String> {
    let span = seconds(text).ok().filter(|span| *span <= MAX_EACH_WAY);
    span.ok_or_else(|| format!("a number of seconds from 0.01 to {}", MAX_EACH_WAY.as_secs()))
}

fn after_help() -> String {
    let mut help = "\
To begin:
  punchline join 'punchline://example.org:3478/join#KEY' --name Alice
  punchline id                            give the link that it shows to Bob
  punchline add 'THE LINK THAT BOB SHOWS'
  punchline chat Bob

Exit codes:"
        .to_owned();
    for exit in Exit::ALL {
        help.push_str(&format!("\n  {}  {}", exit.code(), exit.meaning()));
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "1e30", "", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
