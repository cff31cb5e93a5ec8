//! Envelopes: frames sealed to one contact, for whoever carries them to be unable to read or to forge them.
//!
//! HPKE (RFC 9180) in its authenticated mode, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305, from
//! the sender's identity key to a [prekey](crate::prekey) of the recipient: who can open it knows who sealed it. The identity
//! keys are Ed25519; their X25519 images are those of [`crate::pairing`]. An envelope is `name of the prekey (8 bytes),
//! encapsulated key (32 bytes), ciphertext`, and its plaintext is padded to one of a few sizes, so that its length says little.
//!
//! This file is all that knows how an envelope is sealed, so that another way can take its place.
//!
//! # Limits
//!
//! The first words to somebody of whom no prekey is known are sealed to the identity key itself: whoever steals that opens them
//! later. Whoever steals the secret of a prekey can make envelopes to its owner in anybody's name (the authenticated
//! mode promises no more; RFC 9180, section 9.1.1). A carrier can repeat an envelope; the recipient knows the messages in
//! it by their ids.

use std::convert::Infallible;

use hkdf::Hkdf;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use crate::identity::{Identity, PeerId};
use crate::prekey::{Keyring, Prekey, PrekeyId};
use crate::receipt::EnvelopeDigest;
use crate::session::{MAX_PEER_FRAME, PeerFrame};

/// The most bytes of frames in one envelope, lengths included: the longest frame fits.
pub const MAX_CONTENT: usize = 17 * 1024 - 2;
/// The longest envelope.
pub const MAX_ENVELOPE: usize = NAME + KEY + MAX_CONTENT + 2 + TAG;
/// The purpose of an envelope in a mailbox.
pub const MAIL: &[u8] = b"mail";

const NAME: usize = 8;
const KEY: usize = 32;
const TAG: usize = 16;
/// The sizes of plaintext that there are: a line of chat, a paragraph, a page, and the rest.
const SIZES: [usize; 4] = [256, 1024, 4096, MAX_CONTENT + 2];
/// In place of the name of a prekey: the identity key.
const NO_PREKEY: u64 = 0;

const _: () = assert!(MAX_CONTENT > MAX_PEER_FRAME + 8);

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
    /// It was sealed to a prekey whose secret is not here (any more).
    #[error("the envelope was sealed to a key of ours that is gone")]
    UnknownPrekey,
    /// It opens, and what is in it are no frames.
    #[error("the envelope does not hold what it should; the other client is of another version")]
    Malformed,
}

/// What was in an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What the sender says.
    pub frames: Vec<PeerFrame>,
    /// It was sealed to this one-time prekey, whose secret has done its work.
    pub one_time: Option<PrekeyId>,
}

/// Seals frames to the peer: to this prekey of its, which the caller has verified, or to its identity key. `purpose` is not sent, but opening
/// demands the same one.
pub fn seal(
    own: &Identity,
    peer: PeerId,
    to: Option<&Prekey>,
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
    let name = to.map_or(NO_PREKEY, |prekey| prekey.id.0);
    let recipient = match to {
        Some(prekey) => PublicKey::from_bytes(&prekey.key).map_err(|_| SealError::Forged)?,
        None => public(peer)?,
    };
    let mode = OpModeS::Auth((private(own)?, public(own.peer_id())?));
    let sealed = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &mode,
        &recipient,
        &info(own.peer_id(), peer, name),
        &plain,
        purpose,
        &mut Once::new(seed),
    );
    let (key, ciphertext) = sealed.map_err(|_| SealError::TooLong)?;
    Ok([&name.to_be_bytes(), key.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens what the peer sealed to us for the same purpose, with the secrets at hand.
pub fn open(
    own: &Identity,
    keyring: &Keyring,
    peer: PeerId,
    purpose: &[u8],
    envelope: &[u8],
) -> Result<Opened, SealError> {
    if envelope.len() > MAX_ENVELOPE {
        return Err(SealError::TooLong);
    }
    let (name, rest) = envelope.split_first_chunk::<NAME>().ok_or(SealError::Forged)?;
    let name = u64::from_be_bytes(*name);
    let (secret, one_time) = match name {
        NO_PREKEY => (private(own)?, None),
        name => {
            let known = keyring.find(PrekeyId(name)).ok_or(SealError::UnknownPrekey)?;
            let secret = PrivateKey::from_bytes(&known.secret).map_err(|_| SealError::UnknownPrekey)?;
            (secret, known.one_time.then_some(known.id))
        }
    };
    let (key, ciphertext) = rest.split_first_chunk::<KEY>().ok_or(SealError::Forged)?;
    let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(key).map_err(|_| SealError::Forged)?;
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Auth(public(peer)?),
        &secret,
        &key,
        &info(peer, own.peer_id(), name),
        ciphertext,
        purpose,
    );
    let plain = plain.map_err(|_| SealError::Forged)?;
    let (length, content) = plain.split_first_chunk::<2>().ok_or(SealError::Malformed)?;
    let content = content.get(..usize::from(u16::from_be_bytes(*length))).ok_or(SealError::Malformed)?;
    match postcard::take_from_bytes::<Vec<PeerFrame>>(content) {
        Ok((frames, [])) => Ok(Opened { frames, one_time }),
        _ => Err(SealError::Malformed),
    }
}

/// What a receipt of the rendezvous names.
pub fn digest(envelope: &[u8]) -> EnvelopeDigest {
    EnvelopeDigest(Sha256::new().chain_update(b"punchline envelope v2").chain_update(envelope).finalize().into())
}

fn private(own: &Identity) -> Result<PrivateKey, SealError> {
    PrivateKey::from_bytes(&own.signing_key().to_scalar_bytes()).map_err(|_| SealError::Forged)
}

fn public(of: PeerId) -> Result<PublicKey, SealError> {
    let key = of.verifying_key().map_err(|_| SealError::Forged)?;
    PublicKey::from_bytes(key.to_montgomery().as_bytes()).map_err(|_| SealError::Forged)
}

fn info(sender: PeerId, recipient: PeerId, prekey: u64) -> Vec<u8> {
    [b"punchline envelope v2".as_slice(), sender.as_bytes(), recipient.as_bytes(), &prekey.to_be_bytes()].concat()
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
    use crate::prekey::PrekeySecret;
    use crate::session::{Content, MAX_TEXT, MessageId, Post, StreamId};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn alice() -> Identity {
        Identity::from_seed(&[1; 32])
    }

    fn bob() -> Identity {
        Identity::from_seed(&[2; 32])
    }

    fn says(text: &str) -> Vec<PeerFrame> {
        let content = Content::Text { text: text.to_owned(), reply_to: None };
        let (id, stream) = (MessageId([7; 16]), StreamId(0x0102_0304_0506_0708));
        vec![PeerFrame::Post(Post { id, stream, seq: 1, at_ms: 1_700_000_000_000, content })]
    }

    fn to_identity(text: &str, seed: u8) -> Result<Vec<u8>, SealError> {
        seal(&alice(), bob().peer_id(), None, b"vector", &says(text), [seed; 32])
    }

    /// With a signed prekey and a one-time one.
    fn bobs() -> (Keyring, [Prekey; 2]) {
        let secrets = [(5, false), (6, true)].map(|(n, once)| PrekeySecret::new(n, [n as u8; 32], once, 1_000));
        let publics = [&secrets[0], &secrets[1]].map(|secret| secret.public(&bob()));
        (Keyring::new(secrets), publics)
    }

    fn open_by(who: &Identity, from: &Identity, purpose: &[u8], envelope: &[u8]) -> Result<Vec<PeerFrame>, SealError> {
        open(who, &bobs().0, from.peer_id(), purpose, envelope).map(|opened| opened.frames)
    }

    /// The vectors of docs/protocol.md: the same seeds give the same envelopes, for ever.
    #[test]
    fn an_envelope_is_what_the_protocol_says() {
        let (_, [signed, one_time]) = bobs();
        for (name, to) in [("identity", None), ("signed_prekey", Some(&signed)), ("one_time_prekey", Some(&one_time))] {
            let sealed = seal(&alice(), bob().peer_id(), to, b"vector", &says("hello"), [3; 32]).expect("short");
            insta::assert_snapshot!(format!("envelope_to_{name}"), HEXLOWER.encode(&sealed));
            assert_eq!(open_by(&bob(), &alice(), b"vector", &sealed), Ok(says("hello")));
        }
    }

    #[test]
    fn an_envelope_to_a_prekey_opens_until_its_secret_is_gone() {
        let (mut keyring, [signed, one_time]) = bobs();
        for (prekey, once) in [(signed, None), (one_time, Some(PrekeyId(6)))] {
            let sealed = seal(&alice(), bob().peer_id(), Some(&prekey), MAIL, &says("hello"), [3; 32]).expect("short");
            let opened = open(&bob(), &keyring, alice().peer_id(), MAIL, &sealed);
            assert_eq!(opened, Ok(Opened { frames: says("hello"), one_time: once }));
            keyring.remove(prekey.id);
            let opened = open(&bob(), &keyring, alice().peer_id(), MAIL, &sealed);
            assert_eq!(opened, Err(SealError::UnknownPrekey), "the identity alone does not open it");
        }
    }

    #[test]
    fn an_envelope_is_bound_to_the_name_of_its_key() {
        let (mut keyring, [signed, _]) = bobs();
        let mut sealed = seal(&alice(), bob().peer_id(), Some(&signed), MAIL, &says("hello"), [3; 32]).expect("short");
        keyring.insert(PrekeySecret { id: PrekeyId(9), ..keyring.find(signed.id).expect("there").clone() });
        sealed[..NAME].copy_from_slice(&9u64.to_be_bytes());
        assert_eq!(open(&bob(), &keyring, alice().peer_id(), MAIL, &sealed), Err(SealError::Forged));
    }

    #[test]
    fn only_the_recipient_opens_it_only_from_its_sender_and_only_for_its_purpose() {
        let mallory = Identity::from_seed(&[3; 32]);
        let sealed = to_identity("hello", 3).expect("short");
        assert_eq!(open_by(&mallory, &alice(), b"vector", &sealed), Err(SealError::Forged));
        assert_eq!(open_by(&bob(), &mallory, b"vector", &sealed), Err(SealError::Forged));
        assert_eq!(open_by(&bob(), &alice(), b"there", &sealed), Err(SealError::Forged));
        assert_eq!(open_by(&alice(), &bob(), b"vector", &sealed), Err(SealError::Forged), "it came back");
        let forged = seal(&mallory, bob().peer_id(), None, b"vector", &says("hello"), [3; 32]).expect("short");
        assert_eq!(open_by(&bob(), &alice(), b"vector", &forged), Err(SealError::Forged));
    }

    #[test]
    fn the_length_of_an_envelope_says_little_and_is_bounded() {
        let length = |text: usize| to_identity(&"x".repeat(text), 3).map(|sealed| sealed.len());
        assert_eq!(length(1), length(200));
        assert_ne!(length(1), length(300));
        assert_eq!(length(MAX_TEXT), Ok(MAX_ENVELOPE), "the longest message fits");
        assert_eq!(length(18_000), Err(SealError::TooLong));
        assert_eq!(length(70_000), Err(SealError::TooLong));
    }

    #[test]
    fn two_envelopes_of_the_same_words_have_nothing_in_common() {
        let (one, other) = (to_identity("hello", 3).expect("short"), to_identity("hello", 4).expect("short"));
        assert_ne!(one[NAME..NAME + KEY], other[NAME..NAME + KEY]);
        assert_ne!(one[NAME + KEY..], other[NAME + KEY..]);
        assert_ne!(digest(&one), digest(&other));
    }

    proptest! {
        #[test]
        fn a_changed_envelope_does_not_open(at in 0usize..304, bit in 0u8..8) {
            let mut sealed = to_identity("hello", 3).expect("short");
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            // X25519 ignores the highest bit of a point, so this one change may pass; the content is the same then.
            match open_by(&bob(), &alice(), b"vector", &sealed) {
                Ok(frames) => prop_assert!(at == NAME + KEY - 1 && bit == 7 && frames == says("hello")),
                Err(error) => prop_assert!(error == SealError::Forged || (at < NAME && error == SealError::UnknownPrekey)),
            }
        }

        #[test]
        fn junk_does_not_open(junk: Vec<u8>) {
            prop_assert!(open_by(&bob(), &alice(), b"", &junk).is_err());
        }
    }
}
