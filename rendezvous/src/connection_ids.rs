//! Which connection ids this server gives out: random ones that it knows again, also after a restart, without keeping them.
//!
//! A Retry gives the client an id for its next packet and remembers nothing. quinn looks that packet up among the ids of
//! all standing connections first, so an id that one of them has sends the handshake to a stranger, who cannot read it, and
//! the client waits in vain, however often it repeats itself. quinn's own generator has 24 random bits: with 5,000 clients
//! of five ids each, one Retry in 670 met an id that was taken. With 64 bits, and all the clients there is room for, none
//! ever does.

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use ring::hmac;

const RANDOM: usize = 8;
/// Four bytes more in each packet to us. Who guesses them is answered with a stateless reset, and that is all.
const TAG: usize = 4;
/// The bytes of an id. Those that clients draw for their first packets have others, of quinn twenty.
pub(crate) const LENGTH: usize = RANDOM + TAG;

/// Gives out ids and knows them again.
#[derive(Debug, Clone)]
pub struct ConnectionIds {
    key: hmac::Key,
    next: u64,
}

impl ConnectionIds {
    /// Whoever has the same key knows these ids. `start` is random, so that no two of one key give out the same.
    pub fn new(key: &[u8; 32], start: u64) -> Self {
        ConnectionIds { key: hmac::Key::new(hmac::HMAC_SHA256, key), next: start }
    }

    fn tag(&self, random: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hmac::sign(&self.key, &[b"tag", random].concat()).as_ref()[..TAG]);
        tag
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // Numbers under a key look random to all others, and cannot run out as the system's random numbers may.
        let number = hmac::sign(&self.key, &self.next.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        let random = &number.as_ref()[..RANDOM];
        let mut id = [0; LENGTH];
        id[..RANDOM].copy_from_slice(random);
        id[RANDOM..].copy_from_slice(&self.tag(random));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let known = id.split_at_checked(RANDOM).is_some_and(|(random, tag)| self.tag(random) == tag);
        if known { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_known_again_after_a_restart_and_others_are_not() {
        let id = ConnectionIds::new(&[1; 32], 99).generate_cid();
        assert_eq!(id.len(), LENGTH);
        assert!(ConnectionIds::new(&[1; 32], 7).validate(&id).is_ok());
        assert!(ConnectionIds::new(&[2; 32], 7).validate(&id).is_err());
        for bad in 0..LENGTH {
            let mut bytes = id.to_vec();
            bytes[bad] ^= 1;
            assert!(ConnectionIds::new(&[1; 32], 7).validate(&ConnectionId::new(&bytes)).is_err(), "byte {bad}");
        }
        for length in 0..LENGTH {
            assert!(ConnectionIds::new(&[1; 32], 7).validate(&ConnectionId::new(&id[..length])).is_err());
        }
    }

    #[test]
    fn a_retry_never_meets_the_id_of_a_standing_connection() {
        // As many as 20,000 clients have; of 24 random bits some hundreds would come twice.
        let mut ids = ConnectionIds::new(&[1; 32], 7);
        let distinct: BTreeSet<_> = (0..100_000).map(|_| ids.generate_cid().to_vec()).collect();
        assert_eq!(distinct.len(), 100_000);
    }
}
