//! The idle limit of a network path, learned from connections that survived an idle time and from
//! those that did not.

use crate::connection::keepalive::three_quarters;
use std::time::{Duration, Instant};

/// A connection that dies silently after a shorter idle time than this says nothing about the path:
/// the peer died. 30 s, half of the shortest default limit of a common middlebox.
const SHORTEST_LIMIT: Duration = Duration::from_secs(30);

/// Observations expire after 24 hours. The pool closes connections below a learned limit, so it would
/// never notice that the path's limit has grown; learning it again costs one probe.
pub(super) const EVIDENCE_AGE: Duration = Duration::from_secs(24 * 3600);

type Evidence = Option<(Duration, Instant)>;

/// The bounds of a path's idle limit.
///
/// Each observation tightens a bound or leaves it. A bound is dropped when an observation
/// contradicts it (the path has changed, or a connection died for another reason) or when it
/// expires.
#[derive(Clone, Debug, Default)]
pub struct PathLimit {
    above: Evidence,
    at_most: Evidence,
}

impl PathLimit {
    /// Creates bounds without observations.
    #[must_use]
    pub const fn new() -> Self {
        Self { above: None, at_most: None }
    }

    /// Notes that a connection died without FIN or RST after `idle` without a byte in either
    /// direction.
    pub fn died(&mut self, idle: Duration, now: Instant) {
        self.forget_old(now);
        if idle < SHORTEST_LIMIT {
            return;
        }
        if self.above.is_some_and(|(above, _)| idle <= above) {
            self.above = None;
        }
        if self.at_most.is_none_or(|(at_most, _)| idle <= at_most) {
            self.at_most = Some((idle, now));
        }
    }

    /// Notes that a peer answered after `idle` without a byte in either direction.
    pub fn survived(&mut self, idle: Duration, now: Instant) {
        self.forget_old(now);
        if self.at_most.is_some_and(|(at_most, _)| idle >= at_most) {
            self.at_most = None;
        }
        if self.above.is_none_or(|(above, _)| idle >= above) {
            self.above = Some((idle, now));
        }
    }

    /// Returns the longest idle time that a connection survived: the limit is above it.
    #[must_use]
    pub fn above(&self, now: Instant) -> Option<Duration> {
        fresh(self.above, now).map(|(idle, _)| idle)
    }

    /// Returns the shortest idle time that a connection did not survive: the limit is at most that.
    #[must_use]
    pub fn at_most(&self, now: Instant) -> Option<Duration> {
        fresh(self.at_most, now).map(|(idle, _)| idle)
    }

    /// Returns the silence after which a connection is probed before use. It is `wish`, the
    /// configured value, or three quarters of [`above`](Self::above) if that is longer; at most
    /// three quarters of [`at_most`](Self::at_most).
    #[must_use]
    pub fn probe_after(&self, wish: Duration, now: Instant) -> Duration {
        let survived = self.above(now).map_or(Duration::ZERO, three_quarters);
        let age = wish.max(survived);
        self.at_most(now).map_or(age, |limit| age.min(three_quarters(limit)))
    }

    fn forget_old(&mut self, now: Instant) {
        self.above = fresh(self.above, now);
        self.at_most = fresh(self.at_most, now);
    }
}

fn fresh(evidence: Evidence, now: Instant) -> Evidence {
    evidence.filter(|(_, since)| now.saturating_duration_since(*since) < EVIDENCE_AGE)
}
