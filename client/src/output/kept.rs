//! A message out of the store.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::said::short;
use super::text::name;
use super::{Direction, Who, sanitize};

/// A message as it is kept. The field names and their order are the JSON form; what is not so is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// Its place in the conversation.
    pub place: i64,
    /// Which way.
    pub dir: Direction,
    /// From or to whom.
    #[serde(flatten)]
    pub who: Who,
    /// Its name, in hexadecimal.
    pub id: String,
    /// What, after the last edit; empty if it was deleted.
    pub text: String,
    /// When it was written, by its writer's clock.
    pub at: Timestamp,
    /// `queued`, `server`, `device`, `read`, `cancelled` or `expired`.
    pub state: &'static str,
    /// When we heard of that, of a message of ours that is not queued any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// It is to be delivered until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The machine on which it was written, of one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The name of the message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// It reads otherwise than at first.
    #[serde(skip_serializing_if = "is_false")]
    pub edited: bool,
    /// Its writer has deleted it.
    #[serde(skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// Our person was not shown it before.
    #[serde(skip_serializing_if = "is_false")]
    pub unread: bool,
    /// So many of the peer's right before it are not here.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_before: u64,
    /// Our person's reaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_reaction: Option<String>,
    /// The peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_reaction: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What is missing before a message, in words.
pub(super) fn missing(count: u64) -> Option<String> {
    match count {
        0 => None,
        1 => Some("(1 message is missing here)".to_owned()),
        count => Some(format!("({count} messages are missing here)")),
    }
}

/// With the date, because a history is read on other days; and with the digits by which something is said about it.
pub(super) fn render(kept: &Kept, zone: &TimeZone) -> String {
    let date = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let between = match (kept.dir, &kept.host) {
        (Direction::In, _) => name(&kept.who),
        (Direction::Out, None) => format!("you to {}", name(&kept.who)),
        (Direction::Out, Some(host)) => format!("you@{} to {}", sanitize::line(host), name(&kept.who)),
    };
    let id = short(&kept.id);
    let until = kept.expires.map(|at| format!(", until {}", date(at))).unwrap_or_default();
    let became = match (kept.dir, kept.state) {
        (Direction::Out, "queued") => format!("  (queued, {id}{until})"),
        (Direction::Out, "server") => format!("  (at the server, {id}{until})"),
        (Direction::Out, "read") => format!("  (read, {id})"),
        (_, "cancelled") => "  (taken back)".to_owned(),
        (_, "expired") => "  (expired: it was not delivered in time)".to_owned(),
        _ => format!("  ({id})"),
    };
    let answers = kept.reply_to.as_deref().map(|to| format!(", to {}", short(to))).unwrap_or_default();
    let text = match (kept.deleted, kept.edited) {
        (true, _) => "(deleted)".to_owned(),
        (false, true) => format!("{} (edited)", sanitize::line(&kept.text)),
        (false, false) => sanitize::line(&kept.text),
    };
    let reactions = [&kept.own_reaction, &kept.peer_reaction].into_iter().flatten();
    let reactions: String = reactions.map(|reaction| format!("  [{}]", sanitize::line(reaction))).collect();
    let missing = missing(kept.missing_before).map(|words| format!("{words}\n")).unwrap_or_default();
    format!("{missing}{} {between}{answers}: {text}{reactions}{became}", date(kept.at))
}
