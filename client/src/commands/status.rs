//! `punchline status`: what the running node says of itself, if one runs.

use super::{Context, JOIN_FIRST, Stop};
use crate::data::{Holder, Status};
use crate::exit::Failure;
use crate::node::Entrance;
use crate::output::{Event, SessionLine, Who};

pub(super) fn execute(context: &mut Context<'_>) -> Result<(), Stop> {
    let Some(identity) = context.data.identity()? else {
        return Err(Failure::usage(JOIN_FIRST).into());
    };
    let rendezvous = context.data.config()?.map(|config| config.rendezvous.authority());
    let contacts = context.data.contacts()?.iter().count();
    // Without contacts there may be no database, and nothing is made for looking.
    let unread = if contacts > 0 { context.data.messages()?.unread()? } else { Vec::new() };
    let holder = context.data.holder()?;
    // A file without a holder was left behind by a node that was killed, and one of another process by the one before.
    let (running, pid, told) = match holder {
        Holder::Nobody => (false, None, None),
        Holder::Process(pid) => {
            let told = context.data.status()?.filter(|status| pid.is_none_or(|pid| pid == status.pid));
            (true, pid, told)
        }
    };
    let sessions = told.iter().flat_map(|status| &status.sessions).map(|session| SessionLine {
        who: Who { peer: session.peer, name: session.name.clone() },
        route: session.route,
        by: session.by,
        remote: session.remote,
        rtt_ms: session.rtt_ms,
        since: session.since,
    });
    let entrance = told.as_ref().and_then(|status: &Status| status.entrance);
    let event = Event::Status {
        running,
        id: identity.peer_id(),
        rendezvous,
        contacts,
        unread: unread.into_iter().map(|(_, count)| count).sum(),
        pid,
        state: told.as_ref().map(|status| status.state),
        since: told.as_ref().map(|status| status.since),
        via: entrance.map(Entrance::word),
        observed: entrance.and_then(Entrance::observed),
        profile: told.as_ref().and_then(|status| status.profile),
        port_mapping: told.as_ref().and_then(|status| status.port_mapping),
        relay_only: told.as_ref().is_some_and(|status| status.relay_only),
        sessions: sessions.collect(),
    };
    context.show(&event)?;
    Ok(())
}
