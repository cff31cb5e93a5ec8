//! `punchline history PEER`: what the two have said, a page or all of it.

use super::{Context, Stop, correspondent, kept};
use crate::cli::History;
use crate::store::Page;

/// Messages read at a time.
pub(super) const PAGE: usize = 1000;

pub(super) fn execute(context: &mut Context<'_>, arguments: &History) -> Result<(), Stop> {
    let peer = correspondent(&context.data, &arguments.peer)?.peer;
    let (contacts, store) = (context.data.contacts()?, context.data.messages()?);
    let mut page = match (arguments.all, arguments.before) {
        (true, _) => Page::After(0, PAGE),
        (false, Some(number)) => Page::Before(number, arguments.last),
        (false, None) => Page::Last(arguments.last),
    };
    loop {
        let messages = store.history(peer, page)?;
        let Some(last) = messages.last().map(|message| message.number) else { return Ok(()) };
        for message in messages {
            context.show(&kept(&contacts, message))?;
        }
        if !arguments.all {
            return Ok(());
        }
        page = Page::After(last, PAGE);
    }
}
