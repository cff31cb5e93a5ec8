//! `punchline search WORDS`: where they were said.

use super::{Context, Stop, correspondent, kept};
use crate::cli::Search;
use crate::output::Event;

pub(super) fn execute(context: &mut Context<'_>, arguments: &Search) -> Result<(), Stop> {
    let with = arguments.with.as_deref().map(|asked| correspondent(&context.data, asked)).transpose()?;
    let contacts = context.data.contacts()?;
    let found =
        context.data.messages()?.search(&arguments.words.join(" "), with.map(|who| who.peer), arguments.last)?;
    for message in found.into_iter().rev() {
        context.show(&Event::Kept(Box::new(kept(&contacts, message))))?;
    }
    Ok(())
}
