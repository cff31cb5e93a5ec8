//! What was tried and what it cost, for whoever asks why there is no direct path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way of finding a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Probes to the candidates, from the main socket.
    Plain,
    /// A look at our own NAT: STUN to the rendezvous from fresh sockets. No way by itself; the others begin with it.
    Observation,
    /// Both start again from fresh sockets, at the same instant.
    FreshSocket,
    /// The next ports of a sequential NAT, from a mapping that stands.
    Sequential,
    /// Two sequential NATs: rows of mappings, and somebody who sweeps across them.
    Sweep,
    /// A part of the ports, many sockets.
    Block,
    /// All ports, hundreds of sockets.
    Birthday,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 7] = [
        Strategy::Plain,
        Strategy::Observation,
        Strategy::FreshSocket,
        Strategy::Sequential,
        Strategy::Sweep,
        Strategy::Block,
        Strategy::Birthday,
    ];
}

/// What one strategy took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Effort {
    /// Datagrams that left, answers to the peer's not counted.
    pub packets: u32,
    /// Sockets that were opened.
    pub sockets: u32,
}

/// Why nothing more was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything that fits was tried.
    Exhausted,
    /// Only plain probing was asked for.
    OnlyPlain,
    /// The peer has no address of a version of IP that we have.
    NoCommonFamily,
    /// The rendezvous did not answer the looks at our own NAT.
    NothingObserved,
    /// Both NATs choose another port for each destination, and one at least cannot be foretold: nobody can hit both.
    BothUnforeseeable,
    /// It would take a birthday run, and these are switched off.
    BirthdayOff,
    /// It would take a birthday run, and others had theirs until the end.
    BirthdayNotGranted,
    /// We talk through the relay alone.
    RelayOnly,
    /// The other one talks through the relay alone.
    PeerRelayOnly,
    /// One of the two talks through the relay alone, and there is no relay.
    NoRelay,
}

impl Ending {
    /// Was there nothing to be punched, because one of the two shows no address?
    pub fn is_relay_only(self) -> bool {
        matches!(self, Ending::RelayOnly | Ending::PeerRelayOnly | Ending::NoRelay)
    }
}

impl fmt::Display for Ending {
    /// For a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Exhausted => "everything that fits these two was tried",
            Ending::OnlyPlain => "ports are not guessed where the rendezvous does not see both addresses",
            Ending::NoCommonFamily => "one has IPv4 alone, and the other IPv6: no packet gets from one to the other",
            Ending::NothingObserved => "the rendezvous did not answer the looks at our own router",
            Ending::BothUnforeseeable => {
                "both routers choose another port for each destination, and nobody can guess both"
            }
            Ending::BirthdayOff => "it would take hundreds of sockets, and that is switched off (--no-birthday)",
            Ending::BirthdayNotGranted => "it would take hundreds of sockets, and other contacts had their turn",
            Ending::RelayOnly => {
                "you show your address to nobody (--relay-only); all goes through the rendezvous' relay"
            }
            Ending::PeerRelayOnly => {
                "the other one shows no address (--relay-only); all goes through the rendezvous' relay"
            }
            Ending::NoRelay => "one of you shows no address (--relay-only), and this rendezvous does not relay",
        })
    }
}

/// What an attempt tried, and why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    efforts: [Effort; Strategy::ALL.len()],
    /// Why it is over.
    pub ending: Ending,
}

impl Default for Report {
    fn default() -> Self {
        Report::new()
    }
}

impl Report {
    /// Nothing has been tried yet.
    pub fn new() -> Self {
        Report::not_begun(Ending::OnlyPlain)
    }

    /// Nothing was tried, for this reason.
    pub fn not_begun(ending: Ending) -> Self {
        Report { efforts: Default::default(), ending }
    }

    /// The strategies that sent or opened anything.
    pub fn tried(&self) -> impl Iterator<Item = (Strategy, Effort)> {
        Strategy::ALL.into_iter().zip(self.efforts).filter(|(_, effort)| *effort != Effort::default())
    }

    /// What this one took.
    pub fn of(&self, strategy: Strategy) -> Effort {
        self.efforts[strategy as usize]
    }

    pub(super) fn sent(&mut self, strategy: Strategy, packets: u32) {
        self.efforts[strategy as usize].packets += packets;
    }

    pub(super) fn opened(&mut self, strategy: Strategy) {
        self.efforts[strategy as usize].sockets += 1;
    }
}
