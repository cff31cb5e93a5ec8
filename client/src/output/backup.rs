//! What `backup` and `restore` did.

use common::identity::PeerId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::sanitize;

/// A backup was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackedUp {
    /// Where.
    pub file: String,
    /// Whose.
    pub id: PeerId,
    /// How many contacts are in it.
    pub contacts: usize,
    /// How many messages.
    pub messages: u64,
}

/// What a restoration is about to replace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replacing {
    /// The files.
    pub files: Vec<&'static str>,
    /// Whose; `null` if that cannot be read.
    pub id: Option<PeerId>,
    /// How many contacts; `null` if that cannot be read.
    pub contacts: Option<usize>,
    /// How many messages; `null` if that cannot be read.
    pub messages: Option<u64>,
    /// The folder where they are kept from now on.
    pub aside: String,
}

/// A backup was brought back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restored {
    /// Whose.
    pub id: PeerId,
    /// The name that they suggest for themself.
    pub name: String,
    /// How many contacts.
    pub contacts: usize,
    /// How many messages.
    pub messages: u64,
    /// When the backup was made.
    pub made: Timestamp,
}

pub(super) fn backed_up(BackedUp { file, id, contacts, messages }: &BackedUp) -> String {
    let holds = holds(Some(*contacts), Some(*messages));
    format!(
        "{} holds your identity {}, {holds}. Whoever has it and the passphrase is you: keep them apart",
        sanitize::line(file),
        id.short()
    )
}

pub(super) fn replacing(Replacing { files, id, contacts, messages, aside }: &Replacing) -> String {
    let whose =
        id.map_or_else(|| "an identity that cannot be read".to_owned(), |id| format!("identity {}", id.short()));
    format!(
        "Replacing {} ({whose}, {}); they are kept in {}",
        files.join(", "),
        holds(*contacts, *messages),
        sanitize::line(aside)
    )
}

pub(super) fn restored(Restored { id, name, contacts, messages, made }: &Restored, zone: &TimeZone) -> String {
    let name = if name.is_empty() { String::new() } else { format!("{}, ", sanitize::line(name)) };
    format!(
        "Restored: you are {name}{id}, with {}, as of {}. Do not go on with the copy that this was made from: only one \
         of the two can be online",
        holds(Some(*contacts), Some(*messages)),
        made.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S")
    )
}

fn holds(contacts: Option<usize>, messages: Option<u64>) -> String {
    let count = |count: Option<u64>, one: &str| match count {
        None => format!("{one}s that cannot be counted"),
        Some(1) => format!("1 {one}"),
        Some(count) => format!("{count} {one}s"),
    };
    format!("{} and {}", count(contacts.map(|count| count as u64), "contact"), count(messages, "message"))
}
