//! `punchline contacts`: whom we know; `--remove` forgets one.

use std::collections::BTreeMap;

use common::identity::PeerId;
use jiff::Timestamp;

use super::{Context, Stop};
use crate::cli::Contacts;
use crate::exit::Failure;
use crate::output::{ContactChange, Event, Who};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Contacts) -> Result<(), Stop> {
    let Some(asked) = &arguments.remove else {
        let contacts = context.data.contacts()?;
        // Without contacts there may be no database, and nothing is made for looking.
        let unread: BTreeMap<PeerId, u64> = match contacts.iter().next() {
            Some(_) => context.data.messages()?.unread()?.into_iter().collect(),
            None => BTreeMap::new(),
        };
        for contact in contacts.iter() {
            let who = Who { peer: contact.id, name: Some(contact.name.clone()) };
            let unread = unread.get(&contact.id).copied();
            context.show(&Event::Contact { change: ContactChange::Listed, who, was: None, unread })?;
        }
        return Ok(());
    };
    // Asked first, so that a folder that is not there is not made for nothing.
    context.data.contacts()?.find(asked)?;
    let removed = context
        .data
        .messages()?
        .change_contacts(Timestamp::now(), |contacts| contacts.remove(asked).map_err(Failure::from))?;
    let who = Who { peer: removed.id, name: Some(removed.name) };
    context.show(&Event::Contact { change: ContactChange::Removed, who, was: None, unread: None })?;
    Ok(())
}
