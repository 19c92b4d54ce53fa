//! The futures that wait for a call beside the one that reads: any number may wait to send, or for the end.

use super::{CallState, SharedCall};
use std::fmt;
use std::task::{Context, Poll, Waker};

/// What a future waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// A message is accepted, or the call is over.
    Writable,
    /// The call is over.
    Over,
}

/// A future that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    key: u64,
    until: Until,
    waker: Waker,
}

impl Waiter {
    pub(super) fn into_waker(self) -> Waker {
        self.waker
    }
}

/// The futures that wait. Each has one entry, however often it is polled.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Vec<Waiter>,
    last: u64,
}

impl Waiters {
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.last = 0;
    }

    /// Takes all, to wake them.
    pub(super) fn take(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.list)
    }

    /// Takes those that wait to send.
    pub(super) fn take_writers(&mut self) -> Vec<Waiter> {
        if self.list.is_empty() {
            return Vec::new();
        }
        let all = self.list.drain(..);
        let (writers, others) = all.partition(|waiter| waiter.until == Until::Writable);
        self.list = others;
        writers
    }

    /// Notes that a future waits; `key` names it, 0 at first. Returns the waker that it had before.
    fn wait(&mut self, key: &mut u64, until: Until, waker: &Waker) -> Option<Waker> {
        if let Some(waiter) = self.list.iter_mut().find(|waiter| waiter.key == *key) {
            let same = waiter.waker.will_wake(waker);
            return (!same).then(|| std::mem::replace(&mut waiter.waker, waker.clone()));
        }
        if *key == 0 {
            self.last += 1;
            *key = self.last;
        }
        self.list.push(Waiter { key: *key, until, waker: waker.clone() });
        None
    }

    fn leave(&mut self, key: u64) -> Option<Waiter> {
        let at = self.list.iter().position(|waiter| waiter.key == key)?;
        Some(self.list.swap_remove(at))
    }
}

/// One future's wait. Dropped, it is forgotten.
pub struct Wait<'a> {
    call: &'a SharedCall,
    key: u64,
}

impl<'a> Wait<'a> {
    /// Creates a wait that has not begun.
    #[must_use]
    pub const fn new(call: &'a SharedCall) -> Self {
        Self { call, key: 0 }
    }

    /// Returns what `ready` finds, or waits.
    pub fn poll<R>(
        &mut self,
        until: Until,
        cx: &Context<'_>,
        ready: impl FnOnce(&mut CallState) -> Option<R>,
    ) -> Poll<R> {
        let mut x = self.call.lock();
        if let Some(result) = ready(&mut x) {
            return Poll::Ready(result);
        }
        let before = x.waiters.wait(&mut self.key, until, cx.waker());
        drop(x);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.key != 0 {
            let left = self.call.lock().waiters.leave(self.key);
            // With no lock held: a waker's drop is user code.
            drop(left);
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("key", &self.key).finish_non_exhaustive()
    }
}
