//! A connection's life as its pool sees it, in one atomic word: calls under way, an epoch, open or
//! closing. Checkout and eviction are single steps on it, so they cannot both win.
//!
//! hot: one read-modify-write to take a place, one to give it back.

use crate::rt::sync::{AtomicU64, Ordering};

const CALLS: u64 = u32::MAX as u64;
const EPOCH: u64 = 1 << 32;
const CLOSING: u64 = 1 << 63;

/// Why no place was to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// As many calls as allowed are under way.
    Full,
    /// The connection takes no new calls.
    Closing,
}

/// A reading of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Calls that hold a place.
    pub calls: u32,
    /// Counts how often the connection went from no call to one, modulo 2^31.
    pub epoch: u32,
    /// New calls are welcome.
    pub open: bool,
}

impl Reading {
    const fn of(word: u64) -> Self {
        let epoch = ((word & !CLOSING) / EPOCH) as u32;
        Self { calls: (word & CALLS) as u32, epoch, open: word & CLOSING == 0 }
    }
}

/// The word.
#[derive(Debug)]
pub struct PermitCounter(AtomicU64);

impl Default for PermitCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl PermitCounter {
    /// Open, without calls.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What the word says.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading::of(self.0.load(Ordering::Acquire))
    }

    /// Takes a place if fewer than `limit` are taken.
    ///
    /// # Errors
    /// Why not.
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
            // A connection that was without calls begins a new epoch: what was known of its rest
            // no longer holds.
            let next = if calls == 0 { (word + EPOCH + 1) & !CLOSING } else { word + 1 };
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Gives a place back.
    pub fn release(&self) -> Reading {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & CALLS > 0, "a place was given back twice");
        Reading::of(before - 1)
    }

    /// No new calls from now on; `true` for the one call that closed it.
    pub fn close(&self) -> bool {
        self.0.fetch_or(CLOSING, Ordering::AcqRel) & CLOSING == 0
    }

    /// Closes a connection that has no calls and has had none since `epoch` was read.
    #[must_use]
    pub fn evict(&self, epoch: u32) -> bool {
        let at_rest = u64::from(epoch) * EPOCH;
        let closed = at_rest | CLOSING;
        self.0.compare_exchange(at_rest, closed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::permits::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let life = PermitCounter::new();
        assert_eq!(life.reserve(0), Err(Refused::Full));
        for _ in 0..3 {
            assert_eq!(life.reserve(3), Ok(()));
        }
        assert_eq!(life.reserve(3), Err(Refused::Full));
        assert_eq!(life.release().calls, 2);
        assert_eq!(life.reserve(3), Ok(()));
        assert!(life.close());
        assert!(!life.close(), "closed once");
        assert_eq!(life.reserve(9), Err(Refused::Closing));
        assert_eq!(life.release(), Reading { calls: 2, epoch: 1, open: false });
    }

    #[test]
    fn eviction_needs_a_rest_that_lasted() {
        let life = PermitCounter::new();
        assert_eq!(life.reserve(1), Ok(()));
        let epoch = life.read().epoch;
        assert!(!life.evict(epoch), "a call is under way");
        life.release();
        assert_eq!(life.reserve(1), Ok(()));
        life.release();
        assert!(!life.evict(epoch), "it was used since");
        assert!(life.evict(life.read().epoch));
        assert!(!life.read().open);
        assert!(!life.evict(life.read().epoch), "once");
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_rest() {
        let life = PermitCounter::new();
        life.0.store(CLOSING - EPOCH, Ordering::Relaxed);
        assert_eq!(life.reserve(5), Ok(()));
        assert_eq!(life.read(), Reading { calls: 1, epoch: 0, open: true });
    }
}
