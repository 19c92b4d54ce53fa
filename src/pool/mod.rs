//! Layer 6: where a channel's calls find a connection.
//!
//! A call takes a permit of a connection (`dispatch`, `picker`), or waits for one (`queue`). Each
//! address is a `subchannel`, which dials and owns the connections to it; `growth` decides which one
//! dials. One task per pool does what only time causes (`maintenance`).

mod backoff;
mod balance;
mod books;
mod cap;
mod check;
mod close;
mod counters;
mod dispatch;
mod growth;
#[cfg(all(test, framewire_loom))]
mod loom_tests;
mod maintenance;
pub mod metrics;
mod observer;
mod options;
mod path;
mod picker;
mod queue;
mod resolve;
mod spare;
mod stats;
mod subchannel;
mod tenant;
mod warm;

use crate::call::state::SharedCall;
use crate::call::state::ending::wake;
use crate::connection::handle::Handle;
use crate::connection::keepalive::PathLimit;
use crate::connection::options::SharedOptions;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::rt;
use crate::rt::Random;
use crate::rt::executor::Executor;
use crate::rt::occasional::Occasional;
use crate::rt::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, SegQueue};
use crate::transport::connect::{Connect, ConnectError, ConnectPhase, Target};
use books::Books;
use picker::{Candidate, Picker};
use queue::CallQueue;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use subchannel::Subchannel;
use tokio::sync::{Notify, watch};

pub use balance::Balance;
pub use cap::Cap;
pub use check::{Finding, Severity, check};
pub use close::CloseReport;
pub use counters::{Count, Counts};
pub(crate) use maintenance::outside;
pub use observer::PoolAdvice;
pub use options::PoolOptions;
pub use resolve::{Dns, Resolve, ResolveFuture, Static};
pub use stats::{CapStats, ConnectionState, ConnectionStats, EndpointStats, PoolStats};
pub use subchannel::ChannelState;
pub use tenant::{Share, Tenant, TenantStats};
pub use warm::Warmed;

/// Call states kept for later calls.
const SPARE_CALLS: usize = 1024;

/// A channel's connections. Dropping the last handle closes them once their calls have ended.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    me: Weak<Self>,
    target: Target,
    connector: Arc<dyn Connect>,
    resolver: Option<Arc<dyn Resolve>>,
    options: PoolOptions,
    /// The options of new connections, adapted to what peers and the path allow.
    driver: Mutex<SharedOptions>,
    cap: Arc<Cap>,
    /// The cap knows the pool, whose idle connections others may need.
    _member: cap::Member,
    picker: Picker,
    queue: Arc<CallQueue>,
    random: Mutex<Random>,
    watch: watch::Sender<ChannelState>,
    spare_calls: SegQueue<Arc<SharedCall>>,
    shutdown: AtomicBool,
    /// The maintenance task runs.
    maintained: maintenance::Running,
    /// Wakes the maintenance task.
    maintenance: Notify,
    books: Arc<Books>,
    resolving: Mutex<resolve::Resolving>,
    /// Connections to each endpoint that a warm-up asked for.
    warm: AtomicU32,
    /// Bounds the warnings of calls that nobody polls.
    leaks: Occasional,
    /// Dials and connections have changed.
    changes: watch::Sender<()>,
    measured: Mutex<Option<Box<observer::Measured>>>,
    /// Connections to each endpoint that the size controller wants.
    sized: AtomicU32,
    events: Mutex<observer::Events>,
    path: Mutex<PathLimit>,
    /// Connections made with an older TLS configuration than this generation are replaced.
    tls_since: AtomicU64,
}

impl Pool {
    /// Creates a pool without a connection. Without a resolver the target is one endpoint, and the
    /// connector resolves its name.
    #[must_use]
    pub fn new(target: Target, connector: Arc<dyn Connect>, options: PoolOptions) -> Self {
        Self::resolved(target, connector, None, options)
    }

    /// Creates a pool as [`Pool::new`] does, with the endpoints that `resolver` names.
    #[must_use]
    pub fn resolved(
        target: Target,
        connector: Arc<dyn Connect>,
        resolver: Option<Arc<dyn Resolve>>,
        options: PoolOptions,
    ) -> Self {
        let seed = options.seed.unwrap_or_else(rt::entropy);
        let subchannels = match resolver {
            None => vec![Subchannel::new(target.clone(), &options)],
            Some(_) => Vec::new(),
        };
        let books = Books::new(target.to_string());
        let cap = options.cap.clone().unwrap_or_else(Cap::process);
        let shared = Arc::new_cyclic(|me| Shared {
            _member: cap.register(me),
            cap,
            me: me.clone(),
            target,
            connector,
            resolver,
            driver: Mutex::new(options.driver.clone()),
            picker: Picker::new(&options, subchannels),
            queue: Arc::new(CallQueue::new(options.max_waiting)),
            random: Mutex::new(Random::new(seed)),
            watch: watch::Sender::new(ChannelState::Idle),
            spare_calls: SegQueue::new(),
            shutdown: AtomicBool::new(false),
            maintained: maintenance::Running::new(),
            maintenance: Notify::new(),
            books,
            resolving: Mutex::new(resolve::Resolving::new()),
            warm: AtomicU32::new(0),
            leaks: Occasional::default(),
            changes: watch::Sender::new(()),
            measured: Mutex::new(None),
            sized: AtomicU32::new(0),
            events: Mutex::new(observer::Events::default()),
            path: Mutex::new(PathLimit::new()),
            tls_since: AtomicU64::new(0),
            options,
        });
        shared.provide();
        Self { shared }
    }

    /// Returns the state of a call that begins now, recycled if possible.
    #[must_use]
    pub fn call(&self, now: Instant) -> Arc<SharedCall> {
        match self.shared.spare_calls.pop() {
            Some(call) => {
                call.lock().restart(now);
                call
            }
            None => SharedCall::new(now),
        }
    }

    /// Takes a call's state back for a later call, if nobody else holds it.
    pub fn give_back(&self, mut call: Arc<SharedCall>) {
        let shared = &self.shared;
        if shared.spare_calls.len() < SPARE_CALLS && call.recycle() {
            shared.spare_calls.push(call);
        }
    }

    /// Submits a call.
    pub fn submit(&self, call: Arc<SharedCall>) {
        self.shared.submit(call);
    }

    /// Starts to connect without a call.
    pub fn connect(&self) {
        self.shared.connect();
    }

    /// Takes a call that was cancelled, of a tenant or of none, out of the queue.
    pub fn forget(&self, call: &Arc<SharedCall>, tenant: Option<&Arc<Tenant>>) {
        self.shared.queue.forget(call, tenant.map(|tenant| tenant.id()));
    }

    /// Returns the error of a call whose deadline passed while it had no connection.
    #[must_use]
    pub fn deadline_error(&self, call: &SharedCall) -> Error {
        self.shared.deadline_error(call)
    }

    /// Notes that a caller ended its call at its deadline while the call had no connection.
    pub fn note_expired(&self) {
        self.shared.counters.note(Count::Expired);
    }

    /// Returns a receiver of the channel's state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ChannelState> {
        self.shared.watch.subscribe()
    }

    /// Returns the connections that are not closed, draining ones included.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Handle>> {
        self.shared.live.lock().clone()
    }

    /// Returns the number of calls that wait for a permit.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.shared.queue.len()
    }

    /// Returns `duration` ± `fraction` of it, drawn by the pool's seed.
    #[must_use]
    pub fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        self.shared.jitter(duration, fraction)
    }

    /// Returns where the pool's tasks run.
    pub(crate) fn executor(&self) -> &Executor {
        &self.shared.options.executor
    }

    /// Returns what is dialled.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.shared.target
    }
}

/// The pool's books are its own, by name.
impl std::ops::Deref for Shared {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl Shared {
    /// Frees the calls that are kept for later ones: there were none for a while.
    fn free_spare_calls(&self) {
        while self.spare_calls.pop().is_some() {}
    }

    /// The subchannels and their connections that take calls.
    fn candidates(&self) -> Arc<[Candidate]> {
        self.picker.candidates()
    }

    fn is_connected(&self) -> bool {
        self.picker.is_connected()
    }

    /// Whether a connection was made with a TLS configuration that has been replaced.
    fn is_outdated(&self, handle: &Handle) -> bool {
        let since = self.tls_since.load(Ordering::Acquire);
        handle.info().tls.as_ref().is_some_and(|tls| tls.generation < since)
    }

    fn is_shut_down(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }

    /// Returns `duration` ± `fraction` of it.
    fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        self.random.lock().jitter(duration, fraction)
    }
}

fn shut_down() -> Error {
    Error::local(Kind::Shutdown, Code::Unavailable, "the channel is closed")
}

/// Returns the error of the calls that waited for a failed dial.
fn connect_error(error: ConnectError) -> Error {
    let status = Status::new(Code::Unavailable, error.to_string());
    let phase = connect_phase(error.phase());
    let failed = Error::new(Kind::Connect, status, Initiator::Io, Processed::No);
    failed.with_phase(phase).with_source(Arc::new(error))
}

/// Returns the phase of a call that waits for a dial in `phase`.
const fn connect_phase(phase: ConnectPhase) -> Phase {
    match phase {
        ConnectPhase::Resolve => Phase::Resolve,
        ConnectPhase::Socket => Phase::Dial,
        ConnectPhase::Tls => Phase::Tls,
        ConnectPhase::Http2 => Phase::Settings,
    }
}

/// Returns the error of a dial that took too long.
fn connect_timeout(target: &Target, time: Duration, phase: ConnectPhase) -> Error {
    let text = format!(
        "{target}: no connection within {time:?} (ChannelBuilder::connect_timeout), the last step was: {phase}"
    );
    Error::local(Kind::Connect, Code::Unavailable, text).with_phase(connect_phase(phase))
}

fn fail(call: &Arc<SharedCall>, error: Error) {
    let wakers = call.lock().fail(error);
    wake(wakers);
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.shared.target)
            .field("state", &*self.shared.watch.borrow())
            .finish_non_exhaustive()
    }
}
