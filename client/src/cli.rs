//! The command line: what can be asked for, and the help that teaches it.

mod asked;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use asked::{Chat, Delete, Edit, Goal, Msg, Netcheck, Patience, Ping, React, Read, Reply, Speed, Tail, Why, Words};

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

Your contacts reach you while it runs; what they write is shown and acknowledged. All other commands
may be used meanwhile, in other windows: they use this one's connections.")]
    Run(Run),
    /// Be online in the background
    #[command(after_help = "\
Example:
  punchline up
  punchline msg Bob 'I am online'
  punchline down

Your contacts reach you from now on; what they write is kept and acknowledged: `punchline tail` and
`punchline history` show it. Options of this command, such as --relay-only, are those of the one in
the background. What goes wrong there stands in node.log in the data folder.")]
    Up,
    /// Stop the one that is online
    #[command(after_help = "Example:\n  punchline down")]
    Down,
    /// Say one thing to a contact, and know what became of it
    #[command(after_help = "\
Examples:
  punchline msg Bob 'the build is done'
  make 2>&1 | tail -n 5 | punchline msg Bob --wait device --timeout 60
  punchline msg Bob 'lunch?' --expire 2h

Without TEXT, or with -, the text comes from standard input. Prints the message's id and how far it
has come: with exit code 0 as far as was asked for, with 3 if the contact is offline, with 6 if it
took too long. In both cases the message waits, and goes when you are both online.")]
    Msg(Msg),
    /// Answer a message
    #[command(after_help = "\
Examples:
  punchline reply 6f1d0c7c 'at noon'
  date | punchline reply 6f1d

The digits are the first ones of the id that `history` shows, four or more. To whom it goes follows
from the message; the rest is as with `msg`.")]
    Reply(Reply),
    /// Change what a message of yours says
    #[command(after_help = "\
Example:
  punchline edit 6f1d0c7c 'the build is not done'

Both of you see that it was edited. Whoever has read it has read it.")]
    Edit(Edit),
    /// Delete a message of yours, here and at the contact's
    #[command(after_help = "\
Example:
  punchline delete 6f1d0c7c

The words go from your history, and from the contact's when their client hears of it; that there was
a message stays. Whoever has read it has read it. What is not delivered yet, `outbox cancel` takes
back.")]
    Delete(Delete),
    /// React to a message, or take that back
    #[command(after_help = "\
Examples:
  punchline react 6f1d0c7c 👍
  punchline react 6f1d0c7c

Each of you has one reaction to a message; a new one takes the place of the last.")]
    React(React),
    /// Mark all that a contact has said as read
    #[command(after_help = "\
Example:
  punchline read Bob

If punchline is online the contact hears of it now, else when it is.")]
    Read(Read),
    /// Follow all that is said, and what becomes of it
    #[command(after_help = "\
Examples:
  punchline tail
  punchline tail --with Bob --json
  punchline tail --since 1207 --json

Each line has a number (`entry`, with --json); with --since it goes on behind that one, without a
gap and without repeating anything.")]
    Tail(Tail),
    /// Have a command run for what happens
    #[command(after_help = "\
Examples:
  punchline on message --exec notify-me
  punchline on message --with Bob --shell --exec 'jq -r .text >> bob.txt'

The command gets the message as a line of JSON on standard input (the `entry` of docs/json.md). One
at a time, and none is left out: where the last one stopped, the next one goes on, even if messages
came in between. Begins with the messages that come from now on.")]
    On(On),
    /// Talk with a contact, a line a message
    #[command(after_help = "\
Examples:
  punchline chat Bob
  echo 'the build is done' | punchline chat Bob

A line that begins with / is a command: /reply ID TEXT, /edit ID TEXT, /delete ID, /react ID EMOJI
(without one, yours is taken back). ID is what stands behind each message, four digits or more. To
say something that begins with /, begin with //.
It begins with what was not read yet. Lines typed before the connection stands wait for it. At the
end of the input (Ctrl-D) it waits for the receipts that are still out, and says what was not
delivered.")]
    Chat(Chat),
    /// Show what you and a contact have said
    #[command(after_help = "\
Examples:
  punchline history Bob
  punchline history Bob --last 500
  punchline history Bob --all --json

Oldest first. A message of yours that no receipt came back for says (queued). Behind each one are the
first digits of its id, for `reply`, `edit`, `delete` and `react`.")]
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
    /// Write your identity, your contacts and all that was said to one file, under a passphrase
    #[command(after_help = "\
Examples:
  punchline backup punchline.backup
  punchline backup punchline.backup --passphrase-file secret.txt

Works while punchline is online. The passphrase is asked for twice; a file that exists is not
overwritten. Whoever has the file and the passphrase is you.")]
    Backup(Backup),
    /// Bring back what `backup` has written
    #[command(after_help = "\
Examples:
  punchline restore punchline.backup
  punchline restore punchline.backup --replace

Everything in the file is checked before anything is changed. A folder that has an identity, or
messages, is left alone; with --replace it says what is there and keeps those files aside. From then on
use only the restored copy: two of them would be one person twice.")]
    Restore(Restore),
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
routers, the reason. While a client of yours is online, tells of its last attempt if there was one.")]
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
    /// Print what your shell needs to complete commands
    #[command(after_help = "\
Examples:
  punchline completions bash > ~/.local/share/bash-completion/completions/punchline
  punchline completions zsh > ~/.zfunc/_punchline
  punchline completions fish > ~/.config/fish/completions/punchline.fish")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    #[command(after_help = "Example:\n  punchline man ~/.local/share/man/man1")]
    Man {
        /// The folder for them
        folder: PathBuf,
    },
    /// Print a unit of systemd that keeps you online, or install it
    #[command(after_help = "\
Example:
  punchline service --install
  systemctl --user enable --now punchline

`loginctl enable-linger` keeps it going while you are not logged in.")]
    Service {
        /// Write it to ~/.config/systemd/user/punchline.service
        #[arg(long)]
        install: bool,
    },
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// `up` starts it so.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `on`
#[derive(Debug, Args)]
pub struct On {
    /// What happens
    #[command(subcommand)]
    pub what: OnWhat,
}

/// `on ...`
#[derive(Debug, Subcommand)]
pub enum OnWhat {
    /// A message has come
    Message(OnMessage),
}

/// `on message`
#[derive(Debug, Args)]
pub struct OnMessage {
    /// The command: a program and its arguments, split at spaces
    #[arg(long, value_name = "CMD")]
    pub exec: String,
    /// Have the shell understand the command
    #[arg(long)]
    pub shell: bool,
    /// Only for messages of this contact
    #[arg(long, value_name = "PEER")]
    pub with: Option<String>,
    /// Run it so often for a message, with longer and longer pauses, before giving up on that one
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub tries: u32,
    /// Where it stopped is remembered under this name; each has its own
    #[arg(long, value_name = "NAME", default_value = "message")]
    pub name: String,
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

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// A contact: name or id
    pub peer: String,
    /// The last so many
    #[arg(short = 'n', long, value_name = "N", default_value = "50", conflicts_with = "all")]
    pub last: usize,
    /// Those before the message of this place, as --json shows it
    #[arg(long, value_name = "PLACE", conflicts_with = "all")]
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

/// `backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to: a file that is not there yet
    pub file: PathBuf,
    /// Take the passphrase from the first line of this file, or of standard input: -
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// What `backup` has written
    pub file: PathBuf,
    /// Take the passphrase from the first line of this file, or of standard input: -
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Put it in the place of what is there, which is kept aside
    #[arg(long)]
    pub replace: bool,
}

/// How `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line: docs/json.md
    Json,
    /// To read
    Markdown,
}

fn after_help() -> String {
    let mut help = "\
To begin:
  punchline join 'punchline://example.org:3478/join#KEY' --name Alice
  punchline id                            give the link that it shows to Bob
  punchline add 'THE LINK THAT BOB SHOWS'
  punchline chat Bob                      or: punchline up, and then punchline msg Bob 'hello'

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
}
