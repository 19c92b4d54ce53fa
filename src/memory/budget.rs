//! The budget for memory that peers make this process hold, and the part that each connection
//! reserves.
//!
//! The budget is charged for the receive windows of connections with streams (beyond 65,535 bytes,
//! which HTTP/2 always grants), for partly received messages, for inflated messages above 64 KiB, and
//! for bytes queued to a peer that does not read.
//!
//! hot: a reservation is plain arithmetic; its one atomic is touched once per 64 KiB.

use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicU64, Mutex, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

/// Bytes that a connection reserves at a time.
const STEP: u64 = 64 * 1024;
/// The least number of bytes above the limit before a server refuses calls.
const OVERDRAFT_MIN: u64 = 8 * 1024 * 1024;
/// The budget of a process whose memory limit is unknown.
const UNKNOWN: u64 = 64 * 1024 * 1024;

/// A limit on the bytes held for peers, shared by any number of connections.
///
/// An exhausted budget closes nothing. Windows stop growing, new connections begin with 64 KiB, and
/// one message per connection proceeds while the credit of the others is pending. A compressed message
/// that would inflate to more than the budget has ends its call with RESOURCE_EXHAUSTED.
///
/// The budget is shared fairly: a connection's share is the limit divided by the number of connections that
/// hold something. Windows grow no further than that. Above four fifths of the limit, only connections within their shares get more; they get it
/// even if others hold all of the limit. So at most twice the limit is granted. While more than the limit is
/// held, the connection that holds most loses a message that has been arriving for 30 s.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
    /// `waiting` is not empty: the next thread that returns bytes wakes the waiters.
    has_waiters: AtomicBool,
    waiting: Mutex<Vec<Weak<Waiter>>>,
    /// The number of `holders`.
    count: AtomicU64,
    /// What each connection has reserved that has asked for something and not returned it all.
    holders: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Budget {
    /// Creates a budget of `bytes`. Zero is allowed.
    ///
    /// ```
    /// use framewire::Budget;
    ///
    /// let budget = Budget::new(16 * 1024 * 1024);
    /// assert_eq!(budget.limit(), 16 * 1024 * 1024);
    /// assert_eq!((budget.used(), budget.refused()), (0, 0));
    /// ```
    #[must_use]
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: bytes,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            has_waiters: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            count: AtomicU64::new(0),
            holders: Mutex::new(Vec::new()),
        })
    }

    /// Returns the budget of this process: a quarter of its cgroup's memory limit, else of the machine's
    /// memory, else 64 MiB.
    #[must_use]
    pub fn process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Budget>> = OnceLock::new();
        let make = || Self::new(rt::memory_limit().map_or(UNKNOWN, |limit| limit / 4));
        Arc::clone(PROCESS.get_or_init(make))
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the bytes that connections have reserved. Those that cannot be refused may exceed the
    /// limit.
    #[inline]
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how often window growth, bytes of a message or a call were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns whether `bytes` would be granted now.
    #[must_use]
    pub fn has_capacity(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit
    }

    /// Returns whether more than four fifths of the limit are used. Connections then reset streams
    /// without progress.
    #[inline]
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.used() > self.limit / 5 * 4
    }

    /// Returns whether more is held than the limit allows.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.used() > self.limit
    }

    /// Returns whether more than 150 % of the limit, and more than 8 MiB above it, is held. A server
    /// then refuses new calls on connections that have one in flight.
    #[inline]
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.used() > self.limit.saturating_add((self.limit / 2).max(OVERDRAFT_MIN))
    }

    /// Returns the bytes that each connection may hold, however much the others hold.
    pub(crate) fn share(&self) -> u64 {
        self.limit / self.count.load(Ordering::Relaxed).max(1)
    }

    /// Returns whether `bytes` more would be within twice the limit.
    fn has_overdraft(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit.saturating_mul(2)
    }

    /// Returns whether no connection has reserved more than this one. Of several with the same, one counts.
    fn is_largest(&self, mine: &Arc<AtomicU64>) -> bool {
        let rank = |one: &Arc<AtomicU64>| (one.load(Ordering::Relaxed), Arc::as_ptr(one));
        let most = rank(mine);
        self.holders.lock().iter().all(|other| rank(other) <= most)
    }

    fn enter(&self, holder: Arc<AtomicU64>) {
        let mut holders = self.holders.lock();
        holders.push(holder);
        self.count.store(holders.len() as u64, Ordering::Relaxed);
    }

    fn leave(&self, holder: &Arc<AtomicU64>) {
        let mut holders = self.holders.lock();
        if let Some(at) = holders.iter().position(|other| Arc::ptr_eq(other, holder)) {
            holders.swap_remove(at);
        }
        self.count.store(holders.len() as u64, Ordering::Relaxed);
    }

    /// Counts a refused request for bytes.
    pub(crate) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes bytes if the limit allows.
    pub(crate) fn ask(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).is_ok()
    }

    /// Takes bytes even if that exceeds the limit.
    pub(crate) fn force(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Returns bytes, and wakes the waiters unless the budget is still spent.
    pub(crate) fn give(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        // Either this thread sees the waiter, or the waiter sees the returned bytes.
        fence(Ordering::SeqCst);
        let wanted = self.has_waiters.load(Ordering::Relaxed) && !self.is_spent();
        if wanted && self.has_waiters.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            for waiter in waiting.iter().filter_map(Weak::upgrade) {
                waiter.0.wake_by_ref();
            }
        }
    }

    /// Wakes `waiter` when bytes are returned. Ask for bytes again after this call: they may have been
    /// returned before it.
    pub(crate) fn wait(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|other| other.strong_count() > 0);
        if !waiting.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(waiter))) {
            waiting.push(Arc::downgrade(waiter));
        }
        drop(waiting);
        self.has_waiters.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// A waiter for bytes of a budget. The budget drops it when its owner does.
#[derive(Debug)]
pub(crate) struct Waiter(Waker);

impl Waiter {
    /// Creates a waiter that `waker` wakes.
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self(waker))
    }
}

/// The part of a budget that one connection has reserved; only its driver uses it.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    reserved: u64,
    used: u64,
    /// What is reserved, as the others see it, from the first request until nothing is reserved.
    holder: Option<Arc<AtomicU64>>,
}

impl Reservation {
    /// Creates a reservation of zero bytes.
    pub(crate) const fn new(budget: Arc<Budget>) -> Self {
        Self { budget, reserved: 0, used: 0, holder: None }
    }

    /// Returns the budget.
    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Takes bytes and returns `true` if the budget has them.
    #[must_use]
    pub(crate) fn ask(&mut self, bytes: u64) -> bool {
        let missing = (self.used + bytes).saturating_sub(self.reserved);
        if missing > 0 && !self.get(missing) {
            self.budget.note_refused();
            return false;
        }
        self.used += bytes;
        true
    }

    /// Takes up to `bytes` for windows that grow: within the fair share, and within four fifths of the limit,
    /// so that a connection that comes later finds something. Returns how many it took: all, a step of
    /// 64 KiB or more, or none.
    #[must_use]
    pub(crate) fn ask_growth(&mut self, bytes: u64) -> u64 {
        // It counts among those who share from now on.
        self.publish();
        let loose = (self.budget.limit / 5 * 4).saturating_sub(self.budget.used());
        let got = self.share_left().min(loose).min(bytes);
        if got < bytes.min(STEP) {
            self.budget.note_refused();
            return 0;
        }
        if self.ask(got) { got } else { 0 }
    }

    /// Returns the bytes that are left of the fair share.
    pub(crate) fn share_left(&self) -> u64 {
        self.budget.share().saturating_sub(self.used)
    }

    /// Reserves at least `missing` bytes more, within the limit or within the fair share.
    fn get(&mut self, missing: u64) -> bool {
        // It counts among those who share from now on.
        self.publish();
        let fair = self.reserved.saturating_add(missing) <= self.budget.share();
        let step = missing.max(STEP);
        // What is left above four fifths of the limit is for those who hold little.
        let got = if (fair || !self.budget.is_tight()) && self.budget.ask(step) {
            step
        } else if fair && self.budget.has_overdraft(missing) {
            self.budget.force(missing);
            missing
        } else {
            return false;
        };
        self.reserved += got;
        self.publish();
        true
    }

    /// Returns whether no more than the fair share is reserved.
    pub(crate) fn is_fair(&self) -> bool {
        self.reserved <= self.budget.share()
    }

    /// Makes what is reserved known to the others.
    fn publish(&mut self) {
        let holder = self.holder.get_or_insert_with(|| {
            let holder = Arc::new(AtomicU64::new(0));
            self.budget.enter(Arc::clone(&holder));
            holder
        });
        holder.store(self.reserved, Ordering::Relaxed);
    }

    /// Returns whether this connection has to give up a message: more than the limit is held, and it holds
    /// most. Ask about once a second.
    pub(crate) fn must_evict(&self) -> bool {
        let Some(mine) = &self.holder else { return false };
        self.budget.is_spent() && !self.is_fair() && self.budget.is_largest(mine)
    }

    /// Takes bytes even if that exceeds the limit.
    pub(crate) fn force(&mut self, bytes: u64) {
        let missing = (self.used + bytes).saturating_sub(self.reserved);
        if missing > 0 {
            self.budget.force(missing);
            self.reserved += missing;
            self.publish();
        }
        self.used += bytes;
    }

    /// Returns bytes. The reservation keeps up to 64 KiB of them unless the budget is tight.
    pub(crate) fn give(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "more was given back than taken");
        self.used = self.used.saturating_sub(bytes);
        let spare = self.reserved - self.used;
        if spare > 0 && self.budget.is_tight() {
            self.return_unused();
        } else if spare >= 2 * STEP {
            self.reserved -= spare - STEP;
            self.publish();
            self.budget.give(spare - STEP);
        }
    }

    /// Returns all unused bytes to the budget.
    pub(crate) fn return_unused(&mut self) {
        let spare = self.reserved - self.used;
        self.reserved = self.used;
        if self.reserved > 0 {
            self.publish();
        } else if let Some(holder) = self.holder.take() {
            self.budget.leave(&holder);
        }
        self.budget.give(spare);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used = 0;
        self.return_unused();
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::memory::budget::*;

    #[test]
    fn bytes_are_reserved_and_returned_in_steps() {
        let budget = Budget::new(4 * 1024 * 1024);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(1));
        assert_eq!(budget.used(), STEP);
        assert!(reservation.ask(STEP - 1));
        assert_eq!(budget.used(), STEP);
        assert!(reservation.ask(2 * STEP));
        assert_eq!(budget.used(), 3 * STEP);
        reservation.give(STEP);
        assert_eq!(budget.used(), 3 * STEP, "one step stays reserved");
        reservation.give(STEP);
        assert_eq!(budget.used(), 2 * STEP);
        reservation.return_unused();
        assert_eq!(budget.used(), STEP);
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }

    /// Windows grow to the share of their connection, which is smaller the more there are, and leave a fifth
    /// of the limit.
    #[test]
    fn growth_keeps_to_the_fair_share() {
        let budget = Budget::new(100 * STEP);
        let mut one = Reservation::new(Arc::clone(&budget));
        assert_eq!(one.ask_growth(10), 10, "what is asked for");
        assert_eq!(one.ask_growth(1000 * STEP), 79 * STEP, "all but a fifth");
        assert_eq!(one.ask_growth(STEP), 0);
        let mut other = Reservation::new(Arc::clone(&budget));
        assert_eq!(other.ask_growth(STEP), 0, "the fifth is not for windows");
        assert!(other.ask(STEP), "but for messages");
        drop(one);
        assert_eq!(other.ask_growth(1000 * STEP), 79 * STEP);
        let mut others: Vec<_> = (0..3).map(|_| Reservation::new(Arc::clone(&budget))).collect();
        others.iter_mut().for_each(|one| assert!(one.ask(1)));
        assert_eq!(other.ask_growth(STEP), 0, "a quarter is its share now");
        drop(other);
        let mut late = Reservation::new(Arc::clone(&budget));
        assert_eq!(late.ask_growth(1000 * STEP), 25 * STEP);
        drop((late, others));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_last_bytes_are_reserved_as_they_are() {
        let budget = Budget::new(STEP + 100);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(STEP));
        assert!(reservation.ask(100), "less than a step is left");
        assert!(!reservation.ask(1));
        assert_eq!(budget.refused(), 1);
        assert!(budget.is_tight());
    }

    #[test]
    fn forced_bytes_exceed_the_limit_and_return() {
        let budget = Budget::new(0);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(!reservation.ask(1));
        reservation.force(10);
        assert_eq!(budget.used(), 10);
        assert!(!budget.has_capacity(0));
        drop(reservation);
        assert!(budget.has_capacity(0));
        assert!(!budget.has_capacity(1));
    }

    #[test]
    fn what_is_unused_returns_at_once_while_the_budget_is_tight() {
        let budget = Budget::new(2 * STEP);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(2 * STEP) && budget.is_tight());
        reservation.give(1);
        assert_eq!(budget.used(), 2 * STEP - 1);
    }

    /// What is queued to peers that do not read is nobody's reservation.
    #[test]
    fn who_holds_no_more_than_its_share_is_not_evicted() {
        let budget = Budget::new(2 * STEP);
        let mut reservation = Reservation::new(Arc::clone(&budget));
        assert!(reservation.ask(2 * STEP));
        budget.force(STEP);
        assert!(budget.is_spent() && !reservation.must_evict());
        reservation.force(1);
        assert!(reservation.must_evict());
    }

    /// A late connection gets its share, which is smaller for each of them, whatever the others hold.
    #[test]
    fn a_newcomer_gets_its_share_of_a_spent_budget() {
        let budget = Budget::new(40 * STEP);
        let mut greedy: Vec<_> = (0..4).map(|_| Reservation::new(Arc::clone(&budget))).collect();
        while greedy.iter_mut().fold(false, |any, one| one.ask(STEP) | any) {}
        assert_eq!(budget.used(), 40 * STEP);
        let mut late = Reservation::new(Arc::clone(&budget));
        for _ in 0..8 {
            assert!(late.ask(STEP), "within the fifth that is its share");
        }
        assert!(!late.ask(STEP), "its share is a fifth");
        assert!(greedy.iter_mut().all(|one| !one.ask(STEP)), "they hold more than their shares");
        // One of those who hold most has to give up something, and nobody else.
        assert!(!late.must_evict());
        assert_eq!(greedy.iter().filter(|one| one.must_evict()).count(), 1);
        greedy.clear();
        // However many come one after the other, twice the limit is all.
        let mut many: Vec<_> = (0..100).map(|_| Reservation::new(Arc::clone(&budget))).collect();
        for one in &mut many {
            while one.ask(STEP) {}
        }
        assert!(budget.used() <= 2 * budget.limit());
        drop(many);
        assert!(late.ask(20 * STEP), "alone it may have the whole limit");
        assert!(!late.must_evict());
        drop(late);
        assert_eq!((budget.used(), budget.count.load(Ordering::Relaxed)), (0, 0));
    }
}
