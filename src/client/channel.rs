//! A channel: a cheap clone over the pool.

use crate::call::messages::MessageLimits;
use crate::client::policy::Retries;
use crate::error::Error;
use crate::grpc::method::Path;
use crate::grpc::{Metadata, Status, request};
use crate::http2::Template;
use crate::memory::replay::ReplayBudget;
use crate::pool::{
    ChannelState, CloseReport, Finding, Pool, PoolAdvice, PoolStats, Share, Tenant, Warmed, outside,
};
use crate::rt::executor::with_timers;
use crate::rt::sync::Mutex;
use crate::transport::connect::ConnectionInfo;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Sees, and may change, the metadata of every call before it is sent; an error ends the call with
/// that status. [`ChannelBuilder::intercept`](super::ChannelBuilder::intercept) adds one.
pub type Interceptor = Arc<dyn Fn(&mut Metadata) -> Result<(), Status> + Send + Sync>;

/// A channel to one target: a pool of connections. It dials nothing before the first call.
///
/// Clones are cheap and share the pool. Dropping the last clone closes the connections once their
/// calls have ended; [`Channel::close`] waits for that.
///
/// # Runtime
/// Dials, connections and maintenance are tasks on the tokio runtime of the thread whose call needs them
/// first, and end with that runtime: calls on its connections then fail with UNAVAILABLE, and the next call
/// dials on its own runtime. [`ChannelBuilder::executor`](super::ChannelBuilder::executor) binds all tasks to
/// one runtime, so that calls may come from any thread. The runtime needs a timer, and I/O for sockets
/// (`enable_all`), and must run: while nobody polls it, calls that need its tasks wait until their deadlines.
///
/// A call outside a tokio runtime fails with [`Kind::Misuse`](crate::error::Kind::Misuse) unless the channel
/// is bound, or runs already. Nothing panics when a runtime ends.
///
/// ```
/// # #[cfg(feature = "server")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use framewire::client::{Channel, ChannelState};
/// use framewire::server::{Router, Server};
/// use framewire::transport::in_memory;
/// use framewire::{Method, Raw, Response};
///
/// const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
///
/// let (connector, listener) = in_memory(64 * 1024);
/// let router = Router::new()
///     .unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) });
/// let _server = Server::builder(router).serve(listener)?;
///
/// let channel = Channel::builder("http://echo.local").connector(connector).build()?;
/// assert_eq!(*channel.state().borrow(), ChannelState::Idle);
///
/// let response = channel.unary(&ECHO, Raw(b"hello".as_slice().into())).await?;
/// assert_eq!(&response.into_inner().0[..], b"hello");
/// assert_eq!(*channel.state().borrow(), ChannelState::Ready);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "server"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Channel {
    pub(super) inner: Arc<Inner>,
}

/// What clones share; a tenant's has its own, over the same pool.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) pool: Arc<Pool>,
    /// Whose calls these are, if several share the channel.
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) limits: MessageLimits,
    pub(super) scheme: &'static str,
    pub(super) authority: Arc<str>,
    pub(super) user_agent: Arc<str>,
    pub(super) interceptors: Arc<[Interceptor]>,
    /// Of requests that were handed to a connection.
    pub(super) keep: Arc<ReplayBudget>,
    /// Most channels have none.
    pub(super) retries: Option<Arc<Retries>>,
    /// Warnings about the options.
    pub(super) findings: Arc<[Finding]>,
    /// One prepared head a method, and the last one used.
    pub(super) templates: Arc<Mutex<Templates>>,
}

#[derive(Default)]
pub(super) struct Templates {
    last: Option<(&'static str, Arc<Template>)>,
    all: HashMap<&'static str, Arc<Template>>,
}

impl Channel {
    /// The same channel for a tenant that shares it with others: connections, sessions and options
    /// are those of this one, its calls wait in a line of their own and are bounded by `share`. So
    /// many small tenants need no connections of their own, and none of them delays another beyond
    /// its share. Tenants that must not meet on a connection are kept apart by
    /// [`Channels`](super::Channels).
    ///
    /// The label names the tenant: who names it again gets the same lines and counts, and `share`
    /// holds from then on. A tenant is forgotten once its channels are dropped and its calls have
    /// ended. A tenant of a tenant's channel is one of the channel's.
    ///
    /// Calls beyond [`Share::max_calls`] wait, and those beyond [`Share::max_waiting`] fail with
    /// RESOURCE_EXHAUSTED; one whose deadline passes meanwhile fails with DEADLINE_EXCEEDED.
    /// A call that moves, or that a policy tries again, keeps its seat.
    #[must_use]
    pub fn tenant(&self, label: &str, share: Share) -> Self {
        let tenant = Some(self.inner.pool.tenant(label, share));
        Self { inner: Arc::new(Inner { tenant, ..Inner::clone(&self.inner) }) }
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        *self.inner.pool.watch().borrow() == ChannelState::Shutdown
    }

    /// Whether nobody but one holder knows the channel, and it has no connection.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
            && Arc::strong_count(&self.inner.pool) == 1
            && self.inner.pool.connections().is_empty()
            && self.inner.pool.waiting() == 0
    }

    /// Dials a connection without waiting for a call. Watch [`Channel::state`] for the outcome. Outside a
    /// tokio runtime it does nothing, unless the channel is bound to one.
    pub fn connect(&self) {
        self.inner.pool.connect();
    }

    /// Dials until `connections` to each endpoint are ready (TLS, ALPN and the peer's SETTINGS) or have
    /// failed once, and keeps that many from then on. Returns what was reached and what was not: an
    /// endpoint that is down does not hold it up. Without an outcome, an endpoint counts as failed
    /// after `ChannelBuilder::connect_timeout`.
    ///
    /// # Errors
    /// Why no endpoint can be reached; the channel continues to dial. [`Kind::Misuse`](crate::error::Kind::Misuse)
    /// outside a tokio runtime, unless the channel is bound to one.
    ///
    /// # Cancel safety
    /// Dials continue if the future is dropped.
    pub async fn warm(&self, connections: u32) -> Result<Warmed, Error> {
        let runtime = self.inner.pool.runtime()?;
        let warm = self.inner.pool.warm(connections);
        with_timers(runtime, warm).await.map_err(outside)?
    }

    /// Ends the pauses after failed dials and failed look-ups of the name: what failed is tried again at
    /// once, and the backoff begins anew. For use when the network is known to have changed. It is
    /// `ResetConnectBackoff` of grpc-go.
    ///
    /// ```
    /// use framewire::client::Channel;
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// channel.reset_connect_backoff();
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    pub fn reset_connect_backoff(&self) {
        self.inner.pool.reset_connect_backoff();
    }

    /// Closes the channel and its clones, and returns when its connections have ended.
    ///
    /// New calls and those that wait for a connection fail at once: "the channel is closed". Each
    /// connection sends GOAWAY, waits for its calls in flight, and shuts TLS down. Calls that have not
    /// ended after `limit` are cut: the server gets RST_STREAM with CANCEL, and they fail with
    /// [`Kind::Shutdown`](crate::error::Kind::Shutdown). The report says how many. `limit` may be
    /// zero, and `Duration::MAX` is no limit.
    ///
    /// Sockets may stay open for some seconds while their peers read what is left. Dropping the last
    /// clone does the same without a limit and without waiting.
    ///
    /// # Runtime
    /// Outside a tokio runtime, unless the channel is bound to one, it closes the channel and does not
    /// wait.
    ///
    /// # Cancel safety
    /// The channel stays closed if the future is dropped. Calls in flight continue, and none is cut.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use framewire::client::Channel;
    /// use std::time::Duration;
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// let report = channel.close(Duration::from_secs(10)).await;
    /// assert_eq!(report.cut, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self, limit: Duration) -> CloseReport {
        let report = match self.inner.pool.runtime() {
            Ok(runtime) => with_timers(runtime, self.inner.pool.close(limit)).await.ok(),
            Err(_) => None,
        };
        report.unwrap_or_else(|| self.inner.pool.close_at_once())
    }

    /// Returns the number of calls that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.inner.pool.waiting()
    }

    /// Returns a receiver of the channel's state; it shows the current state and later changes. The
    /// channel's tasks wait while a borrow of the state is held: copy the value.
    ///
    /// ```
    /// use framewire::client::{Channel, ChannelState};
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// let state = channel.state();
    /// assert_eq!(*state.borrow(), ChannelState::Idle);
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ChannelState> {
        self.inner.pool.watch()
    }

    /// Returns what the channel does now, and why: connections, queued calls, dials, limits. Its
    /// `Display` is a few lines for people.
    ///
    /// It takes short locks: call it often, but not per call.
    ///
    /// ```
    /// use framewire::client::Channel;
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// let stats = channel.stats();
    /// assert_eq!(stats.waiting, 0);
    /// println!("{stats}");
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.pool.stats()
    }

    /// Returns how many connections the load of about the last 30 s needs, with the arithmetic.
    /// `None` until load was measured.
    #[must_use]
    pub fn advice(&self) -> Option<PoolAdvice> {
        self.inner.pool.advice()
    }

    /// Replaces the connections that were made before the last `ClientTls::replace`, and returns
    /// their number. Each stops taking calls when its replacement is ready; calls in flight finish.
    pub fn drain_replaced(&self) -> usize {
        self.inner.pool.drain_replaced()
    }

    /// Returns the warnings about the channel's options that were found when it was built.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.inner.findings
    }

    /// Returns the addresses, TLS parameters and connection times of the open connections, a
    /// snapshot. [`Channel::stats`] reports what each of them is doing.
    ///
    /// ```
    /// use framewire::client::Channel;
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// assert!(channel.connections().is_empty(), "nothing is dialled before the first call");
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.inner.pool.connections().iter().map(|handle| handle.info().clone()).collect()
    }

    /// Returns the handles of the open connections. For this crate's own tests; no semver promise.
    /// [`Channel::stats`] reports each connection.
    #[doc(hidden)]
    #[must_use]
    pub fn unstable_handles(&self) -> Vec<Arc<crate::connection::handle::Handle>> {
        self.inner.pool.connections()
    }

    /// The prepared head of a method on this channel.
    pub(super) fn template(&self, path: Path<'static>) -> Arc<Template> {
        let mut templates = self.inner.templates.lock();
        if let Some((last, template)) = &templates.last
            && std::ptr::eq(*last, path.as_str())
        {
            return Arc::clone(template);
        }
        let inner = &*self.inner;
        let template = Arc::clone(templates.all.entry(path.as_str()).or_insert_with(|| {
            let fields = request::head(path, inner.scheme, &inner.authority, &inner.user_agent);
            Arc::new(Template::new(fields))
        }));
        templates.last = Some((path.as_str(), Arc::clone(&template)));
        template
    }

    pub(super) fn scheme_and_authority(&self) -> (&'static str, &str) {
        (self.inner.scheme, &self.inner.authority)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}
