//! Chance that can be repeated: the same seed throws the same numbers.

use std::hash::{BuildHasher, RandomState};

/// The environment variable that a seed is taken from, to see a failure again.
const VARIABLE: &str = "FAYTHE_SEED";

/// A generator (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that is another each time, unless `FAYTHE_SEED` sets it. It is printed, for the log of a failure.
    pub fn seed(what: &str) -> u64 {
        Self::seed_or(what, RandomState::new().hash_one(what))
    }

    /// The seed that `FAYTHE_SEED` sets, else `default`; printed as well.
    pub fn seed_or(what: &str, default: u64) -> u64 {
        let set = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let seed = set.unwrap_or(default);
        eprintln!("{what}: {VARIABLE}={seed}");
        seed
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// One of a list, unless it is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(items.len() as u64)).ok()?;
        items.get(at)
    }
}
