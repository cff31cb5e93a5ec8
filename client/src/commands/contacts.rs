//! `punchline contacts`: whom we know; `--remove` forgets one.

use super::{Context, Stop};
use crate::cli::Contacts;
use crate::output::{ContactChange, Event, Who};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Contacts) -> Result<(), Stop> {
    let Some(asked) = &arguments.remove else {
        for contact in context.data.contacts()?.iter() {
            let who = Who { peer: contact.id, name: Some(contact.name.clone()) };
            context.show(&Event::Contact { change: ContactChange::Listed, who, was: None })?;
        }
        return Ok(());
    };
    // Asked before the lock, so that a folder that is not there is not made for nothing.
    context.data.contacts()?.find(asked)?;
    let edit = context.data.edit()?;
    let mut contacts = context.data.contacts()?;
    let removed = contacts.remove(asked)?;
    edit.save_contacts(&contacts)?;
    drop(edit);
    let who = Who { peer: removed.id, name: Some(removed.name) };
    context.show(&Event::Contact { change: ContactChange::Removed, who, was: None })?;
    Ok(())
}
