//! The options of one connection.

use crate::connection::keepalive::{Doubt, PROBE_AFTER, Preset};
use crate::http2::settings::MAX_WINDOW;
use crate::http2::{Limits, Role};
use crate::memory::budget::Budget;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// The longest time that an option means: ten years. Longer ones would overflow clocks to which
/// they are added.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Replaces `to` if there is a value.
pub(crate) fn put<T>(from: Option<T>, to: &mut T) {
    if let Some(value) = from {
        *to = value;
    }
}

/// What the `Advanced` options of a client and of a server both set; `None` keeps the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdvancedConnection {
    pub(crate) limits: Option<Limits>,
    pub(crate) settings_timeout: Option<Duration>,
    pub(crate) write_stall_timeout: Option<Option<Duration>>,
    pub(crate) stream_stall_timeout: Option<Option<Duration>>,
}

impl AdvancedConnection {
    /// Writes what was set into the options of connections.
    pub(crate) fn apply(&self, to: &mut ConnectionOptions) {
        put(self.limits.clone(), &mut to.limits);
        put(self.settings_timeout, &mut to.settings_time);
        put(self.write_stall_timeout, &mut to.write_stall_time);
        put(self.stream_stall_timeout, &mut to.stream_stall_time);
    }
}

/// How one connection behaves; the limits of the HTTP/2 engine are in [`Limits`].
///
/// Internal: `client` and `server` build it from their own option types.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// The limits of the HTTP/2 engine.
    pub limits: Limits,
    /// Time for the peer's first SETTINGS. Default 20 s on a client, 10 s on a server.
    pub settings_time: Duration,
    /// When one PING asks whether a silent peer is alive, and how long its answer may take. Without an
    /// answer a client's connection takes no new calls; those in flight continue. Default 10 s and 10 s.
    pub doubt: Doubt,
    /// A socket that takes no byte for this long ends the connection. Default off: a peer that reads slowly
    /// is alive as long as its system answers.
    pub write_stall_time: Option<Duration>,
    /// Silence after which a PING is sent, again and again; off by default, at least 10 s. A client
    /// sends none while it has no calls. A channel doubles it for its next connections when a peer
    /// says `too_many_pings`; gRPC servers allow 5 min by default.
    pub keepalive: Option<Duration>,
    /// With `keepalive`: the time that the answer to a PING may take, after which the connection is closed
    /// and its calls fail. Default 20 s.
    pub keepalive_timeout: Duration,
    /// Whether a client's `keepalive` goes on without calls. Off by default: gRPC servers allow one
    /// PING in 2 h then.
    pub keepalive_without_calls: bool,
    /// Silence after which a client sends a PING before the next call, and holds the call back until
    /// it hears something: for two round trips, at least 20 ms; then the call goes to another
    /// connection, and this one takes no more. Default 60 s; `None` sends calls at once.
    pub probe_after: Option<Duration>,
    /// Time without progress after which a stream whose peer takes none of its bytes is reset with
    /// CANCEL; the call fails with RESOURCE_EXHAUSTED. Default off: slow readers are legitimate, and
    /// only a process that is short of memory resets them, after one minute.
    pub stream_stall_time: Option<Duration>,
    /// Time after which a client's call that nobody waits for, and that makes no progress, is
    /// reported once with the line of code that began it, as a warning and in the channel's stats.
    /// The call continues. Default 10 min; `None` reports none.
    pub leak_after: Option<Duration>,
    /// The bytes that this connection and its streams may hold for the peer. Above 150 % of it, a
    /// server refuses new calls (REFUSED_STREAM) on connections that already have one in flight, or four if they
    /// hold no more than their share.
    /// Default the budget of the process.
    pub budget: Option<Arc<Budget>>,
    /// Age, ± 10 %, at which a server drains the connection: its streams continue, new calls go
    /// elsewhere. Default off. Servers only.
    pub max_age: Option<Duration>,
    /// Time after `max_age` until the remaining streams are cut. Default without limit. Servers only.
    pub max_age_grace: Option<Duration>,
    /// Time without a stream, from the start or from the last stream's end, after which a server
    /// closes the connection. Default off. Servers only.
    pub max_idle: Option<Duration>,
    /// Seed of the jitter of `max_age`, for tests that must repeat. Default random.
    pub seed: Option<u64>,
}

/// [`ConnectionOptions`] that several hold. Who changes them gets a copy of its own.
#[derive(Clone, Debug)]
pub struct SharedOptions(Arc<ConnectionOptions>);

impl From<ConnectionOptions> for SharedOptions {
    fn from(options: ConnectionOptions) -> Self {
        Self(Arc::new(options))
    }
}

impl SharedOptions {
    /// Returns the options that are shared.
    #[must_use]
    pub fn into_arc(self) -> Arc<ConnectionOptions> {
        self.0
    }
}

impl Deref for SharedOptions {
    type Target = ConnectionOptions;

    fn deref(&self) -> &ConnectionOptions {
        &self.0
    }
}

impl DerefMut for SharedOptions {
    fn deref_mut(&mut self) -> &mut ConnectionOptions {
        Arc::make_mut(&mut self.0)
    }
}

impl ConnectionOptions {
    /// Defaults for a role.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        let server = matches!(role, Role::Server);
        Self {
            limits: if server { Limits::server() } else { Limits::client() },
            settings_time: Duration::from_secs(if server { 10 } else { 20 }),
            doubt: Doubt::new(),
            write_stall_time: None,
            keepalive: None,
            keepalive_timeout: Duration::from_secs(20),
            keepalive_without_calls: false,
            probe_after: if server { None } else { Some(PROBE_AFTER) },
            stream_stall_time: None,
            leak_after: if server { None } else { Some(Duration::from_secs(600)) },
            budget: None,
            max_age: None,
            max_age_grace: None,
            max_idle: None,
            seed: None,
        }
    }

    /// Returns the bytes beyond which a connection's receive window does not grow, whatever the path asks for;
    /// `u64::MAX` if nothing but the budget bounds it.
    pub(crate) fn window_bound(&self) -> u64 {
        let most = Some(self.limits.connection_window_max).filter(|most| *most < MAX_WINDOW);
        most.map_or(u64::MAX, u64::from)
    }

    /// The budget that holds: the process's where none is named.
    pub(crate) fn shared_budget(&self) -> Arc<Budget> {
        self.budget.clone().unwrap_or_else(Budget::process)
    }

    /// Takes a client's times from a preset: `keepalive` and, without calls, none; `doubt`;
    /// `probe_after`. By preset, in seconds:
    ///
    /// | preset | `keepalive` | `probe_after` |
    /// |---|---|---|
    /// | plain, Kubernetes | off | 60 |
    /// | AWS NLB | 320 | 60 |
    /// | AWS ALB | off | 45 |
    /// | cloud | 320 if it fits below the limit | 60, or ¾ of the limit if that is less |
    ///
    /// The preset's socket options are the connector's; see `PoolOptions::liveness` for idle time.
    #[must_use]
    pub fn liveness(mut self, preset: &Preset) -> Self {
        self.keepalive = preset.keepalive;
        self.keepalive_without_calls = false;
        self.doubt = preset.doubt;
        self.probe_after = Some(preset.probe_after);
        self
    }

    /// Sets initial receive windows; one above its maximum raises that, too.
    pub(crate) fn set_windows(&mut self, stream: Option<u32>, connection: Option<u32>) {
        let limits = &mut self.limits;
        if let Some(bytes) = stream {
            limits.stream_window = bytes;
            limits.stream_window_max = limits.stream_window_max.max(bytes);
        }
        if let Some(bytes) = connection {
            limits.connection_window = bytes;
            limits.connection_window_max = limits.connection_window_max.max(bytes);
        }
    }

    /// Reduces times that no clock can add to [`TIME_MAX`].
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let times = [
            &mut self.settings_time,
            &mut self.doubt.after,
            &mut self.doubt.answer,
            &mut self.keepalive_timeout,
        ];
        let optional = [
            &mut self.write_stall_time,
            &mut self.keepalive,
            &mut self.probe_after,
            &mut self.stream_stall_time,
            &mut self.leak_after,
            &mut self.max_age,
            &mut self.max_age_grace,
            &mut self.max_idle,
        ];
        for time in times.into_iter().chain(optional.into_iter().flatten()) {
            *time = (*time).min(TIME_MAX);
        }
        self.limits.field_block_time = self.limits.field_block_time.min(TIME_MAX);
        self.limits.frame_time = self.limits.frame_time.min(TIME_MAX);
        self.limits.premature_age = self.limits.premature_age.min(TIME_MAX);
        self.limits.wasted_time = self.limits.wasted_time.min(TIME_MAX);
        self.limits.ping_interval_min = self.limits.ping_interval_min.min(TIME_MAX);
        self
    }
}
