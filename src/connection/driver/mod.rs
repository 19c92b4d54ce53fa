//! The driver: one task owns one connection. It moves bytes between a socket and the engine,
//! calls between a mailbox and streams, and tells the engine the time.
//!
//! hot: nothing here locks anything but a call, and nothing waits.

mod age;
mod closing;
mod drain;
mod flush;
mod full;
mod handlers;
mod inline;
mod late;
mod leaks;
mod linger;
mod lingering;
mod memory;
mod peer;
mod probe;
mod receiving;
mod remains;
mod sending;
mod serving;
mod silence;
mod stalls;
#[cfg(test)]
mod tests;
mod timers;
mod transport;
mod turn;

use crate::call::state::SharedCall;
use crate::connection::dispatch::{Dispatch, Handler};
use crate::connection::handle::Handle;
use crate::connection::memory::{ConnectionMemory, Holding, initial_windows};
use crate::http2::connection::server_opening;
use crate::http2::{Connection, Limits, RecvBuffer, Role, SendBuffer, StreamKey};
use crate::rt;
use crate::transport::io::BoxedIo;
use crate::transport::socket::SocketHandle;
use flush::Flush;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use timers::Timers;
use tokio::task::AbortHandle;

pub use crate::connection::options::ConnectionOptions;
pub(crate) use drain::Delivered;
#[cfg(feature = "server")]
pub(crate) use drain::SILENT_MIN;
pub use drain::{Drain, DrainReport};
pub(crate) use lingering::cut_lingering_client;

/// Time without streams and bytes after which a connection frees its buffers.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// What the driver keeps with each stream.
#[derive(Default)]
pub(crate) struct Entry {
    call: Option<Arc<SharedCall>>,
    /// When the request was handed to the socket.
    written: Option<Instant>,
    /// A server's handler that has not begun; then the task of a spawned one.
    handler: Option<Arc<dyn Handler>>,
    /// The handler waits for another one to end, and not for the request.
    held: bool,
    abort: Option<AbortHandle>,
    /// It is in [`Core::deferred`].
    deferred: bool,
    holding: Holding,
    stall: stalls::Stall,
    watch: leaks::Watch,
}

/// The task of one connection.
pub struct Driver(Stage);

#[expect(
    clippy::large_enum_variant,
    reason = "the size of a lingering connection is what is left of it"
)]
enum Stage {
    Running(Box<Running>),
    /// The connection has ended and its memory is free; the socket lingers.
    Lingering(linger::Linger),
    Over,
}

/// A connection until its end.
struct Running {
    io: transport::Transport,
    handle: Arc<Handle>,
    core: Core,
    recv: RecvBuffer,
    inbox: VecDeque<Arc<SharedCall>>,
    yielding: turn::Yield,
    read_done: bool,
    /// Reading is paused for a reason of this side, not for want of bytes.
    held: bool,
    finished: bool,
}

/// Everything but the socket and its receive buffer: an event borrows from that buffer.
pub(crate) struct Core {
    conn: Connection<Entry>,
    out: SendBuffer,
    flush: Flush,
    timers: Timers,
    age: age::Age,
    handle: Arc<Handle>,
    options: Arc<ConnectionOptions>,
    now: Instant,
    /// Calls that wait for the peer's stream limit, or until the outgoing buffer has capacity.
    waiting: VecDeque<Arc<SharedCall>>,
    /// The identifier of the last stream that this side opened.
    last_opened: u32,
    /// Streams whose request is in `out`.
    writing: Vec<StreamKey>,
    /// Streams whose calls have something to send, and wait until the outgoing buffer has capacity.
    deferred: VecDeque<StreamKey>,
    /// Streams whose sending changed; kept for its memory.
    touched: Vec<StreamKey>,
    dispatch: Option<Arc<dyn Dispatch>>,
    drain: Option<Arc<Drain>>,
    closing: closing::Closing,
    /// Recycled calls of a server.
    spare: Vec<Arc<SharedCall>>,
    /// What this turn has spent in handlers.
    inline: inline::Inline,
    /// How long the slowest call of this turn has waited for the driver.
    lag: Duration,
    handlers: handlers::Handlers,
    memory: ConnectionMemory,
    /// Readers report at once: when that was last needed.
    pressed: Option<Instant>,
    /// When to free what the receive buffer does not use; `None` while it is small.
    recv_check: Option<Instant>,
    stalls: stalls::StallWatch,
    /// Time of the next check for calls that nobody waits for.
    leak_check: Option<Instant>,
    /// The system's socket, if it can be looked at.
    socket: Option<SocketHandle>,
}

/// What a server has to say first, for a transport that sends it before the driver exists: in the flight
/// of the TLS handshake's Finished.
pub(crate) struct Opening {
    /// The limits that `bytes` announce.
    limits: Limits,
    bytes: Vec<u8>,
}

impl Opening {
    pub(crate) fn new(options: &ConnectionOptions) -> Self {
        let limits = opening_limits(options);
        Self { bytes: server_opening(&limits), limits }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The limits that a new connection announces.
fn opening_limits(options: &ConnectionOptions) -> Limits {
    let mut limits = options.limits.clone();
    initial_windows(&mut limits, &options.shared_budget());
    limits
}

impl Driver {
    /// Sets the system's socket below the byte stream, for what the system knows about the peer.
    #[must_use]
    pub fn with_socket(mut self, socket: Option<SocketHandle>) -> Self {
        if let Stage::Running(running) = &mut self.0 {
            running.core.socket = socket;
        }
        self
    }

    /// Closes the socket of a client whose handshake was rejected, which may still be sending, as the socket
    /// of a connection that has ended.
    pub(crate) fn rejected(
        io: BoxedIo,
        socket: Option<SocketHandle>,
        handle: Arc<Handle>,
        drain: Arc<Drain>,
    ) -> Self {
        let io = transport::Transport::new(io);
        Self(Stage::Lingering(linger::Linger::rejected(io, socket, handle, drain)))
    }

    #[cfg(test)]
    fn running(&mut self) -> &mut Running {
        match &mut self.0 {
            Stage::Running(running) => running,
            _ => panic!("the connection has ended"),
        }
    }

    /// Creates a client's driver. Connections may share their options.
    #[must_use]
    pub fn client(
        io: BoxedIo,
        handle: Arc<Handle>,
        options: impl Into<Arc<ConnectionOptions>>,
    ) -> Self {
        Self::new(Role::Client, io, handle, options.into(), None, None, None)
    }

    /// Creates a server's driver. Connections may share their options.
    #[must_use]
    pub fn server(
        io: BoxedIo,
        handle: Arc<Handle>,
        options: impl Into<Arc<ConnectionOptions>>,
        dispatch: Arc<dyn Dispatch>,
        drain: Arc<Drain>,
    ) -> Self {
        Self::server_after(None, io, handle, options.into(), dispatch, drain)
    }

    /// As [`Driver::server`], for a connection on which `opening` was sent, if there is one.
    pub(crate) fn server_after(
        opening: Option<Opening>,
        io: BoxedIo,
        handle: Arc<Handle>,
        options: Arc<ConnectionOptions>,
        dispatch: Arc<dyn Dispatch>,
        drain: Arc<Drain>,
    ) -> Self {
        Self::new(Role::Server, io, handle, options, Some(dispatch), Some(drain), opening)
    }

    fn new(
        role: Role,
        io: BoxedIo,
        handle: Arc<Handle>,
        options: Arc<ConnectionOptions>,
        dispatch: Option<Arc<dyn Dispatch>>,
        drain: Option<Arc<Drain>>,
        opening: Option<Opening>,
    ) -> Self {
        let now = rt::now();
        let budget = options.shared_budget();
        let mut out = SendBuffer::new();
        let spoken = opening.is_some();
        let limits = opening.map_or_else(|| opening_limits(&options), |opening| opening.limits);
        let mut conn = Connection::new(role, limits, now);
        conn.start(&mut out);
        if spoken {
            out = SendBuffer::new();
        }
        handle.set_stream_window(conn.limits().stream_window);
        if let Some(drain) = &drain {
            drain.join(&handle);
        }
        let core = Core {
            conn,
            out,
            flush: Flush::new(),
            timers: Timers::new(now),
            age: match role {
                Role::Server => age::Age::new(&options, handle.id(), now),
                Role::Client => age::Age::default(),
            },
            handle: Arc::clone(&handle),
            options,
            now,
            waiting: VecDeque::new(),
            last_opened: 0,
            writing: Vec::new(),
            deferred: VecDeque::new(),
            touched: Vec::new(),
            dispatch,
            drain,
            closing: closing::Closing::default(),
            spare: Vec::new(),
            inline: inline::Inline::default(),
            lag: Duration::ZERO,
            handlers: handlers::Handlers::new(Arc::clone(&handle)),
            memory: ConnectionMemory::new(budget),
            pressed: None,
            recv_check: None,
            stalls: stalls::StallWatch::default(),
            leak_check: None,
            socket: None,
        };
        Self(Stage::Running(Box::new(Running {
            io: transport::Transport::new(io),
            handle,
            core,
            recv: RecvBuffer::new(),
            inbox: VecDeque::new(),
            yielding: turn::Yield::default(),
            read_done: false,
            held: false,
            finished: false,
        })))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Running(running) = &mut self.0 {
            let left = ready!(running.turn(cx));
            self.0 = left.map_or(Stage::Over, Stage::Lingering);
        }
        if let Stage::Lingering(linger) = &mut self.0 {
            ready!(Pin::new(linger).poll(cx));
            self.0 = Stage::Over;
        }
        Poll::Ready(())
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Stage::Running(running) => f.debug_tuple("Running").field(&running.handle).finish(),
            Stage::Lingering(_) => f.write_str("Lingering"),
            Stage::Over => f.write_str("Over"),
        }
    }
}
