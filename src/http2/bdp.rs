//! The bandwidth–delay product: the window at which the peer never waits for credit.
//!
//! A PING is sent with a WINDOW_UPDATE, so only after DATA was received and at most once per half
//! window. The bytes that arrive before its acknowledgement are what the path carries in one round trip.
//!
//! A queue on the path makes the round trip as long as the window is wide. So a window grows again only if
//! its last growth has made the transfer faster.

use std::time::{Duration, Instant};

/// The opaque data of a measuring PING.
pub const OPAQUE: [u8; 8] = *b"fw.bdp.1";

/// The measurement of one connection; one at a time.
#[derive(Debug, Default)]
pub struct Bdp {
    sent: Option<Instant>,
    bytes: u64,
    rtt: Option<Duration>,
    /// A stream's window was the limit during the measurement.
    stream_was_limit: bool,
    /// Bytes per second in the last measurement.
    rate: u64,
    /// The same in the measurement that made the windows grow.
    rate_at_growth: u64,
}

impl Bdp {
    /// Counts bytes of DATA that arrived while a measurement runs.
    pub const fn received(&mut self, bytes: u32) {
        if self.sent.is_some() {
            self.bytes += bytes as u64;
        }
    }

    /// Starts a measurement; `false` if one is in progress.
    pub const fn start(&mut self, now: Instant) -> bool {
        if self.sent.is_some() {
            return false;
        }
        self.sent = Some(now);
        self.bytes = 0;
        true
    }

    /// Returns whether a measurement is in progress.
    pub const fn is_running(&self) -> bool {
        self.sent.is_some()
    }

    /// Notes that a stream has used up its window within a round trip, and that its window may not grow while
    /// the connection's does not.
    pub const fn stream_was_limit(&mut self) {
        self.stream_was_limit = true;
    }

    /// Notes that the windows have grown by the last measurement.
    pub const fn grown(&mut self) {
        self.rate_at_growth = self.rate;
    }

    /// Ends the measurement at the acknowledgement; returns the window to grow to if `window` is too small.
    pub fn answered(&mut self, now: Instant, window: u32, max: u32) -> Option<u32> {
        let sent = self.sent.take()?;
        let rtt = now.saturating_duration_since(sent);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        let microseconds = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        self.rate = self.bytes.saturating_mul(1_000_000) / microseconds;
        let stream = std::mem::take(&mut self.stream_was_limit);
        // Two thirds of the window in one round trip: the window, not the path, was the limit.
        let limit = stream || self.bytes * 3 >= u64::from(window) * 2;
        // An eighth faster than before the last growth: a queue on the path is not what has grown.
        let faster = self.rate > self.rate_at_growth.saturating_add(self.rate_at_growth / 8);
        if !limit || !faster {
            return None;
        }
        let double = if stream { u64::from(window) * 2 } else { 0 };
        let wanted = (self.bytes * 2).max(double).min(u64::from(max)) as u32;
        (wanted > window).then_some(wanted)
    }

    /// Returns the smoothed round-trip time.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::bdp::*;

    #[test]
    fn grows_only_when_the_window_was_the_limit() {
        let start = Instant::now();
        let mut bdp = Bdp::default();
        assert!(bdp.start(start));
        assert!(!bdp.start(start), "one at a time");
        bdp.received(60_000);
        let later = start + Duration::from_millis(20);
        assert_eq!(bdp.answered(later, 65_535, 1 << 20), Some(120_000));
        assert_eq!(bdp.rtt(), Some(Duration::from_millis(20)));
        assert!(bdp.start(later));
        bdp.received(1_000);
        assert_eq!(bdp.answered(later, 65_535, 1 << 20), None);
        assert_eq!(bdp.answered(later, 65_535, 1 << 20), None, "an answer nobody asked for");
    }

    /// Windows of one stream that is the limit: the connection's is doubled.
    #[test]
    fn a_stream_that_is_the_limit_counts() {
        let start = Instant::now();
        let mut bdp = Bdp::default();
        assert!(bdp.start(start));
        bdp.received(200_000);
        bdp.stream_was_limit();
        let later = start + Duration::from_millis(20);
        assert_eq!(bdp.answered(later, 1 << 20, 1 << 30), Some(2 << 20));
        assert!(bdp.start(later));
        bdp.received(200_000);
        let answer = later + Duration::from_millis(20);
        assert_eq!(bdp.answered(answer, 1 << 20, 1 << 30), None, "it was noted once");
    }

    /// A path of 10 MB/s and 20 ms: from 200 kB on, a wider window only lengthens a queue.
    #[test]
    fn a_queue_on_the_path_is_no_reason_to_grow() {
        let (rate, path) = (10_000_000, Duration::from_millis(20));
        let (mut now, mut window, mut bdp) = (Instant::now(), 65_535, Bdp::default());
        for _ in 0..50 {
            assert!(bdp.start(now));
            bdp.received(window);
            now += path.max(Duration::from_secs_f64(f64::from(window) / f64::from(rate)));
            if let Some(wanted) = bdp.answered(now, window, u32::MAX) {
                window = wanted;
                bdp.grown();
            }
        }
        assert!((200_000..1_000_000).contains(&window), "{window}");
    }
}
