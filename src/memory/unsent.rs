//! What a connection holds of messages that were handed over and that the peer has not taken: large
//! queues are counted, on the connection and in the budget, so that senders wait while there is
//! little room.
//!
//! hot: queues below 4 KiB touch no atomic; longer ones do so once each 4 KiB.

use crate::memory::budget::Budget;
use crate::rt::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// Bytes in which a call's queue is counted; a remainder is not.
const STEP: usize = 4 * 1024;
/// Bytes that a connection's queues hold before its senders wait for theirs to be empty.
const CONNECTION_MAX: u64 = 4 * 1024 * 1024;

/// The sum of one connection's large queues.
#[derive(Debug, Default)]
pub struct QueuedBytes {
    bytes: AtomicU64,
    budget: Option<Arc<Budget>>,
}

impl QueuedBytes {
    /// Counts in this budget as well.
    pub(crate) fn within(budget: Option<Arc<Budget>>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), budget })
    }

    /// Whether a sender shall wait until its own queue is empty: one message of any size always
    /// goes on.
    pub(crate) fn is_much(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > CONNECTION_MAX
            || self.budget.as_ref().is_some_and(|budget| budget.is_spent())
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.force(bytes);
        }
    }

    fn sub(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.give(bytes);
        }
    }
}

/// One call's part of it. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct QueuedReservation {
    unsent: Arc<QueuedBytes>,
    bytes: u64,
}

impl QueuedReservation {
    /// What is counted of a queue of so many bytes.
    const fn of(queued: usize) -> u64 {
        (queued - queued % STEP) as u64
    }

    /// The queue holds so many bytes now, on that connection.
    #[inline]
    pub(crate) fn update(
        counted: &mut Option<Self>,
        queued: usize,
        unsent: Option<&Arc<QueuedBytes>>,
    ) {
        let bytes = Self::of(queued);
        // Most calls have no such queue, and most messages leave it at its step.
        if bytes != counted.as_ref().map_or(0, |counted| counted.bytes) {
            Self::change(counted, bytes, unsent);
        }
    }

    fn change(counted: &mut Option<Self>, bytes: u64, unsent: Option<&Arc<QueuedBytes>>) {
        let Some(unsent) = unsent.filter(|_| bytes > 0) else { return *counted = None };
        match counted.as_mut().filter(|one| Arc::ptr_eq(&one.unsent, unsent)) {
            Some(one) if bytes > one.bytes => unsent.add(bytes - one.bytes),
            Some(one) => unsent.sub(one.bytes - bytes),
            None => {
                unsent.add(bytes);
                *counted = Some(Self { unsent: Arc::clone(unsent), bytes });
            }
        }
        if let Some(one) = counted {
            one.bytes = bytes;
        }
    }
}

impl Drop for QueuedReservation {
    fn drop(&mut self) {
        self.unsent.sub(self.bytes);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::unsent::*;

    #[test]
    fn a_queue_is_counted_in_steps_and_given_back() {
        let budget = Budget::new(1 << 20);
        let [one, two] = [(); 2].map(|()| QueuedBytes::within(Some(Arc::clone(&budget))));
        let mut counted = None;
        let sum = |one: &QueuedBytes| one.bytes.load(Ordering::Relaxed);
        for (queued, expected) in [
            (STEP - 1, 0),
            (STEP, 1),
            (3 * STEP + 5, 3),
            (3 * STEP, 3),
            (STEP + 1, 1),
            (7, 0),
            (0, 0),
        ] {
            QueuedReservation::update(&mut counted, queued, Some(&one));
            assert_eq!(
                (sum(&one), budget.used()),
                (expected * STEP as u64, expected * STEP as u64)
            );
        }
        // It moves with its call, and goes with it.
        QueuedReservation::update(&mut counted, 2 * STEP, Some(&one));
        QueuedReservation::update(&mut counted, 3 * STEP, Some(&two));
        assert_eq!((sum(&one), sum(&two), budget.used()), (0, 3 * STEP as u64, 3 * STEP as u64));
        QueuedReservation::update(&mut counted, 2 * STEP, None);
        assert_eq!((sum(&two), budget.used()), (0, 0));
        QueuedReservation::update(&mut counted, 3 * STEP, Some(&two));
        drop(counted);
        assert_eq!((sum(&two), budget.used()), (0, 0));
    }

    #[test]
    fn senders_wait_beyond_the_connections_bound_or_a_spent_budget() {
        let budget = Budget::new(16 << 20);
        let [one, two] = [(); 2].map(|()| QueuedBytes::within(Some(Arc::clone(&budget))));
        let [mut a, mut b] = [None, None];
        QueuedReservation::update(&mut a, 4 << 20, Some(&one));
        assert!(!one.is_much());
        QueuedReservation::update(&mut a, (4 << 20) + STEP, Some(&one));
        assert!(one.is_much() && !two.is_much());
        QueuedReservation::update(&mut a, 16 << 20, Some(&one));
        assert!(!two.is_much());
        QueuedReservation::update(&mut a, (16 << 20) + STEP, Some(&one));
        assert!(two.is_much(), "the budget is spent for all");
        QueuedReservation::update(&mut b, STEP, Some(&two));
        drop(a);
        assert!(!one.is_much() && !two.is_much());
    }
}
