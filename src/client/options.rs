//! The setters of a channel's options.

use crate::client::advanced::Advanced;
use crate::client::builder::ChannelBuilder;
use crate::connection::engine::Engine;
use crate::memory::budget::Budget;
use crate::pool::{Balance, PoolOptions};
use crate::rt::executor::Executor;
use std::sync::Arc;
use std::time::Duration;

/// Connections: how many, how long they live, how they are made and checked.
///
/// ```
/// use framewire::client::Channel;
/// use std::time::Duration;
///
/// let channel = Channel::builder("http://users.local:80")
///     .connect_timeout(Duration::from_secs(5))
///     .min_connections(1)
///     .max_connections(8)
///     .idle_timeout(Duration::from_secs(600))
///     .backoff(Duration::from_millis(500), Duration::from_secs(30))
///     .build()?;
/// # Ok::<(), framewire::client::BuildError>(())
/// ```
impl ChannelBuilder {
    /// Sets the time for connecting, TLS included. Default 20 s; 0 is an error.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.settings.connect_timeout = Some(time);
        self
    }

    /// Sets the silence after which a PING is sent while calls are in flight, again and again.
    /// Default off: while calls wait, one PING checks a silent peer anyway
    /// ([`Advanced::doubt`](super::Advanced::doubt)), and a peer whose system has stopped answering is
    /// found within about 20 s.
    ///
    /// Less than 10 s counts as 10 s (gRFC A8). Default gRPC servers allow one PING in 5 min; after
    /// `too_many_pings` the channel doubles the interval for its next connections.
    pub fn keepalive_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.settings.keepalive_time = Some(time.into());
        self
    }

    /// Sets the time that a peer has to answer a PING before the connection ends and its calls fail.
    /// Applies only with [`ChannelBuilder::keepalive_time`]. Default 20 s, as in gRPC; 0 is an error.
    pub fn keepalive_timeout(mut self, time: Duration) -> Self {
        self.settings.keepalive_timeout = Some(time);
        self
    }

    /// Sets whether [`ChannelBuilder::keepalive_time`] also applies without calls in flight. Default
    /// `false`: gRPC servers then allow one PING in 2 h.
    pub fn keepalive_without_calls(mut self, always: bool) -> Self {
        self.settings.keepalive_without_calls = Some(always);
        self
    }

    /// Sets the number of connections kept to each endpoint once the channel has been used; they are
    /// dialled again after a loss. Default 0. More than the maximum is an error.
    pub fn min_connections(mut self, connections: u32) -> Self {
        self.settings.min_connections = Some(connections);
        self
    }

    /// Sets the limit of connections to each endpoint that take calls or are being dialled. Default
    /// 4; 0 is an error.
    ///
    /// Connections that drain do not count: they finish their calls and take no new ones. Only
    /// [`Advanced::cap`] bounds them.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.settings.max_connections = Some(connections);
        self
    }

    /// Sets the time without calls after which the last connection is closed too, down to
    /// [`ChannelBuilder::min_connections`]. Default 30 min. Connections beyond the first close
    /// after [`Advanced::shrink_after`].
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.settings.idle_timeout = Some(time);
        self
    }

    /// Sets the age, ± 10 %, at which a connection is replaced: the new one is ready before the old
    /// one stops taking calls. Default off.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.settings.max_connection_age = Some(age.into());
        self
    }

    /// Sets the backoff after failed dials: `initial`, then times 1.6 up to `max`, each ± 20 %.
    /// Default 1 s and 120 s. `initial` above `max` is an error.
    ///
    /// The second value stands for three dials: 1, 1.6, 1.6, 1.6, 2.6 s and so on.
    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.settings.backoff = Some((initial, max));
        self
    }

    /// Sets how calls are spread over the endpoints of a
    /// [`ChannelBuilder::resolver`]. Default [`Balance::PickFirst`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.settings.balance = Some(balance);
        self
    }
}

/// Limits: calls and bytes.
///
/// ```
/// use framewire::Budget;
/// use framewire::client::Channel;
///
/// let channel = Channel::builder("http://users.local:80")
///     .max_queued_calls(1_000)
///     .stream_window(2 * 1024 * 1024)
///     .connection_window(8 * 1024 * 1024)
///     .budget(Budget::new(256 * 1024 * 1024))
///     .max_receive_message(1024 * 1024)
///     .build()?;
/// # Ok::<(), framewire::client::BuildError>(())
/// ```
impl ChannelBuilder {
    /// Sets how many calls may wait for a connection; the next one fails with RESOURCE_EXHAUSTED.
    /// Default 10,000; 0 is an error.
    pub fn max_queued_calls(mut self, calls: u32) -> Self {
        self.settings.max_queued_calls = Some(calls);
        self
    }

    /// Sets the initial receive window of a stream, in bytes. Default 1 MiB. It grows to half of the
    /// connection's window, at most to [`Limits::stream_window_max`](crate::Limits::stream_window_max), or
    /// stays at a larger value given here. More than 2³¹ − 1 is an error.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.settings.stream_window = Some(bytes);
        self
    }

    /// Sets the initial receive window of a connection, in bytes. Default 4 MiB. It grows by
    /// bandwidth–delay product within the connection's fair share of the budget, at most to
    /// [`Limits::connection_window_max`](crate::Limits::connection_window_max), or stays at a larger
    /// value given here. More than 2³¹ − 1 is an error.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.settings.connection_window = Some(bytes);
        self
    }

    /// Sets the budget of bytes that the channel's connections may hold for their peers. Default
    /// [`Budget::process`].
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Sets the largest message received, in bytes, decompressed. Default 4 MiB. A larger one ends
    /// the call with RESOURCE_EXHAUSTED.
    pub const fn max_receive_message(mut self, bytes: usize) -> Self {
        self.limits.receive = bytes;
        self
    }

    /// Sets the largest message sent, in bytes. Default 2 GiB − 1. A larger one ends the call with
    /// RESOURCE_EXHAUSTED.
    pub const fn max_send_message(mut self, bytes: usize) -> Self {
        self.limits.send = bytes;
        self
    }

    /// Sets the largest body of a response to [`Channel::http`](crate::client::Channel::http), in
    /// bytes. Default: the limit of [`ChannelBuilder::max_receive_message`]. A larger one ends the
    /// call with RESOURCE_EXHAUSTED, kind `Limit`.
    pub const fn max_http_body(mut self, bytes: usize) -> Self {
        self.limits.http_body = Some(bytes);
        self
    }
}

/// Everything else.
impl ChannelBuilder {
    /// Binds the channel to a tokio runtime: all its tasks run there, whichever thread makes a call or
    /// dials first. Default none: a task runs on the runtime of the thread whose call needs it.
    ///
    /// Without it, connections end with the runtime that happened to dial them, and a channel that several
    /// runtimes share loses calls when one of them ends. With it, calls may come from any runtime, and calls
    /// without a deadline from any executor; a deadline needs a tokio timer on the thread that polls the
    /// call.
    ///
    /// The runtime must run. One that is kept and not polled, such as a `current_thread` runtime between two
    /// `block_on`, or one whose workers all block, holds the dial, the connections and the maintenance that
    /// run there: nothing tells the channel that they stand still, so calls of other runtimes that need them
    /// wait until their deadlines. This is also so for a channel that is not bound and that several runtimes
    /// share: give each `current_thread` runtime a channel of its own, or bind the channel to a runtime that
    /// always runs.
    ///
    /// # Errors
    /// A runtime without a timer (`enable_time`) is an error of [`ChannelBuilder::build`].
    ///
    /// ```
    /// use framewire::client::Channel;
    ///
    /// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    /// let channel = Channel::builder("http://users.local:80")
    ///     .executor(runtime.handle().clone())
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executor(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.settings.executor = Executor::of(runtime);
        self
    }

    /// Sets the HTTP/2 engine. Default [`Engine::builtin`].
    pub fn engine(mut self, engine: Engine) -> Self {
        self.settings.engine = Some(engine);
        self
    }

    /// Sets what precedes this crate's own `user-agent`, such as `billing/2.1`. Default nothing. Text other
    /// than printable ASCII is an error of [`ChannelBuilder::build`].
    pub fn user_agent(mut self, name: &str) -> Self {
        self.settings.user_agent = Some(name.to_owned());
        self
    }

    /// Sets the options that few programs need. It replaces what an earlier call set.
    pub fn advanced(mut self, advanced: Advanced) -> Self {
        self.settings.advanced = advanced;
        self
    }

    /// Sets the internal options to which all others are applied. For this crate's own tests; no
    /// semver promise.
    #[doc(hidden)]
    pub fn unstable_pool(mut self, options: PoolOptions) -> Self {
        self.settings.base = Some(options);
        self
    }
}
