//! Where a call's time went: every nanosecond belongs to exactly one phase, by construction.

use crate::error::Phase;
use std::time::{Duration, Instant};

const PHASES: usize = Phase::ALL.len();

/// The phases of one call. Phases change in [`Timeline::enter`] and nowhere else.
#[derive(Clone, Debug)]
pub struct Timeline {
    started: Instant,
    since: Instant,
    phase: Phase,
    spent: [u64; PHASES],
}

impl Timeline {
    /// Starts in `phase`.
    #[must_use]
    pub const fn new(phase: Phase, now: Instant) -> Self {
        Self { started: now, since: now, phase, spent: [0; PHASES] }
    }

    /// Ends the current phase and begins `phase`. A reading older than the last one counts as
    /// the last one, so that time is never lost or counted twice.
    pub fn enter(&mut self, phase: Phase, now: Instant) {
        let now = now.max(self.since);
        let passed = now.saturating_duration_since(self.since).as_nanos() as u64;
        self.spent[self.phase as usize] += passed;
        self.since = now;
        self.phase = phase;
    }

    /// The current phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When the call began.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// When the current phase began.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The time from the start to `now` of a call that is still in its first phase; zero later.
    #[must_use]
    pub fn first_phase(&self, now: Instant) -> Duration {
        let first = self.since == self.started;
        if first { now.saturating_duration_since(self.started) } else { Duration::ZERO }
    }

    /// Time spent in `phase` up to the last change.
    #[must_use]
    pub fn spent(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.spent[phase as usize])
    }

    /// The sum of all phases: from the start to the last change.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.spent.iter().sum())
    }

    /// The wall time from the start to the last change.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.since.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use crate::call::timeline::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the order of the readings, the parts add up to the wall time.
        #[test]
        fn the_parts_add_up(steps in proptest::collection::vec((0usize..12, 0u64..5_000_000), 0..60)) {
            let base = Instant::now();
            let mut line = Timeline::new(Phase::PoolWait, base);
            for (phase, at) in steps {
                line.enter(Phase::ALL[phase], base + Duration::from_nanos(at));
            }
            prop_assert_eq!(line.total(), line.wall());
            let parts: Duration = Phase::ALL.iter().map(|p| line.spent(*p)).sum();
            prop_assert_eq!(parts, line.wall());
        }
    }
}
