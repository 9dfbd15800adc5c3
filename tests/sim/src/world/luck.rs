//! Chance, or none of it.

use std::time::Duration;

use membership_base::Rng;

/// Where chance comes from. In a story there is none: what takes some time takes the same time
/// always, and nothing happens by itself.
pub(super) struct Luck {
    rng: Rng,
    steady: bool,
}

impl Luck {
    pub(super) fn of(seed: u64) -> Luck {
        Luck { rng: Rng::new(seed), steady: false }
    }

    /// From now on nothing is left to chance.
    pub(super) fn hold(&mut self) {
        self.steady = true;
    }

    /// A number below the limit.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        if self.steady { 0 } else { self.rng.below(limit) }
    }

    /// Whether what happens so often happens now.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        !self.steady && self.rng.chance(per_mille)
    }

    /// A duration between two.
    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        if self.steady { (low + high) / 2 } else { self.rng.between(low, high) }
    }
}
