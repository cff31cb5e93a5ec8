//! Randomness that can be replayed: everything drawn in a network follows from one seed.

/// A small generator, SplitMix64. Nothing here is secret; it has to be the same on every machine and in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random(u64);

/// 2^64 divided by the golden ratio: consecutive seeds begin far from each other.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A generator of its own for a part of the network, so that what one part draws does not change another's luck.
    pub fn fork(&self, part: u64) -> Self {
        let mut child = Random(self.0 ^ part.wrapping_add(1).wrapping_mul(GOLDEN));
        Random(child.bits())
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product is even enough: the error is `bound / 2^64`.
        u64::try_from((u128::from(self.bits()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// True with this probability. Draws nothing for 0, so that a perfect link leaves the others' luck alone.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // The 53 bits that a float holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_on_every_machine() {
        let mut random = Random::new(0);
        // The reference implementation's first two numbers for seed 0.
        assert_eq!([random.bits(), random.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn draws_stay_below_their_bound_and_are_even() {
        let mut random = Random::new(7);
        let mut seen = [0_u32; 10];
        (0..10_000).for_each(|_| seen[usize::try_from(random.below(10)).expect("small")] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        let lucky = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2300..2700).contains(&lucky), "{lucky}");
    }
}
