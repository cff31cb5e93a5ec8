//! Facts that somebody signs: Ed25519 (RFC 8032) over a word that says what kind of fact it is, and the fact.
//!
//! The word stands in front, so that a signature under one kind of fact is never one under another.

use std::fmt;

use ed25519_dalek::Signer;
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, PeerId};

/// 64 bytes of Ed25519.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature([[u8; 32]; 2]);

/// The fact was not signed by this key, or is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not that of the key that it should be")]
pub struct BadSignature;

impl Signature {
    /// `own` says this.
    pub fn sign(own: &Identity, kind: &str, fact: &[u8]) -> Self {
        let bytes = own.signing_key().sign(&message(kind, fact)).to_bytes();
        let mut halves = [[0; 32]; 2];
        halves.iter_mut().zip(bytes.chunks_exact(32)).for_each(|(half, bytes)| half.copy_from_slice(bytes));
        Signature(halves)
    }

    /// Did `by` say this?
    pub fn verify(&self, by: PeerId, kind: &str, fact: &[u8]) -> Result<(), BadSignature> {
        let key = by.verifying_key().map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_components(self.0[0], self.0[1]);
        key.verify_strict(&message(kind, fact), &signature).map_err(|_| BadSignature)
    }
}

fn message(kind: &str, fact: &[u8]) -> Vec<u8> {
    [b"punchline ", kind.as_bytes(), b" v1\0", fact].concat()
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_holds_for_one_signer_one_kind_and_one_fact() {
        let (alice, bob) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = Signature::sign(&alice, "receipt", b"it is so");
        assert_eq!(signature.verify(alice.peer_id(), "receipt", b"it is so"), Ok(()));
        assert_eq!(signature.verify(bob.peer_id(), "receipt", b"it is so"), Err(BadSignature));
        assert_eq!(signature.verify(alice.peer_id(), "prekey", b"it is so"), Err(BadSignature));
        assert_eq!(signature.verify(alice.peer_id(), "receipt", b"it is not"), Err(BadSignature));
    }

    proptest! {
        #[test]
        fn a_changed_signature_holds_for_nothing(at in 0usize..64, bit in 0u8..8) {
            let alice = Identity::from_seed(&[1; 32]);
            let mut signature = Signature::sign(&alice, "receipt", b"it is so");
            signature.0[at / 32][at % 32] ^= 1 << bit;
            prop_assert_eq!(signature.verify(alice.peer_id(), "receipt", b"it is so"), Err(BadSignature));
        }
    }
}
