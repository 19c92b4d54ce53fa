//! The bandwidth–delay product: the window at which the peer never waits for credit.
//!
//! A PING is sent with a WINDOW_UPDATE, so only after DATA was received and at most once per half
//! window. The bytes that arrive before its acknowledgement are what the path carries in one round trip.

use std::time::{Duration, Instant};

/// The opaque data of a measuring PING.
pub const OPAQUE: [u8; 8] = *b"fw.bdp.1";

/// The measurement of one connection; one at a time.
#[derive(Debug, Default)]
pub struct Bdp {
    sent: Option<Instant>,
    bytes: u64,
    rtt: Option<Duration>,
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

    /// Ends the measurement at the acknowledgement; returns the window to grow to if `window` is too small.
    pub fn answered(&mut self, now: Instant, window: u32, max: u32) -> Option<u32> {
        let sent = self.sent.take()?;
        let rtt = now.saturating_duration_since(sent);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        // Two thirds of the window in one round trip: the window, not the path, was the limit.
        if self.bytes * 3 < u64::from(window) * 2 {
            return None;
        }
        let wanted = (self.bytes * 2).min(u64::from(max)) as u32;
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
}
