//! The strikes that a server which limits PINGs may have counted against this client.

use crate::connection::keepalive::PingRule;
use std::time::{Duration, Instant};

/// Strikes that gRPC servers allow; the next one ends the connection (gRFC A8).
pub const STRIKES: u32 = 2;

/// An upper bound of the strikes that the peer of one connection has counted. It includes PINGs of
/// every kind, because the peer does not distinguish them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strikes {
    count: u8,
    /// When the last PING was acknowledged, or sent if there is no ACK yet.
    last: Option<Instant>,
    outstanding: u8,
    /// HEADERS or DATA came since the last PING was sent, while this many PINGs were outstanding: the
    /// peer reset its count before it saw them, or after.
    forgiven: Option<u8>,
}

impl Strikes {
    /// Creates a count for a connection that has sent no PING.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0, last: None, outstanding: 0, forgiven: None }
    }

    /// Returns the highest possible number of strikes if a PING were sent now to a peer that wants
    /// `interval` between two.
    #[must_use]
    pub fn with_another(&self, interval: Duration, now: Instant) -> u32 {
        // The first is never one: there is none before it.
        let Some(last) = self.last else { return 0 };
        // Two clocks differ by some hundred parts in a million, and timers round to milliseconds.
        let interval = interval + (interval / 100).max(Duration::from_millis(100));
        let early = now.saturating_duration_since(last) < interval;
        let count = self.count.saturating_add(u8::from(early));
        self.forgiven.map_or(count, |most| count.min(most)).into()
    }

    /// Notes that a PING was sent.
    pub fn sent(&mut self, interval: Duration, now: Instant) {
        self.count = u8::try_from(self.with_another(interval, now)).unwrap_or(u8::MAX);
        self.last = Some(now);
        self.outstanding = self.outstanding.saturating_add(1);
        self.forgiven = None;
    }

    /// Notes that a PING was acknowledged. Returns the round trip if no other PING was outstanding.
    pub fn acknowledged(&mut self, now: Instant) -> Option<Duration> {
        let sent = self.last.replace(now).filter(|_| self.outstanding == 1);
        self.outstanding = self.outstanding.saturating_sub(1);
        sent.map(|sent| now.saturating_duration_since(sent))
    }

    /// Notes that HEADERS or DATA came: the peer reset its count before it sent them.
    pub const fn content(&mut self) {
        self.forgiven = Some(self.outstanding);
    }
}

impl PingRule {
    /// Returns the shortest allowed time between two PINGs, with calls in flight or without.
    #[must_use]
    pub const fn interval(&self, calls: bool) -> Duration {
        if calls { self.with_calls } else { self.without_calls }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::keepalive::strikes::*;

    const FIVE: Duration = Duration::from_secs(300);

    fn at(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn early_pings_add_up_until_content_comes() {
        let begin = Instant::now();
        let mut strikes = Strikes::new();
        for (i, worst) in [0, 1, 2, 3].into_iter().enumerate() {
            let now = at(begin, i as u64 * 10);
            assert_eq!(strikes.with_another(FIVE, now), worst);
            strikes.sent(FIVE, now);
            strikes.acknowledged(now);
        }
        // Time forgives nothing, it only adds nothing.
        assert_eq!(strikes.with_another(FIVE, at(begin, 332)), 4, "1 % and more is kept clear");
        assert_eq!(strikes.with_another(FIVE, at(begin, 334)), 3);
        strikes.content();
        assert_eq!(strikes.with_another(FIVE, at(begin, 31)), 0);
        strikes.sent(FIVE, at(begin, 31));
        assert_eq!(strikes.with_another(FIVE, at(begin, 32)), 1, "forgiven once");
    }

    /// gRPC A8: 5 minutes with calls in flight, 2 hours without.
    #[test]
    fn a_server_wants_fewer_pings_without_calls() {
        let intervals = [true, false].map(|calls| PingRule::GRPC.interval(calls).as_secs());
        assert_eq!(intervals, [300, 7200]);
    }

    #[test]
    fn content_that_met_a_ping_on_the_way_may_have_forgiven_that_one() {
        let begin = Instant::now();
        let mut strikes = Strikes::new();
        strikes.sent(FIVE, begin);
        strikes.content();
        assert_eq!(strikes.with_another(FIVE, at(begin, 1)), 1);
        assert_eq!(strikes.acknowledged(at(begin, 1)), Some(Duration::from_secs(1)));
        // What came after the ACK was sent after it.
        strikes.content();
        assert_eq!(strikes.with_another(FIVE, at(begin, 1)), 0);
    }
}
