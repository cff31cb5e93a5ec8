//! Luck from a seed: which ports are guessed must not be known to who watches, and must be the same when a run is replayed.

use sha2::{Digest, Sha256};

#[derive(Debug, Clone)]
pub(super) struct Seeded {
    seed: [u8; 32],
    drawn: u64,
}

impl Seeded {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Seeded { seed, drawn: 0 }
    }

    /// Evenly from `0..bound`; 0 if the bound is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(b"guess").chain_update(self.seed);
        let digest = digest.chain_update(self.drawn.to_be_bytes()).finalize();
        let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        // The high half of a product is even enough: the error is `bound / 2^64`.
        usize::try_from((u128::from(bits) * bound as u128) >> 64).unwrap_or(0)
    }
}
