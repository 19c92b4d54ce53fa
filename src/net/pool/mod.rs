//! Where a channel's calls find a connection.
//!
//! Today one connection an address, dialled at the first call; GOAWAY and loss bring another, and
//! calls that were surely not processed move there. Growth, shrinking and quotas have their place
//! here and nowhere else.

mod dial;
pub mod sizing;
pub mod trend;

use super::connect::{Connect, ConnectError, Target};
use super::driver::DriverOptions;
use super::env::{self, Random};
use super::handle::{Change, Handle, Home};
use super::handoff::Policy;
use super::slot::{Slot, wake};
use super::sync::{Mutex, SegQueue};
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A channel's state, with the names that gRPC gives them.
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

/// How connections are made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolOptions {
    /// How each connection behaves.
    pub driver: DriverOptions,
    /// The mailbox of each connection.
    pub handoff: Policy,
    /// Time for a dial, TLS included. Default 20 s.
    pub dial_time: Duration,
    /// First back-off after a failed dial; then times 1.6 up to `backoff_max`, give or take a
    /// fifth. Default 1 s.
    pub backoff: Duration,
    /// Default 120 s.
    pub backoff_max: Duration,
    /// Connections on which a call may be tried before it fails. Default 8.
    pub attempts: u32,
    /// Recycled slots kept. Default 1024.
    pub slots: usize,
    /// Same seed, same jitter; drawn at random by default.
    pub seed: Option<u64>,
}

impl PoolOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            driver: DriverOptions::new(crate::http2::Role::Client),
            handoff: Policy::ShortMutex,
            dial_time: Duration::from_secs(20),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(120),
            attempts: 8,
            slots: 1024,
            seed: None,
        }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A channel's connections. Dropping the last handle closes them once their calls have ended.
pub struct Pool {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    me: Weak<Self>,
    target: Target,
    connector: Arc<dyn Connect>,
    options: PoolOptions,
    current: Mutex<Option<Arc<Handle>>>,
    state: Mutex<State>,
    watch: watch::Sender<ChannelState>,
    slots: SegQueue<Arc<Slot>>,
    /// A call has joined those that wait.
    joined: Notify,
}

/// Cold: touched when connections come and go, and by calls that wait for one.
struct State {
    waiting: VecDeque<Arc<Slot>>,
    dialing: bool,
    failures: u32,
    retry_at: Option<Instant>,
    last_error: Option<Error>,
    shutdown: bool,
    random: Random,
    live: Vec<Arc<Handle>>,
}

impl Pool {
    /// Connects nothing yet.
    #[must_use]
    pub fn new(target: Target, connector: Arc<dyn Connect>, options: PoolOptions) -> Self {
        let seed = options.seed.unwrap_or_else(env::entropy);
        let shared = Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            target,
            connector,
            current: Mutex::new(None),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                dialing: false,
                failures: 0,
                retry_at: None,
                last_error: None,
                shutdown: false,
                random: Random::new(seed),
                live: Vec::new(),
            }),
            watch: watch::Sender::new(ChannelState::Idle),
            slots: SegQueue::new(),
            joined: Notify::new(),
            options,
        });
        Self { shared }
    }

    /// A slot for a call that begins now: recycled if there is one.
    #[must_use]
    pub fn slot(&self, now: Instant) -> Arc<Slot> {
        match self.shared.slots.pop() {
            Some(slot) => {
                slot.lock().restart(now);
                slot
            }
            None => Slot::new(now),
        }
    }

    /// Takes a slot back for the next call, if nobody else holds it.
    pub fn give_back(&self, mut slot: Arc<Slot>) {
        let shared = &self.shared;
        if shared.slots.len() < shared.options.slots && slot.recycle() {
            shared.slots.push(slot);
        }
    }

    /// Sends a call on its way.
    pub fn submit(&self, slot: Arc<Slot>) {
        self.shared.submit(slot);
    }

    /// Begins to connect without a call.
    pub fn connect(&self) {
        self.shared.connect();
    }

    /// A call that waits for a connection was given up.
    pub fn forget(&self, slot: &Arc<Slot>) {
        self.shared.state.lock().waiting.retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// The state, to be watched.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ChannelState> {
        self.shared.watch.subscribe()
    }

    /// The connections that live.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Handle>> {
        self.shared.state.lock().live.clone()
    }

    /// What is dialled.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.shared.target
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown();
    }
}

impl Shared {
    fn submit(&self, slot: Arc<Slot>) {
        let handle = self.current.lock().clone();
        match handle.filter(|handle| handle.is_accepting()) {
            Some(handle) => handle.submit(slot),
            None => self.wait(slot),
        }
    }

    /// No connection may be used: the call waits for the dial, or fails with the last one.
    fn wait(&self, slot: Arc<Slot>) {
        let mut state = self.state.lock();
        if state.shutdown {
            drop(state);
            return fail(
                &slot,
                Error::local(Kind::Shutdown, Code::Unavailable, "the channel is shut down"),
            );
        }
        // A dial may have ended since the caller looked.
        let current = self.current.lock().clone().filter(|handle| handle.is_accepting());
        if let Some(handle) = current {
            drop(state);
            return handle.submit(slot);
        }
        let backing_off = state.retry_at.is_some_and(|at| env::now() < at);
        let patient = slot.lock().wait_for_ready;
        if let (true, false, Some(error)) = (backing_off, patient, &state.last_error) {
            let error = error.clone();
            drop(state);
            return fail(&slot, error);
        }
        state.waiting.push_back(slot);
        self.joined.notify_one();
        self.start_dial(&mut state);
    }

    fn connect(&self) {
        let usable = self.current.lock().as_ref().is_some_and(|handle| handle.is_accepting());
        if !usable {
            let mut state = self.state.lock();
            self.start_dial(&mut state);
        }
    }

    /// One dial in flight.
    fn start_dial(&self, state: &mut State) {
        if state.dialing || state.shutdown {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        state.dialing = true;
        env::spawn(dial::run(me));
    }

    fn shutdown(&self) {
        let (waiting, live) = {
            let mut state = self.state.lock();
            state.shutdown = true;
            (std::mem::take(&mut state.waiting), state.live.clone())
        };
        *self.current.lock() = None;
        self.watch.send_replace(ChannelState::Shutdown);
        for slot in waiting {
            fail(
                &slot,
                Error::local(Kind::Shutdown, Code::Unavailable, "the channel is shut down"),
            );
        }
        for handle in live {
            handle.goodbye();
        }
    }

    fn publish(&self, state: ChannelState) {
        self.watch.send_if_modified(|old| {
            let changed = *old != state && *old != ChannelState::Shutdown;
            if changed {
                *old = state;
            }
            changed
        });
    }

    /// The next dial waits: times 1.6 for each failure in a row, give or take a fifth.
    fn back_off(&self, state: &mut State, now: Instant, error: Error) {
        let factor = 1.6f64.powi(state.failures.min(32) as i32);
        let base = self.options.backoff.mul_f64(factor).min(self.options.backoff_max);
        state.failures = state.failures.saturating_add(1);
        state.retry_at = Some(now + state.random.jitter(base, 0.2));
        state.last_error = Some(error);
    }

    fn is_current(&self, handle: &Arc<Handle>) -> bool {
        self.current.lock().as_ref().is_some_and(|current| current.id() == handle.id())
    }

    fn retire(&self, handle: &Arc<Handle>) {
        if self.is_current(handle) {
            *self.current.lock() = None;
        }
    }
}

impl Home for Shared {
    fn redispatch(&self, slot: Arc<Slot>) {
        let attempts = {
            let mut x = slot.lock();
            x.timeline.enter(Phase::PoolWait, env::now());
            x.attempts
        };
        if attempts >= self.options.attempts {
            let status = Status::new(
                Code::Unavailable,
                format!("{attempts} connections refused the call without acting on it"),
            );
            let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No);
            return fail(&slot, error);
        }
        // Never written, or once: at once. More often: the peer is given time.
        if attempts < 2 {
            return self.submit(slot);
        }
        let Some(me) = self.me.upgrade() else { return };
        let pause = {
            let mut state = self.state.lock();
            let base = Duration::from_millis(25) * (1 << attempts.min(6));
            state.random.jitter(base, 0.2)
        };
        env::spawn(async move {
            env::sleep(pause).await;
            me.submit(slot);
        });
    }

    fn changed(&self, handle: &Arc<Handle>, change: Change) {
        match change {
            Change::Ready => {
                let mut state = self.state.lock();
                state.failures = 0;
                state.retry_at = None;
                state.last_error = None;
                drop(state);
                self.publish(ChannelState::Ready);
            }
            Change::Draining => {
                self.retire(handle);
                self.publish(ChannelState::Idle);
            }
            Change::Closed(error) => {
                let current = self.is_current(handle);
                self.retire(handle);
                let mut state = self.state.lock();
                state.live.retain(|other| other.id() != handle.id());
                if !handle.is_ready() {
                    // It never spoke HTTP/2: as good as a dial that failed.
                    let error = error.unwrap_or_else(|| never_spoke(handle));
                    self.back_off(&mut state, env::now(), error);
                    drop(state);
                    self.publish(ChannelState::TransientFailure);
                } else if current {
                    drop(state);
                    self.publish(ChannelState::Idle);
                }
            }
        }
    }
}

fn never_spoke(handle: &Handle) -> Error {
    let status = Status::new(Code::Unavailable, "the connection closed before the peer's SETTINGS");
    Error::new(Kind::ConnectionLost, status, Initiator::Remote, Processed::No)
        .with_connection(handle.facts(env::now()))
}

/// A dial that failed, as its callers see it.
fn connect_error(error: &ConnectError) -> Error {
    let status = Status::new(Code::Unavailable, error.to_string());
    Error::new(Kind::Connect, status, Initiator::Io, Processed::No)
}

fn fail(slot: &Arc<Slot>, error: Error) {
    let wakers = slot.lock().fail(error);
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
