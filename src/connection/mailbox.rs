//! The queue through which callers hand calls to a connection's driver.
//!
//! hot: one push per call under a mutex that is held for that push or for one swap, never over
//! I/O; one wake per batch. `spec-notes/decisions/0005-mailbox.md` says why it is a mutex.

use crate::rt::sync::{AtomicBool, AtomicWaker, Mutex, Ordering, fence};
use std::collections::VecDeque;
use std::task::Waker;

/// The mailbox of one driver.
///
/// Protocols, each with a loom model: *submit/park* (an item pushed while the driver parks wakes
/// it) and *submit/close* (an item is taken exactly once, by the driver or by the submitter that
/// finds the mailbox closed).
#[derive(Debug)]
pub struct Mailbox<T> {
    items: Mutex<VecDeque<T>>,
    /// The driver sleeps or is about to: the next push wakes it.
    parked: AtomicBool,
    closed: AtomicBool,
    /// The driver was woken without an item since it parked last.
    woken: AtomicBool,
    waker: AtomicWaker,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Mailbox<T> {
    /// Creates an open mailbox whose driver is awake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            items: Mutex::new(VecDeque::new()),
            parked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Appends an item and wakes the driver if it is parked.
    ///
    /// # Errors
    /// If the mailbox is closed, returns the items found in it. `item` is among them unless
    /// another thread has taken it.
    pub fn submit(&self, item: T) -> Result<(), VecDeque<T>> {
        self.items.lock().push_back(item);
        // Either this thread sees the driver's flags, or the driver sees the item.
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

    /// Appends all queued items to `into`, oldest first.
    pub fn drain(&self, into: &mut VecDeque<T>) {
        let mut items = self.items.lock();
        if into.is_empty() {
            std::mem::swap(&mut *items, into);
        } else {
            into.append(&mut items);
        }
    }

    /// Registers the driver's waker and marks the driver as parked. Returns `false`, and leaves it
    /// unparked, if an item or a wake came in the meantime.
    pub fn park(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // A wake that came before the waker was registered is seen here.
        let woken = self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::AcqRel);
        if self.items.lock().is_empty() && !woken {
            return true;
        }
        self.parked.store(false, Ordering::Relaxed);
        false
    }

    /// Marks the driver as running: submitters need not wake it.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Closes the mailbox and returns the items that are queued.
    pub fn close(&self) -> VecDeque<T> {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut left = VecDeque::new();
        self.drain(&mut left);
        left
    }

    /// Wakes the driver without an item: it runs once more before it parks.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.waker.wake();
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::mailbox::*;

    #[test]
    fn items_keep_their_order_and_it_closes_once() {
        let mailbox = Mailbox::new();
        for i in 0..10 {
            assert!(mailbox.submit(i).is_ok());
        }
        assert!(!mailbox.park(Waker::noop()), "items are queued");
        let mut got = VecDeque::new();
        mailbox.drain(&mut got);
        assert_eq!(got, (0..10).collect::<VecDeque<_>>());
        assert!(mailbox.park(Waker::noop()));
        mailbox.unpark();
        mailbox.wake();
        assert!(!mailbox.park(Waker::noop()), "the driver was woken");
        assert!(mailbox.park(Waker::noop()), "one wake counts once");
        assert!(mailbox.close().is_empty());
        assert_eq!(mailbox.submit(7).err(), Some([7].into()));
    }
}
