//! `punchline restore FILE`: what `backup` has written, back in its place.

use jiff::Timestamp;

use super::{Context, Stop, passphrase};
use crate::cli::Restore;
use crate::data::backup::{self, Restoration};
use crate::output::{Event, Replacing, Restored};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Restore) -> Result<(), Stop> {
    // Before anybody types a passphrase in vain.
    backup::refuse_unreadable(&arguments.file)?;
    if !arguments.replace {
        backup::refuse_what_is_there(&context.data)?;
    }
    let passphrase = passphrase::enter(arguments.passphrase_file.as_deref())?;
    let data = context.data.clone();
    let restoration = Restoration::prepare(&data, &arguments.file, &passphrase, arguments.replace)?;
    let aside = restoration.aside(Timestamp::now());
    if let Some(found) = restoration.found().cloned() {
        context.show(&Event::Replacing(Replacing {
            files: found.files,
            id: found.id,
            contacts: found.contacts,
            messages: found.messages,
            aside: aside.display().to_string(),
        }))?;
    }
    let name = restoration.name().to_owned();
    let brought = restoration.carry_out(&aside)?;
    let page =
        Restored { id: brought.id, name, contacts: brought.contacts, messages: brought.messages, made: brought.made };
    context.show(&Event::Restored(page))?;
    Ok(())
}
