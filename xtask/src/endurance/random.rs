/// Numbers that look like chance and are the same for the same seed (SplitMix64, Steele and others, 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A row of its own, for the `number`-th who asks.
    pub(super) fn fork(&self, number: u64) -> Self {
        Self(self.0 ^ number.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_row_and_forks_give_others() {
        let row = |mut random: Random| (0..100).map(|_| random.below(1000)).collect::<Vec<_>>();
        let seed = Random::new(7);
        assert_eq!(row(seed.clone()), row(seed.clone()));
        assert_ne!(row(seed.fork(0)), row(seed.fork(1)));
        assert!(row(seed).iter().any(|number| *number > 900));
    }
}
