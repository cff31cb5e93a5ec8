//! What is said about a message that is named by the first digits of its id: whether that may be, and what it becomes.

use common::identity::PeerId;
use common::session::{Content, MessageId};

use crate::exit::Failure;
use crate::output::sanitize;
use crate::store::{Direction, Message, State, Store};

/// Digits of an id that must be given at least.
const SHORTEST: usize = 4;

/// Something to be said about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The first digits of its id.
    pub digits: String,
    /// What.
    pub remark: Remark,
}

/// What is said about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// An answer.
    Reply(String),
    /// What it is to say. Ours alone.
    Edit(String),
    /// It shall be gone. Ours alone.
    Delete,
    /// A reaction; empty: none any more.
    React(String),
}

impl About {
    /// These digits, this remark.
    pub fn new(digits: &str, remark: Remark) -> Self {
        About { digits: digits.to_owned(), remark }
    }

    /// With whom the message is, and what is to be said to them; or why not. Only a message with `peer`, if one is named.
    pub fn find(&self, store: &Store, peer: Option<PeerId>) -> Result<(PeerId, Content), Failure> {
        let digits = digits(&self.digits)?;
        let named = |direction| store.named(&digits, peer, direction);
        // What only our own can be is meant of our own, even if one of theirs begins in the same way.
        let own = if self.remark.is_of_own() { Some(Direction::Sent) } else { None };
        let message = match only(named(own)?) {
            Ok(Some(message)) => message,
            Ok(None) if own.is_some() && !named(None)?.is_empty() => {
                return Err(Failure::usage(format!("this message is not yours, and only its writer can {self}")));
            }
            Ok(None) => {
                let shown = sanitize::line(&digits);
                return Err(Failure::usage(format!(
                    "no message has an id that begins with {shown}; `punchline history PEER` shows them"
                )));
            }
            Err(failure) => return Err(failure),
        };
        match (message.deleted, message.state) {
            (true, _) => Err(Failure::usage("this message is deleted")),
            (false, State::Cancelled | State::Expired) if self.remark != Remark::Delete => {
                Err(Failure::usage(format!("this message is {}: the contact never had it", message.state.word())))
            }
            _ => Ok((message.peer, self.remark.clone().content(message.id))),
        }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.remark {
            Remark::Reply(_) => "answer it",
            Remark::Edit(_) => "edit it",
            Remark::Delete => "delete it",
            Remark::React(_) => "react to it",
        })
    }
}

impl Remark {
    fn is_of_own(&self) -> bool {
        matches!(self, Remark::Edit(_) | Remark::Delete)
    }

    fn content(self, of: MessageId) -> Content {
        match self {
            Remark::Reply(text) => Content::Text { text, reply_to: Some(of) },
            Remark::Edit(text) => Content::Edit { of, text },
            Remark::Delete => Content::Delete { of },
            Remark::React(emoji) => Content::Reaction { to: of, emoji },
        }
    }
}

/// Digits as they are looked for, if they are enough.
pub fn digits(typed: &str) -> Result<String, Failure> {
    let digits = typed.trim().to_lowercase();
    if digits.len() < SHORTEST {
        return Err(Failure::usage(format!(
            "give at least {SHORTEST} digits of the id; `punchline history PEER` and `punchline outbox` show it"
        )));
    }
    Ok(digits)
}

/// The one of those that were found.
pub fn only(found: impl IntoIterator<Item = Message>) -> Result<Option<Message>, Failure> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Failure::usage("several messages begin with these digits; give more of them")),
        (message, _) => Ok(message),
    }
}
