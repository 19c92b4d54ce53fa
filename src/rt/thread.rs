//! What this thread did with its time: computed, waited by its own doing, or waited for a CPU.

use std::time::{Duration, Instant};

/// What the system has counted for a thread up to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    at: Instant,
    /// `None` where the system does not say.
    counted: Option<Counted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    /// Time on a CPU.
    cpu: Duration,
    /// How often the thread gave its CPU up: for a lock, a sleep, I/O.
    waits: i64,
}

impl Usage {
    /// Returns what the system has counted for the current thread. Costs two system calls.
    #[must_use]
    pub fn read(now: Instant) -> Self {
        Self { at: now, counted: system::counted() }
    }

    /// Returns how much of `time`, which ended at `now`, the thread used or waited by its own doing: it did
    /// not wait for a CPU that other threads had. All of it where the system does not say.
    #[must_use]
    pub fn own_time(&self, now: &Self, time: Duration) -> Duration {
        match (self.counted, now.counted) {
            (Some(then), Some(counted)) if then.waits == counted.waits => {
                // It computed all the time between `self` and the beginning of `time`, as far as is known.
                let before = now.at.saturating_duration_since(self.at).saturating_sub(time);
                counted.cpu.saturating_sub(then.cpu).saturating_sub(before).min(time)
            }
            _ => time,
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use crate::rt::thread::Counted;
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::time::{ClockId, clock_gettime};

    pub(super) fn counted() -> Option<Counted> {
        let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
        let waits = getrusage(UsageWho::RUSAGE_THREAD).ok()?.voluntary_context_switches();
        Some(Counted { cpu: cpu.into(), waits })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) const fn counted() -> Option<super::Counted> {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::rt::thread::*;

    const MS: Duration = Duration::from_millis(1);

    /// The own time of 300 ms, of which the thread had `cpu` since `before` they began, and waited `waits`
    /// times.
    fn own_time(before: Duration, cpu: Duration, waits: i64) -> Duration {
        let at = Instant::now();
        let usage = Usage { at, counted: Some(Counted { cpu: 7 * MS, waits: 3 }) };
        let counted = Some(Counted { cpu: 7 * MS + cpu, waits: 3 + waits });
        usage.own_time(&Usage { at: at + before + 300 * MS, counted }, 300 * MS)
    }

    #[test]
    fn waiting_for_a_cpu_is_no_own_time() {
        assert_eq!(own_time(Duration::ZERO, MS, 0), MS);
        assert_eq!(own_time(Duration::ZERO, 299 * MS, 0), 299 * MS);
        // What was computed before the time in question does not count.
        assert_eq!(own_time(2 * MS, 3 * MS, 0), MS);
        assert_eq!(own_time(9 * MS, 3 * MS, 0), Duration::ZERO);
        assert_eq!(own_time(Duration::ZERO, 400 * MS, 0), 300 * MS);
    }

    #[test]
    fn waiting_for_anything_else_is_own_time() {
        assert_eq!(own_time(Duration::ZERO, MS, 1), 300 * MS);
    }

    #[test]
    fn what_the_system_does_not_say_is_own_time() {
        let at = Instant::now();
        let usage = Usage { at, counted: None };
        assert_eq!(usage.own_time(&Usage::read(at + MS), MS), MS);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_waiting_from_computing() {
        let read = || Usage::read(Instant::now()).counted.unwrap();
        let before = read();
        std::thread::sleep(MS);
        let waited = read();
        assert!(waited.waits > before.waits);
        while read().cpu < waited.cpu + MS {}
    }
}
