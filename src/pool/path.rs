//! What the pool learns of the path from connections that were silent for long: how long it may
//! leave one without bytes, and from when on it has to ask.

use crate::connection::driver::ConnectionOptions;
use crate::connection::keepalive::below;
use crate::pool::Shared;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Shared {
    /// A connection answered after so long without a byte.
    pub(super) fn survived(&self, silence: Duration, now: Instant) {
        self.path.lock().survived(silence, now);
        self.adapt(now);
    }

    /// A connection died without a word after so long without a byte.
    pub(super) fn died_silently(&self, silence: Duration, now: Instant) {
        self.path.lock().died(silence, now);
        self.adapt(now);
        self.maintenance.notify_one();
    }

    /// Connections made from now on ask as early as the path wants.
    fn adapt(&self, now: Instant) {
        let Some(wish) = self.options.driver.probe_after else { return };
        let after = self.path.lock().probe_after(wish, now);
        let mut driver = self.driver.lock();
        if driver.probe_after != Some(after) {
            tracing::debug!(target = %self.target, ?after, "connections are proved after this silence");
            *driver =
                Arc::new(ConnectionOptions { probe_after: Some(after), ..(**driver).clone() });
        }
    }

    /// The longest that a connection stays without calls: as configured, or safely below what a
    /// connection did not survive.
    pub(super) fn idle_limit(&self, configured: Duration, now: Instant) -> Duration {
        let limit = self.path.lock().at_most(now);
        limit.map_or(configured, |limit| configured.min(below(limit)))
    }
}
