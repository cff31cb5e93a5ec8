//! What two peers say to each other once a QUIC connection between them stands: one bidirectional stream, opened by the
//! side that dialled, with [`PeerFrame`]s both ways. Two connections may stand, one for each [`Route`], and say the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest text of one message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;
/// The longest frame: a message and what stands around it.
pub const MAX_PEER_FRAME: usize = MAX_TEXT + 128;

/// Names one message for ever: drawn at random by its sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = data_encoding::DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes())?;
        let wrong = data_encoding::DecodeError { position: 0, kind: data_encoding::DecodeKind::Length };
        Ok(MessageId(bytes.try_into().map_err(|_| wrong)?))
    }
}

/// Which way a connection's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Through the rendezvous, which cannot read them.
    Relayed,
    /// From us to the peer, nothing in between but routers.
    Direct,
}

impl Route {
    /// Both.
    pub const ALL: [Route; 2] = [Route::Relayed, Route::Direct];
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Route::Relayed => "relayed",
            Route::Direct => "direct",
        })
    }
}

/// How a frame came, or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// In an envelope that the rendezvous carried.
    Letter,
    /// Over a connection.
    Session(Route),
}

/// One frame between peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerFrame {
    /// The first frame of each side.
    Hello {
        /// The name that the sender suggests for itself, at most [`crate::link::MAX_NAME`] bytes.
        name: String,
    },
    /// A message. It may come again, after a lost connection: the receiver shows it once and acknowledges it each time.
    Message {
        /// The sender's name for it.
        id: MessageId,
        /// When it was written, in milliseconds since 1970, by the sender's clock.
        at_ms: u64,
        /// At most [`MAX_TEXT`] bytes.
        text: String,
    },
    /// The receiving client has the message.
    Receipt {
        /// Which one.
        id: MessageId,
    },
    /// Are you there?
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// I am.
    Pong {
        /// From the question.
        nonce: u64,
    },
}
