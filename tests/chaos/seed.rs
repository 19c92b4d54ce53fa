//! Random numbers from one seed, so that a run can be had again.

use framewire::unstable::rt::Random;
use std::sync::{Arc, Mutex};

pub struct Rng(Random);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// One of its own for a part, which is independent of what others draw.
    pub fn of(seed: u64, part: u64) -> Self {
        let mut rng = Self::new(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True in so many of a thousand.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.next() % 1000 < n
    }

    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.next() as usize % among.len()]
    }
}

/// One that threads share.
pub type Shared = Arc<Mutex<Rng>>;

/// `FRAMEWIRE_SEED`, or a new one.
pub fn seed() -> u64 {
    let text = std::env::var("FRAMEWIRE_SEED").ok();
    let new = || {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Rng::new(time.as_nanos() as u64).next() >> 16
    };
    text.map_or_else(new, |text| text.parse().expect("FRAMEWIRE_SEED is a number"))
}
