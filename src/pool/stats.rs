//! What a pool does at this instant, and why: a snapshot, without any recorder.

use crate::advisor::trend::Warning;
use crate::connection::handle::{Handle, Leak};
use crate::error::Error;
use crate::memory::budget::Budget;
use crate::pool::counters::{Count, Counts};
use crate::pool::endpoint::Endpoint;
use crate::pool::shares::Shares;
use crate::pool::tenant::TenantStats;
use crate::pool::{Cap, ChannelState, Pool, Shared};
use crate::rt;
use crate::transport::connect::ConnectPhase;
use std::fmt;
use std::time::{Duration, Instant};

/// Tenants whose calls wait that the text names; all of them are in [`PoolStats::tenants`].
const TENANTS_SHOWN: usize = 8;

/// A pool at one instant. Its parts are read one after another, so that they may differ by what
/// happens in between.
///
/// `Display` is a few lines for people: the first says what the pool does and why, then come the
/// endpoints, the connections, and the bounds shared with others.
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
    /// Calls that wait for a place on a connection.
    pub waiting: u32,
    /// Of them, those that wait for their tenant's quota, whatever places there are.
    pub waiting_for_quota: u32,
    /// The tenants that share the channel, by label.
    pub tenants: Vec<TenantStats>,
    /// The addresses.
    pub endpoints: Vec<EndpointStats>,
    /// The connections that live, oldest first; those being dialled are in
    /// [`EndpointStats::dialing`].
    pub connections: Vec<ConnectionStats>,
    /// Why the resolver has no answer, while it has none.
    pub resolve_error: Option<Error>,
    /// The bound on sockets and dials that the pool is under, and perhaps shares with others.
    pub cap: CapStats,
    /// The bounds round that one, the process's last: see [`Cap::inside`](crate::pool::Cap::inside).
    pub outer_caps: Vec<CapStats>,
    /// Bytes that connections lease from the budget, those of other pools included.
    pub budget_used: u64,
    /// The budget's size in bytes.
    pub budget_limit: u64,
    /// How often each thing has happened since the channel was built.
    pub counts: Counts,
    /// The last warning that places run out, and how long ago it was given.
    pub exhaustion: Option<(Duration, Warning)>,
    /// The last call found held by nobody who waits for it, and how long ago.
    pub leak: Option<(Duration, Leak)>,
    /// Silence that a connection on this path did not survive, as far as it was learned.
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
    /// The most of them: `ChannelBuilder::max_connections`.
    pub max: u32,
    /// Of them, those being dialled now, TLS included.
    pub dialing: u32,
    /// What the dial under way is doing, and for how long it has been under way.
    pub dial: Option<(ConnectPhase, Duration)>,
    /// Whether the target spoke HTTP/2 the last time; `None` before it was known.
    pub http2: Option<bool>,
    /// A dial is due, but the [`Cap`](crate::pool::Cap) puts it off.
    pub capped: bool,
    /// The level that does: [`Cap::name`](crate::pool::Cap::name).
    pub capped_by: Option<&'static str>,
    /// Connections that take no more calls and are not closed.
    pub leaving: u32,
    /// Dials that failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<Error>,
    /// Time until the next one may begin, while the endpoint is in back-off.
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
    /// It takes no new calls, and closes once those under way have ended.
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
    /// Calls under way.
    pub calls: u32,
    /// Calls that the peer allows at a time; `u32::MAX` when it names no number.
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
    /// The most of them.
    pub sockets: u32,
    /// Dials begun so far.
    pub dials: u64,
    /// Times that a dial was put off.
    pub refused: u64,
}

impl Pool {
    /// What the pool does at this instant, and why.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.stats(rt::now())
    }
}

impl Shared {
    fn stats(&self, now: Instant) -> PoolStats {
        let live = self.live.lock().clone();
        let budget = self.options.driver.budget.clone().unwrap_or_else(Budget::process);
        let endpoints = self.endpoints();
        let endpoint = |endpoint: &_| EndpointStats::new(endpoint, now);
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
            waiting: self.waiting.len(),
            waiting_for_quota: self.waiting.blocked(),
            tenants: self.waiting.shares(Shares::stats).unwrap_or_default(),
            endpoints: endpoints.iter().map(|one| endpoint(one)).collect(),
            connections: live.iter().map(|handle| ConnectionStats::new(handle, now)).collect(),
            resolve_error: self.resolving.lock().error.clone(),
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

impl EndpointStats {
    fn new(endpoint: &Endpoint, now: Instant) -> Self {
        let cold = endpoint.cold.lock();
        let members = endpoint.members().len() as u32;
        let (open, leaving) = endpoint.counts();
        let dialing = open.saturating_sub(members);
        let retry_in = cold.retry_at.map(|at| at.saturating_duration_since(now));
        let retry_in = retry_in.filter(|wait| !wait.is_zero());
        Self {
            target: endpoint.target.to_string(),
            open,
            max: endpoint.most(),
            dialing,
            dial: cold
                .began
                .map(|at| (endpoint.progress.phase(), now.saturating_duration_since(at))),
            http2: cold.http2,
            capped: cold.dialing && dialing == 0 && retry_in.is_none(),
            capped_by: cold.capped,
            leaving,
            failures: cold.failures,
            last_error: cold.last_error.clone(),
            retry_in,
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
    /// Connections that are doing this.
    #[must_use]
    pub fn count(&self, state: ConnectionState) -> usize {
        self.connections.iter().filter(|connection| connection.state == state).count()
    }

    /// Connections that are being dialled.
    #[must_use]
    pub fn dialing(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.dialing).sum()
    }

    /// How often something has happened since the channel was built.
    #[must_use]
    pub fn counted(&self, count: Count) -> u64 {
        self.counts.get(count)
    }

    /// Calls under way on connections.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.connections.iter().map(|connection| u64::from(connection.calls)).sum()
    }

    /// Why there is no connection, or why calls wait although there is one.
    fn why(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capped = self.endpoints.iter().find(|endpoint| endpoint.capped);
        let full = |endpoint: &EndpointStats| endpoint.open >= endpoint.max;
        match self.state {
            ChannelState::Shutdown => f.write_str("the channel is gone"),
            ChannelState::Idle if self.waiting == 0 => {
                f.write_str("no connection; the next call opens one")
            }
            ChannelState::TransientFailure if capped.is_none() => self.why_failed(f),
            _ if capped.is_some() => {
                let by = capped.and_then(|endpoint| endpoint.capped_by);
                let level = self.outer_caps.iter().find(|cap| Some(cap.name) == by);
                let CapStats { name, open, sockets, refused, .. } = *level.unwrap_or(&self.cap);
                write!(
                    f,
                    "the Cap ({name}) puts dials off: {open} of {sockets} sockets, {refused} refused"
                )
            }
            _ if self.dialing() > 0 => write!(f, "dialling {}", self.dialing()),
            _ if self.count(ConnectionState::Handshaking) > 0 => {
                f.write_str("the peer's SETTINGS are awaited")
            }
            ChannelState::Ready if self.waiting > 0 && self.waiting == self.waiting_for_quota => {
                f.write_str("calls wait for their tenants' quotas (Share::max_calls)")
            }
            ChannelState::Ready if self.waiting == 0 => f.write_str("calls find a place at once"),
            ChannelState::Ready if self.endpoints.iter().any(full) => {
                f.write_str("connections are full, and there are max_connections of them")
            }
            _ if self.endpoints.iter().any(|endpoint| endpoint.retry_in.is_some()) => {
                self.why_failed(f)
            }
            _ => f.write_str("a connection is about to be dialled"),
        }
    }

    fn why_failed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.resolve_error {
            return write!(f, "the name cannot be resolved: {error}");
        }
        let failed = self.endpoints.iter().filter(|endpoint| endpoint.last_error.is_some());
        let Some(next) = failed.min_by_key(|endpoint| endpoint.retry_in) else {
            return f.write_str("a dial failed");
        };
        write!(f, "{} failed in a row", count(next.failures.into(), "dial"))?;
        match next.retry_in {
            Some(wait) => write!(f, ", the next may begin in {wait:.1?}")?,
            None => f.write_str(", the next begins when a call comes")?,
        }
        match &next.last_error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// A number with its noun.
fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ChannelState::Idle => "idle",
            ChannelState::Connecting => "connecting",
            ChannelState::Ready => "ready",
            ChannelState::TransientFailure => "transient failure",
            ChannelState::Shutdown => "shut down",
        };
        write!(
            f,
            "{state}, {} under way, {} waiting: ",
            count(self.calls(), "call"),
            self.waiting
        )?;
        self.why(f)?;
        write!(
            f,
            "\nconnections: {} dialling, {} handshaking, {} active, {} draining",
            self.dialing(),
            self.count(ConnectionState::Handshaking),
            self.count(ConnectionState::Active),
            self.count(ConnectionState::Draining),
        )?;
        for endpoint in &self.endpoints {
            write!(f, "\n  {endpoint}")?;
        }
        for connection in &self.connections {
            write!(f, "\n  {connection}")?;
        }
        let busy = self.tenants.iter().filter(|tenant| tenant.waiting > 0);
        for tenant in busy.take(TENANTS_SHOWN) {
            write!(f, "\n  {tenant}")?;
        }
        f.write_str("\nshared:")?;
        for (i, cap) in std::iter::once(&self.cap).chain(&self.outer_caps).enumerate() {
            write!(f, "{} {cap}", if i == 0 { "" } else { "," })?;
        }
        write!(
            f,
            "; {} of {} KiB of the budget",
            self.budget_used.div_ceil(1024),
            self.budget_limit / 1024,
        )?;
        self.told(f)
    }
}

impl PoolStats {
    /// What was found amiss, if anything was.
    fn told(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((ago, warning)) = &self.exhaustion {
            write!(f, "\n{ago:.0?} ago: {warning}")?;
        }
        if let Some((ago, leak)) = &self.leak {
            write!(f, "\n{ago:.0?} ago: {leak}")?;
        }
        if let Some(limit) = self.path_limit {
            write!(f, "\nthe path forgets connections that are silent for {limit:.0?}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CapStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, open, sockets, dials, refused } = *self;
        let dials = count(dials, "dial");
        write!(f, "{open} of {sockets} sockets ({name}), {dials}, {refused} put off")
    }
}

impl fmt::Display for EndpointStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} open, {} leaving", self.target, self.open, self.max, self.leaving)?;
        if let Some((phase, time)) = self.dial {
            let step = match phase {
                ConnectPhase::Resolve => "resolving",
                ConnectPhase::Tls => "in the TLS handshake",
                _ => "dialling",
            };
            write!(f, ", {step} (dial begun {time:.1?} ago)")?;
        }
        if self.http2 == Some(false) {
            f.write_str(", speaks no HTTP/2")?;
        }
        if self.failures > 0 {
            write!(f, ", {} failed in a row", count(self.failures.into(), "dial"))?;
        }
        if let Some(wait) = self.retry_in {
            write!(f, ", next dial in {wait:.1?}")?;
        }
        match &self.last_error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConnectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ConnectionState::Handshaking => "handshaking",
            ConnectionState::Active => "active",
            ConnectionState::Draining => "draining",
        };
        write!(f, "#{} to {}, {state}, {:.1?} old: ", self.id, self.peer, self.age)?;
        match self.limit {
            u32::MAX => write!(f, "{}", count(self.calls.into(), "call"))?,
            limit => write!(f, "{} of {}", self.calls, count(limit.into(), "call"))?,
        }
        if self.queued > 0 {
            write!(f, ", {} queued", count(self.queued.into(), "byte"))?;
        }
        if !self.lag.is_zero() {
            write!(f, ", {:.1?} behind", self.lag)?;
        }
        if !self.stalled.is_zero() {
            write!(f, ", {:.1?} without window", self.stalled)?;
        }
        Ok(())
    }
}
