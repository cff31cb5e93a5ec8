//! `punchline backup FILE`: all of the data folder that cannot be made again, under a passphrase.

use jiff::Timestamp;

use super::{Context, JOIN_FIRST, Stop, passphrase};
use crate::cli::Backup;
use crate::data::backup;
use crate::exit::Failure;
use crate::output::{BackedUp, Event};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Backup) -> Result<(), Stop> {
    if context.data.identity()?.is_none() {
        return Err(Failure::usage(JOIN_FIRST).into());
    }
    // Before anybody types a passphrase in vain.
    backup::refuse_existing(&arguments.file)?;
    let passphrase = passphrase::choose(arguments.passphrase_file.as_deref())?;
    let (salt, now) = (crate::random::bytes()?, Timestamp::now());
    let made = backup::back_up(&context.data, &arguments.file, &passphrase, salt, now)?;
    let file = arguments.file.display().to_string();
    let page = BackedUp { file, id: made.id, contacts: made.contacts, messages: made.messages };
    context.show(&Event::BackedUp(page))?;
    Ok(())
}
