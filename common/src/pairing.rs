//! What two contacts know without ever having talked: the static Diffie-Hellman of their identity keys, X25519 over the
//! birational image of the Ed25519 keys (RFC 7748, section 4.1), and what HKDF-SHA256 (RFC 5869) makes of it.
//!
//! - a [`Capability`] per rendezvous: who presents it is a contact, who has none learns nothing;
//! - a [`ProbeKey`] per introduction and direction: the server that introduces two peers cannot forge their probes;
//! - a sealed box for addresses: the server carries them and cannot read them;
//! - the tags by which two know each other on a LAN ([`crate::lan`]).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::identity::{Identity, PeerId};
use crate::introduction::IntroductionId;

/// Shows the rendezvous that two peers are contacts: both derive the same 16 bytes, nobody else can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Capability(pub [u8; 16]);

/// The password of the probes that one side sends under one introduction.
#[derive(Clone, PartialEq, Eq)]
pub struct ProbeKey([u8; 32]);

impl ProbeKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKey(secret)")
    }
}

/// Bytes that [`Pairing::seal`] needs from the caller: 192 random bits never repeat, whoever draws them.
pub type SealNonce = [u8; 24];

/// Why a sealed box did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed addresses were not made by this contact")]
pub struct SealError;

/// The shared secret of two identities.
pub struct Pairing {
    secret: Hkdf<Sha256>,
    own: PeerId,
    peer: PeerId,
}

impl std::fmt::Debug for Pairing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pairing({:?} with {:?})", self.own, self.peer)
    }
}

impl Pairing {
    /// Derives the secret that `own` and `peer` share. `None` if there is none: a key that is no point or of small
    /// order, which [`PeerId`] already refuses.
    pub fn new(own: &Identity, peer: PeerId) -> Option<Self> {
        let public = PublicKey::from(peer.verifying_key().ok()?.to_montgomery().to_bytes());
        let shared = StaticSecret::from(own.signing_key().to_scalar_bytes()).diffie_hellman(&public);
        if !shared.was_contributory() {
            return None;
        }
        let secret = Hkdf::new(Some(b"punchline pairing v1"), shared.as_bytes());
        Some(Pairing { secret, own: own.peer_id(), peer })
    }

    pub(crate) fn own(&self) -> PeerId {
        self.own
    }

    /// The other one.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Is our id the lower one? Where one of two has to decide, it is the one who leads.
    pub fn leads(&self) -> bool {
        self.own < self.peer
    }

    /// What both register at, and show to, the rendezvous with this key.
    pub fn capability(&self, rendezvous: PeerId) -> Capability {
        Capability(self.derive(b"capability", rendezvous.as_bytes(), None))
    }

    /// The key of the probes that we send under this introduction.
    pub fn own_probe_key(&self, introduction: IntroductionId) -> ProbeKey {
        ProbeKey(self.derive(b"probe", &introduction.to_bytes(), Some(self.own)))
    }

    /// The key of the probes that the peer sends under this introduction. It differs from ours, so that a probe that
    /// comes back to its sender is not taken for the other's.
    pub fn peer_probe_key(&self, introduction: IntroductionId) -> ProbeKey {
        ProbeKey(self.derive(b"probe", &introduction.to_bytes(), Some(self.peer)))
    }

    /// Seals bytes to the peer. `context` is not sent, but opening demands the same one.
    pub fn seal(&self, context: &[u8], plain: &[u8], nonce: SealNonce) -> Vec<u8> {
        let mut sealed = nonce.to_vec();
        let payload = Payload { msg: plain, aad: context };
        // Encryption fails only for plaintexts beyond 256 GiB; an empty box then simply does not open.
        sealed.extend(self.cipher(self.own).encrypt(&XNonce::from(nonce), payload).unwrap_or_default());
        sealed
    }

    /// Opens what the peer sealed under the same context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or(SealError)?;
        let payload = Payload { msg: sealed, aad: context };
        self.cipher(self.peer).decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError)
    }

    fn cipher(&self, sender: PeerId) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derive::<32>(b"seal", &[], Some(sender)).into())
    }

    /// HKDF-Expand over a label, both ids in order, the context, and the sender where direction matters.
    pub(crate) fn derive<const N: usize>(&self, label: &[u8], context: &[u8], sender: Option<PeerId>) -> [u8; N] {
        let (low, high) = if self.own < self.peer { (self.own, self.peer) } else { (self.peer, self.own) };
        let direction: &[u8] = match sender {
            None => b"both",
            Some(sender) if sender == low => b"from low",
            Some(_) => b"from high",
        };
        let mut key = [0; N];
        let info = [label, b"|", low.as_bytes(), high.as_bytes(), context, b"|", direction];
        self.secret.expand_multi_info(&info, &mut key).expect("HKDF gives up to 8160 bytes, we ask for at most 32");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Pairing, Pairing) {
        let (alice, bob) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let to_bob = Pairing::new(&alice, bob.peer_id()).expect("a secret");
        let to_alice = Pairing::new(&bob, alice.peer_id()).expect("a secret");
        (to_bob, to_alice)
    }

    #[test]
    fn both_derive_the_same_without_talking() {
        let (alice, bob) = pair();
        let server = Identity::from_seed(&[9; 32]).peer_id();
        let other = Identity::from_seed(&[8; 32]).peer_id();
        assert_eq!(alice.capability(server), bob.capability(server));
        assert_ne!(alice.capability(server), alice.capability(other), "one rendezvous cannot use what another saw");
        let id = IntroductionId(5);
        assert_eq!(alice.own_probe_key(id), bob.peer_probe_key(id));
        assert_eq!(alice.peer_probe_key(id), bob.own_probe_key(id));
        assert_ne!(alice.own_probe_key(id), alice.peer_probe_key(id), "a reflected probe does not verify");
        assert_ne!(alice.own_probe_key(id), alice.own_probe_key(IntroductionId(6)));
    }

    #[test]
    fn a_stranger_derives_something_else() {
        let (alice, bob) = pair();
        let mallory = Identity::from_seed(&[3; 32]);
        let server = Identity::from_seed(&[9; 32]).peer_id();
        let guess = Pairing::new(&mallory, bob.own).expect("a secret");
        assert_ne!(guess.capability(server), alice.capability(server));
    }

    #[test]
    fn only_the_contact_opens_the_box_and_only_in_its_context() {
        let (alice, bob) = pair();
        let sealed = alice.seal(b"intro 5", b"192.168.1.7", [3; 24]);
        assert_eq!(bob.open(b"intro 5", &sealed).as_deref(), Ok(b"192.168.1.7".as_slice()));
        assert_eq!(bob.open(b"intro 6", &sealed), Err(SealError));
        assert_eq!(alice.open(b"intro 5", &sealed), Err(SealError), "our own box is not the peer's");
        let mut changed = sealed.clone();
        changed[30] ^= 1;
        assert_eq!(bob.open(b"intro 5", &changed), Err(SealError));
        assert_eq!(bob.open(b"intro 5", &sealed[..20]), Err(SealError));
    }
}
