//! What one peer tells the other about its ports, from a look that it has just taken: sealed, through the rendezvous
//! (see [`crate::candidate`]). Ports only: the address that they belong to is the one at which the *server* sees the peer, so
//! that nobody can have a stranger probed.

use serde::{Deserialize, Serialize};

/// The most marks of one [`Foretold::Laid`]: one before each row, and one behind the last.
pub const MAX_MARKS: usize = 16;

/// One look, one prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// Which round of looking this belongs to; the two count alike.
    pub round: u8,
    /// The sender's round trip to the rendezvous, in milliseconds. Half of both sides' sum is what a prediction travels.
    pub rtt_ms: u16,
    /// What was seen.
    pub ports: Foretold,
}

/// Where the sender's next packets will come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foretold {
    /// From here, to whomever: the mapping of a fresh socket that has not sent to the peer.
    Stands {
        /// Its external port.
        port: u16,
    },
    /// From here, if the peer's address is the first that the socket sends to: the NAT is symmetric and preserves ports.
    Exact {
        /// The socket's own port.
        port: u16,
    },
    /// From one of the next ports.
    Next {
        /// The last one that was given out.
        last: u16,
        /// From one to the next.
        step: i16,
    },
    /// From any port in this range.
    Among {
        /// The lowest seen.
        low: u16,
        /// The highest.
        high: u16,
    },
    /// From known places: rows of mappings stand, each row toward one of the *receiver's* ports to come, in answer to its
    /// [`Foretold::Next`].
    Laid {
        /// The first of the receiver's ports that a row was laid toward.
        first: u16,
        /// From one row's to the next one's.
        gap: i16,
        /// The sender's own step.
        step: i16,
        /// The sender's counter before each row and behind the last; 0 where the answer was lost.
        marks: Vec<u16>,
    },
}

impl Prediction {
    /// Is it something that our own code could have said? What comes from a contact is looked at like anything else.
    pub fn is_sane(&self) -> bool {
        match &self.ports {
            Foretold::Stands { port } | Foretold::Exact { port } => *port != 0,
            Foretold::Next { last, step } => *last != 0 && *step != 0,
            Foretold::Among { low, high } => *low != 0 && low <= high,
            Foretold::Laid { gap, step, marks, .. } => {
                *gap != 0 && *step != 0 && (2..=MAX_MARKS).contains(&marks.len())
            }
        }
    }
}
