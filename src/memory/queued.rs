//! Bytes that calls have queued to send and that are not written yet. Large queues count on their
//! connection and in the budget, so that senders wait while one of them is exhausted.
//!
//! hot: a queue below 4 KiB touches no atomic; a longer one touches one for every 4 KiB.

use crate::memory::budget::Budget;
use crate::memory::inflated::InflatedReservation;
use crate::rt::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// A call's queue counts in steps of this many bytes; a remainder does not count.
const STEP: usize = 4 * 1024;
/// Bytes queued on a connection above which each of its senders waits until its queue is empty.
const CONNECTION_MAX: u64 = 4 * 1024 * 1024;

/// The bytes in the large queues of one connection.
#[derive(Debug, Default)]
pub struct QueuedBytes {
    bytes: AtomicU64,
    budget: Option<Arc<Budget>>,
}

impl QueuedBytes {
    /// Creates a count of zero that is charged to `budget` as well.
    pub(crate) fn within(budget: Option<Arc<Budget>>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), budget })
    }

    /// Returns whether a sender must wait until its own queue is empty. A sender with an empty queue
    /// may always send one message, of any size.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > CONNECTION_MAX
            || self.budget.as_ref().is_some_and(|budget| budget.is_spent())
    }

    /// Returns whether these queues hold no more than the fair share of a connection.
    pub(crate) fn is_fair(&self) -> bool {
        let share = self.budget.as_ref().map_or(u64::MAX, |budget| budget.share());
        self.bytes.load(Ordering::Relaxed) <= share
    }

    /// Returns whether these queues hold anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    /// Returns whether answers must be given up that do not move: these queues hold more than the fair share of
    /// a connection, while the budget is overdrawn; or, once it was, while it is `spent`.
    pub(crate) fn is_greedy(&self, spent: bool) -> bool {
        let short = |budget: &Arc<Budget>| match spent {
            true => budget.is_spent(),
            false => budget.is_overdrawn(),
        };
        self.budget.as_ref().is_some_and(short) && !self.is_fair()
    }

    /// Returns a charge of zero bytes for a message that is inflated.
    pub(crate) fn inflated(&self) -> InflatedReservation {
        InflatedReservation::within(self.budget.clone())
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

/// The bytes that one call has added to a [`QueuedBytes`]; dropping it subtracts them.
#[derive(Debug)]
pub(crate) struct QueuedReservation {
    connection: Arc<QueuedBytes>,
    bytes: u64,
}

impl QueuedReservation {
    /// Returns the bytes that count for a queue of this size.
    const fn of(queued: usize) -> u64 {
        (queued - queued % STEP) as u64
    }

    /// Notes that a call's queue on `connection` now holds `queued` bytes.
    #[inline]
    pub(crate) fn update(
        counted: &mut Option<Self>,
        queued: usize,
        connection: Option<&Arc<QueuedBytes>>,
    ) {
        let bytes = Self::of(queued);
        // Most calls have no large queue, and most messages do not change its number of steps.
        if bytes != counted.as_ref().map_or(0, |counted| counted.bytes) {
            Self::change(counted, bytes, connection);
        }
    }

    fn change(counted: &mut Option<Self>, bytes: u64, connection: Option<&Arc<QueuedBytes>>) {
        let Some(connection) = connection.filter(|_| bytes > 0) else { return *counted = None };
        match counted.as_mut().filter(|one| Arc::ptr_eq(&one.connection, connection)) {
            Some(one) if bytes > one.bytes => connection.add(bytes - one.bytes),
            Some(one) => connection.sub(one.bytes - bytes),
            None => {
                connection.add(bytes);
                *counted = Some(Self { connection: Arc::clone(connection), bytes });
            }
        }
        if let Some(one) = counted {
            one.bytes = bytes;
        }
    }
}

impl Drop for QueuedReservation {
    fn drop(&mut self) {
        self.connection.sub(self.bytes);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::queued::*;

    #[test]
    fn a_queue_is_counted_in_steps() {
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
    fn senders_wait_above_the_limit_or_with_a_spent_budget() {
        let budget = Budget::new(16 << 20);
        let [one, two] = [(); 2].map(|()| QueuedBytes::within(Some(Arc::clone(&budget))));
        let [mut a, mut b] = [None, None];
        QueuedReservation::update(&mut a, 4 << 20, Some(&one));
        assert!(!one.is_over_limit());
        QueuedReservation::update(&mut a, (4 << 20) + STEP, Some(&one));
        assert!(one.is_over_limit() && !two.is_over_limit());
        QueuedReservation::update(&mut a, 16 << 20, Some(&one));
        assert!(!two.is_over_limit());
        QueuedReservation::update(&mut a, (16 << 20) + STEP, Some(&one));
        assert!(two.is_over_limit(), "the budget is spent for all");
        QueuedReservation::update(&mut b, STEP, Some(&two));
        drop(a);
        assert!(!one.is_over_limit() && !two.is_over_limit());
    }
}
