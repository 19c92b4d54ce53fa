//! The only module from which layers 4 to 7 import atomics, lock-free queues and their mutex.
//!
//! Under `--cfg framewire_loom` the same names are loom's: the queues become modelled ones (a
//! sequence behind loom's mutex, so loom explores their interleavings as single steps), and the
//! protocols built round them are checked as they stand.

#[cfg(not(framewire_loom))]
mod real {
    pub use std::sync::atomic::*;

    pub use atomic_waker::AtomicWaker;
    pub use crossbeam_queue::{ArrayQueue, SegQueue};
    pub use parking_lot::{Mutex, MutexGuard, RwLock};
}

#[cfg(not(framewire_loom))]
pub use real::*;

#[cfg(framewire_loom)]
mod modelled {
    use std::collections::VecDeque;
    use std::sync::PoisonError;
    use std::task::Waker;

    pub use loom::sync::MutexGuard;
    pub use loom::sync::atomic::*;

    /// loom's mutex with parking_lot's face: `lock` returns the guard itself.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A mutex that is not locked.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Takes the lock if nobody holds it.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        /// The value, which nobody else can lock.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }

        /// The value, the mutex being spent.
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// loom's lock for readers and writers with parking_lot's face.
    #[derive(Debug, Default)]
    pub struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        /// A lock that nobody holds.
        pub fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        /// Waits to read.
        pub fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        /// Waits to write.
        pub fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// The model of crossbeam's bounded queue.
    #[derive(Debug)]
    pub struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        /// An empty queue for `capacity` items.
        pub fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), capacity }
        }

        /// Appends, or returns the item if the queue is full.
        pub fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock();
            if items.len() >= self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        /// Appends; a full queue gives up its oldest item.
        pub fn force_push(&self, item: T) -> Option<T> {
            let mut items = self.items.lock();
            let oldest = if items.len() >= self.capacity { items.pop_front() } else { None };
            items.push_back(item);
            oldest
        }

        /// Takes the oldest item.
        pub fn pop(&self) -> Option<T> {
            self.items.lock().pop_front()
        }

        /// Items in the queue.
        pub fn len(&self) -> usize {
            self.items.lock().len()
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Whether `push` would fail.
        pub fn is_full(&self) -> bool {
            self.len() >= self.capacity
        }

        /// Items it can hold.
        pub fn capacity(&self) -> usize {
            self.capacity
        }
    }

    /// The model of crossbeam's unbounded queue.
    #[derive(Debug)]
    pub struct SegQueue<T>(Mutex<VecDeque<T>>);

    impl<T> SegQueue<T> {
        /// An empty queue.
        pub fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        /// Appends.
        pub fn push(&self, item: T) {
            self.0.lock().push_back(item);
        }

        /// Takes the oldest item.
        pub fn pop(&self) -> Option<T> {
            self.0.lock().pop_front()
        }

        /// Items in the queue.
        pub fn len(&self) -> usize {
            self.0.lock().len()
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }

    impl<T> Default for SegQueue<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    /// The model of `atomic_waker::AtomicWaker`.
    #[derive(Debug, Default)]
    pub struct AtomicWaker(Mutex<Option<Waker>>);

    impl AtomicWaker {
        /// Holds no waker.
        pub fn new() -> Self {
            Self(Mutex::new(None))
        }

        /// Keeps `waker`, in the place of an earlier one.
        pub fn register(&self, waker: &Waker) {
            *self.0.lock() = Some(waker.clone());
        }

        /// Wakes and forgets the waker, if there is one.
        pub fn wake(&self) {
            if let Some(waker) = self.take() {
                waker.wake();
            }
        }

        /// Takes the waker without waking it.
        pub fn take(&self) -> Option<Waker> {
            self.0.lock().take()
        }
    }
}

#[cfg(framewire_loom)]
pub use modelled::*;

/// The next number of a process-wide count. A name, not a protocol: never modelled.
#[must_use]
pub fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
