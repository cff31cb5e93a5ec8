//! Prekeys: X25519 keys to which others seal what its owner opens later, and whose secrets are gone after that.
//!
//! Somebody who steals a device opens what its keys open. So envelopes go to keys that do not live long: a *signed* prekey,
//! a new one every [`ROTATION`], and *one-time* prekeys, which the rendezvous hands out one by one while it has some. Each
//! carries the signature of its owner's identity, so that no server can put its own in their place. The idea and the names are those of X3DH
//! (Marlinspike and Perrin, 2016); sealing itself is HPKE ([`crate::seal`]).
//!
//! A secret is kept for as long as an envelope to it may be on its way, and not longer: until its key has expired and no
//! mailbox can hold what was sealed to it ([`PrekeySecret::is_over`]). That of a one-time prekey goes with the first
//! envelope that it has opened.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::identity::{Identity, PeerId};
use crate::signature::{BadSignature, Signature};

const DAY: u64 = 86_400;
/// A new signed prekey is made so often, in seconds: a week, as Signal does.
pub const ROTATION: u64 = 7 * DAY;
/// A signed prekey is used by others for so long, in seconds: whoever was away for a week still seals to one that was
/// good when they left.
pub const SIGNED_LIFE: u64 = 14 * DAY;
/// A one-time prekey waits at the server for so long at most, in seconds.
pub const ONE_TIME_LIFE: u64 = 60 * DAY;
/// The longest that a rendezvous keeps an envelope, in seconds.
pub const LONGEST_STORAGE: u64 = 30 * DAY;
/// What two clocks may differ by, in seconds.
const CLOCKS: u64 = DAY;
/// One-time prekeys that a server holds for one client.
pub const ONE_TIMES: usize = 64;

/// Names a prekey. Drawn at random by its owner; never 0, which in an envelope means the identity key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrekeyId(pub u64);

/// The public half, as it is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prekey {
    /// Its name.
    pub id: PrekeyId,
    /// X25519 (RFC 7748).
    pub key: [u8; 32],
    /// For one envelope only.
    pub one_time: bool,
    /// When others stop using it, in seconds since 1970 by its owner's clock.
    pub expires_s: u64,
    signature: Signature,
}

const KIND: &str = "prekey";

impl Prekey {
    /// Is it this peer's?
    pub fn verify(&self, of: PeerId) -> Result<(), BadSignature> {
        self.signature.verify(of, KIND, &self.fact())
    }

    /// Is it still to be used, by a clock that says this?
    pub fn is_fresh(&self, now_s: u64) -> bool {
        now_s < self.expires_s
    }

    fn fact(&self) -> Vec<u8> {
        fact(self.id, &self.key, self.one_time, self.expires_s)
    }
}

fn fact(id: PrekeyId, key: &[u8; 32], one_time: bool, expires_s: u64) -> Vec<u8> {
    let [id, expires] = [id.0, expires_s].map(u64::to_be_bytes);
    [&id[..], key, &[u8::from(one_time)], &expires].concat()
}

/// What a server hands out of one client's prekeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The newest signed one.
    pub signed: Prekey,
    /// One that nobody else gets, while there are any.
    pub one_time: Option<Prekey>,
}

impl Bundle {
    /// The best of it that is this peer's and fresh.
    pub fn best(&self, of: PeerId, now_s: u64) -> Option<Prekey> {
        let good = |key: &Prekey| key.verify(of).is_ok() && key.is_fresh(now_s);
        self.one_time
            .filter(|key| key.one_time && good(key))
            .or(Some(self.signed).filter(|key| !key.one_time && good(key)))
    }
}

/// The secret half.
#[derive(Clone, PartialEq, Eq)]
pub struct PrekeySecret {
    /// Its name.
    pub id: PrekeyId,
    /// X25519.
    pub secret: [u8; 32],
    /// For one envelope only.
    pub one_time: bool,
    /// When it was made, in seconds since 1970.
    pub created_s: u64,
    /// When others stop using it.
    pub expires_s: u64,
}

impl PrekeySecret {
    /// A new one of these random bytes.
    pub fn new(id: u64, secret: [u8; 32], one_time: bool, now_s: u64) -> Self {
        let life = if one_time { ONE_TIME_LIFE } else { SIGNED_LIFE };
        let expires_s = now_s.saturating_add(life);
        PrekeySecret { id: PrekeyId(id.max(1)), secret, one_time, created_s: now_s, expires_s }
    }

    /// What is handed out.
    pub fn public(&self, own: &Identity) -> Prekey {
        let key = PublicKey::from(&StaticSecret::from(self.secret)).to_bytes();
        let PrekeySecret { id, one_time, expires_s, .. } = *self;
        let signature = Signature::sign(own, KIND, &fact(id, &key, one_time, expires_s));
        Prekey { id, key, one_time, expires_s, signature }
    }

    /// Can nothing come any more that was sealed to it?
    pub fn is_over(&self, now_s: u64) -> bool {
        now_s >= self.expires_s.saturating_add(LONGEST_STORAGE + CLOCKS)
    }
}

impl fmt::Debug for PrekeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrekeySecret({:?}, secret)", self.id)
    }
}

/// The secrets at hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring {
    secrets: BTreeMap<PrekeyId, PrekeySecret>,
}

/// What a keyring lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// A signed prekey is to be made.
    pub signed: bool,
    /// So many one-time prekeys are to be made and published.
    pub one_times: usize,
}

impl Keyring {
    /// With these.
    pub fn new(secrets: impl IntoIterator<Item = PrekeySecret>) -> Self {
        Keyring { secrets: secrets.into_iter().map(|secret| (secret.id, secret)).collect() }
    }

    /// Puts one in.
    pub fn insert(&mut self, secret: PrekeySecret) {
        self.secrets.insert(secret.id, secret);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: PrekeyId) -> Option<PrekeySecret> {
        self.secrets.remove(&id)
    }

    /// The one of this name.
    pub fn find(&self, id: PrekeyId) -> Option<&PrekeySecret> {
        self.secrets.get(&id)
    }

    /// The newest signed one. One that was made in the future is of a clock that was wrong: it opens what came under it,
    /// and nobody is told of it any more.
    pub fn signed(&self, now_s: u64) -> Option<&PrekeySecret> {
        let made = self.secrets.values().filter(|secret| !secret.one_time && secret.created_s <= now_s);
        made.max_by_key(|secret| (secret.created_s, secret.id))
    }

    /// Those for one envelope each.
    pub fn one_times(&self) -> impl Iterator<Item = &PrekeySecret> {
        self.secrets.values().filter(|secret| secret.one_time)
    }

    /// What is to be made, when the server says that it holds so many one-time prekeys of ours.
    pub fn due(&self, at_server: usize, now_s: u64) -> Due {
        let signed = self.signed(now_s).is_none_or(|newest| now_s >= newest.created_s.saturating_add(ROTATION));
        let one_times = if at_server < ONE_TIMES / 2 { ONE_TIMES - at_server } else { 0 };
        Due { signed, one_times }
    }

    /// Those under which nothing can come any more.
    pub fn over(&self, now_s: u64) -> Vec<PrekeyId> {
        self.secrets.values().filter(|secret| secret.is_over(now_s)).map(|secret| secret.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity::from_seed(&[1; 32])
    }

    fn mallory() -> Identity {
        Identity::from_seed(&[3; 32])
    }

    fn secret(n: u8, one_time: bool, now_s: u64) -> PrekeySecret {
        PrekeySecret::new(u64::from(n), [n; 32], one_time, now_s)
    }

    #[test]
    fn a_prekey_is_its_owners_and_as_it_was_made() {
        let public = secret(5, false, 1_000).public(&alice());
        assert_eq!(public.verify(alice().peer_id()), Ok(()));
        assert!(public.verify(mallory().peer_id()).is_err());
        assert!(Prekey { one_time: true, ..public }.verify(alice().peer_id()).is_err());
        assert!(Prekey { expires_s: public.expires_s + 1, ..public }.verify(alice().peer_id()).is_err());
        assert!(Prekey { key: [9; 32], ..public }.verify(alice().peer_id()).is_err());
    }

    #[test]
    fn of_a_bundle_the_one_time_prekey_is_used_unless_it_is_forged_or_expired() {
        let of = alice().peer_id();
        let (signed, one_time) = (secret(5, false, 0).public(&alice()), secret(6, true, 0).public(&alice()));
        let forged = secret(7, true, 0).public(&mallory());
        let best = |one_time, now| Bundle { signed, one_time }.best(of, now).map(|key| key.id.0);
        assert_eq!(best(Some(one_time), 0), Some(6));
        assert_eq!(best(None, 0), Some(5));
        assert_eq!(best(Some(forged), 0), Some(5), "a server cannot put its own in");
        assert_eq!(best(Some(signed), 0), Some(5), "nor have a signed one used up");
        assert_eq!(best(Some(one_time), SIGNED_LIFE), Some(6));
        assert_eq!(best(None, SIGNED_LIFE), None);
    }

    #[test]
    fn a_week_later_another_one_is_due_and_what_was_sealed_to_the_first_still_opens_for_as_long_as_it_may_come() {
        let mut keyring = Keyring::default();
        assert_eq!(keyring.due(ONE_TIMES, 0), Due { signed: true, one_times: 0 });
        keyring.insert(secret(1, false, 0));
        assert_eq!(keyring.due(ONE_TIMES, ROTATION - 1), Due::default());
        assert!(keyring.due(ONE_TIMES, ROTATION).signed);
        keyring.insert(secret(2, false, ROTATION));
        assert_eq!(keyring.signed(ROTATION).map(|secret| secret.id), Some(PrekeyId(2)));
        let last = SIGNED_LIFE + LONGEST_STORAGE + CLOCKS;
        assert_eq!(keyring.over(last - 1), []);
        assert_eq!(keyring.over(last), [PrekeyId(1)]);
    }

    #[test]
    fn one_time_prekeys_are_made_when_half_are_gone() {
        let keyring = Keyring::new([secret(1, false, 0)]);
        assert_eq!(keyring.due(ONE_TIMES / 2, 0).one_times, 0);
        assert_eq!(keyring.due(ONE_TIMES / 2 - 1, 0).one_times, ONE_TIMES / 2 + 1);
        assert_eq!(keyring.due(0, 0).one_times, ONE_TIMES);
        assert_eq!(keyring.due(usize::MAX, 0).one_times, 0);
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_does_not_stop_the_rotation() {
        let mut keyring = Keyring::new([secret(1, false, 365 * DAY)]);
        assert!(keyring.due(ONE_TIMES, 0).signed);
        keyring.insert(secret(2, false, 0));
        assert!(!keyring.due(ONE_TIMES, 0).signed);
        assert_eq!(keyring.signed(0).map(|secret| secret.id), Some(PrekeyId(2)));
    }
}
