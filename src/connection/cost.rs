//! Whether the handlers of a method are polled by the connection's task.
//!
//! A method is spawned until it has proved to be fast. One slow poll ends that, for a thousand times as
//! long as the poll took: the methods of a server can hold up their neighbours on a connection for at
//! most a thousandth of the time each, whatever they do.
//!
//! A poll whose thread had to wait for a CPU looks slow, and is not. What a thread did with its time costs
//! two system calls to know, before and after. So the first slow poll of a method, unless it was longer
//! than a scheduler's pause, only puts the method under watch; then polls are judged by
//! [`Usage::own_time`](crate::rt::thread::Usage::own_time).

use crate::rt::sync::{AtomicBool, AtomicU32, Mutex, Ordering};
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
    /// times as long as the poll took, at most 10 minutes; then it must prove itself again. What its thread
    /// waited for a CPU does not count, where the system tells it (Linux): the first poll between 1 ms and
    /// 20 ms in a minute makes the method prove itself again, and is the reason to ask the system about
    /// those after it.
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
/// So long a poll was slow whatever its thread did: schedulers let threads wait less.
const LONG: Duration = Duration::from_millis(20);
/// A method is barred for so many times as long as its slow poll took.
const BARRED_FACTOR: u32 = 1000;
/// The longest time for which one slow poll bars a method.
const BARRED_MAX: Duration = Duration::from_secs(600);
/// A method is watched for so long after a slow poll, or after it was barred.
const WATCHED: Duration = Duration::from_secs(60);

/// In place of the polls to come: the method is barred.
const BARRED: u32 = u32::MAX;

/// How long a poll took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the clock.
    pub time: Duration,
    /// Of a watched method: without what its thread waited for a CPU.
    pub own: Option<Duration>,
}

impl Took {
    /// Returns what counts against the method.
    fn counted(self) -> Duration {
        self.own.unwrap_or(self.time)
    }

    /// Returns whether the thread itself took that long, as far as is known.
    fn is_slow(self) -> bool {
        self.counted() > if self.own.is_some() { SLOW } else { LONG }
    }
}

/// The measured cost of a method's handlers.
#[derive(Debug)]
pub struct Cost {
    /// Fast polls to come until the method is proved.
    left: AtomicU32,
    /// The user has declared the method to be fast.
    declared: bool,
    watched: AtomicBool,
    until: Mutex<Until>,
}

#[derive(Debug, Default)]
struct Until {
    barred: Option<Instant>,
    watched: Option<Instant>,
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
        Self::from(FAST_POLLS, false)
    }

    /// Creates the cost of a method that is fast by declaration.
    #[must_use]
    pub fn declared_fast() -> Self {
        Self::from(0, true)
    }

    fn from(left: u32, declared: bool) -> Self {
        Self {
            left: AtomicU32::new(left),
            declared,
            watched: AtomicBool::new(false),
            until: Mutex::new(Until::default()),
        }
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

    /// Returns whether [`Took::own`] is wanted of a poll that begins.
    #[inline]
    pub fn is_watched(&self, now: Instant) -> bool {
        self.watched.load(Ordering::Relaxed) && self.is_watched_still(now)
    }

    #[cold]
    fn is_watched_still(&self, now: Instant) -> bool {
        let until = self.until.lock();
        let watched = until.watched.is_some_and(|until| now < until);
        if !watched {
            self.watched.store(false, Ordering::Relaxed);
        }
        // What is barred is not judged.
        watched && !until.is_barred(now)
    }

    /// Notes that a poll on the connection's task was over at `now`, and how long it took at most; `own`
    /// says [`Took::own`]. Returns how much of it is more than what a fast one takes.
    #[inline]
    pub fn note_inline(
        &self,
        time: Duration,
        now: Instant,
        own: impl FnOnce() -> Option<Duration>,
    ) -> Duration {
        if time <= FAST {
            return Duration::ZERO;
        }
        if time <= SUSPECT || self.declared {
            return time;
        }
        self.suspect(Took { time, own: own() }, now)
    }

    #[cold]
    fn suspect(&self, took: Took, now: Instant) -> Duration {
        if !self.judge(took, now) && took.counted() > SUSPECT {
            // It is measured again where nobody waits for it.
            let _ = self.left.compare_exchange(0, FAST_POLLS, Ordering::Relaxed, Ordering::Relaxed);
        }
        took.counted()
    }

    /// Notes the first poll of a handler in a task of its own: whether it was ready, how long it took,
    /// and when it was over. `own` says [`Took::own`].
    pub fn note_spawned(
        &self,
        ready: bool,
        time: Duration,
        now: Instant,
        own: impl FnOnce() -> Option<Duration>,
    ) {
        let left = self.left.load(Ordering::Relaxed);
        if left == BARRED && self.until.lock().is_barred(now) {
            return;
        }
        let took = Took { time, own: if time > FAST { own() } else { None } };
        if self.judge(took, now) {
            return;
        }
        let next = if !ready || took.counted() > FAST {
            FAST_POLLS
        } else if left == BARRED {
            FAST_POLLS - 1
        } else {
            left.saturating_sub(1)
        };
        // Where another connection has noted a poll meanwhile, this one does not count.
        let _ = self.left.compare_exchange(left, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Bars the method if the poll was slow. Watches it if the poll was, or may have been.
    fn judge(&self, took: Took, now: Instant) -> bool {
        if took.time <= SLOW {
            return false;
        }
        let slow = took.is_slow();
        let bar = match slow {
            true => took.counted().saturating_mul(BARRED_FACTOR).min(BARRED_MAX),
            false => Duration::ZERO,
        };
        let mut until = self.until.lock();
        until.barred = until.barred.max(now.checked_add(bar));
        until.watched = until.watched.max(now.checked_add(bar + WATCHED));
        drop(until);
        self.watched.store(true, Ordering::Relaxed);
        if slow {
            self.left.store(BARRED, Ordering::Relaxed);
        }
        slow
    }
}

impl Until {
    fn is_barred(&self, now: Instant) -> bool {
        self.barred.is_some_and(|until| now < until)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::cost::*;

    const MS: Duration = Duration::from_millis(1);
    const US: Duration = Duration::from_micros(1);

    /// Notes a poll. `own` is asked for only if the method is watched.
    fn note(cost: &Cost, inline: bool, time: Duration, own: Duration, now: Instant) {
        let watched = cost.is_watched(now);
        let own = || watched.then_some(own);
        match inline {
            true => drop(cost.note_inline(time, now, own)),
            false => cost.note_spawned(true, time, now, own),
        }
    }

    fn prove(cost: &Cost, now: Instant) {
        for _ in 0..FAST_POLLS {
            assert!(!cost.is_fast());
            note(cost, false, 2 * US, 2 * US, now);
        }
        assert!(cost.is_fast());
    }

    fn is_barred(cost: &Cost, now: Instant) -> bool {
        for _ in 0..10_000 {
            note(cost, false, US, US, now);
        }
        !cost.is_fast()
    }

    #[test]
    fn a_method_is_fast_after_fast_polls_in_a_row() {
        let (cost, now) = (Cost::new(), Instant::now());
        for (ready, time) in [(false, US), (true, 11 * US)] {
            for _ in 1..FAST_POLLS {
                cost.note_spawned(true, US, now, || None);
            }
            cost.note_spawned(ready, time, now, || None);
            assert!(!cost.is_fast());
        }
        prove(&cost, now);
        assert_eq!(cost.note_inline(10 * US, now, || None), Duration::ZERO);
        assert_eq!(cost.note_inline(100 * US, now, || None), 100 * US);
        assert!(cost.is_fast());
        assert_eq!(cost.note_inline(101 * US, now, || None), 101 * US);
        prove(&cost, now);
        assert!(!cost.is_watched(now));
    }

    #[test]
    fn a_slow_poll_bars_a_method_for_a_thousand_times_as_long() {
        for inline in [true, false] {
            let (cost, now) = (Cost::new(), Instant::now());
            prove(&cost, now);
            note(&cost, inline, 300 * MS, 300 * MS, now);
            // What is short does not shorten it, and the longest time has a limit.
            note(&cost, inline, 21 * MS, 21 * MS, now);
            for at in [now, now + 299_999 * MS] {
                assert!(is_barred(&cost, at), "{inline}");
            }
            let now = now + 300_000 * MS;
            prove(&cost, now);
            note(&cost, inline, Duration::MAX, Duration::MAX, now);
            prove(&cost, now + BARRED_MAX);
        }
    }

    #[test]
    fn the_second_slow_poll_in_a_minute_bars_a_method() {
        for inline in [true, false] {
            let (cost, now) = (Cost::new(), Instant::now());
            prove(&cost, now);
            note(&cost, inline, 2 * MS, 2 * MS, now);
            prove(&cost, now);
            let later = now + WATCHED - MS;
            note(&cost, inline, 2 * MS, 2 * MS, later);
            assert!(is_barred(&cost, later + 1_999 * MS), "{inline}");
            prove(&cost, later + 2_000 * MS);
            // It is watched for a minute after it was barred; then it begins again.
            let quiet = later + 2_000 * MS + WATCHED;
            assert!(cost.is_watched(quiet - MS) && !cost.is_watched(quiet));
            note(&cost, inline, 2 * MS, 2 * MS, quiet);
            prove(&cost, quiet);
        }
    }

    #[test]
    fn a_poll_that_waited_for_a_cpu_bars_nothing() {
        for inline in [true, false] {
            let (cost, now) = (Cost::new(), Instant::now());
            prove(&cost, now);
            note(&cost, inline, 5 * MS, US, now);
            prove(&cost, now);
            // From now on, the system is asked.
            for second in 1..1_000 {
                let now = now + Duration::from_secs(second);
                note(&cost, inline, 300 * MS, 10 * US, now);
                assert!(cost.is_fast(), "{inline} {second}");
            }
            let now = now + Duration::from_secs(1_000);
            note(&cost, inline, 300 * MS, MS + US, now);
            assert!(is_barred(&cost, now + 1_000 * MS), "{inline}");
            prove(&cost, now + 1_001 * MS);
        }
    }

    #[test]
    fn what_is_declared_stays_fast() {
        let (cost, now) = (Cost::declared_fast(), Instant::now());
        assert_eq!(cost.note_inline(300 * MS, now, || None), 300 * MS);
        assert!(cost.is_fast() && cost.is_declared_fast());
    }
}
