//! The permits of a connection in one atomic word: calls in flight, an epoch, open or closing.
//! Checkout and eviction are single atomic steps, so only one of them can succeed.
//!
//! hot: one read-modify-write to take a permit, one to release it.

use crate::rt::sync::{AtomicU64, Ordering};

const CALLS: u64 = u32::MAX as u64;
const EPOCH: u64 = 1 << 32;
const CLOSING: u64 = 1 << 63;

/// The reason why no permit was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The limit of calls in flight is reached.
    Full,
    /// The connection takes no new calls.
    Closing,
}

/// The state of a [`PermitCounter`] at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Calls that hold a permit.
    pub calls: u32,
    /// How often the connection went from zero calls to one, modulo 2^31.
    pub epoch: u32,
    /// Whether the connection takes new calls.
    pub open: bool,
}

impl Reading {
    const fn of(word: u64) -> Self {
        let epoch = ((word & !CLOSING) / EPOCH) as u32;
        Self { calls: (word & CALLS) as u32, epoch, open: word & CLOSING == 0 }
    }
}

/// Counts the calls on a connection and grants permits for new ones.
#[derive(Debug)]
pub struct PermitCounter(AtomicU64);

impl Default for PermitCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl PermitCounter {
    /// Creates an open counter without calls.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the current state.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading::of(self.0.load(Ordering::Acquire))
    }

    /// Takes a permit if fewer than `limit` are taken.
    ///
    /// # Errors
    /// `limit` permits are taken, or the connection is closing.
    pub fn reserve(&self, limit: u32) -> Result<(), Refused> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CLOSING != 0 {
                return Err(Refused::Closing);
            }
            let calls = word & CALLS;
            if calls >= u64::from(limit) {
                return Err(Refused::Full);
            }
            // An idle connection begins a new epoch, so that an eviction decided before it fails.
            let next = if calls == 0 { (word + EPOCH + 1) & !CLOSING } else { word + 1 };
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Releases a permit and returns the new state.
    pub fn release(&self) -> Reading {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & CALLS > 0, "a permit was released twice");
        Reading::of(before - 1)
    }

    /// Closes the connection for new calls. Returns `true` for the one caller that closed it.
    pub fn close(&self) -> bool {
        self.0.fetch_or(CLOSING, Ordering::AcqRel) & CLOSING == 0
    }

    /// Closes a connection that has no calls and has had none since `epoch` was read. Returns whether
    /// it did.
    #[must_use]
    pub fn evict(&self, epoch: u32) -> bool {
        let idle = u64::from(epoch) * EPOCH;
        let closed = idle | CLOSING;
        self.0.compare_exchange(idle, closed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::permits::*;

    #[test]
    fn permits_are_limited_and_come_back() {
        let permits = PermitCounter::new();
        assert_eq!(permits.reserve(0), Err(Refused::Full));
        for _ in 0..3 {
            assert_eq!(permits.reserve(3), Ok(()));
        }
        assert_eq!(permits.reserve(3), Err(Refused::Full));
        assert_eq!(permits.release().calls, 2);
        assert_eq!(permits.reserve(3), Ok(()));
        assert!(permits.close());
        assert!(!permits.close(), "closed once");
        assert_eq!(permits.reserve(9), Err(Refused::Closing));
        assert_eq!(permits.release(), Reading { calls: 2, epoch: 1, open: false });
    }

    #[test]
    fn eviction_needs_an_idle_time_without_calls() {
        let permits = PermitCounter::new();
        assert_eq!(permits.reserve(1), Ok(()));
        let epoch = permits.read().epoch;
        assert!(!permits.evict(epoch), "a call is in flight");
        permits.release();
        assert_eq!(permits.reserve(1), Ok(()));
        permits.release();
        assert!(!permits.evict(epoch), "it was used in between");
        assert!(permits.evict(permits.read().epoch));
        assert!(!permits.read().open);
        assert!(!permits.evict(permits.read().epoch), "once");
    }

    #[test]
    fn the_epoch_wraps_and_leaves_the_other_bits() {
        let permits = PermitCounter::new();
        permits.0.store(CLOSING - EPOCH, Ordering::Relaxed);
        assert_eq!(permits.reserve(5), Ok(()));
        assert_eq!(permits.read(), Reading { calls: 1, epoch: 0, open: true });
    }
}
