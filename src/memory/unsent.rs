//! What a connection holds of messages that were handed over and that the peer has not taken: large
//! queues are counted, on the connection and in the budget, so that senders wait while there is
//! little room.
//!
//! hot: queues below [`STEP`] touch no atomic; longer ones do so once each [`STEP`].

use crate::memory::budget::Budget;
use crate::rt::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// Octets in which a call's queue is counted; a remainder is not.
const STEP: usize = 4 * 1024;
/// Octets that a connection's queues hold before its senders wait for theirs to be empty.
const CONNECTION_MAX: u64 = 4 * 1024 * 1024;

/// The sum of one connection's large queues.
#[derive(Debug, Default)]
pub struct Unsent {
    octets: AtomicU64,
    budget: Option<Arc<Budget>>,
}

impl Unsent {
    /// Counts in this budget as well.
    pub(crate) fn within(budget: Option<Arc<Budget>>) -> Arc<Self> {
        Arc::new(Self { octets: AtomicU64::new(0), budget })
    }

    /// Whether a sender shall wait until its own queue is empty: one message of any size always
    /// goes on.
    pub(crate) fn is_much(&self) -> bool {
        self.octets.load(Ordering::Relaxed) > CONNECTION_MAX
            || self.budget.as_ref().is_some_and(|budget| budget.is_spent())
    }

    fn add(&self, octets: u64) {
        self.octets.fetch_add(octets, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.force(octets);
        }
    }

    fn sub(&self, octets: u64) {
        self.octets.fetch_sub(octets, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.give(octets);
        }
    }
}

/// One call's part of it. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Counted {
    unsent: Arc<Unsent>,
    octets: u64,
}

impl Counted {
    /// What is counted of a queue of so many octets.
    const fn of(queued: usize) -> u64 {
        (queued - queued % STEP) as u64
    }

    /// The queue holds so many octets now, on that connection.
    #[inline]
    pub(crate) fn update(counted: &mut Option<Self>, queued: usize, unsent: Option<&Arc<Unsent>>) {
        let octets = Self::of(queued);
        // Most calls have no such queue, and most messages leave it at its step.
        if octets != counted.as_ref().map_or(0, |counted| counted.octets) {
            Self::change(counted, octets, unsent);
        }
    }

    fn change(counted: &mut Option<Self>, octets: u64, unsent: Option<&Arc<Unsent>>) {
        let Some(unsent) = unsent.filter(|_| octets > 0) else { return *counted = None };
        match counted.as_mut().filter(|one| Arc::ptr_eq(&one.unsent, unsent)) {
            Some(one) if octets > one.octets => unsent.add(octets - one.octets),
            Some(one) => unsent.sub(one.octets - octets),
            None => {
                unsent.add(octets);
                *counted = Some(Self { unsent: Arc::clone(unsent), octets });
            }
        }
        if let Some(one) = counted {
            one.octets = octets;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unsent.sub(self.octets);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::unsent::*;

    #[test]
    fn a_queue_is_counted_in_steps_and_given_back() {
        let budget = Budget::new(1 << 20);
        let [one, two] = [(); 2].map(|()| Unsent::within(Some(Arc::clone(&budget))));
        let mut counted = None;
        let sum = |one: &Unsent| one.octets.load(Ordering::Relaxed);
        for (queued, expected) in [
            (STEP - 1, 0),
            (STEP, 1),
            (3 * STEP + 5, 3),
            (3 * STEP, 3),
            (STEP + 1, 1),
            (7, 0),
            (0, 0),
        ] {
            Counted::update(&mut counted, queued, Some(&one));
            assert_eq!(
                (sum(&one), budget.used()),
                (expected * STEP as u64, expected * STEP as u64)
            );
        }
        // It moves with its call, and goes with it.
        Counted::update(&mut counted, 2 * STEP, Some(&one));
        Counted::update(&mut counted, 3 * STEP, Some(&two));
        assert_eq!((sum(&one), sum(&two), budget.used()), (0, 3 * STEP as u64, 3 * STEP as u64));
        Counted::update(&mut counted, 2 * STEP, None);
        assert_eq!((sum(&two), budget.used()), (0, 0));
        Counted::update(&mut counted, 3 * STEP, Some(&two));
        drop(counted);
        assert_eq!((sum(&two), budget.used()), (0, 0));
    }

    #[test]
    fn senders_wait_beyond_the_connections_bound_or_a_spent_budget() {
        let budget = Budget::new(16 << 20);
        let [one, two] = [(); 2].map(|()| Unsent::within(Some(Arc::clone(&budget))));
        let [mut a, mut b] = [None, None];
        Counted::update(&mut a, 4 << 20, Some(&one));
        assert!(!one.is_much());
        Counted::update(&mut a, (4 << 20) + STEP, Some(&one));
        assert!(one.is_much() && !two.is_much());
        Counted::update(&mut a, 16 << 20, Some(&one));
        assert!(!two.is_much());
        Counted::update(&mut a, (16 << 20) + STEP, Some(&one));
        assert!(two.is_much(), "the budget is spent for all");
        Counted::update(&mut b, STEP, Some(&two));
        drop(a);
        assert!(!one.is_much() && !two.is_much());
    }
}
