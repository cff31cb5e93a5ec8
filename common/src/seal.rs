//! Envelopes: frames sealed to one contact, for whoever carries them to be unable to read or to forge them.
//!
//! HPKE (RFC 9180) in its authenticated mode, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305, from
//! the sender's identity key to the recipient's: who can open it knows who sealed it. The identity keys are Ed25519;
//! their X25519 images are those of [`crate::pairing`]. An envelope is `encapsulated key (32 bytes), ciphertext`, and its
//! plaintext is padded to one of a few sizes, so that its length says little.
//!
//! This file is all that knows how an envelope is sealed, so that another way can take its place.
//!
//! # Limits
//!
//! Sealed to the identity key itself: whoever steals it opens the envelopes of the past. A carrier can repeat an
//! envelope; the recipient knows the messages in it by their ids.

use std::convert::Infallible;

use hkdf::Hkdf;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use sha2::Sha256;

use crate::identity::{Identity, PeerId};
use crate::session::PeerFrame;

/// The most bytes of frames in one envelope, lengths included.
pub const MAX_CONTENT: usize = 8 * 1024 - 2;
/// The longest envelope.
pub const MAX_ENVELOPE: usize = KEY + MAX_CONTENT + 2 + TAG;

const KEY: usize = 32;
const TAG: usize = 16;
/// The sizes of plaintext that there are: a line of chat, a paragraph, a page, and the rest.
const SIZES: [usize; 4] = [256, 1024, 4096, MAX_CONTENT + 2];

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// Bytes that [`seal`] needs from the caller; never the same twice.
pub type SealSeed = [u8; 32];

/// Why frames were not sealed, or an envelope was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than an envelope holds.
    #[error("an envelope holds at most {MAX_CONTENT} bytes")]
    TooLong,
    /// It was not sealed by this contact to us for this purpose, or was changed on the way.
    #[error("the envelope was not sealed to us by this contact")]
    Forged,
    /// It opens, and what is in it are no frames.
    #[error("the envelope does not hold what it should; the other client is of another version")]
    Malformed,
}

/// Seals frames to the peer. `purpose` is not sent, but opening demands the same one.
pub fn seal(
    own: &Identity,
    peer: PeerId,
    purpose: &[u8],
    frames: &[PeerFrame],
    seed: SealSeed,
) -> Result<Vec<u8>, SealError> {
    let content = postcard::to_stdvec(frames).map_err(|_| SealError::TooLong)?;
    let length = u16::try_from(content.len()).map_err(|_| SealError::TooLong)?;
    let mut plain = length.to_be_bytes().to_vec();
    plain.extend(content);
    let size = *SIZES.iter().find(|size| plain.len() <= **size).ok_or(SealError::TooLong)?;
    plain.resize(size, 0);
    let mode = OpModeS::Auth((private(own)?, public(own.peer_id())?));
    let sealed = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &mode,
        &public(peer)?,
        &info(own.peer_id(), peer),
        &plain,
        purpose,
        &mut Once::new(seed),
    );
    let (key, ciphertext) = sealed.map_err(|_| SealError::TooLong)?;
    Ok([key.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens what the peer sealed to us for the same purpose.
pub fn open(own: &Identity, peer: PeerId, purpose: &[u8], envelope: &[u8]) -> Result<Vec<PeerFrame>, SealError> {
    if envelope.len() > MAX_ENVELOPE {
        return Err(SealError::TooLong);
    }
    let (key, ciphertext) = envelope.split_first_chunk::<KEY>().ok_or(SealError::Forged)?;
    let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(key).map_err(|_| SealError::Forged)?;
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Auth(public(peer)?),
        &private(own)?,
        &key,
        &info(peer, own.peer_id()),
        ciphertext,
        purpose,
    );
    let plain = plain.map_err(|_| SealError::Forged)?;
    let (length, content) = plain.split_first_chunk::<2>().ok_or(SealError::Malformed)?;
    let content = content.get(..usize::from(u16::from_be_bytes(*length))).ok_or(SealError::Malformed)?;
    match postcard::take_from_bytes::<Vec<PeerFrame>>(content) {
        Ok((frames, [])) => Ok(frames),
        _ => Err(SealError::Malformed),
    }
}

fn private(own: &Identity) -> Result<PrivateKey, SealError> {
    PrivateKey::from_bytes(&own.signing_key().to_scalar_bytes()).map_err(|_| SealError::Forged)
}

fn public(of: PeerId) -> Result<PublicKey, SealError> {
    let key = of.verifying_key().map_err(|_| SealError::Forged)?;
    PublicKey::from_bytes(key.to_montgomery().as_bytes()).map_err(|_| SealError::Forged)
}

fn info(sender: PeerId, recipient: PeerId) -> Vec<u8> {
    [b"punchline envelope v1".as_slice(), sender.as_bytes(), recipient.as_bytes()].concat()
}

/// The caller's randomness in the shape that HPKE wants: as many bytes as it asks for, by HKDF from the seed.
struct Once {
    stream: Hkdf<Sha256>,
    taken: u64,
}

impl Once {
    fn new(seed: SealSeed) -> Self {
        Once { stream: Hkdf::new(Some(b"punchline envelope randomness v1"), &seed), taken: 0 }
    }
}

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for part in bytes.chunks_mut(32) {
            self.stream.expand(&self.taken.to_be_bytes(), part).expect("HKDF gives up to 8160 bytes, we ask for 32");
            self.taken += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Once {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::MessageId;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn alice() -> Identity {
        Identity::from_seed(&[1; 32])
    }

    fn bob() -> Identity {
        Identity::from_seed(&[2; 32])
    }

    fn says(text: &str) -> Vec<PeerFrame> {
        vec![PeerFrame::Message { id: MessageId([7; 16]), at_ms: 1_700_000_000_000, text: text.to_owned() }]
    }

    /// The vector of docs/protocol.md: the same seeds give the same envelope, for ever.
    #[test]
    fn an_envelope_is_what_the_protocol_says() {
        let sealed = seal(&alice(), bob().peer_id(), b"vector", &says("hello"), [3; 32]).expect("short");
        insta::assert_snapshot!(HEXLOWER.encode(&sealed));
        assert_eq!(open(&bob(), alice().peer_id(), b"vector", &sealed), Ok(says("hello")));
    }

    #[test]
    fn only_the_recipient_opens_it_only_from_its_sender_and_only_for_its_purpose() {
        let mallory = Identity::from_seed(&[3; 32]);
        let sealed = seal(&alice(), bob().peer_id(), b"here", &says("hello"), [3; 32]).expect("short");
        assert_eq!(open(&mallory, alice().peer_id(), b"here", &sealed), Err(SealError::Forged));
        assert_eq!(open(&bob(), mallory.peer_id(), b"here", &sealed), Err(SealError::Forged));
        assert_eq!(open(&bob(), alice().peer_id(), b"there", &sealed), Err(SealError::Forged));
        assert_eq!(open(&alice(), bob().peer_id(), b"here", &sealed), Err(SealError::Forged), "it came back");
        let forged = seal(&mallory, bob().peer_id(), b"here", &says("hello"), [3; 32]).expect("short");
        assert_eq!(open(&bob(), alice().peer_id(), b"here", &forged), Err(SealError::Forged));
    }

    #[test]
    fn the_length_of_an_envelope_says_little_and_is_bounded() {
        let length = |text: usize| {
            seal(&alice(), bob().peer_id(), b"", &says(&"x".repeat(text)), [3; 32]).map(|sealed| sealed.len())
        };
        assert_eq!(length(1), length(200));
        assert_ne!(length(1), length(300));
        let longest = length(8_150).expect("it fits");
        assert_eq!(longest, MAX_ENVELOPE);
        assert_eq!(length(9_000), Err(SealError::TooLong));
        assert_eq!(length(70_000), Err(SealError::TooLong));
    }

    #[test]
    fn two_envelopes_of_the_same_words_have_nothing_in_common() {
        let of = |seed| seal(&alice(), bob().peer_id(), b"", &says("hello"), seed).expect("short");
        let (one, other) = (of([3; 32]), of([4; 32]));
        assert_ne!(one[..KEY], other[..KEY]);
        assert_ne!(one[KEY..], other[KEY..]);
    }

    proptest! {
        #[test]
        fn a_changed_envelope_does_not_open(at in 0usize..300, bit in 0u8..8) {
            let mut sealed = seal(&alice(), bob().peer_id(), b"", &says("hello"), [3; 32]).expect("short");
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            // X25519 ignores the highest bit of a point, so this one change may pass; the content is the same then.
            match open(&bob(), alice().peer_id(), b"", &sealed) {
                Ok(frames) => prop_assert!(at == KEY - 1 && bit == 7 && frames == says("hello")),
                Err(error) => prop_assert_eq!(error, SealError::Forged),
            }
        }

        #[test]
        fn junk_does_not_open(junk: Vec<u8>) {
            prop_assert!(open(&bob(), alice().peer_id(), b"", &junk).is_err());
        }
    }
}
