//! Learns from connections that were silent for long how long the path keeps a silent connection, and
//! adapts idle limits and probes to it.

use crate::connection::keepalive::{below, three_quarters};
use crate::pool::Shared;
use std::time::{Duration, Instant};

impl Shared {
    /// A connection answered after so long without a byte.
    pub(super) fn survived(&self, silence: Duration, now: Instant) {
        self.path.lock().survived(silence, now);
        self.adapt(now);
    }

    /// A connection died without FIN or RST after so long without a byte.
    pub(super) fn died_silently(&self, silence: Duration, now: Instant) {
        self.path.lock().died(silence, now);
        self.adapt(now);
        self.maintenance.notify_one();
    }

    /// Connections made from now on send a probe as early as the path needs.
    fn adapt(&self, now: Instant) {
        let Some(configured) = self.options.driver.probe_after else { return };
        // What survived once may not be longer than what the path is known to keep.
        let most = self.options.path_limit.map_or(Duration::MAX, three_quarters).max(configured);
        let after = self.path.lock().probe_after(configured, now).min(most);
        {
            let mut driver = self.driver.lock();
            if driver.probe_after == Some(after) {
                return;
            }
            driver.probe_after = Some(after);
        }
        crate::rt::log!(debug, target = %self.target, ?after, "connections are proved after this silence");
    }

    /// The longest that a connection stays without calls: as configured, or below the silence that
    /// a connection did not survive.
    pub(super) fn idle_limit(&self, configured: Duration, now: Instant) -> Duration {
        let limit = self.path.lock().at_most(now);
        limit.map_or(configured, |limit| configured.min(below(limit)))
    }
}
