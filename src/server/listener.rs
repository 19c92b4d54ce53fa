//! The accept loop: limits, handshakes in tasks of their own, graceful shutdown.

use crate::connection::driver::{ConnectionOptions, Drain, DrainReport, Driver};
use crate::connection::engine::{Engine, EngineTask, Intake};
use crate::connection::handle::Handle;
use crate::http2::Role;
use crate::rt;
use crate::server::router::Router;
use crate::transport::accept::Accept;
use crate::transport::connect::Connected;
use crate::transport::tcp::TcpAcceptor;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::transport::tls::{self, ServerTls};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How a server is to be.
#[must_use]
pub struct ServerBuilder {
    router: Router,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<ServerTls>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    plaintext_too: bool,
    options: ConnectionOptions,
    handshake_time: Duration,
    connections: usize,
    engine: Option<Arc<dyn Engine>>,
}

impl ServerBuilder {
    /// Speaks TLS as configured.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self.plaintext_too = false;
        self
    }

    /// Speaks TLS as configured to clients that begin with it, and plaintext HTTP/2 to the others,
    /// on the same port: the first byte tells. For ports that move from one to the other; who can
    /// alter the bytes on their way can choose plaintext, and handlers tell by
    /// [`Context::connection`](super::Context::connection).
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn serve_either(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self.plaintext_too = true;
        self
    }

    /// How each connection behaves.
    pub fn options(mut self, options: ConnectionOptions) -> Self {
        self.options = options;
        self
    }

    /// Connections at a time; one more is closed as soon as it is accepted. Default 8192.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Time for the TLS handshake. Default 10 s; the preface and the first SETTINGS have
    /// [`ConnectionOptions::settings_time`].
    pub const fn handshake_time(mut self, time: Duration) -> Self {
        self.handshake_time = time;
        self
    }

    /// What speaks HTTP/2 instead of this crate's own driver. Default none.
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Listens on a TCP address; port 0 picks one.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(self, addr: SocketAddr) -> io::Result<Server> {
        let acceptor = TcpAcceptor::bind(addr)?;
        let local = acceptor.local_addr()?;
        let mut server = self.serve(acceptor);
        server.local = Some(local);
        Ok(server)
    }

    /// Serves what `acceptor` accepts.
    pub fn serve(self, acceptor: impl Accept + 'static) -> Server {
        let drain = Arc::new(Drain::new());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            router: Arc::new(self.router.settle()),
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: self.tls,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            plaintext_too: self.plaintext_too,
            options: Arc::new(self.options),
            handshake_time: self.handshake_time,
            engine: self.engine,
            permits: Arc::new(Semaphore::new(self.connections.min(Semaphore::MAX_PERMITS))),
            drain: Arc::clone(&drain),
        });
        let task = rt::spawn(accept_loop(Box::new(acceptor), shared, stopped));
        Server { local: None, shutdown: Shutdown { stop: Arc::new(stop), drain }, task }
    }
}

/// A server at work. Dropping it does not stop it: use [`Server::shutdown`].
#[derive(Debug)]
pub struct Server {
    local: Option<SocketAddr>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

/// Ends a server, from anywhere.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stop: Arc<watch::Sender<bool>>,
    drain: Arc<Drain>,
}

impl Server {
    /// Begins a server that serves `router`.
    pub fn builder(router: Router) -> ServerBuilder {
        ServerBuilder {
            router,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            plaintext_too: false,
            options: ConnectionOptions::new(Role::Server),
            handshake_time: Duration::from_secs(10),
            connections: 8192,
            engine: None,
        }
    }

    /// Where it listens, if that is a TCP address.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// A handle to end it with.
    #[must_use]
    pub fn handle(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Drains and ends: see [`Shutdown::drain`].
    pub async fn shutdown(self, grace: Duration) -> DrainReport {
        let report = self.shutdown.drain(grace).await;
        self.task.abort();
        report
    }

    /// Waits until the accept loop has ended.
    pub async fn wait(self) {
        let _ = self.task.await;
    }
}

impl Shutdown {
    /// Stops accepting, tells every connection with two GOAWAYs and a PING between, waits for
    /// their streams up to `grace`, then cuts what is left.
    pub async fn drain(&self, grace: Duration) -> DrainReport {
        self.stop.send_replace(true);
        let now = rt::now();
        self.drain.begin(now, now + grace);
        let patience = grace + Duration::from_secs(1);
        let _ = rt::timeout(patience, self.drain.ended()).await;
        self.drain.report()
    }

    /// Connections that live.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.drain.connections()
    }
}

struct Shared {
    router: Arc<Router>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<ServerTls>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    plaintext_too: bool,
    options: Arc<ConnectionOptions>,
    handshake_time: Duration,
    engine: Option<Arc<dyn Engine>>,
    permits: Arc<Semaphore>,
    drain: Arc<Drain>,
}

async fn accept_loop(
    mut acceptor: Box<dyn Accept>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stopped) => return,
            accepted = acceptor.accept() => accepted,
        };
        let connected = match accepted {
            Ok(connected) => connected,
            Err(error) => {
                tracing::error!(%error, "the listener has ended");
                return;
            }
        };
        let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() else {
            // Over the limit: closing at once tells the client sooner than a queue would.
            tracing::warn!(peer = ?connected.info.peer, "connection refused: max_connections");
            continue;
        };
        let shared = Arc::clone(&shared);
        // In a task of its own: one client that says nothing must not stop the others.
        rt::spawn(async move {
            let Some(driving) = handshake(connected, &shared).await else { return };
            // In another task again: what a handshake needs is given back before the long life of
            // the connection begins.
            rt::spawn(async move {
                match driving {
                    Driving::Ours(driver) => driver.await,
                    Driving::Foreign(task) => task.await,
                }
                drop(permit);
            });
        });
    }
}

/// Ready when somebody says so; a server whose handles are all gone goes on.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Who speaks HTTP/2 on a connection.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and moves once")]
enum Driving {
    Ours(Driver),
    Foreign(EngineTask),
}

async fn handshake(connected: Connected, shared: &Shared) -> Option<Driving> {
    let peer = connected.info.peer.clone();
    let secured = rt::timeout(shared.handshake_time, secure(connected, shared)).await;
    let connected = match secured {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            tracing::debug!(?peer, error, "handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(?peer, "handshake timed out");
            return None;
        }
    };
    let Connected { io, info, .. } = connected;
    let window = shared.options.limits.stream_window;
    let handle = Handle::new(info, None, window, rt::now());
    let handle = Arc::new(handle.within(Some(shared.options.shared_budget())));
    tracing::debug!(connection = handle.id(), ?peer, "connection accepted");
    let dispatch = Arc::clone(&shared.router) as Arc<dyn crate::connection::dispatch::Dispatch>;
    let drain = Arc::clone(&shared.drain);
    Some(match &shared.engine {
        None => {
            let options = Arc::clone(&shared.options);
            Driving::Ours(Driver::server(io, handle, options, dispatch, drain))
        }
        Some(engine) => {
            let (intake, options) = (Intake::new(handle, Some(drain)), (*shared.options).clone());
            Driving::Foreign(engine.server(io, intake, options, dispatch))
        }
    })
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
async fn secure(connected: Connected, shared: &Shared) -> Result<Connected, String> {
    let Some(tls) = &shared.tls else { return Ok(connected) };
    let (io, mut parts) = connected.into_parts();
    let accepted = if shared.plaintext_too {
        tls::accept_either(io, tls).await
    } else {
        tls::accept(io, tls).await.map(|(io, secured)| (io, Some(secured)))
    };
    let (io, secured) = accepted.map_err(|error| error.to_string())?;
    parts.info.timings.tls = secured.as_ref().map_or(Duration::ZERO, |tls| tls.handshake);
    parts.info.tls = secured;
    Ok(Connected::from_parts(io, parts))
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
async fn secure(connected: Connected, _shared: &Shared) -> Result<Connected, String> {
    Ok(connected)
}

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder").field("router", &self.router).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::server::listener::*;
    use crate::transport::connect::{Connect, Target};

    #[tokio::test]
    async fn a_dropped_server_goes_on() {
        let (connector, listener) = crate::transport::memory::listener(1024);
        drop(Server::builder(Router::new()).serve(listener));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let target = Target::parse("http://anything").unwrap();
        assert!(connector.connect(target).await.is_ok(), "the accept loop has ended");
    }
}
