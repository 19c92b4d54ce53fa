//! The options of a channel that few programs need.

use crate::advisor::sizing::ControllerOptions;
use crate::connection::keepalive::Doubt;
use crate::connection::options::{AdvancedConnection, put};
use crate::http2::Limits;
use crate::pool::{Cap, PoolOptions};
use std::sync::Arc;
use std::time::Duration;

/// The options of a channel that few programs need, for
/// [`ChannelBuilder::advanced`](crate::client::ChannelBuilder::advanced).
///
/// An option that is not set keeps its default. `ChannelBuilder::build` checks them together with
/// the others.
///
/// ```
/// use framewire::client::{Advanced, Channel};
/// use std::time::Duration;
///
/// let advanced = Advanced::default()
///     .probe_after(Duration::from_secs(30))
///     .shrink_after(Duration::from_secs(300))
///     .replay_bytes(0);
/// let channel = Channel::builder("http://users.local:80").advanced(advanced).build()?;
/// assert!(channel.findings().is_empty());
/// # Ok::<(), framewire::client::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Advanced {
    connection: AdvancedConnection,
    probe_after: Option<Option<Duration>>,
    doubt: Option<(Duration, Duration)>,
    leak_after: Option<Option<Duration>>,
    max_calls_per_connection: Option<u32>,
    fill_percent: Option<u32>,
    write_queue_bytes: Option<u32>,
    pick_wait: Option<Duration>,
    shrink_after: Option<Duration>,
    early_calls: Option<bool>,
    resolve_interval: Option<Duration>,
    max_transparent_attempts: Option<u32>,
    replay_bytes: Option<u32>,
    replay_total_bytes: Option<u32>,
    cap: Option<Arc<Cap>>,
    sizing: Option<Option<ControllerOptions>>,
}

/// How one connection behaves.
impl Advanced {
    /// Creates options that change nothing; the same as `Advanced::default()`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits of the HTTP/2 engine. Default [`Limits::client`].
    ///
    /// `ChannelBuilder::stream_window` and `connection_window` replace the windows in it.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.connection.limits = Some(limits);
        self
    }

    /// Sets the time for the peer's first SETTINGS frame; without it the connection ends and its
    /// calls move. Default 20 s. At most `ChannelBuilder::connect_timeout` is useful; 0 is an error.
    pub fn settings_timeout(mut self, time: Duration) -> Self {
        self.connection.settings_timeout = Some(time);
        self
    }

    /// Sets when one PING checks a peer that is silent while a call waits, and how long its answer may
    /// take. Without an answer the connection takes no new calls; those in flight continue. Default 10 s
    /// and 10 s; 0 is an error.
    pub fn doubt(mut self, after: Duration, answer: Duration) -> Self {
        self.doubt = Some((after, answer));
        self
    }

    /// Sets the time after which a connection ends whose socket accepts no byte. Default `None`: a peer
    /// that reads slowly is alive as long as its system answers. 0 is an error.
    pub fn write_stall_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connection.write_stall_timeout = Some(time.into());
        self
    }

    /// Sets the time without progress after which a stream whose peer reads nothing is reset
    /// (CANCEL); its call fails with RESOURCE_EXHAUSTED. Default `None`: slow readers are legitimate,
    /// and only a process that is short of memory resets them, after one minute.
    pub fn stream_stall_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connection.stream_stall_timeout = Some(time.into());
        self
    }

    /// Sets the silence on a connection after which a call first waits for the answer to a PING: for
    /// two round trips, at least 20 ms. Without an answer the call moves to another connection.
    /// Default 60 s; `None` sends calls immediately.
    pub fn probe_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.probe_after = Some(time.into());
        self
    }

    /// Sets the time after which a call that nobody waits for, and that makes no progress, is
    /// reported once with the line of code that began it: as a warning, and in
    /// [`PoolStats`](crate::client::PoolStats). The call continues. Default 10 min; `None` reports
    /// none.
    pub fn leak_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.leak_after = Some(time.into());
        self
    }
}

/// How the pool uses connections.
impl Advanced {
    /// Sets the share of the peer's stream limit up to which a connection is filled before the next
    /// one is used, in percent, from 1 to 100. Default 75.
    pub fn fill_percent(mut self, percent: u32) -> Self {
        self.fill_percent = Some(percent);
        self
    }

    /// Sets how many calls a connection carries at a time, at least 1, if its peer allows more or names no
    /// limit. Further calls wait in the queue. Default 16,384.
    ///
    /// A peer that names no limit (SETTINGS_MAX_CONCURRENT_STREAMS) is taken to want 100: the pool fills a
    /// connection up to [`Advanced::fill_percent`] of that before it uses another one. Once
    /// `max_connections` of them are so full, calls continue up to this limit.
    pub fn max_calls_per_connection(mut self, calls: u32) -> Self {
        self.max_calls_per_connection = Some(calls);
        self
    }

    /// Sets the bytes waiting to be written above which a connection counts as full. Default 64 KiB.
    pub fn write_queue_bytes(mut self, bytes: u32) -> Self {
        self.write_queue_bytes = Some(bytes);
        self
    }

    /// Sets the time that a call waits for a connection's task above which the connection counts as
    /// full. Default 1 ms.
    pub fn pick_wait(mut self, time: Duration) -> Self {
        self.pick_wait = Some(time);
        self
    }

    /// Sets the time without calls after which a connection beyond the first is closed. Default
    /// 60 s. The first one has `ChannelBuilder::idle_timeout`.
    pub fn shrink_after(mut self, time: Duration) -> Self {
        self.shrink_after = Some(time);
        self
    }

    /// Sets whether calls leave with the connection preface, before the peer's SETTINGS, up to
    /// [`Limits::streams_before_settings`](crate::http2::Limits::streams_before_settings) on a
    /// connection, while no other one is ready. Default off: calls wait in the pool until TLS, ALPN
    /// and SETTINGS have succeeded, so a call that no server has seen says so.
    ///
    /// On saves up to one round trip for the first call. The price: calls that wait for a connection
    /// which then fails may have been processed, and those beyond the peer's stream limit are refused
    /// and move.
    pub fn early_calls(mut self, early: bool) -> Self {
        self.early_calls = Some(early);
        self
    }

    /// Sets the least time between two resolutions of the target's name. Default 30 s.
    pub fn resolve_interval(mut self, time: Duration) -> Self {
        self.resolve_interval = Some(time);
        self
    }

    /// Sets how often a call is written to servers that refuse its stream with REFUSED_STREAM before it
    /// fails with UNAVAILABLE, which is safe to retry. Default 3, at least 1.
    ///
    /// The second time is immediate (gRFC A6, transparent retry). After a second refusal the call waits
    /// in the queue for the connection that refused it, until a call there has ended or the server's
    /// SETTINGS raise the limit; that connection takes no more calls meanwhile. With no other call in
    /// flight there, the call fails. Calls that were never written, or that a GOAWAY leaves unprocessed,
    /// move without a limit.
    pub fn max_transparent_attempts(mut self, attempts: u32) -> Self {
        self.max_transparent_attempts = Some(attempts);
        self
    }

    /// Sets the bytes that a stream has sent and keeps until its response begins, so that the call
    /// can be replayed on another connection. A stream that sends more does not move any longer.
    /// Default 256 KiB; 0 keeps none.
    pub fn replay_bytes(mut self, bytes: u32) -> Self {
        self.replay_bytes = Some(bytes);
        self
    }

    /// Sets the limit of [`Advanced::replay_bytes`] for all calls of the channel together; requests
    /// of more than 64 KiB count, too. A request above the limit does not move once it was written.
    /// Default 16 MiB.
    pub fn replay_total_bytes(mut self, bytes: u32) -> Self {
        self.replay_total_bytes = Some(bytes);
        self
    }

    /// Sets the limits on sockets and dials per second that the channel shares with others. Default
    /// [`Cap::process`].
    pub fn cap(mut self, cap: Arc<Cap>) -> Self {
        self.cap = Some(cap);
        self
    }

    /// Lets a controller follow the load: it dials before calls wait, and drains connections when
    /// fewer are enough, between `min_connections` and `max_connections`. Default `None`: the pool
    /// grows when connections are full and shrinks when they are idle.
    pub fn sizing(mut self, options: impl Into<Option<ControllerOptions>>) -> Self {
        self.sizing = Some(options.into());
        self
    }

    /// Writes what was set into the pool's options.
    pub(super) fn apply(&self, to: &mut PoolOptions) {
        let from = self.clone();
        from.connection.apply(&mut to.driver);
        put(from.probe_after, &mut to.driver.probe_after);
        if let Some((after, answer)) = from.doubt {
            to.driver.doubt = Doubt { after, answer };
        }
        put(from.leak_after, &mut to.driver.leak_after);
        put(from.max_calls_per_connection, &mut to.max_calls);
        put(from.fill_percent, &mut to.fill_percent);
        put(from.write_queue_bytes, &mut to.write_queue_bytes);
        put(from.pick_wait, &mut to.pick_wait);
        put(from.shrink_after, &mut to.shrink_after);
        put(from.early_calls, &mut to.early_calls);
        put(from.resolve_interval, &mut to.resolve_interval);
        put(from.max_transparent_attempts, &mut to.attempts);
        put(from.replay_bytes, &mut to.keep_bytes);
        put(from.replay_total_bytes, &mut to.keep_total_bytes);
        put(from.cap.map(Some), &mut to.cap);
        put(from.sizing, &mut to.sizing);
    }
}
