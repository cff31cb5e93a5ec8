//! Who a peer is: an Ed25519 public key, and nothing else.
//!
//! A [`PeerId`] is written as 56 lowercase base32 characters: the 32 bytes of the key and a 3-byte checksum, so that a
//! mistyped or truncated id is told apart from an unknown one. Names are petnames of the reader; they never stand here.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Bytes of checksum behind the key in the text form: 24 bits let one typing error in 16 million through.
const CHECKSUM_LEN: usize = 3;
/// (32 + 3) bytes in base32, five bits a character.
const TEXT_LEN: usize = 56;

/// The public key of a peer (or of a rendezvous), checked to be a point that can take part in a key agreement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Why a text or a key is not a [`PeerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// The text is too short or too long.
    #[error("an id has {TEXT_LEN} characters, this one has {0}; copy it again as a whole")]
    Length(usize),
    /// A character outside base32.
    #[error("an id has only the letters a-z and the digits 2-7")]
    Alphabet,
    /// The checksum does not match: most likely a typing error.
    #[error("the checksum of this id is wrong: a character was changed or lost on the way; copy it again")]
    Checksum,
    /// The bytes are no usable Ed25519 key.
    #[error("these bytes are not a usable Ed25519 public key")]
    Key,
}

impl PeerId {
    /// Accepts the 32 bytes of an Ed25519 public key; refuses what is no curve point, and points of small order, with
    /// which a key agreement would have a result that everybody knows (RFC 7748, section 6.1).
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, PeerIdError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(PeerId(bytes)),
            _ => Err(PeerIdError::Key),
        }
    }

    /// The id of a key that [`PeerId::from_bytes`] has accepted before.
    pub(crate) fn known(bytes: [u8; 32]) -> Self {
        PeerId(bytes)
    }

    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight characters: enough for a person to tell contacts apart, never enough to trust.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }

    pub(crate) fn verifying_key(&self) -> Result<VerifyingKey, PeerIdError> {
        VerifyingKey::from_bytes(&self.0).map_err(|_| PeerIdError::Key)
    }
}

fn checksum(key: &[u8; 32]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new().chain_update(b"punchline peer id v1").chain_update(key).finalize();
    [digest[0], digest[1], digest[2]]
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 32 + CHECKSUM_LEN];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&checksum(&self.0));
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        let text = text.trim();
        if text.chars().count() != TEXT_LEN {
            return Err(PeerIdError::Length(text.chars().count()));
        }
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| PeerIdError::Alphabet)?;
        let (key, sum) = bytes.split_first_chunk::<32>().ok_or(PeerIdError::Alphabet)?;
        if sum != checksum(key) {
            return Err(PeerIdError::Checksum);
        }
        PeerId::from_bytes(*key)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            PeerId::from_bytes(<[u8; 32]>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
        }
    }
}

/// The secret half: whoever holds it is the peer.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// The identity of this 32-byte Ed25519 seed. The caller draws the seed: the core has no randomness of its own.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Identity { key: SigningKey::from_bytes(seed) }
    }

    /// The public half.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.key.verifying_key().to_bytes())
    }

    /// The secret seed, for the one file that keeps it.
    pub fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, secret)", self.peer_id().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_form_is_stable() {
        let id = Identity::from_seed(&[1; 32]).peer_id();
        insta::assert_snapshot!(id, @"rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oewbya");
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity_point = [0u8; 32];
        identity_point[0] = 1;
        assert_eq!(PeerId::from_bytes(identity_point), Err(PeerIdError::Key));
        assert_eq!(PeerId::from_bytes([0; 32]), Err(PeerIdError::Key));
    }

    #[test]
    fn a_truncated_id_says_how_long_it_is() {
        let text = Identity::from_seed(&[1; 32]).peer_id().to_string();
        assert_eq!(text[..40].parse::<PeerId>(), Err(PeerIdError::Length(40)));
        assert_eq!("ä".repeat(56).parse::<PeerId>(), Err(PeerIdError::Alphabet));
    }

    proptest! {
        #[test]
        fn every_id_survives_its_text(seed: [u8; 32]) {
            let id = Identity::from_seed(&seed).peer_id();
            let text = id.to_string();
            prop_assert_eq!(text.len(), TEXT_LEN);
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!(text.to_uppercase().parse(), Ok(id));
        }

        #[test]
        fn one_changed_character_is_noticed(seed: [u8; 32], at in 0usize..TEXT_LEN, with in 0u8..32) {
            let id = Identity::from_seed(&seed).peer_id();
            let mut text = id.to_string().into_bytes();
            let letter = b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(with)];
            prop_assume!(text[at] != letter);
            text[at] = letter;
            let text = String::from_utf8(text).expect("base32 is ASCII");
            prop_assert_eq!(text.parse::<PeerId>(), Err(PeerIdError::Checksum));
        }
    }
}
