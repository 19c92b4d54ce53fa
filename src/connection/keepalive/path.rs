//! What a path's idle limit is, learned from the connections that outlived an idle time and from
//! those that did not.

use crate::connection::keepalive::three_quarters;
use std::time::{Duration, Instant};

/// A silent death after less idleness than this tells of the peer, not of the path: half of the
/// shortest default that a common middlebox has.
pub const SHORTEST_LIMIT: Duration = Duration::from_secs(30);

/// Evidence is forgotten after a day. Closing below a learned limit keeps us from ever meeting it
/// again, so a path that has become better would not be noticed; a new lesson costs one probe.
pub const EVIDENCE_AGE: Duration = Duration::from_secs(24 * 3600);

type Evidence = Option<(Duration, Instant)>;

/// Bounds of a path's idle limit.
///
/// Within an [epoch](PathLimit::epoch) they only draw closer. A new epoch begins when evidence
/// contradicts them (the path has changed, or a death had another cause) or grows old.
#[derive(Clone, Debug, Default)]
pub struct PathLimit {
    above: Evidence,
    at_most: Evidence,
    epoch: u64,
}

impl PathLimit {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { above: None, at_most: None, epoch: 0 }
    }

    /// A connection died after so long without an byte either way, and neither FIN nor RST said so.
    pub fn died(&mut self, idle: Duration, now: Instant) {
        self.forget_old(now);
        if idle < SHORTEST_LIMIT {
            return;
        }
        if self.above.is_some_and(|(above, _)| idle <= above) {
            self.above = None;
            self.epoch += 1;
        }
        if self.at_most.is_none_or(|(at_most, _)| idle <= at_most) {
            self.at_most = Some((idle, now));
        }
    }

    /// A connection was used after so long without an byte either way, and the peer answered.
    pub fn survived(&mut self, idle: Duration, now: Instant) {
        self.forget_old(now);
        if self.at_most.is_some_and(|(at_most, _)| idle >= at_most) {
            self.at_most = None;
            self.epoch += 1;
        }
        if self.above.is_none_or(|(above, _)| idle >= above) {
            self.above = Some((idle, now));
        }
    }

    /// The longest idle time that was survived: the limit is above it.
    #[must_use]
    pub fn above(&self, now: Instant) -> Option<Duration> {
        fresh(self.above, now).map(|(idle, _)| idle)
    }

    /// The shortest idle time that was not survived: the limit is at most that.
    #[must_use]
    pub fn at_most(&self, now: Instant) -> Option<Duration> {
        fresh(self.at_most, now).map(|(idle, _)| idle)
    }

    /// Silence after which a connection is proved before use, where `wish` is the configured one:
    /// later if longer silences were survived, up to three quarters of the longest; never later
    /// than three quarters of what was not survived.
    #[must_use]
    pub fn probe_after(&self, wish: Duration, now: Instant) -> Duration {
        let survived = self.above(now).map_or(Duration::ZERO, three_quarters);
        let age = wish.max(survived);
        self.at_most(now).map_or(age, |limit| age.min(three_quarters(limit)))
    }

    /// Counts how often what was known has been given up.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    fn forget_old(&mut self, now: Instant) {
        let kept = (fresh(self.above, now), fresh(self.at_most, now));
        if kept != (self.above, self.at_most) {
            self.epoch += 1;
        }
        (self.above, self.at_most) = kept;
    }
}

fn fresh(evidence: Evidence, now: Instant) -> Evidence {
    evidence.filter(|(_, since)| now.saturating_duration_since(*since) < EVIDENCE_AGE)
}
