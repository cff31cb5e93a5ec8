//! What the node says, as it is shown.

use super::Room;
use crate::node::NodeEvent;
use crate::output::{Event, Tried};

impl Room {
    /// The event to print for one of the node's.
    pub(super) fn picture(&self, event: &NodeEvent) -> Option<Event> {
        Some(match event {
            NodeEvent::Registered { entrance, local } => {
                Event::Registered { entrance: *entrance, local: local.clone() }
            }
            NodeEvent::RendezvousLost { reason } => Event::RendezvousLost { reason: reason.clone() },
            NodeEvent::Draining => Event::Draining,
            NodeEvent::Profile(profile) => Event::Profile { profile: *profile },
            NodeEvent::PortMapping(mapping) => Event::PortMapping {
                port_mapping: mapping.as_ref().ok().copied(),
                reason: mapping.as_ref().err().cloned(),
            },
            NodeEvent::Introduced { peer, by, requested, addresses } => {
                Event::Introduced { who: self.who(*peer), by: *by, requested: *requested, addresses: addresses.clone() }
            }
            NodeEvent::Refused { peer } => Event::Refused { who: self.who(*peer) },
            NodeEvent::Punched { peer, remote, kind, rtt, after } => Event::Punched {
                who: self.who(*peer),
                kind: *kind,
                remote: *remote,
                rtt_ms: (*rtt).into(),
                after_ms: (*after).into(),
            },
            NodeEvent::NetworkChanged { what } => Event::NetworkChanged { what: what.clone() },
            NodeEvent::NoPath { peer, tried, report } => Event::NoPath {
                who: self.who(*peer),
                tried: tried.clone(),
                strategies: Tried::all(report),
                because: report.ending.to_string(),
            },
            NodeEvent::Untrusted { expected, seen } => Event::untrusted(*expected, *seen),
            NodeEvent::Up { .. }
            | NodeEvent::Down { .. }
            | NodeEvent::Frame { .. }
            | NodeEvent::Replaced
            | NodeEvent::Attempted { .. }
            | NodeEvent::Around(_)
            | NodeEvent::Lifetime(_)
            | NodeEvent::Mailbox(_)
            | NodeEvent::Deposited { .. }
            | NodeEvent::Mail { .. }
            | NodeEvent::MailUnreadable { .. }
            | NodeEvent::Clock { .. }
            | NodeEvent::Speed { .. } => {
                return None;
            }
        })
    }
}
