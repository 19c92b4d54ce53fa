//! A bound on log lines of events that peers cause.

use crate::rt::sync::Mutex;
use std::time::{Duration, Instant};

/// The shortest time between two lines about the same kind of event.
const EVERY: Duration = Duration::from_secs(10);

/// Allows one event in ten seconds, and counts the others.
#[derive(Debug)]
pub struct Occasional(Mutex<(Option<Instant>, u64)>);

impl Default for Occasional {
    fn default() -> Self {
        Self(Mutex::new((None, 0)))
    }
}

impl Occasional {
    /// Notes an event. `Some` with the number of events since the last one that was allowed if this one is.
    #[must_use]
    pub fn allows(&self, now: Instant) -> Option<u64> {
        let (last, skipped) = &mut *self.0.lock();
        if last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            *skipped += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(skipped))
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::rt::occasional::*;

    #[test]
    fn one_in_ten_seconds_and_the_number_of_the_others() {
        let (occasional, begin) = (Occasional::default(), Instant::now());
        let at = |seconds| occasional.allows(begin + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(1), at(9), at(10), at(20), at(21)],
            [Some(0), None, None, Some(2), Some(0), None]
        );
    }
}
