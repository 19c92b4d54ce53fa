//! Layer 6: where a channel's calls find a connection.
//!
//! A call takes a permit on a connection that has capacity (`endpoint`), or queues for one (`queue`).
//! Whatever makes capacity (a returned permit, a new connection, a higher stream limit) serves the
//! queue in order. One task per pool does what only time brings: deadlines of queued calls, idle and
//! old connections, the minimum of connections (`maintenance`). At most one dial per endpoint is in
//! flight (`dial`).

mod balance;
mod cap;
mod check;
mod counters;
mod dial;
mod endpoint;
mod growth;
mod line;
mod maintenance;
mod member;
pub mod metrics;
mod observer;
mod options;
mod path;
mod queue;
mod resolve;
mod shares;
mod spare;
mod stats;
mod tenant;
mod wishes;

use crate::call::Permit;
use crate::call::state::SharedCall;
use crate::call::state::ending::wake;
use crate::connection::driver::ConnectionOptions;
use crate::connection::handle::Handle;
use crate::connection::keepalive::PathLimit;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::rt;
use crate::rt::Random;
use crate::rt::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, RwLock, SegQueue};
use crate::transport::connect::{Connect, ConnectError, ConnectPhase, Target};
use counters::PoolCounters;
use endpoint::{Endpoint, Pick};
use line::Refusal;
use queue::CallQueue;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tenant::Standing;
use tokio::sync::{Notify, watch};

pub use balance::Balance;
pub use cap::Cap;
pub use check::{Finding, Severity, check};
pub use counters::{Count, Counts};
pub use observer::PoolAdvice;
pub use options::PoolOptions;
pub use resolve::{Dns, Resolve, ResolveFuture, Static};
pub use stats::{CapStats, ConnectionState, ConnectionStats, EndpointStats, PoolStats};
pub use tenant::{Share, Tenant, TenantStats};

/// Call states kept for later calls.
const SPARE_CALLS: usize = 1024;

/// A channel's state, as in gRPC's connectivity semantics. `Channel::state` returns it.
///
/// The list is closed: gRPC has these five states.
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn main() -> Result<(), framewire::client::BuildError> {
/// use framewire::client::{Channel, ChannelState};
///
/// let channel = Channel::builder("http://users.local:80").build()?;
/// match *channel.state().borrow() {
///     ChannelState::Ready => println!("connected"),
///     ChannelState::TransientFailure => println!("backing off"),
///     other => println!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ChannelState {
    /// No connection, and none is wanted.
    Idle,
    /// A dial is in flight.
    Connecting,
    /// A connection is there: its peer's SETTINGS have come.
    Ready,
    /// The last dial failed; the next one waits for its back-off.
    TransientFailure,
    /// The channel is gone.
    Shutdown,
}

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
    /// How connections behave, after what peers have said of PINGs.
    driver: Mutex<Arc<ConnectionOptions>>,
    cap: Arc<Cap>,
    endpoints: RwLock<Arc<[Arc<Endpoint>]>>,
    /// Turns of the balance; the endpoint that PickFirst uses.
    turn: AtomicU32,
    waiting: Arc<CallQueue>,
    random: Mutex<Random>,
    watch: watch::Sender<ChannelState>,
    spare_calls: SegQueue<Arc<SharedCall>>,
    shutdown: AtomicBool,
    /// A keeper lives.
    kept: AtomicBool,
    /// Something happened that the keeper should look at.
    news: Notify,
    live: Mutex<Vec<Arc<Handle>>>,
    resolving: Mutex<resolve::Resolving>,
    /// Connections that a warm-up asked for, to each endpoint.
    warm: AtomicU32,
    ready: watch::Sender<u32>,
    ledger: PoolCounters,
    /// How long calls have waited, all together.
    waited_micros: AtomicU64,
    meter: OnceLock<Box<metrics::Meter>>,
    measured: Mutex<Option<Box<observer::Measured>>>,
    /// Connections to each endpoint that the controller wants.
    sized: AtomicU32,
    events: Mutex<observer::Events>,
    path: Mutex<PathLimit>,
    /// Connections made with an older TLS configuration than this generation are replaced.
    tls_since: AtomicU64,
}

impl Pool {
    /// Connects nothing yet. Without a resolver the target is one endpoint, and the connector
    /// resolves its name.
    #[must_use]
    pub fn new(target: Target, connector: Arc<dyn Connect>, options: PoolOptions) -> Self {
        Self::resolved(target, connector, None, options)
    }

    /// As [`Pool::new`], with the endpoints that `resolver` names.
    #[must_use]
    pub fn resolved(
        target: Target,
        connector: Arc<dyn Connect>,
        resolver: Option<Arc<dyn Resolve>>,
        options: PoolOptions,
    ) -> Self {
        let seed = options.seed.unwrap_or_else(rt::entropy);
        let endpoints: Vec<_> = match resolver {
            None => vec![Endpoint::new(target.clone(), &options)],
            Some(_) => Vec::new(),
        };
        let shared = Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            target,
            connector,
            resolver,
            driver: Mutex::new(Arc::new(options.driver.clone())),
            cap: options.cap.clone().unwrap_or_else(Cap::process),
            endpoints: RwLock::new(endpoints.into()),
            turn: AtomicU32::new(0),
            waiting: Arc::new(CallQueue::new(options.max_waiting)),
            random: Mutex::new(Random::new(seed)),
            watch: watch::Sender::new(ChannelState::Idle),
            spare_calls: SegQueue::new(),
            shutdown: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            news: Notify::new(),
            live: Mutex::new(Vec::new()),
            resolving: Mutex::new(resolve::Resolving::default()),
            warm: AtomicU32::new(0),
            ready: watch::Sender::new(0),
            ledger: PoolCounters::default(),
            waited_micros: AtomicU64::new(0),
            meter: OnceLock::new(),
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

    /// A call for a call that begins now: recycled if there is one.
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

    /// Takes a call back for the next call, if nobody else holds it.
    pub fn give_back(&self, mut call: Arc<SharedCall>) {
        let shared = &self.shared;
        if shared.spare_calls.len() < SPARE_CALLS && call.recycle() {
            shared.spare_calls.push(call);
        }
    }

    /// Sends a call on its way.
    pub fn submit(&self, call: Arc<SharedCall>) {
        self.shared.submit(call);
    }

    /// Begins to connect without a call.
    pub fn connect(&self) {
        self.shared.connect();
    }

    /// A call that waits, of a tenant or of none, was given up.
    pub fn forget(&self, call: &Arc<SharedCall>, tenant: Option<&Arc<Tenant>>) {
        self.shared.waiting.forget(call, tenant.map(|tenant| tenant.id()));
    }

    /// The state, to be watched.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ChannelState> {
        self.shared.watch.subscribe()
    }

    /// The connections that live, draining ones included.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Handle>> {
        self.shared.live.lock().clone()
    }

    /// Calls that wait for a place on a connection.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.shared.waiting.len()
    }

    /// `duration` give or take `fraction` of it, by the pool's seed.
    #[must_use]
    pub fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        self.shared.jitter(duration, fraction)
    }

    /// What is dialled.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.shared.target
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shut_down();
    }
}

impl Shared {
    fn submit(&self, call: Arc<SharedCall>) {
        // Nobody overtakes those that wait.
        match if self.waiting.is_empty() { self.pick() } else { Pick::Full } {
            Pick::Place(permit) => Handle::submit(permit, call),
            Pick::Pressed(permit) => {
                let connection = permit.carrier().id();
                Handle::submit(permit, call);
                self.pressed(connection);
            }
            Pick::Full | Pick::None => self.wait(call),
        }
    }

    fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.endpoints.read())
    }

    /// A place on one of the endpoints.
    fn pick(&self) -> Pick {
        let endpoints = self.endpoints.read();
        if let [endpoint] = &endpoints[..] {
            return endpoint.pick();
        }
        let n = endpoints.len();
        if n == 0 {
            return Pick::None;
        }
        let first = match self.options.balance {
            Balance::PickFirst => self.turn.load(Ordering::Relaxed) as usize % n,
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) as usize % n,
            Balance::LeastLoaded => self.less_loaded(&endpoints),
        };
        let mut last = Pick::None;
        for i in 0..n {
            let endpoint = &endpoints[(first + i) % n];
            match endpoint.pick() {
                // A call would have gone there, and does not wait for it: nobody else would dial.
                Pick::None if self.options.balance != Balance::PickFirst => {
                    self.start_dial(endpoint);
                }
                Pick::None => {}
                // With one endpoint in use, its limit is the limit.
                Pick::Full if self.options.balance == Balance::PickFirst => return Pick::Full,
                Pick::Full => last = Pick::Full,
                found => return found,
            }
        }
        last
    }

    /// Of two connected endpoints drawn at random, the one with fewer calls.
    fn less_loaded(&self, endpoints: &[Arc<Endpoint>]) -> usize {
        let n = endpoints.len() as u64;
        let (a, b) = {
            let mut random = self.random.lock();
            (random.below(n) as usize, random.below(n) as usize)
        };
        let load = |i: usize| {
            let connected = endpoints[i].is_connected();
            if !connected {
                self.start_dial(&endpoints[i]);
            }
            (!connected, endpoints[i].calls())
        };
        if load(b) < load(a) { b } else { a }
    }

    /// No place is free: the call waits, or fails with the reason why it need not.
    fn wait(&self, call: Arc<SharedCall>) {
        let now = rt::now();
        let Some((deadline, standing)) = self.admit(&call, now) else { return };
        match self.waiting.join(Arc::clone(&call), standing, deadline, now) {
            Ok(earlier) => {
                // Who gave it up meanwhile did not find it there.
                if call.lock().is_over() {
                    self.waiting.forget(&call, standing.map(|standing| standing.tenant));
                }
                self.keep();
                if earlier.is_some() {
                    self.news.notify_one();
                }
            }
            Err((refusal, call)) => {
                self.ledger.note(match refusal {
                    Refusal::Full(_) => Count::RefusedFull,
                    Refusal::Hopeless { .. } => Count::RefusedHopeless,
                });
                let seat = call.lock().take_tenant();
                let tenant = seat.as_ref().map(|seat| seat.quota().label());
                return fail(&call, refusal.error(tenant, deadline, now));
            }
        }
        // A place may have come free since the call looked; then nobody else would serve it.
        self.serve(now);
        if !self.waiting.is_empty() {
            self.grow();
        }
        if self.shutdown.load(Ordering::Acquire) {
            self.fail_waiting(|_| true, &shut_down());
        }
    }

    /// Until when a call may wait and how it stands with its tenant; `None` if it is over, or fails
    /// here.
    fn admit(
        &self,
        call: &Arc<SharedCall>,
        now: Instant,
    ) -> Option<(Option<Instant>, Option<Standing>)> {
        let mut x = call.lock();
        if x.is_over() {
            return None;
        }
        if x.cancel_code().is_some() {
            let wakers = x.end_cancelled();
            drop(x);
            wake(wakers);
            return None;
        }
        let connected = self.is_connected();
        x.enter(if connected { Phase::StreamQuota } else { Phase::PoolWait }, now);
        let (patient, found) = (x.spec().wait_for_ready, (x.deadline(), Standing::of(&x)));
        drop(x);
        let shut = self.shutdown.load(Ordering::Acquire).then(shut_down);
        match shut.or_else(|| self.broken(now).filter(|_| !patient)) {
            Some(error) => {
                fail(call, error);
                None
            }
            None => Some(found),
        }
    }

    /// Gives free places to the calls that wait, in order.
    fn serve(&self, now: Instant) {
        while !self.waiting.is_empty() {
            let (Pick::Place(permit) | Pick::Pressed(permit)) = self.pick() else { return };
            if !self.hand_over(permit, now) {
                return;
            }
        }
    }

    /// A place for the call that has waited longest; `false` when there is none.
    fn hand_over(&self, permit: Permit, now: Instant) -> bool {
        let Some(call) = self.waiting.pop(now) else { return false };
        let began = call.lock().timeline().since();
        self.note_waited(now.saturating_duration_since(began));
        Handle::submit(permit, call);
        true
    }

    /// Why every endpoint is out of reach, if each is in back-off.
    fn broken(&self, now: Instant) -> Option<Error> {
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return self.resolving.lock().told(now);
        }
        let mut last = None;
        for endpoint in endpoints.iter() {
            let cold = endpoint.cold.lock();
            let backing_off = cold.retry_at.is_some_and(|at| now < at);
            if !backing_off || endpoint.is_connected() {
                return None;
            }
            last.clone_from(&cold.last_error);
        }
        last
    }

    /// Whether a connection was made with a TLS configuration whose connections are to go.
    fn is_outdated(&self, handle: &Handle) -> bool {
        let since = self.tls_since.load(Ordering::Acquire);
        handle.info().tls.as_ref().is_some_and(|tls| tls.generation < since)
    }

    fn is_connected(&self) -> bool {
        self.endpoints().iter().any(|endpoint| endpoint.is_connected())
    }

    fn connect(&self) {
        self.keep();
        if !self.is_connected() {
            self.grow();
        }
    }

    fn shut_down(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.watch.send_replace(ChannelState::Shutdown);
        self.fail_waiting(|_| true, &shut_down());
        for handle in self.live.lock().clone() {
            handle.goodbye();
        }
        self.news.notify_one();
    }

    /// Tells calls that wait, and for which `which` holds, that it is in vain.
    fn fail_waiting(&self, which: impl Fn(&Arc<SharedCall>) -> bool, error: &Error) {
        for call in self.waiting.take_if(which) {
            fail(&call, error.clone());
        }
    }

    /// `duration` give or take `fraction` of it.
    fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        self.random.lock().jitter(duration, fraction)
    }
}

fn shut_down() -> Error {
    Error::local(Kind::Shutdown, Code::Unavailable, "the channel is shut down")
}

/// A dial that failed, as its callers see it.
fn connect_error(error: &ConnectError) -> Error {
    let status = Status::new(Code::Unavailable, error.to_string());
    let phase = match error.phase() {
        ConnectPhase::Resolve => Phase::Resolve,
        ConnectPhase::Socket => Phase::Dial,
        ConnectPhase::Tls => Phase::Tls,
        ConnectPhase::Http2 => Phase::Settings,
    };
    Error::new(Kind::Connect, status, Initiator::Io, Processed::No).with_phase(phase)
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
