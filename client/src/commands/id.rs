//! `punchline id`: who we are, and the link that others need.

use common::link::Link;

use super::{Context, JOIN_FIRST, Stop};
use crate::exit::Failure;
use crate::output::Event;

pub(super) fn execute(context: &mut Context<'_>) -> Result<(), Stop> {
    let Some(identity) = context.data.identity()? else {
        return Err(Failure::usage(JOIN_FIRST).into());
    };
    let peer = identity.peer_id();
    let link = context.data.config()?.map(|config| {
        let name = Some(config.name).filter(|name| !name.is_empty());
        Link::Peer { rendezvous: config.rendezvous, peer, name }.to_string()
    });
    context.show(&Event::Id { id: peer, link })?;
    Ok(())
}
