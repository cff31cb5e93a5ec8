//! Which of the up to two connections with a peer carry its messages.
//!
//! Messages rely on a direct connection as soon as the peer's greeting has come over it, but it is trusted with them alone
//! only once a receipt (or a pong) has come back: until then, and again as soon as there is a doubt, they go over both
//! connections, and the receiver shows the first copy of each. A doubt is two receipts in a row that are overdue, or
//! a change of our network. Nothing here waits: losing trust costs some bytes through the relay, keeping a dead path
//! costs seconds.
//!
//! Pure: it knows neither messages nor time.

use std::fmt;

use common::session::Route;

/// Receipts overdue in a row until a direct connection is doubted. One may be a lost packet that QUIC is about to repeat.
const DOUBTED_AFTER: u8 = 2;

/// The connections with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Session {
    relayed: bool,
    direct: Option<Trust>,
    /// The route that messages rely on.
    relied: Option<Route>,
}

/// What is known of a direct connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It stands; nothing has come back over it yet.
    New,
    /// Something came back, and since then so many receipts were overdue.
    Proven { overdue: u8 },
    /// It was proven once. Is it still there?
    Doubted,
}

/// What happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A connection stands; it may take the place of an earlier one of its kind.
    Up(Route),
    /// It is gone.
    Down(Route),
    /// The peer has answered over this one.
    Answered(Route),
    /// A receipt is overdue on this one.
    Overdue(Route),
    /// Our addresses have changed.
    NetworkChanged,
}

/// Why messages go another way than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The first connection of this session.
    Connected,
    /// The peer answered over the direct connection.
    Answered,
    /// Receipts stayed out.
    ReceiptsOverdue,
    /// Our network has changed.
    NetworkChanged,
    /// The connection that carried them is gone.
    ConnectionLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Connected => "connected",
            Reason::Answered => "the peer answered over it",
            Reason::ReceiptsOverdue => "receipts are overdue on the direct path",
            Reason::NetworkChanged => "our network has changed",
            Reason::ConnectionLost => "the other way was lost",
        })
    }
}

impl Session {
    /// Takes note of a change. If messages rely on another route from now on: why.
    pub(super) fn handle(&mut self, change: Change) -> Option<Reason> {
        let reason = match change {
            Change::Up(Route::Relayed) => {
                self.relayed = true;
                Reason::Connected
            }
            Change::Up(Route::Direct) => {
                // One that takes the place of a proven one has come over a path that was probed a moment ago: it inherits
                // the trust, but one overdue receipt is enough to lose it.
                self.direct = Some(match self.direct {
                    Some(Trust::Proven { .. }) => Trust::Proven { overdue: DOUBTED_AFTER - 1 },
                    _ => Trust::New,
                });
                Reason::Connected
            }
            Change::Down(Route::Relayed) => {
                self.relayed = false;
                Reason::ConnectionLost
            }
            Change::Down(Route::Direct) => {
                self.direct = None;
                Reason::ConnectionLost
            }
            Change::Answered(Route::Direct) if self.direct.is_some() => {
                self.direct = Some(Trust::Proven { overdue: 0 });
                Reason::Answered
            }
            Change::Overdue(Route::Direct) => {
                if let Some(Trust::Proven { overdue }) = self.direct {
                    let overdue = overdue + 1;
                    let doubted = overdue >= DOUBTED_AFTER;
                    self.direct = Some(if doubted { Trust::Doubted } else { Trust::Proven { overdue } });
                }
                Reason::ReceiptsOverdue
            }
            Change::NetworkChanged => {
                self.direct = self.direct.map(|_| Trust::Doubted);
                Reason::NetworkChanged
            }
            // There is no other way to go than the relay, and no time at which it would be given up.
            Change::Answered(_) | Change::Overdue(Route::Relayed) => return None,
        };
        let best = match (self.direct, self.relayed) {
            (Some(Trust::Doubted), true) | (None, true) => Some(Route::Relayed),
            (Some(_), _) => Some(Route::Direct),
            (None, false) => None,
        };
        let before = std::mem::replace(&mut self.relied, best);
        (best != before).then_some(reason)
    }

    /// Do messages go over this connection?
    pub(super) fn uses(&self, route: Route) -> bool {
        match route {
            Route::Relayed => self.relayed && !matches!(self.direct, Some(Trust::Proven { .. })),
            Route::Direct => self.direct.is_some(),
        }
    }

    /// The route that messages rely on; others may carry copies. `None` while there is no connection.
    pub(super) fn relies_on(&self) -> Option<Route> {
        self.relied
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write;

    use super::*;

    const CHANGES: [Change; 9] = [
        Change::Up(Route::Relayed),
        Change::Up(Route::Direct),
        Change::Down(Route::Relayed),
        Change::Down(Route::Direct),
        Change::Answered(Route::Relayed),
        Change::Answered(Route::Direct),
        Change::Overdue(Route::Relayed),
        Change::Overdue(Route::Direct),
        Change::NetworkChanged,
    ];

    fn show(session: Session) -> String {
        let used: Vec<String> =
            Route::ALL.into_iter().filter(|route| session.uses(*route)).map(|route| route.to_string()).collect();
        let direct = session.direct.map_or("none".to_owned(), |trust| format!("{trust:?}"));
        let relay = if session.relayed { "relay" } else { "no relay" };
        let used = if used.is_empty() { "nothing".to_owned() } else { used.join(" and ") };
        let relied = session.relied.map_or("nothing".to_owned(), |route| route.to_string());
        format!("[{relay}, direct: {direct}] relies on {relied}, sends over {used}")
    }

    #[test]
    fn every_state_and_every_change() {
        let mut seen: BTreeMap<String, Session> = BTreeMap::new();
        let mut open = vec![Session::default()];
        while let Some(session) = open.pop() {
            if seen.insert(show(session), session).is_some() {
                continue;
            }
            open.extend(CHANGES.map(|change| {
                let mut next = session;
                next.handle(change);
                next
            }));
        }
        let mut table = String::new();
        for (name, session) in seen {
            writeln!(table, "{name}").expect("a string");
            for change in CHANGES {
                let mut next = session;
                let reason = next.handle(change);
                if next == session && reason.is_none() {
                    continue;
                }
                let told = reason.map_or(String::new(), |reason| format!("   ({reason})"));
                writeln!(table, "    {:22} -> {}{told}", format!("{change:?}"), show(next)).expect("a string");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn while_a_connection_stands_messages_go_somewhere() {
        let mut sessions = vec![Session::default()];
        for _ in 0..4 {
            sessions = sessions
                .into_iter()
                .flat_map(|session| {
                    CHANGES.map(|change| {
                        let mut next = session;
                        next.handle(change);
                        next
                    })
                })
                .collect();
            for session in &sessions {
                let stands = session.relayed || session.direct.is_some();
                assert_eq!(stands, Route::ALL.into_iter().any(|route| session.uses(route)), "{session:?}");
                assert_eq!(stands, session.relies_on().is_some(), "{session:?}");
                assert!(session.relies_on().is_none_or(|route| session.uses(route)), "{session:?}");
            }
        }
    }
}
