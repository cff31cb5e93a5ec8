//! What is to be kept.

use common::identity::PeerId;
use common::prekey::{Prekey, PrekeyId, PrekeySecret};
use common::session::{MessageId, Post, PostDigest, StreamId};

/// What is to be kept. Times are in milliseconds since 1970; a proof is a receipt with its signature, in the wire's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// We said something.
    Said {
        /// To whom.
        peer: PeerId,
        /// What, and where in the stream.
        post: Post,
        /// Until when it is worth delivering.
        expires_ms: Option<u64>,
    },
    /// The peer said something. Again under the same id: nothing new.
    Heard {
        /// Who.
        peer: PeerId,
        /// What.
        post: Post,
    },
    /// A rendezvous keeps these of ours for the peer.
    Stored {
        /// For whom.
        peer: PeerId,
        /// Which: all that were in the envelope.
        posts: Vec<MessageId>,
        /// When we heard of it.
        at_ms: u64,
        /// Until when it keeps them, in seconds since 1970.
        until_s: u64,
        /// The rendezvous's receipt.
        proof: Vec<u8>,
    },
    /// The peer's client has these of ours.
    Delivered {
        /// Whose.
        peer: PeerId,
        /// Which, and what exactly has arrived under that name.
        posts: Vec<(MessageId, PostDigest)>,
        /// When we heard of it.
        at_ms: u64,
        /// The peer's receipt.
        proof: Vec<u8>,
    },
    /// The peer was shown our words up to this one.
    ReadByPeer {
        /// Who.
        peer: PeerId,
        /// In which stream of ours.
        stream: StreamId,
        /// Up to which number.
        up_to: u64,
        /// When we heard of it.
        at_ms: u64,
        /// The peer's receipt.
        proof: Vec<u8>,
    },
    /// We take one of ours back.
    Cancelled {
        /// From whom.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// When.
        at_ms: u64,
    },
    /// The time of one of ours is over.
    Expired {
        /// For whom it was.
        peer: PeerId,
        /// Which.
        id: MessageId,
        /// When.
        at_ms: u64,
    },
    /// Our person was shown the conversation up to and with this message, of either.
    Shown {
        /// With whom.
        peer: PeerId,
        /// The last one shown.
        id: MessageId,
    },
    /// Secrets of new prekeys: kept before anybody hears of their public halves.
    Prekeys(Vec<PrekeySecret>),
    /// Their secrets are to be gone, with no trace in any file.
    PrekeysGone(Vec<PrekeyId>),
    /// To which key envelopes for the peer are sealed; kept if it lives longer than the one we have.
    PeerPrekey {
        /// Whose.
        peer: PeerId,
        /// The public half, verified.
        prekey: Prekey,
    },
}
