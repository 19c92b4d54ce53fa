//! What a channel keeps of requests that were handed to a connection, so that they can move to
//! another one: bounded a call and in all.

use crate::rt::sync::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Bytes of a whole request that are kept without being counted.
pub const UNCOUNTED: usize = 64 * 1024;
/// The smallest lease.
const LEAST: usize = 1024;

/// A channel's bounds.
#[derive(Debug)]
pub struct ReplayBudget {
    call: u32,
    all: u32,
    held: AtomicUsize,
}

impl ReplayBudget {
    /// At most `call` bytes of one stream, and `all` of all calls.
    #[must_use]
    pub fn new(call: u32, all: u32) -> Arc<Self> {
        Arc::new(Self { call, all, held: AtomicUsize::new(0) })
    }

    /// Bytes that are held.
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

/// One call's part. Dropped, it is given back.
#[derive(Debug)]
pub struct ReplayReservation {
    keep: Arc<ReplayBudget>,
    held: usize,
}

impl ReplayReservation {
    /// For a stream: nothing yet.
    #[must_use]
    pub fn new(keep: &Arc<ReplayBudget>) -> Self {
        Self { keep: Arc::clone(keep), held: 0 }
    }

    /// For a whole request of so many bytes, which the bound of a call does not concern.
    pub(crate) fn whole(keep: &Arc<ReplayBudget>, bytes: usize) -> Option<Self> {
        keep.take(bytes).then(|| Self { keep: Arc::clone(keep), held: bytes })
    }

    /// Whether the call may keep so many bytes in all. Room is taken in steps that double.
    pub(crate) fn covers(&mut self, bytes: usize) -> bool {
        if bytes <= self.held {
            return true;
        }
        let most = self.keep.call as usize;
        if bytes > most {
            return false;
        }
        let want = bytes.next_power_of_two().max(LEAST).min(most);
        let taken = self.keep.take(want - self.held);
        if taken {
            self.held = want;
        }
        taken
    }
}

impl Drop for ReplayReservation {
    fn drop(&mut self) {
        self.keep.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::replay::*;

    #[test]
    fn leases_grow_in_steps_within_both_bounds_and_come_back() {
        let keep = ReplayBudget::new(5000, 12_000);
        let mut one = ReplayReservation::new(&keep);
        assert_eq!(keep.held(), 0);
        let mut held = Vec::new();
        for bytes in [1, 1024, 1025, 2049, 5000] {
            assert!(one.covers(bytes));
            held.push(keep.held());
        }
        assert_eq!(held, [1024, 1024, 2048, 4096, 5000]);
        assert!(!one.covers(5001), "the call's bound");
        let whole = ReplayReservation::whole(&keep, 6500).unwrap();
        let mut two = ReplayReservation::new(&keep);
        assert!(!two.covers(1), "1024 do not fit");
        assert!(ReplayReservation::whole(&keep, 501).is_none());
        drop(one);
        assert!(two.covers(5000) && !two.covers(5001));
        drop((whole, two));
        assert_eq!(keep.held(), 0);
    }
}
