//! What a channel's setters were given, and the pool's options that are made of it.

use crate::client::advanced::Advanced;
use crate::connection::check::Findings;
use crate::connection::engine::Engine;
use crate::connection::keepalive::Preset;
use crate::connection::options::put;
use crate::grpc::request;
use crate::memory::budget::Budget;
use crate::pool::{Balance, Cap, Finding, PoolOptions};
use crate::rt::executor::Executor;
use std::sync::Arc;
use std::time::Duration;

/// What the setters were given; `None` keeps the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// What the others are applied to, for tests of internals.
    pub(super) base: Option<PoolOptions>,
    /// Of [`Channels`](super::Channels): used if no other cap was set.
    pub(super) fallback_cap: Option<Arc<Cap>>,
    pub(super) advanced: Advanced,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalive_time: Option<Option<Duration>>,
    pub(super) keepalive_timeout: Option<Duration>,
    pub(super) keepalive_without_calls: Option<bool>,
    pub(super) min_connections: Option<u32>,
    pub(super) max_connections: Option<u32>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_age: Option<Option<Duration>>,
    pub(super) max_queued_calls: Option<u32>,
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) balance: Option<Balance>,
    pub(super) stream_window: Option<u32>,
    pub(super) connection_window: Option<u32>,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) engine: Option<Engine>,
    pub(super) user_agent: Option<String>,
    pub(super) executor: Executor,
}

impl Settings {
    /// Returns the `user-agent` of requests.
    pub(super) fn user_agent(&self) -> String {
        match &self.user_agent {
            Some(name) => format!("{name} {}", request::USER_AGENT),
            None => request::USER_AGENT.to_owned(),
        }
    }

    /// Returns what is wrong with what is no option of the pool.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        let name = self.user_agent.as_deref().unwrap_or_default();
        // A line break would begin another field behind a lenient proxy.
        if !name.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            found.error(
                "user_agent has a byte that is not printable ASCII".into(),
                "peers reject such a field, and every call with it",
                "a name and a version, such as billing/2.1",
            );
        }
        if self.executor.is_bound()
            && let Err(error) = self.executor.runtime()
        {
            found.error(
                format!("executor: {error}"),
                "no dial and no task of a connection can wait",
                "a runtime with a timer (enable_all)",
            );
        }
        found.into_vec()
    }

    /// Makes the pool's options: defaults, then the preset, then what was set.
    pub(super) fn pool_options(&self, preset: Option<&Preset>) -> PoolOptions {
        let mut to = self.base.clone().unwrap_or_default();
        if let Some(preset) = preset {
            to = to.liveness(preset);
        }
        self.advanced.apply(&mut to);
        let from = self.clone();
        put(from.connect_timeout, &mut to.dial_time);
        put(from.keepalive_time, &mut to.driver.keepalive);
        put(from.keepalive_timeout, &mut to.driver.keepalive_timeout);
        put(from.keepalive_without_calls, &mut to.driver.keepalive_without_calls);
        put(from.min_connections, &mut to.min_connections);
        put(from.max_connections, &mut to.max_connections);
        put(from.idle_timeout, &mut to.idle_time);
        put(from.max_connection_age, &mut to.max_age);
        put(from.max_queued_calls, &mut to.max_waiting);
        put(from.balance, &mut to.balance);
        put(from.budget.map(Some), &mut to.driver.budget);
        put(from.engine, &mut to.engine);
        if let Some((initial, max)) = from.backoff {
            (to.backoff, to.backoff_max) = (initial, max);
        }
        if from.executor.is_bound() {
            to.executor = from.executor;
        }
        to.driver.set_windows(from.stream_window, from.connection_window);
        if let Some(cap) = from.fallback_cap {
            to.cap.get_or_insert(cap);
        }
        to.bounded()
    }
}
