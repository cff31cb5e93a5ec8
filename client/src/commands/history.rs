//! `punchline history PEER`: what the two have said, a page or all of it.

use super::{Context, Stop, correspondent, kept};
use crate::cli::History;
use crate::output::Event;
use crate::store::Page;

/// Messages read at a time.
pub(super) const PAGE: usize = 1000;

pub(super) fn execute(context: &mut Context<'_>, arguments: &History) -> Result<(), Stop> {
    let peer = correspondent(&context.data, &arguments.peer)?.peer;
    let (contacts, mut store) = (context.data.contacts()?, context.data.messages()?);
    let mut page = match (arguments.all, arguments.before) {
        (true, _) => Page::After(i64::MIN, PAGE),
        (false, Some(number)) => Page::Before(number, arguments.last),
        (false, None) => Page::Last(arguments.last),
    };
    loop {
        let messages = store.history(peer, page)?;
        let Some(last) = messages.last().map(|message| message.place) else { return Ok(()) };
        for message in messages {
            context.show(&Event::Kept(Box::new(kept(&contacts, message))))?;
        }
        // Whoever has it on their screen has read it. A client that is online tells the peer.
        store.mark_read(peer, last)?;
        if !arguments.all {
            return Ok(());
        }
        page = Page::After(last, PAGE);
    }
}
