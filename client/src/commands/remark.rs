//! `punchline reply`, `edit`, `delete` and `react`: something is said about a message, which says by its id with whom.

use common::session::MAX_EMOJI;

use super::{Context, Online, msg};
use crate::cli::{Delete, Edit, React, Reply, Words};
use crate::control::Command;
use crate::exit::Failure;
use crate::messenger::Refusal;
use crate::online::{About, End, Remark};

pub(super) const NEEDS_TEXT: &str = "a message needs its `text`; see docs/json.md";

pub(super) const ABOUT_NOTHING: &str = "this command is about no message";

/// What is wrong with the id is said before anybody goes online, and text is read from here.
pub(super) async fn execute(context: Context<'_>, mut command: Command) -> End {
    let online = Online::load(&context.data)?;
    // Before anything is read from standard input: a wrong id is found without it.
    let about = as_given(&command).ok_or_else(|| Failure::other(ABOUT_NOTHING))?;
    let (peer, _) = about.find(&context.data.messages()?, None)?;
    online.peer(&peer.to_string())?;
    match &mut command {
        Command::Reply(Reply { words: Words { text, .. }, .. }) | Command::Edit(Edit { text, .. }) => {
            *text = Some(msg::text(text.take())?);
        }
        Command::React(React { emoji, .. }) => fits(emoji.as_deref().unwrap_or_default())?,
        _ => {}
    }
    online.stay(context, command).await
}

fn fits(emoji: &str) -> Result<(), Failure> {
    let length = emoji.len();
    let refusal = (length > MAX_EMOJI).then(|| Refusal::LongReaction { length }.to_string());
    refusal.map_or(Ok(()), |why| Err(Failure::usage(why)))
}

/// On the node's side: what a request is about; `None`: it is no such request.
pub(super) fn about(command: &Command) -> Result<Option<About>, Failure> {
    match command {
        Command::Reply(Reply { words: Words { text: None, .. }, .. }) | Command::Edit(Edit { text: None, .. }) => {
            Err(Failure::usage(NEEDS_TEXT))
        }
        command => Ok(as_given(command)),
    }
}

/// A text that is not given is an empty one.
fn as_given(command: &Command) -> Option<About> {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(match command {
        Command::Reply(Reply { message, words }) => About::new(message, Remark::Reply(given(&words.text))),
        Command::Edit(Edit { message, text, .. }) => About::new(message, Remark::Edit(given(text))),
        Command::Delete(Delete { message, .. }) => About::new(message, Remark::Delete),
        Command::React(React { message, emoji, .. }) => About::new(message, Remark::React(given(emoji))),
        _ => return None,
    })
}
