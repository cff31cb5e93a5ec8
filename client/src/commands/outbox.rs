//! `punchline outbox`: what waits for its receipt; `cancel` takes one back.

use jiff::Timestamp;

use super::{Context, Stop, kept, who};
use crate::cli::{Outbox, OutboxAction};
use crate::exit::Failure;
use crate::online::{digits, only};
use crate::output::{Event, sanitize};
use crate::store::{Message, NotCancelled};

pub(super) fn execute(context: &mut Context<'_>, arguments: Outbox) -> Result<(), Stop> {
    let (contacts, mut store) = (context.data.contacts()?, context.data.messages()?);
    let waiting = store.outbox(None)?;
    match arguments.action {
        None => {
            for message in waiting {
                context.show(&Event::Kept(Box::new(kept(&contacts, message))))?;
            }
        }
        Some(OutboxAction::Cancel { id }) => {
            let message = named(waiting, &id)?;
            match store.cancel(message.peer, message.id, Timestamp::now())? {
                Ok(()) => {}
                // It was there a moment ago.
                Err(NotCancelled::Unknown | NotCancelled::Already(_)) => {
                    return Err(Failure::other("too late: it has just been delivered, or taken back").into());
                }
            }
            let who = who(&contacts, message.peer);
            context.show(&Event::Cancelled { who, id: message.id.to_string(), text: message.text })?;
        }
    }
    Ok(())
}

/// The one message that these digits begin.
fn named(waiting: Vec<Message>, typed: &str) -> Result<Message, Failure> {
    let digits = digits(typed)?;
    let named = only(waiting.into_iter().filter(|message| message.id.to_string().starts_with(&digits)))?;
    named.ok_or_else(|| {
        Failure::usage(format!(
            "no message that waits has an id that begins with {}; `punchline outbox` lists them, and what has a receipt \
             cannot be taken back",
            sanitize::line(&digits)
        ))
    })
}
