//! `punchline join LINK`: an identity if there is none, and a rendezvous with its key.

use common::identity::Identity;
use common::link::{Link, Rendezvous};

use super::{Context, Stop, parse_link};
use crate::cli::Join;
use crate::data::{Config, Holder, check_name};
use crate::exit::Failure;
use crate::output::{Event, JoinChange};

pub(super) fn execute(context: &mut Context<'_>, arguments: &Join) -> Result<(), Stop> {
    let rendezvous = match parse_link(&arguments.link)? {
        Link::Join(rendezvous) => rendezvous,
        Link::Peer { rendezvous, .. } => {
            let join = Link::Join(rendezvous);
            return Err(Failure::usage(format!(
                "this link names a person. If you want to meet them, join their rendezvous with: punchline join \
                 '{join}'\nand then add them with: punchline add 'THE LINK THAT YOU HAVE'"
            ))
            .into());
        }
    };
    if let Some(name) = &arguments.name {
        check_name(name)?;
    }
    let edit = context.data.edit()?;
    // All that there is must be readable before anything is written.
    let before = context.data.config()?;
    let identity = match context.data.identity()? {
        Some(identity) => identity,
        None => {
            let identity = Identity::from_seed(&crate::random::bytes()?);
            edit.create_identity(&identity)?;
            identity
        }
    };
    let change = before.as_ref().map_or(JoinChange::New, |before| compare(&before.rendezvous, &rendezvous));
    let was = before
        .as_ref()
        .filter(|_| matches!(change, JoinChange::Moved | JoinChange::NewAddress))
        .map(|before| before.rendezvous.authority());
    let mut config = before.unwrap_or_else(|| Config::new(rendezvous.clone(), String::new()));
    config.rendezvous = rendezvous;
    if let Some(name) = &arguments.name {
        config.name.clone_from(name);
    }
    edit.save_config(&config)?;
    drop(edit);
    let running = context.data.holder()? != Holder::Nobody;
    context.show(&Event::Joined {
        id: identity.peer_id(),
        rendezvous: config.rendezvous.authority(),
        key: config.rendezvous.key,
        change,
        was,
        restart_needed: running && change != JoinChange::Same,
    })?;
    Ok(())
}

/// A rendezvous is its key; its address is only where it is found.
fn compare(before: &Rendezvous, now: &Rendezvous) -> JoinChange {
    let same_address = (&before.host, before.port, before.tunnel) == (&now.host, now.port, now.tunnel);
    match (before.key == now.key, same_address) {
        (true, true) => JoinChange::Same,
        (true, false) => JoinChange::NewAddress,
        (false, true) => JoinChange::KeyChanged,
        (false, false) => JoinChange::Moved,
    }
}
