//! The pause between attempts that fail: of a subchannel to connect, of the resolver to answer.

use crate::error::Error;
use crate::pool::Shared;
use std::time::{Duration, Instant};

/// The failures since the last success.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    retry_at: Option<Instant>,
    error: Option<Error>,
    /// No attempt has succeeded since the last failure.
    failing: bool,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { failures: 0, retry_at: None, error: None, failing: false }
    }

    /// Notes a failure; `delay` gives the pause after so many earlier ones. Returns the error before, which
    /// may have the user's code in its drop: no lock may be held then.
    #[must_use]
    pub(super) fn fail(
        &mut self,
        now: Instant,
        error: Error,
        delay: impl FnOnce(u32) -> Duration,
    ) -> Option<Error> {
        self.retry_at = Some(now + delay(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.starve(error)
    }

    /// No attempt may begin, for a reason on this side: it counts as a failure, without a pause. Returns the
    /// error before, as [`Backoff::fail`] does.
    #[must_use]
    pub(super) fn starve(&mut self, error: Error) -> Option<Error> {
        self.failing = true;
        self.error.replace(error)
    }

    /// The next attempt waits until `at`, without a failure.
    pub(super) fn pause(&mut self, at: Instant) {
        self.retry_at = self.retry_at.max(Some(at));
    }

    /// The next attempt may begin now, and its failure is the first one.
    pub(super) const fn reset(&mut self) {
        self.retry_at = None;
        self.failures = 0;
    }

    /// Nobody attempts any more: the failures do not speak for the next attempt.
    pub(super) const fn forgive(&mut self) {
        self.failing = false;
    }

    /// The next attempt begins. The last error stays until one succeeds.
    pub(super) const fn attempt(&mut self) {
        self.retry_at = None;
    }

    /// Whether the last attempt failed. It is so while the next one runs, as gRPC's TRANSIENT_FAILURE
    /// is.
    pub(super) const fn is_failing(&self) -> bool {
        self.failing
    }

    /// Counts at least so many failures.
    pub(super) fn at_least(&mut self, failures: u32) {
        self.failures = self.failures.max(failures);
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt may begin, until it begins.
    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// When the next attempt may begin, if that is later than `now`.
    pub(super) fn pending(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|at| now < *at)
    }

    /// The error of the last failure.
    pub(super) const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl Shared {
    /// The pause after so many earlier failures: `backoff` times 1.6 for each, at most
    /// `backoff_max`, ± 20 %. The second value is used three times, so that a server that returns
    /// within 4 s is found within 2 s.
    pub(super) fn backoff_delay(&self, failures: u32) -> Duration {
        let base = self.options.backoff.mul_f64(1.6f64.powi(steps(failures)));
        self.jitter(base.min(self.options.backoff_max), 0.2)
    }
}

/// How often the pause has grown after so many earlier failures.
fn steps(failures: u32) -> i32 {
    failures.min(1).max(failures.min(32).saturating_sub(2)) as i32
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    #[test]
    fn the_second_pause_is_used_three_times() {
        let steps: Vec<_> = (0..7).map(super::steps).collect();
        assert_eq!(steps, [0, 1, 1, 1, 2, 3, 4]);
        assert_eq!(super::steps(u32::MAX), 30);
    }
}
