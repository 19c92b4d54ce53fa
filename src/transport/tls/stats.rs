//! Counts handshakes by outcome, and their durations.

use std::time::{Duration, Instant};

use crate::rt;
use crate::rt::sync::{AtomicU64, Ordering};

/// The handshakes of a configuration, over all its generations and clones.
///
/// The counters are read one after another, so a handshake that ends meanwhile may be in some only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsStats {
    /// Full handshakes, which exchange certificates. With TLS 1.3, a client's handshake is over before the
    /// server judges the client's certificate: one that is refused counts here, and the dial fails with
    /// `ConnectErrorKind::ClientCertificate`.
    pub full: Handshakes,
    /// Handshakes that resumed an earlier session.
    pub resumed: Handshakes,
    /// Handshakes that failed, also because ALPN did not choose `h2`.
    pub failed: Handshakes,
    /// Handshakes whose future was dropped, for example after a timeout.
    pub abandoned: Handshakes,
}

impl TlsStats {
    /// Returns the share of successful handshakes that resumed a session, 0.0 to 1.0; `None` before the
    /// first one.
    ///
    /// ```
    /// use framewire::tls::TlsStats;
    ///
    /// let mut stats = TlsStats::default();
    /// assert_eq!(stats.resumption_ratio(), None);
    /// (stats.full.count, stats.resumed.count) = (1, 3);
    /// assert_eq!(stats.resumption_ratio(), Some(0.75));
    /// ```
    #[must_use]
    pub fn resumption_ratio(&self) -> Option<f64> {
        let all = self.full.count + self.resumed.count;
        (all > 0).then(|| self.resumed.count as f64 / all as f64)
    }
}

/// The handshakes with one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// The number of handshakes.
    pub count: u64,
    /// The sum of their durations, including the time spent waiting for the peer.
    pub time: Duration,
    /// The longest duration.
    pub longest: Duration,
}

impl Handshakes {
    /// Returns the mean duration; `None` before the first one.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let nanos = self.time.as_nanos().checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos(saturated(nanos)))
    }
}

fn saturated(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// The counters behind [`TlsStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    full: Counter,
    resumed: Counter,
    failed: Counter,
    abandoned: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
}

impl Counter {
    fn add(&self, took: Duration) {
        let nanos = saturated(took.as_nanos());
        // Statistics order nothing else.
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    fn read(&self) -> Handshakes {
        Handshakes {
            count: self.count.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

impl Counters {
    pub(super) fn read(&self) -> TlsStats {
        TlsStats {
            full: self.full.read(),
            resumed: self.resumed.read(),
            failed: self.failed.read(),
            abandoned: self.abandoned.read(),
        }
    }

    /// Starts to measure a handshake.
    pub(super) fn begin(&self) -> Attempt<'_> {
        Attempt { counters: self, began: rt::now(), ended: false }
    }
}

/// A handshake in progress. If it is dropped before it ends, it counts as abandoned.
pub(super) struct Attempt<'a> {
    counters: &'a Counters,
    began: Instant,
    ended: bool,
}

impl Attempt<'_> {
    pub(super) fn succeeded(self, resumed: bool) -> Duration {
        let counters = self.counters;
        self.end(if resumed { &counters.resumed } else { &counters.full })
    }

    pub(super) fn failed(self) {
        let counters = self.counters;
        self.end(&counters.failed);
    }

    fn end(mut self, counter: &Counter) -> Duration {
        self.ended = true;
        let took = self.took();
        counter.add(took);
        took
    }

    fn took(&self) -> Duration {
        rt::now().saturating_duration_since(self.began)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.counters.abandoned.add(self.took());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::tls::stats::*;

    #[tokio::test(start_paused = true)]
    async fn each_outcome_is_counted_with_its_time() {
        let counters = Counters::default();
        assert_eq!(counters.read(), TlsStats::default());
        assert_eq!(counters.read().resumption_ratio(), None);
        assert_eq!(counters.read().full.mean(), None);
        for (millis, resumed) in [(10, false), (2, true), (4, true), (3, true)] {
            let attempt = counters.begin();
            rt::sleep(Duration::from_millis(millis)).await;
            assert_eq!(attempt.succeeded(resumed), Duration::from_millis(millis));
        }
        let attempt = counters.begin();
        rt::sleep(Duration::from_millis(7)).await;
        attempt.failed();
        let attempt = counters.begin();
        rt::sleep(Duration::from_millis(8)).await;
        drop(attempt);

        let of = |count, time, longest| Handshakes {
            count,
            time: Duration::from_millis(time),
            longest: Duration::from_millis(longest),
        };
        let stats = counters.read();
        let want = TlsStats {
            full: of(1, 10, 10),
            resumed: of(3, 9, 4),
            failed: of(1, 7, 7),
            abandoned: of(1, 8, 8),
        };
        assert_eq!(stats, want);
        assert_eq!(stats.resumption_ratio(), Some(0.75));
        assert_eq!(stats.resumed.mean(), Some(Duration::from_millis(3)));
    }
}
