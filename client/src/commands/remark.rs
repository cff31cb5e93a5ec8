//! `punchline reply`, `edit`, `delete` and `react`: something is said about a message, which says by its id with whom.

use common::session::MAX_EMOJI;

use super::{Context, Online, msg};
use crate::control::Command;
use crate::exit::Failure;
use crate::messenger::Refusal;
use crate::online::{About, End, Remark};

pub(super) const NEEDS_TEXT: &str = "a message needs its `text`; see docs/json.md";

/// What is wrong with the id is said before anybody goes online, and text is read from here.
pub(super) async fn execute(context: Context<'_>, mut command: Command) -> End {
    let online = Online::load(&context.data)?;
    // Before anything is read from standard input: a wrong id is found without it.
    let (message, remark) = match &command {
        Command::Reply(arguments) => (&arguments.message, Remark::Reply(String::new())),
        Command::Edit(arguments) => (&arguments.message, Remark::Edit(String::new())),
        Command::Delete(arguments) => (&arguments.message, Remark::Delete),
        Command::React(arguments) => (&arguments.message, Remark::React(String::new())),
        _ => return Err(Failure::other("this command is about no message")),
    };
    let (peer, _) = About::new(message, remark).find(&context.data.messages()?, None)?;
    online.peer(&peer.to_string())?;
    match &mut command {
        Command::Reply(arguments) => arguments.text = Some(msg::text(arguments.text.take())?),
        Command::Edit(arguments) => arguments.text = Some(msg::text(arguments.text.take())?),
        Command::React(arguments) => fits(arguments.emoji.as_deref().unwrap_or_default())?,
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
    let text = |text: &Option<String>| text.clone().ok_or_else(|| Failure::usage(NEEDS_TEXT));
    Ok(Some(match command {
        Command::Reply(arguments) => About::new(&arguments.message, Remark::Reply(text(&arguments.text)?)),
        Command::Edit(arguments) => About::new(&arguments.message, Remark::Edit(text(&arguments.text)?)),
        Command::Delete(arguments) => About::new(&arguments.message, Remark::Delete),
        Command::React(arguments) => {
            About::new(&arguments.message, Remark::React(arguments.emoji.clone().unwrap_or_default()))
        }
        _ => return Ok(None),
    }))
}
