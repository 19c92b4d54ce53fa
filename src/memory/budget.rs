//! The process's budget of bytes that peers may make it hold, and what each connection leases
//! of it.
//!
//! Charged are: the receive windows of connections with streams beyond the 65,535 bytes that
//! nobody can refuse, messages under assembly, and what waits for a peer that does not read.
//!
//! hot: a reservation is plain arithmetic; the one atomic is touched 64 KiB at a time.

use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicU64, Mutex, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

/// Bytes that a connection leases at a time.
const STEP: u64 = 64 * 1024;
/// Bytes above the limit before calls are refused, where half of the limit is less.
const OVERDRAFT_MIN: u64 = 8 * 1024 * 1024;
/// The budget of a process that cannot find out what memory it may use.
const UNKNOWN: u64 = 64 * 1024 * 1024;

/// Bytes that may be held for peers, shared by any number of connections.
///
/// A budget that is spent ends nothing: windows stop growing, new connections begin with 64 KiB,
/// and of messages larger than a window one per connection goes on while the others wait.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
    /// Somebody waits: whoever gives bytes back rings.
    hungry: AtomicBool,
    waiting: Mutex<Vec<Weak<Waiter>>>,
}

impl Budget {
    /// A budget of `bytes`. Zero is allowed.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: bytes,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            hungry: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
        })
    }

    /// The budget of this process: a quarter of its cgroup's memory limit, else of the machine's
    /// memory, else 64 MiB.
    #[must_use]
    pub fn process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Budget>> = OnceLock::new();
        let make = || Self::new(rt::memory_limit().map_or(UNKNOWN, |limit| limit / 4));
        Arc::clone(PROCESS.get_or_init(make))
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes leased by connections. What cannot be refused may take it over the limit.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Times that growth, the assembly of a message or a call was refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether `bytes` would be granted now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit
    }

    /// Whether more than four fifths are used: time to let go of what long since does not move.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.used() > self.limit / 5 * 4
    }

    /// Whether more is held than was allowed.
    pub(crate) fn is_spent(&self) -> bool {
        self.used() > self.limit
    }

    /// Whether so much more is held than was allowed that a server takes no further calls from
    /// connections that have some: half as much again, at least 8 MiB.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.used() > self.limit.saturating_add((self.limit / 2).max(OVERDRAFT_MIN))
    }

    /// Counts something that was refused.
    pub(crate) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn ask(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).is_ok()
    }

    pub(crate) fn force(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn give(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        // Either this sees who waits, or who waits sees the bytes.
        fence(Ordering::SeqCst);
        let hungry = self.hungry.load(Ordering::Relaxed) && !self.is_spent();
        if hungry && self.hungry.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            for waiter in waiting.iter().filter_map(Weak::upgrade) {
                waiter.0.wake_by_ref();
            }
        }
    }

    /// Wakes `waiter` once bytes come back. Ask for bytes again after this call: they may have come
    /// back before it.
    pub(crate) fn wait(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|other| other.strong_count() > 0);
        if !waiting.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(waiter))) {
            waiting.push(Arc::downgrade(waiter));
        }
        drop(waiting);
        self.hungry.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Who waits for bytes of a budget. The budget forgets it when its owner drops it.
#[derive(Debug)]
pub(crate) struct Waiter(Waker);

impl Waiter {
    /// Creates a waiter that `waker` wakes.
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self(waker))
    }
}

/// One connection's part of a budget, used by its driver alone.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    leased: u64,
    used: u64,
}

impl Reservation {
    pub(crate) const fn new(budget: Arc<Budget>) -> Self {
        Self { budget, leased: 0, used: 0 }
    }

    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Takes bytes if the budget has them.
    #[must_use]
    pub(crate) fn ask(&mut self, bytes: u64) -> bool {
        let missing = (self.used + bytes).saturating_sub(self.leased);
        let got = match missing {
            0 => 0,
            missing if self.budget.ask(missing.max(STEP)) => missing.max(STEP),
            missing if missing < STEP && self.budget.ask(missing) => missing,
            _ => {
                self.budget.note_refused();
                return false;
            }
        };
        self.leased += got;
        self.used += bytes;
        true
    }

    /// Takes bytes that cannot be refused.
    pub(crate) fn force(&mut self, bytes: u64) {
        let missing = (self.used + bytes).saturating_sub(self.leased);
        if missing > 0 {
            self.budget.force(missing);
            self.leased += missing;
        }
        self.used += bytes;
    }

    /// Gives bytes back; a step of them stays at hand unless others may need it.
    pub(crate) fn give(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "more was given back than taken");
        self.used = self.used.saturating_sub(bytes);
        let spare = self.leased - self.used;
        if spare > 0 && self.budget.is_tight() {
            self.rest();
        } else if spare >= 2 * STEP {
            self.leased -= spare - STEP;
            self.budget.give(spare - STEP);
        }
    }

    /// Gives everything back that is not used.
    pub(crate) fn rest(&mut self) {
        let spare = self.leased - self.used;
        self.leased = self.used;
        self.budget.give(spare);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.leased);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::budget::*;

    #[test]
    fn leases_come_in_steps_and_go_back_in_steps() {
        let budget = Budget::new(4 * 1024 * 1024);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(1));
        assert_eq!(budget.used(), STEP);
        assert!(reservation.ask(STEP - 1));
        assert_eq!(budget.used(), STEP);
        assert!(reservation.ask(2 * STEP));
        assert_eq!(budget.used(), 3 * STEP);
        reservation.give(STEP);
        assert_eq!(budget.used(), 3 * STEP, "one step stays at hand");
        reservation.give(STEP);
        assert_eq!(budget.used(), 2 * STEP);
        reservation.rest();
        assert_eq!(budget.used(), STEP);
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_last_bytes_are_leased_as_they_are() {
        let budget = Budget::new(STEP + 100);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(STEP));
        assert!(reservation.ask(100), "less than a step is left");
        assert!(!reservation.ask(1));
        assert_eq!(budget.refused(), 1);
        assert!(budget.is_tight());
    }

    #[test]
    fn what_cannot_be_refused_goes_over_the_limit_and_comes_back() {
        let budget = Budget::new(0);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(!reservation.ask(1));
        reservation.force(10);
        assert_eq!(budget.used(), 10);
        assert!(!budget.has_room(0));
        drop(reservation);
        assert!(budget.has_room(0));
        assert!(!budget.has_room(1));
    }
}
