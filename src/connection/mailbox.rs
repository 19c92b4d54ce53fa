//! How callers reach a driver: a queue of calls and a bell.
//!
//! hot: one push, and one wake per batch. Two queues stand behind the same face: lock-free, and a
//! short mutex that is never held over I/O. `spec-notes/decisions/` says which one is used and
//! what was measured.

use crate::rt::sync::{AtomicBool, AtomicWaker, Mutex, Ordering, SegQueue, fence};
use std::collections::VecDeque;
use std::task::Waker;

/// Which queue stands behind the face.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// A vector under a mutex that is held for one push or one swap.
    #[default]
    ShortMutex,
    /// A lock-free queue.
    LockFree,
}

#[derive(Debug)]
enum Queue<T> {
    Locked(Mutex<VecDeque<T>>),
    Free(Box<SegQueue<T>>),
}

/// The mailbox of one driver.
///
/// Protocols, each with a loom model: *submit/park* (an item pushed while the driver parks wakes
/// it) and *submit/close* (an item is taken exactly once, by the driver or by the submitter that
/// finds the mailbox closed).
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Queue<T>,
    /// The driver sleeps, or is about to: whoever pushes next rings.
    parked: AtomicBool,
    closed: AtomicBool,
    /// Somebody rang without an item since the driver parked last.
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl<T> Mailbox<T> {
    /// An open mailbox whose driver is awake.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let queue = match policy {
            Policy::ShortMutex => Queue::Locked(Mutex::new(VecDeque::new())),
            Policy::LockFree => Queue::Free(Box::new(SegQueue::new())),
        };
        Self {
            queue,
            parked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Hands an item over.
    ///
    /// # Errors
    /// The mailbox is closed: every item found in it, this one among them unless somebody else
    /// has taken it, is now the caller's.
    pub fn submit(&self, item: T) -> Result<(), VecDeque<T>> {
        match &self.queue {
            Queue::Locked(items) => items.lock().push_back(item),
            Queue::Free(items) => items.push(item),
        }
        // Either this sees the driver's flags, or the driver sees the item.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            let mut left = VecDeque::new();
            self.drain(&mut left);
            return Err(left);
        }
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
        Ok(())
    }

    /// Takes everything that waits.
    pub fn drain(&self, into: &mut VecDeque<T>) {
        match &self.queue {
            Queue::Locked(items) => {
                let mut items = items.lock();
                if into.is_empty() {
                    std::mem::swap(&mut *items, into);
                } else {
                    into.append(&mut items);
                }
            }
            Queue::Free(items) => {
                while let Some(item) = items.pop() {
                    into.push_back(item);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        match &self.queue {
            Queue::Locked(items) => items.lock().is_empty(),
            Queue::Free(items) => items.is_empty(),
        }
    }

    /// The driver is about to sleep; `false` when an item or a ring came in the meantime.
    pub fn park(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // A ring before this is seen here: it may have found no waker.
        let rung = self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel);
        if self.is_empty() && !rung {
            return true;
        }
        self.parked.store(false, Ordering::Relaxed);
        false
    }

    /// The driver is awake, for whatever reason: nobody need ring.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Nothing is accepted any more; what waits is the caller's.
    pub fn close(&self) -> VecDeque<T> {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut left = VecDeque::new();
        self.drain(&mut left);
        left
    }

    /// Rings without an item: the driver has another turn, whatever it is about to do.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.waker.wake();
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::mailbox::*;

    #[test]
    fn both_queues_keep_the_order_and_close_once() {
        for policy in [Policy::ShortMutex, Policy::LockFree] {
            let handoff = Mailbox::new(policy);
            for i in 0..10 {
                assert!(handoff.submit(i).is_ok());
            }
            assert!(!handoff.park(Waker::noop()), "items wait");
            let mut got = VecDeque::new();
            handoff.drain(&mut got);
            assert_eq!(got, (0..10).collect::<VecDeque<_>>());
            assert!(handoff.park(Waker::noop()));
            handoff.unpark();
            handoff.ring();
            assert!(!handoff.park(Waker::noop()), "somebody rang");
            assert!(handoff.park(Waker::noop()), "once is enough");
            assert!(handoff.close().is_empty());
            assert_eq!(handoff.submit(7).err(), Some([7].into()));
        }
    }
}
