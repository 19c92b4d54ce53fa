//! What a connection does while memory is short.

use super::ConnectionMemory;
use crate::memory::queued::QueuedBytes;

/// Calls that a connection within its share has at a time while calls are refused; others have one.
const CALLS_IF_FAIR: usize = 4;

impl ConnectionMemory {
    /// Returns whether more than four fifths of the budget are used.
    #[inline]
    pub(crate) fn is_tight(&self) -> bool {
        self.reservation.budget().is_tight()
    }

    /// Returns whether more is held than the budget allows.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.reservation.budget().is_spent()
    }

    /// Returns whether more is held than the budget and its overdraft.
    #[inline]
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.reservation.budget().is_overdrawn()
    }

    /// Returns whether a new call, the last of `calls`, must be refused for want of memory, and counts the
    /// refusal. `queued` is what is queued to be sent.
    #[inline]
    pub(crate) fn refuses_call(&self, calls: usize, queued: &QueuedBytes) -> bool {
        let budget = self.reservation.budget();
        if !budget.is_overdrawn() {
            return false;
        }
        let fair = self.reservation.is_fair() && queued.is_fair();
        let served = if fair { CALLS_IF_FAIR } else { 1 };
        let refused = calls > served;
        if refused {
            budget.note_refused();
        }
        refused
    }
}
