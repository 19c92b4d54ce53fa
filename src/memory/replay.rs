//! The memory for sent requests that a channel keeps so that it can replay them on another
//! connection, limited per call and per channel.

use crate::rt::sync::{AtomicUsize, Ordering};
use std::sync::Arc;

/// A whole request of at most 64 KiB is kept without counting.
pub const UNCOUNTED: usize = 64 * 1024;
/// The smallest reservation in bytes.
const LEAST: usize = 1024;

/// The limits of one channel.
#[derive(Debug)]
pub struct ReplayBudget {
    call: u32,
    all: u32,
    held: AtomicUsize,
}

impl ReplayBudget {
    /// Creates a budget of `call` bytes for each stream and `all` bytes for all calls.
    #[must_use]
    pub fn new(call: u32, all: u32) -> Arc<Self> {
        Arc::new(Self { call, all, held: AtomicUsize::new(0) })
    }

    /// Returns the bytes that all calls hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let most = self.all as usize;
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// The part of a budget that one call holds; dropping it returns the bytes.
#[derive(Debug)]
pub struct ReplayReservation {
    budget: Arc<ReplayBudget>,
    held: usize,
}

impl ReplayReservation {
    /// Creates a reservation of zero bytes for a stream.
    #[must_use]
    pub fn new(budget: &Arc<ReplayBudget>) -> Self {
        Self { budget: Arc::clone(budget), held: 0 }
    }

    /// Reserves `bytes` for a whole request, to which the limit per call does not apply.
    pub(crate) fn whole(budget: &Arc<ReplayBudget>, bytes: usize) -> Option<Self> {
        budget.take(bytes).then(|| Self { budget: Arc::clone(budget), held: bytes })
    }

    /// Returns whether the call may keep `bytes` in total. Bytes are reserved in steps that double.
    pub(crate) fn covers(&mut self, bytes: usize) -> bool {
        if bytes <= self.held {
            return true;
        }
        let most = self.budget.call as usize;
        if bytes > most {
            return false;
        }
        let want = bytes.next_power_of_two().max(LEAST).min(most);
        let taken = self.budget.take(want - self.held);
        if taken {
            self.held = want;
        }
        taken
    }
}

impl Drop for ReplayReservation {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::replay::*;

    #[test]
    fn reservations_grow_in_steps_within_both_limits() {
        let budget = ReplayBudget::new(5000, 12_000);
        let mut one = ReplayReservation::new(&budget);
        assert_eq!(budget.held(), 0);
        let mut held = Vec::new();
        for bytes in [1, 1024, 1025, 2049, 5000] {
            assert!(one.covers(bytes));
            held.push(budget.held());
        }
        assert_eq!(held, [1024, 1024, 2048, 4096, 5000]);
        assert!(!one.covers(5001), "the call's bound");
        let whole = ReplayReservation::whole(&budget, 6500).unwrap();
        let mut two = ReplayReservation::new(&budget);
        assert!(!two.covers(1), "1024 do not fit");
        assert!(ReplayReservation::whole(&budget, 501).is_none());
        drop(one);
        assert!(two.covers(5000) && !two.covers(5001));
        drop((whole, two));
        assert_eq!(budget.held(), 0);
    }
}
