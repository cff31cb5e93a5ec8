//! What becomes of a post of ours.

/// What has become of a post of ours. Of one that was received: that it is [`State::OnDevice`], ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Here alone; it goes to the peer as soon as there is a way.
    Queued = 0,
    /// The rendezvous keeps it for the peer, and has signed for it.
    AtServer = 3,
    /// The receiving client has it, and has signed for it.
    OnDevice = 1,
    /// It was shown to whoever it is for; their client has signed for that.
    Read = 4,
    /// Taken back before anybody had acknowledged it.
    Cancelled = 2,
    /// It was to be delivered until a time, and was not.
    Expired = 5,
}

/// What may happen to a post of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A rendezvous has signed for it.
    Stored,
    /// The receiving client has signed for it, as it was written.
    Arrived,
    /// The receiving client has signed for the void in its place.
    ArrivedVoid,
    /// The receiving client has signed that it was shown.
    Shown,
    /// We take it back.
    Cancel,
    /// Its time is over.
    Expire,
}

impl State {
    /// All of them, as a message goes through them.
    pub const ALL: [State; 6] =
        [State::Queued, State::AtServer, State::OnDevice, State::Read, State::Cancelled, State::Expired];

    /// As it is called in JSON and to people.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::AtServer => "server",
            State::OnDevice => "device",
            State::Read => "read",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }

    /// Could it still be taken back?
    pub fn is_open(self) -> bool {
        matches!(self, State::Queued | State::AtServer)
    }

    /// The state after this. What is known to be true stays so: word of an earlier step that comes late changes nothing,
    /// and a post that arrived before it was taken back has arrived.
    pub(super) fn after(self, change: Change) -> State {
        match (self, change) {
            (State::Queued, Change::Stored) => State::AtServer,
            (State::Queued | State::AtServer | State::Cancelled | State::Expired, Change::Arrived) => State::OnDevice,
            (State::OnDevice, Change::Shown) => State::Read,
            (State::Queued | State::AtServer, Change::Cancel) => State::Cancelled,
            (State::Queued | State::AtServer, Change::Expire) => State::Expired,
            // Only what is taken back or too late has a void in its place.
            (state, Change::ArrivedVoid) => state,
            // Whoever says that they have read what they have not acknowledged speaks of something else.
            (state, Change::Shown) => state,
            (state, Change::Stored | Change::Arrived | Change::Cancel | Change::Expire) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const CHANGES: [Change; 6] =
        [Change::Stored, Change::Arrived, Change::ArrivedVoid, Change::Shown, Change::Cancel, Change::Expire];

    #[test]
    fn every_state_and_every_change() {
        let mut table = String::new();
        for state in State::ALL {
            for change in CHANGES {
                let after = state.after(change);
                let after = if after == state { "-" } else { after.word() };
                writeln!(table, "{:10} {:12} {after}", state.word(), format!("{change:?}")).expect("a string");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nothing_takes_back_what_the_peer_has_signed() {
        for change in CHANGES {
            assert!(State::Read.after(change) == State::Read);
            assert!(matches!(State::OnDevice.after(change), State::OnDevice | State::Read), "{change:?}");
        }
    }
}
