//! `punchline export`: everything, for other programs or to read.

use common::identity::PeerId;

use super::history::PAGE;
use super::{Context, Stop, correspondent, kept};
use crate::cli::{Export, ExportFormat};
use crate::data::Contacts;
use crate::output::Event;
use crate::output::{Mode, markdown};
use crate::store::{Page, Store};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Export) -> Result<(), Stop> {
    let (contacts, store) = (context.data.contacts()?, context.data.messages()?);
    let peers = match &arguments.with {
        Some(asked) => vec![correspondent(&context.data, asked)?.peer],
        None => store.peers()?,
    };
    if arguments.format == ExportFormat::Json {
        context.printer.set_mode(Mode::Json);
    }
    for peer in peers {
        conversation(context, &contacts, &store, peer, arguments.format)?;
    }
    Ok(())
}

fn conversation(
    context: &mut Context<'_>,
    contacts: &Contacts,
    store: &Store,
    peer: PeerId,
    format: ExportFormat,
) -> Result<(), Stop> {
    if format == ExportFormat::Markdown {
        context.printer.line(&markdown::heading(peer, contacts.name_of(peer)))?;
    }
    let mut after = i64::MIN;
    loop {
        let messages = store.history(peer, Page::After(after, PAGE))?;
        let Some(last) = messages.last() else { return Ok(()) };
        after = last.place;
        for message in messages {
            match format {
                ExportFormat::Json => context.show(&Event::Kept(Box::new(kept(contacts, message))))?,
                ExportFormat::Markdown => {
                    let line = markdown::message(&message, contacts.name_of(peer), context.printer);
                    context.printer.line(&line)?;
                }
            }
        }
    }
}
