//! Whether the handlers of a method are polled by the connection's task.
//!
//! A method is spawned until it has proved to be fast. One slow poll ends that, for a thousand times as
//! long as the poll took: the methods of a server can hold up their neighbours on a connection for at
//! most a thousandth of the time each, whatever they do.

use crate::rt::sync::{AtomicU32, Mutex, Ordering};
use std::time::{Duration, Instant};

/// Which task polls the handlers of a method;
/// [`Router::execution`](crate::server::Router::execution) sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Execution {
    /// A task of its own for each call, until the method has proved to be fast; then the connection's
    /// task, for requests of up to 16 KiB that are not compressed. The default for unary methods.
    ///
    /// Fast are 16 calls in a row that end in their first poll, within 10 µs each, decoding and encoding
    /// included. A poll above 1 ms puts the method into tasks of its own again, for at least 1,000
    /// times as long as the poll took, at most 10 minutes; then it must prove itself again.
    #[default]
    Measured,
    /// The connection's task polls a handler once; if it is not ready then, it gets a task of its
    /// own.
    ///
    /// This saves the cost of a task. A handler that blocks, or computes for long, holds up all calls of
    /// its connection: declare methods that never do.
    Inline,
    /// A task of its own for each call. The default for methods with streams.
    Spawned,
}

/// A method is proved by so many polls in a row that were fast and ready at once.
const FAST_POLLS: u32 = 16;
/// The longest time of a fast poll.
const FAST: Duration = Duration::from_micros(10);
/// The longest time of a poll on the connection's task, and of parsing its frames, after which the method
/// still counts as fast.
const SUSPECT: Duration = Duration::from_micros(100);
/// A poll above this bars the method from the connection's task.
const SLOW: Duration = Duration::from_millis(1);
/// A method is barred for so many times as long as its slow poll took.
const BARRED_FACTOR: u32 = 1000;
/// The longest time for which one slow poll bars a method.
const BARRED_MAX: Duration = Duration::from_secs(600);

/// In place of the polls to come: the method is barred.
const BARRED: u32 = u32::MAX;

/// The measured cost of a method's handlers.
#[derive(Debug)]
pub struct Cost {
    /// Fast polls to come until the method is proved.
    left: AtomicU32,
    /// The user has declared the method to be fast.
    declared: bool,
    barred_until: Mutex<Option<Instant>>,
}

impl Default for Cost {
    fn default() -> Self {
        Self::new()
    }
}

impl Cost {
    /// Creates the cost of a method that was not measured yet: its handlers are spawned.
    #[must_use]
    pub fn new() -> Self {
        let left = AtomicU32::new(FAST_POLLS);
        Self { left, declared: false, barred_until: Mutex::new(None) }
    }

    /// Creates the cost of a method that is fast by declaration.
    #[must_use]
    pub fn declared_fast() -> Self {
        Self { left: AtomicU32::new(0), declared: true, barred_until: Mutex::new(None) }
    }

    /// Returns whether the connection's task polls the handlers of requests that are small.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Returns whether the connection's task polls the handlers of all requests.
    #[must_use]
    pub const fn is_declared_fast(&self) -> bool {
        self.declared
    }

    /// Notes that a poll on the connection's task was over at `now`, and how long it took at most.
    /// Returns whether it was longer than a fast one.
    #[inline]
    pub fn note_inline(&self, time: Duration, now: Instant) -> bool {
        if time <= FAST {
            return false;
        }
        if time > SUSPECT && !self.declared {
            self.suspect(time, now);
        }
        true
    }

    #[cold]
    fn suspect(&self, time: Duration, now: Instant) {
        if time > SLOW {
            return self.bar(time, now);
        }
        // It is measured again where nobody waits for it.
        let _ = self.left.compare_exchange(0, FAST_POLLS, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes the first poll of a handler in a task of its own: whether it was ready, how long it took,
    /// and when it was over.
    pub fn note_spawned(&self, ready: bool, time: Duration, now: Instant) {
        if time > SLOW {
            return self.bar(time, now);
        }
        let left = self.left.load(Ordering::Relaxed);
        let next = if left == BARRED && self.is_barred(now) {
            BARRED
        } else if !ready || time > FAST {
            FAST_POLLS
        } else if left == BARRED {
            FAST_POLLS - 1
        } else {
            left.saturating_sub(1)
        };
        // Where another connection has noted a poll meanwhile, this one does not count.
        let _ = self.left.compare_exchange(left, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn bar(&self, time: Duration, now: Instant) {
        let time = time.saturating_mul(BARRED_FACTOR).min(BARRED_MAX);
        let mut until = self.barred_until.lock();
        *until = (*until).max(now.checked_add(time));
        drop(until);
        self.left.store(BARRED, Ordering::Relaxed);
    }

    fn is_barred(&self, now: Instant) -> bool {
        self.barred_until.lock().is_some_and(|until| now < until)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::cost::*;

    const MS: Duration = Duration::from_millis(1);
    const US: Duration = Duration::from_micros(1);

    fn prove(cost: &Cost, now: Instant) {
        for _ in 0..FAST_POLLS {
            assert!(!cost.is_fast());
            cost.note_spawned(true, 2 * US, now);
        }
        assert!(cost.is_fast());
    }

    #[test]
    fn a_method_is_fast_after_fast_polls_in_a_row() {
        let (cost, now) = (Cost::new(), Instant::now());
        for (ready, time) in [(false, US), (true, 11 * US)] {
            for _ in 1..FAST_POLLS {
                cost.note_spawned(true, US, now);
            }
            cost.note_spawned(ready, time, now);
            assert!(!cost.is_fast());
        }
        prove(&cost, now);
        assert!(!cost.note_inline(10 * US, now));
        assert!(cost.note_inline(100 * US, now));
        assert!(cost.is_fast());
        assert!(cost.note_inline(101 * US, now));
        prove(&cost, now);
    }

    #[test]
    fn a_slow_poll_bars_a_method_for_a_thousand_times_as_long() {
        for inline in [true, false] {
            let (cost, now) = (Cost::new(), Instant::now());
            prove(&cost, now);
            let slow = |time: Duration, at: Instant| match inline {
                true => assert!(cost.note_inline(time, at)),
                false => cost.note_spawned(true, time, at),
            };
            slow(300 * MS, now);
            // What is short does not shorten it, and the longest time has a limit.
            slow(2 * MS, now);
            for at in [now, now + 299_999 * MS] {
                for _ in 0..10_000 {
                    cost.note_spawned(true, US, at);
                }
                assert!(!cost.is_fast(), "{inline}");
            }
            prove(&cost, now + 300_000 * MS);
            slow(Duration::MAX, now);
            prove(&cost, now + BARRED_MAX);
        }
    }

    #[test]
    fn what_is_declared_stays_fast() {
        let (cost, now) = (Cost::declared_fast(), Instant::now());
        assert!(cost.note_inline(300 * MS, now));
        assert!(cost.is_fast() && cost.is_declared_fast());
    }
}
