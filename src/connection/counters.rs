//! The counters of a connection for its pool. The driver and callers count; any thread reads.

use crate::call::timeline::Timeline;
use crate::error::Phase;
use crate::rt::sync::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// One in this many ended calls is measured.
const SAMPLED: u64 = 16;
/// All of the first calls, up to this many, are measured.
const ALL: u64 = 32;

/// The phases before a call has a stream; they do not count as time on the connection.
const BEFORE: [Phase; 6] =
    [Phase::Resolve, Phase::PoolWait, Phase::Dial, Phase::Tls, Phase::Settings, Phase::StreamQuota];

/// The counters. Callers end their own calls, so several threads may count at once.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    ended: AtomicU64,
    pings: AtomicU32,
    stream_stalls: AtomicU32,
    tripped: AtomicU32,
    rtt: AtomicU32,
    sent: AtomicU64,
    received: AtomicU64,
    measured: AtomicU32,
    /// Sum of the measured times and of their squares, in seconds; the bits of an `f64` each.
    sums: [AtomicU64; 2],
}

/// The values of a [`ConnectionCounters`] at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConnectionTotals {
    /// Calls that have ended.
    pub ended: u64,
    /// PINGs sent, of all kinds.
    pub pings: u32,
    /// How often DATA began to wait for a stream's window.
    pub stream_stalls: u32,
    /// How often a local limit ended a call or the connection.
    pub tripped: u32,
    /// The last round trip; zero before the first.
    pub rtt: Duration,
    /// Bytes of DATA sent.
    pub sent: u64,
    /// Bytes of DATA received.
    pub received: u64,
    /// Calls among `ended` whose time was measured: the first 32, then one in 16.
    pub measured: u32,
    /// The sum of their times on a stream, in seconds.
    pub time: f64,
    /// The sum of the squares.
    pub squares: f64,
}

fn add(cell: &AtomicU32, n: u32) {
    cell.fetch_add(n, Ordering::Relaxed);
}

fn add_float(cell: &AtomicU64, x: f64) {
    let mut bits = cell.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(bits) + x).to_bits();
        match cell.compare_exchange_weak(bits, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}

impl ConnectionCounters {
    /// Counts a call that has ended, and measures its time if it is sampled.
    pub(crate) fn ended(&self, timeline: &Timeline) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended <= ALL || ended.is_multiple_of(SAMPLED) {
            self.measure(timeline);
        }
    }

    #[cold]
    fn measure(&self, timeline: &Timeline) {
        let before: Duration = BEFORE.iter().map(|phase| timeline.spent(*phase)).sum();
        let time = timeline.wall().saturating_sub(before).as_secs_f64();
        add_float(&self.sums[0], time);
        add_float(&self.sums[1], time * time);
        add(&self.measured, 1);
    }

    pub(crate) fn pinged(&self) {
        add(&self.pings, 1);
    }

    pub(crate) fn tripped(&self) {
        add(&self.tripped, 1);
    }

    /// Publishes the engine's totals since the connection began, and the last round trip.
    pub(crate) fn publish(&self, sent: u64, received: u64, stream_stalls: u64, rtt: Duration) {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.rtt.store(micros, Ordering::Relaxed);
        self.sent.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
        // Modulo 2^32: readers take differences.
        self.stream_stalls.store(stream_stalls as u32, Ordering::Relaxed);
    }

    /// Returns all counters. They are read one after another, so they may differ by a few calls.
    #[must_use]
    pub fn read(&self) -> ConnectionTotals {
        let load = |cell: &AtomicU32| cell.load(Ordering::Relaxed);
        let float = |at: usize| {
            self.sums.get(at).map_or(0.0, |cell| f64::from_bits(cell.load(Ordering::Relaxed)))
        };
        ConnectionTotals {
            ended: self.ended.load(Ordering::Relaxed),
            pings: load(&self.pings),
            stream_stalls: load(&self.stream_stalls),
            tripped: load(&self.tripped),
            rtt: Duration::from_micros(load(&self.rtt).into()),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            measured: load(&self.measured),
            time: float(0),
            squares: float(1),
        }
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::counters::*;
    use std::sync::Barrier;
    use std::time::Instant;

    #[test]
    fn one_call_in_sixteen_is_measured_from_its_stream_on() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut timeline = Timeline::new(Phase::PoolWait, begin);
        timeline.enter(Phase::StreamQuota, at(100));
        timeline.enter(Phase::WriteQueue, at(150));
        timeline.enter(Phase::Server, at(160));
        timeline.enter(Phase::Read, at(240));
        timeline.enter(Phase::Caller, at(250));
        let tally = ConnectionCounters::default();
        for _ in 0..65 {
            tally.ended(&timeline);
        }
        let read = tally.read();
        assert_eq!((read.ended, read.measured), (65, 34));
        assert!((read.time - 3.4).abs() < 1e-9, "{}", read.time);
        assert!((read.squares - 0.34).abs() < 1e-9, "{}", read.squares);
    }
    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        const THREADS: u32 = 4;
        const CALLS: u32 = 200_000;
        let begin = Instant::now();
        let mut timeline = Timeline::new(Phase::Server, begin);
        timeline.enter(Phase::Caller, begin + Duration::from_secs(1));
        let (counters, start) = (ConnectionCounters::default(), Barrier::new(THREADS as usize));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..CALLS {
                        counters.ended(&timeline);
                        counters.measure(&timeline);
                        counters.pinged();
                        counters.tripped();
                    }
                });
            }
        });
        let (read, all) = (counters.read(), THREADS * CALLS);
        assert_eq!((read.ended, read.pings, read.tripped), (all.into(), all, all));
        let measured = all + 30 + all / 16;
        assert_eq!(read.measured, measured);
        // Whole seconds: the sums are exact.
        assert_eq!((read.time, read.squares), (measured.into(), measured.into()));
    }
}
