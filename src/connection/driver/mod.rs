//! The driver: one task owns one connection. It moves bytes between a socket and the engine,
//! calls between a mailbox and streams, and tells the engine the time.
//!
//! hot: nothing here locks anything but a call, and nothing waits.

mod age;
mod closing;
mod drain;
mod flush;
mod leaks;
mod memory;
mod probe;
mod receiving;
mod sending;
mod serving;
mod stalls;
#[cfg(test)]
mod tests;
mod timers;
mod turn;

use crate::call::state::SharedCall;
use crate::connection::dispatch::{Dispatch, Handler};
use crate::connection::handle::Handle;
use crate::connection::keepalive::{PROBE_AFTER, Preset};
use crate::connection::memory::{ConnectionMemory, Holding, initial_windows};
use crate::http2::{Connection, Limits, RecvBuffer, Role, SendBuffer, StreamKey};
use crate::memory::budget::Budget;
use crate::rt;
use crate::transport::io::BoxedIo;
use flush::Flush;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use timers::Timers;
use tokio::task::AbortHandle;

pub use drain::{Drain, DrainReport};
pub(crate) use timers::deadline_error;

/// What the driver keeps with each stream.
#[derive(Default)]
pub(crate) struct Entry {
    call: Option<Arc<SharedCall>>,
    /// When the request was handed to the socket.
    written: Option<Instant>,
    /// A server's handler that has not begun; then the task of a spawned one.
    handler: Option<Arc<dyn Handler>>,
    abort: Option<AbortHandle>,
    holding: Holding,
    stall: stalls::Stall,
    watch: leaks::Watch,
}

/// How a driver behaves; the engine's own bounds are in [`Limits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// The engine's bounds.
    pub limits: Limits,
    /// Time for the peer's first SETTINGS. Default 20 s on a client, 10 s on a server.
    pub settings_time: Duration,
    /// Silence, while a call waits, after which one PING asks whether the peer lives; and the
    /// time it has to answer. Default 10 s.
    pub doubt_time: Duration,
    /// A socket that takes no byte for this long ends the connection. Default 30 s.
    pub write_stall_time: Duration,
    /// Quiet time after which buffers are given back. Default 500 ms.
    pub quiet_time: Duration,
    /// Silence after which a PING is sent, again and again; off by default, at least 10 s. A client
    /// sends none while it has no calls. A channel doubles it for its next connections when a peer
    /// says `too_many_pings`; gRPC servers allow 5 min by default.
    pub keepalive: Option<Duration>,
    /// Whether a client's `keepalive` goes on without calls. Off by default: gRPC servers allow one
    /// PING in 2 h then.
    pub keepalive_without_calls: bool,
    /// Silence after which a client sends a PING before the next call, and holds the call back until
    /// it hears something: for two round trips, at least 20 ms; then the call goes to another
    /// connection, and this one takes no more. Default 60 s; `None` sends calls at once.
    pub probe_after: Option<Duration>,
    /// Time without progress after which a stream whose peer takes none of its bytes is reset
    /// with CANCEL; the call fails with RESOURCE_EXHAUSTED. Off by default: slow readers are
    /// honest, and only a process short of memory lets go of them, after a minute.
    pub stream_stall_time: Option<Duration>,
    /// A client's call that nobody has waited for, and on which nothing has moved, for so long is
    /// reported once, with the place where it was begun: a warning, and in the channel's stats. It
    /// goes on. Default 10 min; `None` looks for none.
    pub leak_after: Option<Duration>,
    /// What this connection and its streams may hold for the peer; half beyond it a server refuses calls
    /// of connections that have one under way with REFUSED_STREAM. The process's by default.
    pub budget: Option<Arc<Budget>>,
    /// Age, give or take a tenth, at which a server drains the connection as [`Drain`] does: its
    /// streams go on, new calls go elsewhere. Off by default; a client has none.
    pub max_age: Option<Duration>,
    /// Time that streams have from then on before they are cut. Without end by default.
    pub max_age_grace: Option<Duration>,
    /// Time without a stream, from the beginning or from the last one's end, after which a server
    /// closes the connection. Off by default; a client has none.
    pub max_idle: Option<Duration>,
    /// Same seed and same connection, same jitter of `max_age`; drawn at random by default.
    pub seed: Option<u64>,
}

impl ConnectionOptions {
    /// Defaults for a role.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        let server = matches!(role, Role::Server);
        Self {
            limits: if server { Limits::server() } else { Limits::client() },
            settings_time: Duration::from_secs(if server { 10 } else { 20 }),
            doubt_time: Duration::from_secs(10),
            write_stall_time: Duration::from_secs(30),
            quiet_time: Duration::from_millis(500),
            keepalive: None,
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

    /// The budget that holds: the process's where none is named.
    pub(crate) fn shared_budget(&self) -> Arc<Budget> {
        self.budget.clone().unwrap_or_else(Budget::process)
    }

    /// Takes a client's times from a preset: `keepalive` and, without calls, none; `doubt_time`, the
    /// longer of the preset's silence and its time for an answer; `probe_after`. By preset, in
    /// seconds:
    ///
    /// | preset | `keepalive` | `doubt_time` | `probe_after` |
    /// |---|---|---|---|
    /// | plain, Kubernetes | off | 10 | 60 |
    /// | AWS NLB | 320 | 10 | 60 |
    /// | AWS ALB | off | 10 | 45 |
    /// | cloud | 320 if it fits below the limit | 10 | 60, or ¾ of the limit if that is less |
    ///
    /// The preset's socket options are the connector's; see `PoolOptions::liveness` for idle time.
    #[must_use]
    pub fn liveness(mut self, preset: &Preset) -> Self {
        self.keepalive = preset.keepalive;
        self.keepalive_without_calls = false;
        self.doubt_time = preset.doubt.after.max(preset.doubt.answer);
        self.probe_after = Some(preset.probe_after);
        self
    }
}

/// The task of one connection.
pub struct Driver {
    io: BoxedIo,
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
    /// Calls that wait for the peer's stream limit.
    waiting: VecDeque<Arc<SharedCall>>,
    /// Streams whose request is in `out`.
    writing: Vec<StreamKey>,
    /// Streams whose sending changed; kept for its memory.
    touched: Vec<StreamKey>,
    dispatch: Option<Arc<dyn Dispatch>>,
    drain: Option<Arc<Drain>>,
    closing: closing::Closing,
    /// Recycled calls of a server.
    spare: Vec<Arc<SharedCall>>,
    /// Time that this turn has spent in handlers.
    inline_time: Duration,
    /// How long the slowest call of this turn has waited for the driver.
    lag: Duration,
    memory: ConnectionMemory,
    stalls: stalls::StallWatch,
    /// Time of the next check for calls that nobody waits for.
    leak_check: Option<Instant>,
}

impl Driver {
    /// Creates a client's driver. Connections may share their options.
    #[must_use]
    pub fn client(
        io: BoxedIo,
        handle: Arc<Handle>,
        options: impl Into<Arc<ConnectionOptions>>,
    ) -> Self {
        Self::new(Role::Client, io, handle, options.into(), None, None)
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
        Self::new(Role::Server, io, handle, options.into(), Some(dispatch), Some(drain))
    }

    fn new(
        role: Role,
        io: BoxedIo,
        handle: Arc<Handle>,
        options: Arc<ConnectionOptions>,
        dispatch: Option<Arc<dyn Dispatch>>,
        drain: Option<Arc<Drain>>,
    ) -> Self {
        let now = rt::now();
        let budget = options.shared_budget();
        let mut limits = options.limits.clone();
        initial_windows(&mut limits, &budget);
        let mut conn = Connection::new(role, limits, now);
        let mut out = SendBuffer::new();
        conn.start(&mut out);
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
            writing: Vec::new(),
            touched: Vec::new(),
            dispatch,
            drain,
            closing: closing::Closing::default(),
            spare: Vec::new(),
            inline_time: Duration::ZERO,
            lag: Duration::ZERO,
            memory: ConnectionMemory::new(budget),
            stalls: stalls::StallWatch::default(),
            leak_check: None,
        };
        Self {
            io,
            handle,
            core,
            recv: RecvBuffer::new(),
            inbox: VecDeque::new(),
            yielding: turn::Yield::default(),
            read_done: false,
            held: false,
            finished: false,
        }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("handle", &self.handle).finish_non_exhaustive()
    }
}
