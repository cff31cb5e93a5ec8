//! What two peers say to each other once a QUIC connection between them stands: one bidirectional stream, opened by the
//! side that dialled, with [`PeerFrame`]s both ways. Two connections may stand, one for each [`Route`], and say the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::prekey::Prekey;
use crate::receipt::Receipt;

/// The longest text of one message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;
/// The longest reaction, in bytes of UTF-8: a family of four with skin tones has 41, nothing else that people use so many.
pub const MAX_EMOJI: usize = 48;
/// The most ranges of one [`PeerFrame::Missing`].
pub const MAX_RANGES: usize = 32;
/// The longest frame: a message and what stands around it, or a receipt for as many as one may be for.
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

/// Names what one person says to another, in order: drawn at random when the first thing is said, and anew by whoever
/// cannot know how far the last one went (a backup was restored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u64);

/// One thing that is said: a message, or something about one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// The sender's name for it.
    pub id: MessageId,
    /// To which stream it belongs.
    pub stream: StreamId,
    /// Its place there, from 1 and without holes: who has 4 and 6 knows that there is a 5.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970, by the sender's clock.
    pub at_ms: u64,
    /// What.
    pub content: Content,
}

/// What a post says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Words.
    Text {
        /// At most [`MAX_TEXT`] bytes.
        text: String,
        /// The message that they answer.
        reply_to: Option<MessageId>,
    },
    /// Words of the same sender are to read like this from now on.
    Edit {
        /// Which.
        of: MessageId,
        /// At most [`MAX_TEXT`] bytes.
        text: String,
    },
    /// Words of the same sender are to be gone.
    Delete {
        /// Which.
        of: MessageId,
    },
    /// What the sender feels about a message of either. The last one counts.
    Reaction {
        /// Which message.
        to: MessageId,
        /// At most [`MAX_EMOJI`] bytes; empty: nothing any more.
        emoji: String,
    },
    /// Nothing: what was here was taken back, or came too late. It is said so that nobody waits for it.
    Void,
}

/// Names exactly what was said under a [`MessageId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PostDigest(pub [u8; 16]);

impl Post {
    /// What a receipt for it names: half of a SHA-256, which nobody finds a second text to (2^128), and whose collisions
    /// (2^64) would need the recipient to write the messages.
    pub fn digest(&self) -> PostDigest {
        let bytes = postcard::to_stdvec(self).expect("plain data in memory always has an encoding");
        let digest = Sha256::new().chain_update(b"punchline post v1").chain_update(bytes).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        PostDigest(half)
    }

    /// Is it what the protocol allows? What is not is as good as not said.
    pub fn is_valid(&self) -> bool {
        let short = match &self.content {
            Content::Text { text, .. } | Content::Edit { text, .. } => text.len() <= MAX_TEXT,
            Content::Reaction { emoji, .. } => emoji.len() <= MAX_EMOJI,
            Content::Delete { .. } | Content::Void => true,
        };
        short && self.seq > 0
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
    /// In an envelope that waited in the mailbox of the rendezvous.
    Mail,
}

/// One frame between peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerFrame {
    /// The first frame of each side.
    Hello {
        /// The name that the sender suggests for itself, at most [`crate::link::MAX_NAME`] bytes.
        name: String,
        /// To which key its envelopes are to be sealed from now on.
        prekey: Option<Prekey>,
    },
    /// Something is said. It may come again, after a lost connection or by another way: the receiver takes it once and
    /// acknowledges it each time.
    Post(Post),
    /// The receiving client has posts, or its person has read them.
    Receipt(Receipt),
    /// These are not here, by their numbers, the first and the last of each range: say them again.
    Missing {
        /// In which stream.
        stream: StreamId,
        /// At most [`MAX_RANGES`].
        ranges: Vec<(u64, u64)>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Post {
        let content = Content::Text { text: text.to_owned(), reply_to: None };
        Post { id: MessageId([7; 16]), stream: StreamId(1), seq: 1, at_ms: 5, content }
    }

    #[test]
    fn a_digest_is_of_all_of_a_post() {
        let post = says("hello");
        let digest = post.digest();
        insta::assert_snapshot!(data_encoding::HEXLOWER.encode(&digest.0));
        for other in [
            says("hellp"),
            Post { seq: 2, ..post.clone() },
            Post { stream: StreamId(2), ..post.clone() },
            Post { at_ms: 6, ..post.clone() },
            Post { content: Content::Void, ..post.clone() },
        ] {
            assert_ne!(other.digest(), digest, "{other:?}");
        }
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_not_valid() {
        assert!(says(&"x".repeat(MAX_TEXT)).is_valid());
        assert!(!says(&"x".repeat(MAX_TEXT + 1)).is_valid());
        assert!(!Post { seq: 0, ..says("hello") }.is_valid());
        let feels = |emoji: String| Post { content: Content::Reaction { to: MessageId([1; 16]), emoji }, ..says("") };
        assert!(feels("👩🏽‍👩🏽‍👧🏽‍👦🏽".to_owned()).is_valid());
        assert!(!feels("x".repeat(MAX_EMOJI + 1)).is_valid());
    }

    #[test]
    fn the_longest_of_each_fits_into_a_frame() {
        let identity = crate::identity::Identity::from_seed(&[1; 32]);
        let posts = vec![(MessageId([255; 16]), PostDigest([255; 16])); crate::receipt::MAX_CLAIMED];
        let claim = crate::receipt::Claim::Device { posts };
        let receipt = Receipt::sign(&identity, identity.peer_id(), claim, u64::MAX);
        let longest =
            Post { stream: StreamId(u64::MAX), seq: u64::MAX, at_ms: u64::MAX, ..says(&"x".repeat(MAX_TEXT)) };
        let ranges = vec![(u64::MAX, u64::MAX); MAX_RANGES];
        for frame in [
            PeerFrame::Receipt(receipt),
            PeerFrame::Post(longest),
            PeerFrame::Missing { stream: StreamId(u64::MAX), ranges },
        ] {
            crate::wire::encode(&frame, MAX_PEER_FRAME).expect("it fits");
        }
    }
}
