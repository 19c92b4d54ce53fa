//! A server's limits on a connection's age and idle time. The server drains connections one by one, so
//! that its clients connect to other servers as well.

use crate::connection::driver::{ConnectionOptions, Core};
use crate::rt;
use crate::rt::Random;
use std::time::{Duration, Instant};

/// The fraction of the maximum age by which a connection ends earlier or later.
const JITTER: f64 = 0.1;

/// When this connection is drained for its age or idle time.
#[derive(Debug, Default)]
pub(super) struct Age {
    limit: Option<Instant>,
    retired: Option<Retired>,
}

/// Why and how a connection is drained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    /// When the streams that are left are cut.
    pub(super) hard: Option<Instant>,
    /// The debug data of the last GOAWAY, as in grpc-go.
    pub(super) word: &'static str,
}

impl Age {
    pub(super) fn new(options: &ConnectionOptions, id: u64, now: Instant) -> Self {
        let Some(age) = options.max_age else { return Self::default() };
        // Connections that began together must not end together.
        let mut random = Random::new(options.seed.unwrap_or_else(rt::entropy).wrapping_add(id));
        Self { limit: now.checked_add(random.jitter(age, JITTER)), retired: None }
    }

    pub(super) const fn retired(&self) -> Option<Retired> {
        self.retired
    }
}

impl Core {
    /// Begins a graceful close when the connection's time is up.
    pub(super) fn check_age(&mut self) {
        if self.age.retired.is_some() || !self.conn.lifecycle().is_handshaken() {
            return;
        }
        let now = self.now;
        if self.age.limit.is_some_and(|at| now >= at) {
            let hard = self.options.max_age_grace.and_then(|grace| now.checked_add(grace));
            self.age.retired = Some(Retired { hard, word: "max_age" });
        } else if self.idle_limit().is_some_and(|at| now >= at) {
            self.age.retired = Some(Retired { hard: None, word: "max_idle" });
        }
    }

    fn idle_limit(&self) -> Option<Instant> {
        let idle: Duration = self.options.max_idle?;
        self.timers.quiet_since().filter(|_| self.conn.streams() == 0)?.checked_add(idle)
    }

    pub(super) fn next_age_time(&self) -> Option<Instant> {
        if self.age.retired.is_some() {
            return None;
        }
        [self.age.limit, self.idle_limit()].into_iter().flatten().min()
    }
}
