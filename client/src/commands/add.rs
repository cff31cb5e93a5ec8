//! `punchline add ID-OR-LINK --name NAME`: a new contact, or a new name for one.

use common::identity::PeerId;
use common::link::{Link, Rendezvous, SCHEME};
use jiff::Timestamp;

use super::{Context, JOIN_FIRST, Stop, parse_link};
use crate::cli::Add;
use crate::data::{Added, Contacts};
use crate::exit::Failure;
use crate::output::{ContactChange, Event, Who, sanitize};

/// Whom the argument names.
struct Named {
    peer: PeerId,
    suggestion: Option<String>,
    rendezvous: Option<Rendezvous>,
}

pub(super) fn execute(context: &mut Context<'_>, arguments: &Add) -> Result<(), Stop> {
    let named = parse(&arguments.who)?;
    let identity = context.data.identity()?;
    if identity.is_some_and(|own| own.peer_id() == named.peer) {
        return Err(Failure::usage("this is your own id; a contact is somebody else. Give your link to them").into());
    }
    if let Some(theirs) = &named.rendezvous {
        let join = Link::Join(theirs.clone());
        match context.data.config()? {
            None => {
                return Err(Failure::usage(format!(
                    "{JOIN_FIRST}\nTo meet the person of this link: punchline join '{join}'"
                ))
                .into());
            }
            // The key is the rendezvous; one server may be known by several addresses.
            Some(config) if config.rendezvous.key != theirs.key => {
                return Err(Failure::usage(format!(
                    "they are found at {}, and you have joined {}: you would never meet. Join theirs with: punchline \
                     join '{join}'\nor ask them to join yours and to send their new link",
                    theirs.authority(),
                    config.rendezvous.authority()
                ))
                .into());
            }
            Some(_) => {}
        }
    }
    let add = |contacts: &mut Contacts| {
        let known = contacts.name_of(named.peer).map(str::to_owned);
        // A name that was chosen here is not replaced by one that a link suggests.
        let Some(name) = arguments.name.clone().or(known).or(named.suggestion) else {
            return Err(Failure::usage("say what you call them: punchline add ID-OR-LINK --name NAME"));
        };
        Ok((contacts.add(named.peer, &name)?, name))
    };
    // Tried first, so that a refused command leaves no trace.
    add.clone()(&mut context.data.contacts()?)?;
    let (added, name) = context.data.messages()?.change_contacts(Timestamp::now(), add)?;
    let (change, was) = match added {
        Added::New => (ContactChange::Added, None),
        Added::Known => (ContactChange::Known, None),
        Added::Renamed { from } => (ContactChange::Renamed, Some(from)),
    };
    context.show(&Event::Contact { change, who: Who { peer: named.peer, name: Some(name) }, was, unread: None })?;
    Ok(())
}

fn parse(text: &str) -> Result<Named, Failure> {
    let text = text.trim();
    // Anything with the look of a link is judged as one; the rest is judged as an id.
    if !text.contains("://") && !text.starts_with(SCHEME) {
        let peer =
            text.parse().map_err(|error| Failure::usage(format!("this is neither an id nor a link: {error}")))?;
        return Ok(Named { peer, suggestion: None, rendezvous: None });
    }
    match parse_link(text)? {
        Link::Peer { rendezvous, peer, name } => {
            let suggestion = name.map(|name| sanitize::line(&name).trim().to_owned()).filter(|name| !name.is_empty());
            Ok(Named { peer, suggestion, rendezvous: Some(rendezvous) })
        }
        Link::Join(rendezvous) => Err(Failure::usage(format!(
            "this link names a rendezvous, not a person. Join it with: punchline join '{}'",
            Link::Join(rendezvous)
        ))),
    }
}
