//! The accept loop: limits, handshakes in tasks of their own, graceful shutdown.

use crate::connection::driver::{Drain, DrainReport, Driver, Opening};
use crate::connection::engine::{Engine, EngineTask, Intake};
use crate::connection::handle::Handle;
use crate::connection::options::{ConnectionOptions, TIME_MAX};
use crate::rt;
use crate::rt::contain::{Panicked, contain, contain_future};
use crate::rt::executor::Executor;
use crate::rt::occasional::Occasional;
use crate::server::handshakes::Handshakes;
use crate::server::router::Routes;
use crate::transport::accept::{Accept, accept_contained};
use crate::transport::connect::{Connected, ConnectionInfo};
use crate::transport::io::BoxedIo;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::transport::tls::{self, FirstByte, Secured, ServerTls};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A running server. Dropping it does not stop it: use [`Server::shutdown`].
///
/// # Runtime
/// Its tasks run on the tokio runtime on which it was built, and end with that runtime. The methods may be
/// called from any runtime that has a timer.
///
/// ```
/// use framewire::server::{Router, Server};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder(Router::new()).bind("127.0.0.1:0".parse().unwrap())?;
/// assert_ne!(server.local_addr().unwrap().port(), 0);
/// let report = server.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(report.forced, 0, "no call was cut");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    local: Option<SocketAddr>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

/// Shuts a server down from another task; [`Server::handle`] returns one.
///
/// Clones refer to the same server. Dropping it does nothing.
///
/// ```
/// use framewire::server::{Router, Server};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder(Router::new()).bind("127.0.0.1:0".parse().unwrap())?;
/// let handle = server.handle();
/// let signal = tokio::spawn(async move {
///     // Wait here for a signal, such as `tokio::signal::ctrl_c()`.
///     handle.drain(Duration::from_secs(5)).await
/// });
/// server.wait().await;
/// println!("{:?}", signal.await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown {
    stop: Arc<watch::Sender<bool>>,
    drain: Arc<Drain>,
}

impl Server {
    pub(super) fn new(
        local: Option<SocketAddr>,
        stop: watch::Sender<bool>,
        drain: Arc<Drain>,
        task: tokio::task::JoinHandle<()>,
    ) -> Self {
        Self { local, shutdown: Shutdown { stop: Arc::new(stop), drain }, task }
    }

    /// Returns the address on which it listens, if it was started by
    /// [`ServerBuilder::bind`](super::ServerBuilder::bind).
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Returns a handle that shuts it down from another task.
    #[must_use]
    pub fn handle(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Drains the connections and stops; see [`Shutdown::drain`].
    ///
    /// # Cancel safety
    /// If the future is dropped, draining continues and still ends after `grace`.
    pub async fn shutdown(self, grace: Duration) -> DrainReport {
        let report = self.shutdown.drain(grace).await;
        self.task.abort();
        report
    }

    /// Waits until the server accepts no more connections: after a shutdown, or when the listener
    /// failed. Cancel safe; a dropped future does not stop the server.
    pub async fn wait(self) {
        let _ = self.task.await;
    }
}

impl Shutdown {
    /// Stops accepting, sends GOAWAY on every connection, waits up to `grace` for the calls in
    /// flight, then cuts the rest.
    ///
    /// Each connection gets a first GOAWAY, a PING, and after its answer the final GOAWAY (RFC 9113
    /// §6.8), so that no call is lost on the way. Then its write side is shut down, and it is closed when
    /// the peer has closed too, so that the peer can read all answers. A peer that acknowledges nothing
    /// more for 5 s is not waited for. Returns what was delivered and what was cut. A `grace` above ten
    /// years counts as ten years.
    ///
    /// # Cancel safety
    /// If the future is dropped, draining continues and still ends after `grace`.
    pub async fn drain(&self, grace: Duration) -> DrainReport {
        self.stop.send_replace(true);
        let (now, grace) = (rt::now(), grace.min(TIME_MAX));
        self.drain.begin(now, now + grace);
        // Cutting takes a moment.
        let limit = grace + Duration::from_secs(1);
        if Executor::current().runtime().is_ok() {
            let _ = rt::timeout(limit, self.drain.ended()).await;
        } else {
            // Without a timer here, the tasks of the connections keep the time.
            self.drain.ended().await;
        }
        self.drain.report()
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.drain.connections()
    }
}

pub(super) struct Shared {
    pub(super) router: Arc<Routes>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub(super) tls: Option<ServerTls>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub(super) plaintext_too: bool,
    pub(super) options: Arc<ConnectionOptions>,
    pub(super) handshake_timeout: Duration,
    pub(super) engine: Engine,
    pub(super) permits: Arc<Semaphore>,
    /// For connections that wait until another one has closed.
    pub(super) waiting: Arc<Semaphore>,
    pub(super) drain: Arc<Drain>,
    pub(super) handshakes: Handshakes,
    pub(super) logs: Logs,
}

/// Bounds what is logged of what clients do.
#[derive(Default)]
pub(super) struct Logs {
    refused: Occasional,
    handshakes: Occasional,
}

/// The time that handshakes have to end once the server was told to stop. A client that has the server's part
/// of the handshake may already have sent calls.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);

pub(super) async fn accept_loop(
    mut acceptor: Box<dyn Accept>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stopped) => return,
            accepted = accept_contained(&mut acceptor) => accepted,
        };
        let connected = match accepted {
            Ok(connected) => connected,
            // `Accept` says so: nobody is left who could connect.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                crate::rt::log!(debug, reason = %error, "the listener has ended");
                return;
            }
            Err(error) => {
                crate::rt::log!(error, %error, "the listener has failed: no connection is accepted any more");
                return;
            }
        };
        let Some(admission) = shared.admit() else {
            // Over the limit: closing at once tells the client sooner than a queue would.
            if let Some(more) = shared.logs.refused.allows(rt::now()) {
                let peer = &connected.info.peer;
                crate::rt::log!(warn, ?peer, more, "connection refused: max_connections");
            }
            // The drop of a byte stream may be user code.
            let _ = contain(|| drop(connected));
            continue;
        };
        let shared = Arc::clone(&shared);
        let (arriving, stopped) = (shared.drain.arrive(), stopped.clone());
        // In a task of its own: one client that says nothing must not stop the others.
        rt::spawn(async move {
            let arrival = contain_future(async {
                let permit = admission.permit(&shared).await?;
                Some((permit, handshake(connected, &shared).await?))
            });
            let arrived = tokio::select! {
                arrived = arrival => arrived.unwrap_or_else(|Panicked| handshake_panicked()),
                () = too_late(stopped) => None,
            };
            // By now the drain has the connection in its list.
            drop(arriving);
            let Some((permit, driving)) = arrived else { return };
            // In another task again: what a handshake needs is given back before the long life of
            // the connection begins.
            rt::spawn(async move {
                match driving {
                    Driving::Ours(driver) => driver.await,
                    Driving::Foreign(task) => {
                        if contain_future(task).await.is_err() {
                            crate::rt::log!(error, "the engine of a connection panicked");
                        }
                    }
                }
                drop(permit);
            });
        });
    }
}

/// Ready some time after the server was told to stop: handshakes that take longer are given up.
async fn too_late(mut stopped: watch::Receiver<bool>) {
    told_to_stop(&mut stopped).await;
    rt::sleep(LAST_HANDSHAKES).await;
}

fn handshake_panicked<T>() -> Option<T> {
    crate::rt::log!(error, "the transport of a connection, or its TLS, panicked in the handshake");
    None
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
    let (peer, socket) = (connected.info.peer.clone(), connected.socket.clone());
    let secure = secure(connected, shared);
    let secured = shared.handshakes.within(shared.handshake_timeout, secure).await;
    let (connected, opening) = match secured {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => {
            let Failed { text: error, is_usual, io } = error;
            let more = if is_usual { None } else { shared.logs.handshakes.allows(rt::now()) };
            match more {
                Some(more) => crate::rt::log!(info, ?peer, error, more, "handshake failed"),
                None => crate::rt::log!(debug, ?peer, error, "handshake failed"),
            }
            // The client reads the alert, whatever it has sent meanwhile.
            let info = ConnectionInfo { peer, ..ConnectionInfo::new() };
            let handle = Arc::new(Handle::new(info, None, 0, rt::now()));
            let drain = Arc::clone(&shared.drain);
            return io.map(|io| Driving::Ours(Driver::rejected(io, socket, handle, drain)));
        }
        Err(why) => {
            crate::rt::log!(debug, ?peer, why, "handshake ended");
            return None;
        }
    };
    let Connected { io, info, socket, .. } = connected;
    let window = shared.options.limits.stream_window;
    let handle = Handle::new(info, None, window, rt::now());
    let handle = Arc::new(handle.within(Some(shared.options.shared_budget())));
    crate::rt::log!(debug, connection = handle.id(), ?peer, "connection accepted");
    let dispatch = Arc::clone(&shared.router) as Arc<dyn crate::connection::dispatch::Dispatch>;
    let drain = Arc::clone(&shared.drain);
    Some(match shared.engine.foreign() {
        None => {
            let options = Arc::clone(&shared.options);
            let driver = Driver::server_after(opening, io, handle, options, dispatch, drain);
            Driving::Ours(driver.with_socket(socket))
        }
        Some(engine) => {
            let (intake, options) = (Intake::new(handle, Some(drain)), (*shared.options).clone());
            Driving::Foreign(engine.server(io, intake, options, dispatch))
        }
    })
}

/// Why a handshake failed.
struct Failed {
    text: String,
    /// The client left, as the probes of load balancers do.
    is_usual: bool,
    /// On which the client is told.
    io: Option<BoxedIo>,
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
impl From<tls::AcceptError> for Failed {
    fn from(error: tls::AcceptError) -> Self {
        let is_usual = error.kind() == tls::AcceptErrorKind::Closed;
        Self { text: error.to_string(), is_usual, io: None }
    }
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
impl From<tls::Rejected> for Failed {
    fn from(rejected: tls::Rejected) -> Self {
        Self { io: rejected.io, ..Self::from(rejected.error) }
    }
}

/// Performs the TLS handshake, if the server has TLS. The second value is what the handshake has sent for
/// the connection.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
async fn secure(
    connected: Connected,
    shared: &Shared,
) -> Result<(Connected, Option<Opening>), Failed> {
    let Some(tls) = &shared.tls else { return Ok((connected, None)) };
    let (mut io, mut parts) = connected.into_parts();
    if shared.plaintext_too {
        io = match tls::read_kind(io).await? {
            FirstByte::Tls(io) => io,
            FirstByte::Plaintext(io) => return Ok((Connected::from_parts(io, parts), None)),
        };
    }
    // Another engine has SETTINGS of its own.
    let opening = shared.engine.foreign().is_none().then(|| Opening::new(&shared.options));
    let first = opening.as_ref().map_or(&[][..], Opening::bytes);
    let secured = tls::accept_speaking(io, tls, first).await?;
    let Secured { io, info, spoken } = secured;
    parts.info.timings.tls = info.handshake;
    parts.info.tls = Some(info);
    Ok((Connected::from_parts(io, parts), opening.filter(|_| spoken)))
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
async fn secure(
    connected: Connected,
    _shared: &Shared,
) -> Result<(Connected, Option<Opening>), Failed> {
    Ok((connected, None))
}

#[cfg(test)]
mod tests {
    use crate::server::listener::*;
    use crate::server::router::Router;
    use crate::transport::connect::{Connect, Target};

    #[tokio::test]
    async fn a_dropped_server_goes_on() {
        let (connector, listener) = crate::transport::memory::listener(1024);
        drop(Server::builder(Router::new()).serve(listener).unwrap());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let target = Target::parse("http://anything").unwrap();
        assert!(connector.connect(target).await.is_ok(), "the accept loop has ended");
    }
}
