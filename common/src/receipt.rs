//! Receipts: who has a message says so, signed, and can neither deny it later nor be spoken for by somebody else.
//!
//! A [`Receipt`] is a recipient's: the posts are on the device, or were read. A [`StoredReceipt`] is a rendezvous's: an
//! envelope is in its mailbox, on disk. Both name what they are about by its digest, so that they are about nothing else.

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, PeerId};
use crate::session::{MessageId, PostDigest, StreamId};
use crate::signature::{BadSignature, Signature};

/// The most posts of one receipt: as many as come in one batch. It fits into one envelope of the second size.
pub const MAX_CLAIMED: usize = 128;

/// What a recipient says of the posts of one author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// These are on disk here, at most [`MAX_CLAIMED`].
    Device {
        /// Their names, and what exactly has arrived under them.
        posts: Vec<(MessageId, PostDigest)>,
    },
    /// All of this stream up to this number was shown to a person.
    Read {
        /// Which stream.
        stream: StreamId,
        /// The last one.
        up_to: u64,
    },
}

/// A claim, signed by the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What is said.
    pub claim: Claim,
    /// When, in milliseconds since 1970, by the recipient's clock.
    pub at_ms: u64,
    signature: Signature,
}

/// Why a receipt counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It was not signed by whom it should be.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// It is longer than the protocol allows.
    #[error("a receipt is for at most {MAX_CLAIMED} messages")]
    TooLong,
}

const RECEIPT: &str = "receipt";
const STORED: &str = "mailbox receipt";

impl Receipt {
    /// `own` says this of posts of `author`.
    pub fn sign(own: &Identity, author: PeerId, claim: Claim, at_ms: u64) -> Self {
        let signature = Signature::sign(own, RECEIPT, &encoded(&(author, &claim, at_ms)));
        Receipt { claim, at_ms, signature }
    }

    /// Does `by` say this of posts of `author`?
    pub fn verify(&self, by: PeerId, author: PeerId) -> Result<(), ReceiptError> {
        if matches!(&self.claim, Claim::Device { posts } if posts.len() > MAX_CLAIMED) {
            return Err(ReceiptError::TooLong);
        }
        let fact = encoded(&(author, &self.claim, self.at_ms));
        Ok(self.signature.verify(by, RECEIPT, &fact)?)
    }
}

/// Names an envelope: SHA-256 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnvelopeDigest(pub [u8; 32]);

/// The rendezvous has an envelope on disk for its recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReceipt {
    /// Which.
    pub digest: EnvelopeDigest,
    /// Until when it is kept if nobody collects it, in seconds since 1970 by the server's clock.
    pub until_s: u64,
    signature: Signature,
}

impl StoredReceipt {
    /// The server has this of `sender` for `recipient`.
    pub fn sign(server: &Identity, sender: PeerId, recipient: PeerId, digest: EnvelopeDigest, until_s: u64) -> Self {
        let signature = Signature::sign(server, STORED, &encoded(&(sender, recipient, digest, until_s)));
        StoredReceipt { digest, until_s, signature }
    }

    /// Does this server say so?
    pub fn verify(&self, server: PeerId, sender: PeerId, recipient: PeerId) -> Result<(), ReceiptError> {
        let fact = encoded(&(sender, recipient, self.digest, self.until_s));
        Ok(self.signature.verify(server, STORED, &fact)?)
    }
}

fn encoded<T: Serialize>(fact: &T) -> Vec<u8> {
    postcard::to_stdvec(fact).expect("plain data in memory always has an encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    fn device(n: u8) -> Claim {
        Claim::Device { posts: vec![(MessageId([n; 16]), PostDigest([n; 16]))] }
    }

    #[test]
    fn a_receipt_speaks_for_one_recipient_to_one_author_of_one_thing() {
        let (alice, bob, mallory) = (who(1).peer_id(), who(2), who(3).peer_id());
        let receipt = Receipt::sign(&bob, alice, device(7), 5);
        assert_eq!(receipt.verify(bob.peer_id(), alice), Ok(()));
        assert!(receipt.verify(mallory, alice).is_err(), "somebody else's");
        assert!(receipt.verify(bob.peer_id(), mallory).is_err(), "to somebody else");
        for forged in [
            Receipt { claim: device(8), ..receipt.clone() },
            Receipt { at_ms: 6, ..receipt.clone() },
            Receipt { claim: Claim::Read { stream: StreamId(1), up_to: 9 }, ..receipt },
        ] {
            assert!(forged.verify(bob.peer_id(), alice).is_err(), "{forged:?}");
        }
    }

    #[test]
    fn a_receipt_for_more_than_the_protocol_allows_counts_for_nothing() {
        let (alice, bob) = (who(1).peer_id(), who(2));
        let posts = |count| Claim::Device { posts: vec![(MessageId([1; 16]), PostDigest([2; 16])); count] };
        assert_eq!(Receipt::sign(&bob, alice, posts(MAX_CLAIMED), 1).verify(bob.peer_id(), alice), Ok(()));
        let long = Receipt::sign(&bob, alice, posts(MAX_CLAIMED + 1), 1);
        assert_eq!(long.verify(bob.peer_id(), alice), Err(ReceiptError::TooLong));
    }

    #[test]
    fn only_the_server_says_that_it_has_something() {
        let (alice, bob, server) = (who(1).peer_id(), who(2).peer_id(), who(9));
        let receipt = StoredReceipt::sign(&server, alice, bob, EnvelopeDigest([4; 32]), 100);
        assert_eq!(receipt.verify(server.peer_id(), alice, bob), Ok(()));
        assert!(receipt.verify(server.peer_id(), bob, alice).is_err());
        assert!(receipt.verify(who(8).peer_id(), alice, bob).is_err());
        let longer = StoredReceipt { until_s: 101, ..receipt };
        assert!(longer.verify(server.peer_id(), alice, bob).is_err());
    }
}
