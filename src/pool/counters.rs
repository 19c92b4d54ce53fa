//! Counts what has happened in a pool since it was created. Its stats and metrics read them.

use crate::connection::counters::ConnectionTotals;
use crate::rt::sync::{AtomicU64, Ordering};

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Count {
    /// Calls that ended on a connection.
    Ended,
    /// Calls that waited for a permit of a connection.
    Waited,
    /// Calls refused because `max_waiting` others waited.
    RefusedFull,
    /// Calls whose deadline passed while they waited.
    Expired,
    /// Calls replayed on another connection because the peer definitely had not processed them.
    Moved,
    /// Attempts beyond the first that a retry policy made.
    Retried,
    /// Attempts beyond the first that a hedging policy made.
    Hedged,
    /// Dials that ended with a connection.
    DialsSucceeded,
    /// Dials that failed.
    DialsFailed,
    /// Times that a [`Cap`](crate::pool::Cap) delayed a dial.
    DialsPutOff,
    /// TLS handshakes with certificates.
    TlsFull,
    /// TLS handshakes that resumed a session.
    TlsResumed,
    /// TLS handshakes that failed.
    TlsFailed,
    /// Times that a target which spoke HTTP/2, or was not known, turned out to speak none.
    LostHttp2,
    /// Connections that ended.
    Disconnections,
    /// GOAWAYs received.
    Goaways,
    /// GOAWAYs that complained of too many PINGs.
    TooManyPings,
    /// PINGs sent, whatever for.
    Pings,
    /// Times that calls were held back behind a PING, on a connection silent for long.
    Probes,
    /// Of these, the times that it was not answered in time.
    ProbesFailed,
    /// Connections that died without FIN or RST.
    SilentDeaths,
    /// Connections closed because they had no calls.
    Shrunk,
    /// Connections replaced by younger ones: for their age, or for the TLS configuration that they
    /// were made with.
    Replaced,
    /// Times that DATA began to wait for a stream's window.
    StreamStalls,
    /// Milliseconds in which DATA waited for a connection's window.
    ConnectionStalled,
    /// Times that a limit of this side ended a call or a connection.
    Tripped,
    /// Calls that are held and not polled.
    Leaks,
    /// Warnings that capacity runs out.
    Exhaustion,
}

impl Count {
    /// Every one, in order.
    pub const ALL: [Self; 28] = [
        Self::Ended,
        Self::Waited,
        Self::RefusedFull,
        Self::Expired,
        Self::Moved,
        Self::Retried,
        Self::Hedged,
        Self::DialsSucceeded,
        Self::DialsFailed,
        Self::DialsPutOff,
        Self::TlsFull,
        Self::TlsResumed,
        Self::TlsFailed,
        Self::LostHttp2,
        Self::Disconnections,
        Self::Goaways,
        Self::TooManyPings,
        Self::Pings,
        Self::Probes,
        Self::ProbesFailed,
        Self::SilentDeaths,
        Self::Shrunk,
        Self::Replaced,
        Self::StreamStalls,
        Self::ConnectionStalled,
        Self::Tripped,
        Self::Leaks,
        Self::Exhaustion,
    ];
}

const COUNTS: usize = Count::ALL.len();

/// The counters of a pool.
#[derive(Debug, Default)]
pub(super) struct PoolCounters([AtomicU64; COUNTS]);

impl PoolCounters {
    pub(super) fn note(&self, count: Count) {
        self.add(count, 1);
    }

    pub(super) fn add(&self, count: Count, n: u64) {
        if let Some(cell) = self.0.get(count as usize) {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Adds the counts of a connection that is closed.
    pub(super) fn close(&self, tallied: &ConnectionTotals, stalled_millis: u64) {
        of_connection(tallied, stalled_millis)
            .into_iter()
            .for_each(|(count, n)| self.add(count, n));
    }

    /// Returns the counts, those of connections that are not closed included.
    pub(super) fn read(&self, live: impl Iterator<Item = (ConnectionTotals, u64)>) -> Counts {
        let mut counts = Counts([0; COUNTS]);
        for (sum, cell) in counts.0.iter_mut().zip(&self.0) {
            *sum = cell.load(Ordering::Relaxed);
        }
        for (tallied, stalled_millis) in live {
            for (count, n) in of_connection(&tallied, stalled_millis) {
                if let Some(sum) = counts.0.get_mut(count as usize) {
                    *sum += n;
                }
            }
        }
        counts
    }
}

fn of_connection(tallied: &ConnectionTotals, stalled_millis: u64) -> [(Count, u64); 5] {
    [
        (Count::Ended, tallied.ended),
        (Count::Pings, tallied.pings.into()),
        (Count::StreamStalls, tallied.stream_stalls.into()),
        (Count::Tripped, tallied.tripped.into()),
        (Count::ConnectionStalled, stalled_millis),
    ]
}

/// How often each thing has happened since the pool was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts([u64; COUNTS]);

impl Counts {
    /// How often this has happened.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).copied().unwrap_or(0)
    }

    /// All of them, in the order of [`Count::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Count, u64)> + '_ {
        Count::ALL.into_iter().zip(self.0)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::pool::counters::*;

    #[test]
    fn every_count_has_its_index() {
        for (at, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, at, "{count:?}");
        }
        let counters = PoolCounters::default();
        counters.note(Count::Exhaustion);
        let tallied = ConnectionTotals { ended: 3, pings: 2, ..ConnectionTotals::default() };
        counters.close(&tallied, 40);
        let counts = counters.read([(tallied, 2)].into_iter());
        let seen: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).collect();
        let expected = [
            (Count::Ended, 6),
            (Count::Pings, 4),
            (Count::ConnectionStalled, 42),
            (Count::Exhaustion, 1),
        ];
        assert_eq!(seen, expected);
    }
}
