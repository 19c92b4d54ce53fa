//! A snapshot of a pool: what it does at this instant, and why. It needs no metrics recorder.

mod text;

use crate::advisor::trend::Warning;
use crate::connection::handle::{Handle, Leak};
use crate::error::Error;
use crate::memory::budget::Budget;
use crate::pool::counters::{Count, Counts};
use crate::pool::queue::shares::Shares;
use crate::pool::tenant::TenantStats;
use crate::pool::{Candidate, Cap, ChannelState, Pool, Shared};
use crate::rt;
use crate::transport::connect::ConnectPhase;
use std::time::{Duration, Instant};

/// A pool at one instant. Its parts are read one after another, so they may differ by what happens in
/// between.
///
/// `Display` writes a few lines: first what the pool does and why, then the endpoints, the connections,
/// and the limits shared with other pools.
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn main() -> Result<(), framewire::client::BuildError> {
/// use framewire::client::{Channel, ChannelState};
///
/// let channel = Channel::builder("http://users.local:80").build()?;
/// let stats = channel.stats();
/// assert_eq!(stats.state, ChannelState::Idle);
/// assert!(stats.connections.is_empty());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolStats {
    /// The channel's state.
    pub state: ChannelState,
    /// Calls in the queue.
    pub waiting: u32,
    /// Of them, those that wait for their tenant's quota, whatever capacity is free.
    pub waiting_for_quota: u32,
    /// Of them, those that a peer has refused twice and whose chance comes when a call ends there.
    pub waiting_refused: u32,
    /// The tenants that share the channel, by label.
    pub tenants: Vec<TenantStats>,
    /// The addresses.
    pub endpoints: Vec<EndpointStats>,
    /// The connections that are not closed, oldest first; those being dialled are in
    /// [`EndpointStats::dialing`].
    pub connections: Vec<ConnectionStats>,
    /// The error of the last resolution, if it failed.
    pub resolve_error: Option<Error>,
    /// The limit on sockets and dials of this pool, which it may share with others.
    pub cap: CapStats,
    /// The limits around that one, the process's last: see [`Cap::inside`](crate::pool::Cap::inside).
    pub outer_caps: Vec<CapStats>,
    /// Bytes that connections lease from the budget, those of other pools included.
    pub budget_used: u64,
    /// The budget's size in bytes.
    pub budget_limit: u64,
    /// How often each thing has happened since the channel was built.
    pub counts: Counts,
    /// The last warning that capacity runs out, and how long ago it was given.
    pub exhaustion: Option<(Duration, Warning)>,
    /// The last call found that is held and not polled, and how long ago.
    pub leak: Option<(Duration, Leak)>,
    /// The silence that a connection on this path did not survive, if one was lost.
    pub path_limit: Option<Duration>,
}

/// One address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStats {
    /// What is dialled.
    pub target: String,
    /// Connections that take calls or are being dialled.
    pub open: u32,
    /// The limit for them: `ChannelBuilder::max_connections`.
    pub max: u32,
    /// Of them, those being dialled now, TLS included.
    pub dialing: u32,
    /// What the dial in flight is doing, and for how long it has been in flight.
    pub dial: Option<(ConnectPhase, Duration)>,
    /// Whether the target spoke HTTP/2 the last time; `None` before it was known.
    pub http2: Option<bool>,
    /// A dial is due, but the [`Cap`](crate::pool::Cap) delays it.
    pub capped: bool,
    /// The level that delays it: [`Cap::name`](crate::pool::Cap::name).
    pub capped_by: Option<&'static str>,
    /// Connections that take no more calls and are not closed.
    pub draining: u32,
    /// Dials that failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<Error>,
    /// Time until the next one may begin, while the endpoint is in backoff.
    pub retry_in: Option<Duration>,
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The peer's SETTINGS have not come.
    Handshaking,
    /// It takes calls.
    Active,
    /// It takes no new calls, and closes once those in flight have ended.
    Draining,
}

/// One connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Unique within the process.
    pub id: u64,
    /// The other end.
    pub peer: String,
    /// What it is doing.
    pub state: ConnectionState,
    /// Time since it was made.
    pub age: Duration,
    /// Calls in flight.
    pub calls: u32,
    /// Concurrent calls that it carries: as many as the peer allows, at most
    /// `Advanced::max_calls_per_connection`, and fewer while the peer refuses streams.
    pub limit: u32,
    /// Bytes that wait for the socket or a window.
    pub queued: u32,
    /// How long the slowest call of the driver's last turn had waited for it.
    pub lag: Duration,
    /// Time, in all, that bytes waited for the connection's window.
    pub stalled: Duration,
}

/// A [`Cap`](crate::pool::Cap), all pools that share it together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CapStats {
    /// Its level: [`Cap::name`](crate::pool::Cap::name).
    pub name: &'static str,
    /// Connections open or being dialled.
    pub open: u32,
    /// The limit for them.
    pub sockets: u32,
    /// Dials begun so far.
    pub dials: u64,
    /// Dials that it delayed.
    pub refused: u64,
}

impl Pool {
    /// Returns what the pool does at this instant, and why.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.stats(rt::now())
    }
}

impl Shared {
    fn stats(&self, now: Instant) -> PoolStats {
        let live = self.live.lock().clone();
        let budget = self.options.driver.budget.clone().unwrap_or_else(Budget::process);
        let candidates = self.candidates();
        let endpoint = |Candidate { subchannel, .. }: &Candidate| {
            let (target, phase) = (subchannel.target.to_string(), subchannel.progress.phase());
            subchannel.lifecycle().stats(target, phase, now)
        };
        let (exhaustion, leak) = {
            let events = self.events.lock();
            let ago = |at: &Instant| now.saturating_duration_since(*at);
            (
                events.exhaustion.as_deref().map(|(at, warning)| (ago(at), warning.clone())),
                events.leak.as_deref().map(|(at, leak)| (ago(at), leak.clone())),
            )
        };
        PoolStats {
            state: *self.watch.borrow(),
            waiting: self.queue.len(),
            waiting_for_quota: self.queue.blocked(),
            waiting_refused: self.queue.refused(),
            tenants: self.queue.shares(Shares::stats).unwrap_or_default(),
            endpoints: candidates.iter().map(endpoint).collect(),
            connections: live.iter().map(|handle| ConnectionStats::new(handle, now)).collect(),
            resolve_error: self.resolving.lock().error().cloned(),
            cap: CapStats::new(&self.cap),
            outer_caps: self.cap.levels().skip(1).map(CapStats::new).collect(),
            budget_used: budget.used(),
            budget_limit: budget.limit(),
            counts: self.counts(),
            exhaustion,
            leak,
            path_limit: self.path.lock().at_most(now),
        }
    }
}

impl CapStats {
    fn new(cap: &Cap) -> Self {
        Self {
            name: cap.name(),
            open: cap.open(),
            sockets: cap.sockets(),
            dials: cap.dials(),
            refused: cap.refused(),
        }
    }
}

impl ConnectionStats {
    fn new(handle: &Handle, now: Instant) -> Self {
        let facts = handle.facts(now);
        let reading = handle.life().read();
        let state = match (reading.open, handle.is_ready()) {
            (false, _) => ConnectionState::Draining,
            (_, false) => ConnectionState::Handshaking,
            _ => ConnectionState::Active,
        };
        Self {
            id: facts.id,
            peer: facts.peer,
            state,
            age: facts.age,
            calls: reading.calls,
            limit: handle.limit(),
            queued: handle.queued(),
            lag: handle.lag(),
            stalled: handle.connection_stalled(),
        }
    }
}

impl PoolStats {
    /// Returns the number of connections in this state.
    #[must_use]
    pub fn count(&self, state: ConnectionState) -> usize {
        self.connections.iter().filter(|connection| connection.state == state).count()
    }

    /// Returns the number of connections that are being dialled.
    #[must_use]
    pub fn dialing(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.dialing).sum()
    }

    /// Returns how often something has happened since the channel was built.
    #[must_use]
    pub fn counted(&self, count: Count) -> u64 {
        self.counts.get(count)
    }

    /// Returns the number of calls in flight.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.connections.iter().map(|connection| u64::from(connection.calls)).sum()
    }
}
