//! Building a server: its options, and how the options of connections are made of them.

use crate::connection::check::{Finding, Findings, split, write_lines};
use crate::connection::driver::Drain;
use crate::connection::engine::Engine;
use crate::connection::options::{ConnectionOptions, TIME_MAX, put};
use crate::http2::Role;
use crate::memory::budget::Budget;
use crate::rt;
use crate::rt::executor::Executor;
use crate::server::admission::WAITING_MAX;
use crate::server::advanced::Advanced;
use crate::server::handshakes::Handshakes;
use crate::server::listener::{Logs, Server, Shared, accept_loop};
use crate::server::router::Router;
use crate::transport::accept::Accept;
use crate::transport::tcp::TcpAcceptor;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::transport::tls::ServerTls;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Why a server cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Options contradict each other or cannot work: every error that was found.
    Options(Vec<Finding>),
    /// The thread is outside a tokio runtime, or the runtime has no timer. The text says which.
    NoRuntime(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(findings) => write_lines(findings, f),
            Self::NoRuntime(reason) => write!(f, "a server cannot begin here: {reason}"),
        }
    }
}

impl std::error::Error for BuildError {}

fn into_io(error: BuildError) -> io::Error {
    let kind = match error {
        BuildError::Options(_) => io::ErrorKind::InvalidInput,
        BuildError::NoRuntime(_) => io::ErrorKind::Unsupported,
    };
    io::Error::new(kind, error)
}

/// Builder for a [`Server`]; [`Server::builder`] creates one.
///
/// ```
/// use framewire::server::{Router, Server};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder(Router::new())
///     .max_connections(1_000)
///     .max_concurrent_streams(100)
///     .max_connection_age(Duration::from_secs(3600))
///     .max_connection_idle(Duration::from_secs(900))
///     .bind("127.0.0.1:0".parse().unwrap())?;
/// println!("listening on {}", server.local_addr().unwrap());
/// server.shutdown(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct ServerBuilder {
    router: Router,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<ServerTls>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    plaintext_too: bool,
    /// What the setters are applied to, for tests of internals.
    base: ConnectionOptions,
    advanced: Advanced,
    max_concurrent_streams: Option<u32>,
    stream_window: Option<u32>,
    connection_window: Option<u32>,
    budget: Option<Arc<Budget>>,
    keepalive_time: Option<Option<Duration>>,
    keepalive_timeout: Option<Duration>,
    max_connection_age: Option<Option<Duration>>,
    max_connection_age_grace: Option<Option<Duration>>,
    max_connection_idle: Option<Option<Duration>>,
    max_connections: usize,
    handshake_timeout: Duration,
    engine: Engine,
}

impl Server {
    /// Begins a server that serves `router`.
    ///
    /// ```
    /// use framewire::server::{Router, Server};
    /// use framewire::{Method, Raw, Response};
    ///
    /// const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
    ///
    /// let router = Router::new()
    ///     .unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) });
    /// let builder = Server::builder(router);
    /// assert!(builder.findings().is_empty());
    /// ```
    pub fn builder(router: Router) -> ServerBuilder {
        ServerBuilder {
            router,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            plaintext_too: false,
            base: ConnectionOptions::new(Role::Server),
            advanced: Advanced::default(),
            max_concurrent_streams: None,
            stream_window: None,
            connection_window: None,
            budget: None,
            keepalive_time: None,
            keepalive_timeout: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            max_connection_idle: None,
            max_connections: 8192,
            handshake_timeout: Duration::from_secs(10),
            engine: Engine::builtin(),
        }
    }
}

/// TLS and listening.
impl ServerBuilder {
    /// Sets the TLS configuration. Default none: plaintext.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self.plaintext_too = false;
        self
    }

    /// Serves TLS to clients that begin with it, and plaintext HTTP/2 to the others, on one port;
    /// the first byte decides.
    ///
    /// For ports that migrate from one to the other. An attacker on the path can choose plaintext;
    /// handlers see by [`Context::connection`](super::Context::connection) which it is.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn serve_either(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self.plaintext_too = true;
        self
    }

    /// Returns what is wrong with the options: errors, for which [`ServerBuilder::bind`] and
    /// [`ServerBuilder::serve`] fail, and warnings.
    ///
    /// ```
    /// use framewire::server::{Router, Server, Severity};
    ///
    /// let findings = Server::builder(Router::new()).max_connections(0).findings();
    /// assert_eq!(findings[0].severity, Severity::Error);
    /// assert_eq!(findings[0].what, "max_connections is 0");
    /// ```
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        if self.max_connections == 0 {
            found.error(
                "max_connections is 0".into(),
                "a server without connections serves nothing",
                "max_connections of at least 1; the default is 8192",
            );
        }
        if self.handshake_timeout.is_zero() {
            found.error(
                "handshake_timeout is 0".into(),
                "every TLS handshake fails",
                "handshake_timeout of some seconds; the default is 10 s",
            );
        }
        self.router.look_through(&mut found);
        let options = self.connection_options();
        if options.limits.concurrent_streams == 0 {
            found.error(
                "max_concurrent_streams is 0".into(),
                "clients may not begin any call",
                "max_concurrent_streams of at least 1; the default is 256",
            );
        }
        found.connection(&options);
        found.into_vec()
    }

    /// Listens on a TCP address and serves its connections; port 0 lets the system choose.
    ///
    /// # Runtime
    /// As [`ServerBuilder::serve`]; the runtime must have I/O as well (`enable_all`).
    ///
    /// # Errors
    /// The system's error; kind `InvalidInput` with a [`BuildError`] if the options contradict each
    /// other, kind `Unsupported` if there is no runtime, one without timer or I/O, or one that has ended.
    pub fn bind(self, addr: SocketAddr) -> io::Result<Server> {
        self.checked().map_err(into_io)?;
        let acceptor = TcpAcceptor::bind(addr)?;
        let local = acceptor.local_addr()?;
        Ok(self.begin(Box::new(acceptor), Some(local)))
    }

    /// Serves the connections that `acceptor` accepts.
    ///
    /// # Runtime
    /// The server's tasks run on the tokio runtime of the thread that calls this: the accept loop, one
    /// task per connection and, unless they are polled in place, one per handler. When the runtime ends,
    /// so does the server, without GOAWAY. The runtime must have a timer.
    ///
    /// # Errors
    /// [`BuildError::Options`] if the options contradict each other, [`BuildError::NoRuntime`] outside a
    /// tokio runtime, in one without a timer, or in one that has ended.
    pub fn serve(self, acceptor: impl Accept + 'static) -> Result<Server, BuildError> {
        self.checked()?;
        Ok(self.begin(Box::new(acceptor), None))
    }

    fn checked(&self) -> Result<(), BuildError> {
        let (errors, warnings) = split(self.findings());
        for finding in warnings {
            crate::rt::log!(warn, %finding, "options of a server");
        }
        if !errors.is_empty() {
            return Err(BuildError::Options(errors));
        }
        // Named, it is also asked whether it has ended.
        let here = Executor::current().runtime();
        let runtime = here.and_then(|handle| Executor::of(handle).runtime());
        runtime.map(drop).map_err(|error| BuildError::NoRuntime(error.to_string()))
    }

    fn begin(self, acceptor: Box<dyn Accept>, local: Option<SocketAddr>) -> Server {
        let drain = Arc::new(Drain::new());
        let (stop, stopped) = watch::channel(false);
        let options = Arc::new(self.connection_options());
        let shared = Arc::new(Shared {
            router: Arc::new(self.router.settle()),
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: self.tls,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            plaintext_too: self.plaintext_too,
            options,
            handshake_timeout: self.handshake_timeout.min(TIME_MAX),
            engine: self.engine,
            permits: Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            drain: Arc::clone(&drain),
            handshakes: Handshakes::default(),
            logs: Logs::default(),
        });
        let task = rt::spawn(accept_loop(acceptor, shared, stopped));
        Server::new(local, stop, drain, task)
    }

    /// Makes the options of connections: defaults, then what was set.
    fn connection_options(&self) -> ConnectionOptions {
        let mut to = self.base.clone();
        self.advanced.apply(&mut to);
        to.set_windows(self.stream_window, self.connection_window);
        put(self.max_concurrent_streams, &mut to.limits.concurrent_streams);
        put(self.budget.clone().map(Some), &mut to.budget);
        put(self.keepalive_timeout, &mut to.keepalive_timeout);
        put(self.keepalive_time, &mut to.keepalive);
        put(self.max_connection_age, &mut to.max_age);
        put(self.max_connection_age_grace, &mut to.max_age_grace);
        put(self.max_connection_idle, &mut to.max_idle);
        to.bounded()
    }
}

/// Connections: how many, how long they live, how they are checked.
impl ServerBuilder {
    /// Sets the limit of open connections, those in their TLS handshakes included. Default 8192; 0 is an
    /// error. Above it, a new connection takes the place of one that only waits for its peer to close, or of the
    /// one that has been without a call, or in its handshake, for longest, and for a second at least. Without
    /// one, it is closed when it is accepted.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets the time for the TLS handshake. Default 10 s; 0 is an error. The client's preface and
    /// SETTINGS have [`Advanced::settings_timeout`].
    pub const fn handshake_timeout(mut self, time: Duration) -> Self {
        self.handshake_timeout = time;
        self
    }

    /// Sets the silence after which a PING is sent, again and again, with or without calls. Default
    /// off. Less than 10 s counts as 10 s.
    pub fn keepalive_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.keepalive_time = Some(time.into());
        self
    }

    /// Sets the time that a client has to answer a PING before the connection ends. Applies only with
    /// [`ServerBuilder::keepalive_time`]. Default 20 s, as in gRPC; 0 is an error.
    pub fn keepalive_timeout(mut self, time: Duration) -> Self {
        self.keepalive_timeout = Some(time);
        self
    }

    /// Sets the age, ± 10 %, at which a connection is drained (GOAWAY): its calls continue, new ones
    /// go elsewhere. Default off.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age = Some(age.into());
        self
    }

    /// Sets the time after [`ServerBuilder::max_connection_age`] until the remaining calls are cut.
    /// Default without limit.
    pub fn max_connection_age_grace(mut self, grace: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age_grace = Some(grace.into());
        self
    }

    /// Sets the time without calls after which a connection is closed (GOAWAY). Default off.
    pub fn max_connection_idle(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.max_connection_idle = Some(time.into());
        self
    }
}

/// Limits per connection, and everything else. The limits of messages are the
/// [`Router`]'s.
impl ServerBuilder {
    /// Sets the calls that a client may have open on one connection. Default 256; 0 is an error.
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = Some(streams);
        self
    }

    /// Sets the initial receive window of a stream, in bytes. Default 256 KiB. It grows up to
    /// [`Limits::stream_window_max`](crate::Limits::stream_window_max), or stays at a larger value
    /// given here. More than 2³¹ − 1 is an error.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = Some(bytes);
        self
    }

    /// Sets the initial receive window of a connection, in bytes. Default 1 MiB. It grows up to
    /// [`Limits::connection_window_max`](crate::Limits::connection_window_max), or stays at a larger
    /// value given here. More than 2³¹ − 1 is an error.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = Some(bytes);
        self
    }

    /// Sets the budget of bytes that the server's connections may hold for their clients. Above
    /// 150 % of it, new calls are refused (REFUSED_STREAM) on connections that already have one in
    /// flight, or four if they hold no more than their share. Default [`Budget::process`].
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the HTTP/2 engine. Default [`Engine::builtin`].
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the options that few programs need. It replaces what an earlier call set.
    pub fn advanced(mut self, advanced: Advanced) -> Self {
        self.advanced = advanced;
        self
    }

    /// Sets the internal options to which all others are applied. For this crate's own tests; no
    /// semver promise.
    #[doc(hidden)]
    pub fn unstable_connection(mut self, options: ConnectionOptions) -> Self {
        self.base = options;
        self
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("router", &self.router).finish_non_exhaustive()
    }
}
