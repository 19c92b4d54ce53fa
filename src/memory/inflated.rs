//! Memory of inflated messages: it is charged before it is used, because a peer pays for a thousandth of it.

use crate::memory::budget::Budget;
use std::sync::Arc;

/// Bytes of an inflated message that are not charged.
const FREE: u64 = 64 * 1024;

/// The charge for one inflated message; dropping it returns the bytes.
#[derive(Debug, Default)]
pub(crate) struct InflatedReservation {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

impl InflatedReservation {
    /// Creates a charge of zero bytes; without a budget, nothing is charged.
    pub(crate) const fn within(budget: Option<Arc<Budget>>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Charges a message for which `bytes` of memory will be used in all. Returns `false` if the budget
    /// does not have them.
    #[must_use]
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else { return true };
        let all = (bytes as u64).saturating_sub(FREE);
        let more = all.saturating_sub(self.bytes);
        if more > 0 && !budget.ask(more) {
            budget.note_refused();
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for InflatedReservation {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give(self.bytes);
        }
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::inflated::*;

    #[test]
    fn what_grows_above_64_kib_is_charged_until_it_is_dropped() {
        let budget = Budget::new(1000);
        let mut one = InflatedReservation::within(Some(Arc::clone(&budget)));
        for (bytes, granted, used) in
            [(FREE, true, 0), (FREE + 600, true, 600), (9, true, 600), (FREE + 1001, false, 600)]
        {
            assert_eq!((one.grow_to(bytes as usize), budget.used()), (granted, used));
        }
        assert_eq!(budget.refused(), 1);
        let mut two = InflatedReservation::within(Some(Arc::clone(&budget)));
        assert!(!two.grow_to(FREE as usize + 500) && two.grow_to(FREE as usize + 400));
        drop(one);
        assert_eq!(budget.used(), 400);
        drop(two);
        assert_eq!(budget.used(), 0);
        assert!(InflatedReservation::default().grow_to(usize::MAX));
    }
}
