//! `punchline outbox`: what waits for its receipt; `cancel` takes one back.

use jiff::Timestamp;

use super::{Context, Stop, kept, who};
use crate::cli::{Outbox, OutboxAction};
use crate::exit::Failure;
use crate::output::{Event, sanitize};
use crate::store::{Message, NotCancelled};

/// Digits of an id that must be given at least.
const SHORTEST: usize = 4;

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
fn named(waiting: Vec<Message>, digits: &str) -> Result<Message, Failure> {
    let digits = digits.trim().to_lowercase();
    if digits.len() < SHORTEST {
        return Err(Failure::usage(format!("give at least {SHORTEST} digits of the id; `punchline outbox` shows it")));
    }
    let mut named = waiting.into_iter().filter(|message| message.id.to_string().starts_with(&digits));
    match (named.next(), named.next()) {
        (Some(message), None) => Ok(message),
        (Some(_), Some(_)) => Err(Failure::usage("several messages begin with these digits; give more of them")),
        (None, _) => Err(Failure::usage(format!(
            "no message that waits has an id that begins with {}; `punchline outbox` lists them, and what has a receipt \
             cannot be taken back",
            sanitize::line(&digits)
        ))),
    }
}
