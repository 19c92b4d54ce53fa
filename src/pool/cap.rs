//! Limits that several channels share: open sockets, and dials per second.
//!
//! One lock for all caps that nest. Nothing is called, woken or dropped while it is held, and no other
//! lock is taken under it.

mod line;
mod place;

use crate::error::{Error, Kind, Phase};
use crate::grpc::status::Code;
use crate::pool::Shared;
use crate::rt::occasional::Occasional;
use crate::rt::sync::{AtomicBool, Mutex, Ordering, next_id};
use crate::transport::connect::Target;
use line::{Level, Line};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

pub(super) use line::{Need, Shortage};
pub(super) use place::Socket;

/// Connections of a process, all channels together. Every one is a descriptor here and a socket,
/// perhaps a TLS session, at the server.
const SOCKETS: u32 = 1024;
/// Dials that come back in a second, once as many as there may be sockets have begun at once.
const DIALS: u32 = 256;

/// A limit on connections and on the rate of dials.
///
/// Caps nest: a dial under one made by [`Cap::inside`] takes a socket of it and of each cap around it,
/// or of none. So a channel's share is limited within a shard's, and all of them within the
/// process's.
///
/// A connection holds its socket until it is closed. A dial that finds no socket waits in line: dials
/// that calls wait for come first, in the order in which they asked, then those that only keep a number
/// of connections (`ChannelBuilder::min_connections`, `Channel::warm`) or replace one. Each socket that
/// is released goes to the first dial in line that can use it. A dial that only the rate delays waits
/// in the same line.
///
/// If calls wait for the dial, the connection under this cap that has had no calls for longest is closed
/// for it, whichever channel has it: GOAWAY is sent, and no call is affected. Connections that a channel
/// keeps (`min_connections`, `warm`) are closed only if there are no others, and only for a channel that
/// has no connection. Connections with calls are never closed for others.
///
/// If every connection has calls, the dial waits, which is logged as a warning. After
/// `ChannelBuilder::connect_timeout` the channel is in TRANSIENT_FAILURE, and calls fail with UNAVAILABLE
/// and name the cap; calls with `wait_for_ready` wait until their deadline. The dial stays in line.
pub struct Cap {
    id: u64,
    name: &'static str,
    parent: Option<Arc<Self>>,
    sockets: u32,
    /// The identifiers of this level and of those around it, the outermost last.
    chain: Arc<[u64]>,
    tree: Arc<Tree>,
    /// Bounds the warnings.
    warned: Occasional,
}

/// What caps that nest have in common.
struct Tree {
    /// A dial that calls need waits for a socket, and no connection is closing for it.
    short: AtomicBool,
    line: Mutex<Line>,
}

/// What a dial leaves in the line.
struct Waiter {
    cap: Arc<Cap>,
    /// Has the dial look again.
    news: Arc<Notify>,
    socket: oneshot::Sender<Socket>,
}

/// Why a dial may not begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capped {
    /// The level that delays it.
    pub(super) by: &'static str,
    sockets: u32,
    dials: u32,
    /// Too many dials began in the last second: when this one may begin. `None`: as many connections as
    /// allowed are open.
    pub(super) until: Option<Instant>,
}

impl Capped {
    /// Returns the error of calls that have waited for the dial for so long.
    pub(super) fn error(&self, target: &Target, time: Duration) -> Error {
        let text = format!("{target}: no connection within {time:?}: {self}");
        Error::local(Kind::Connect, Code::Unavailable, text).with_phase(Phase::PoolWait)
    }
}

impl fmt::Display for Capped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, sockets, dials, until } = self;
        match until {
            None => write!(
                f,
                "the Cap ({by}) allows {sockets} connections, and none of them could be closed for \
                 another (client::Advanced::cap)"
            ),
            Some(_) => {
                write!(f, "the Cap ({by}) allows {dials} dials per second (client::Advanced::cap)")
            }
        }
    }
}

impl Cap {
    /// At most `sockets` connections at a time; `dials` begun in a second, after `sockets` at once.
    /// Zero counts as one: a pool that may not connect is an error, not a bound.
    ///
    /// It stands alone: what is dialled under it does not count for [`Cap::process`]. It is for a
    /// whole of its own, as a test is; a part of the process is `Cap::inside(&Cap::process(), ..)`.
    #[must_use]
    pub fn new(sockets: u32, dials: u32) -> Arc<Self> {
        Self::build("own", None, sockets, dials)
    }

    /// As [`Cap::new`], within `parent`: a dial needs a socket and a token of both, and takes them of
    /// both or of none. What is open here is open there. `sockets` and `dials` above the parent's
    /// are allowed and never reached.
    #[must_use]
    pub fn inside(parent: &Arc<Self>, sockets: u32, dials: u32) -> Arc<Self> {
        Self::build("shard", Some(Arc::clone(parent)), sockets, dials)
    }

    fn build(name: &'static str, parent: Option<Arc<Self>>, sockets: u32, dials: u32) -> Arc<Self> {
        let (id, sockets, dials) = (next_id(), sockets.max(1), dials.max(1));
        let outer = parent.as_ref().map_or(&[][..], |parent| &parent.chain);
        let chain = std::iter::once(id).chain(outer.iter().copied()).collect();
        let tree = parent.as_ref().map_or_else(Arc::default, |parent| Arc::clone(&parent.tree));
        tree.line.lock().add(id, Level::new(name, sockets, dials));
        let warned = Occasional::default();
        Arc::new(Self { id, name, parent, sockets, chain, tree, warned })
    }

    /// The process's: 1024 connections, 256 dials a second.
    #[must_use]
    pub fn process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Cap>> = OnceLock::new();
        Arc::clone(PROCESS.get_or_init(|| Self::build("process", None, SOCKETS, DIALS)))
    }

    /// Its level, as statistics name it: `process`, `shard` for one inside another, `own` for one
    /// that stands alone.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The bound round this one.
    #[must_use]
    pub const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Connections open or being dialled.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.level().open
    }

    /// Most connections open at a time.
    #[must_use]
    pub const fn sockets(&self) -> u32 {
        self.sockets
    }

    /// Dials begun so far.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.level().begun
    }

    /// Returns the dials that this cap delayed; a cap around it counts its own.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.level().delayed
    }

    fn level(&self) -> Level {
        self.tree.line.lock().level(self.id)
    }

    /// This bound, then each round it, up to the whole.
    pub(super) fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |cap| cap.parent.as_deref())
    }

    /// Most connections open at a time that every level allows.
    pub(super) fn most(&self) -> u32 {
        self.levels().map(Self::sockets).min().unwrap_or(self.sockets)
    }

    /// Whether `other` is this bound or one round it.
    #[must_use]
    pub fn is_inside(&self, other: &Arc<Self>) -> bool {
        self.chain.contains(&other.id)
    }

    /// Whether a dial that calls need waits for a socket, and no connection is closing for it. Whose
    /// connection has become idle asks after a fence.
    pub(super) fn is_short(&self) -> bool {
        self.tree.short.load(Ordering::Relaxed)
    }

    /// The dials that calls need and that wait for a socket no closing connection will leave.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.tree.line.lock().shortage()
    }

    /// The connections that have ended and whose sockets, were they closed, would help dials that wait: the
    /// oldest first.
    pub(super) fn lingering(&self) -> Vec<u64> {
        self.tree.line.lock().helpful()
    }

    /// Registers a pool, whose idle connections can be closed for dials that wait.
    pub(super) fn register(self: &Arc<Self>, pool: &Weak<Shared>) -> Member {
        let id = next_id();
        self.tree.line.lock().pools.insert(id, pool.clone());
        Member { id, cap: Arc::clone(self) }
    }

    /// The pools that share a limit with this cap.
    pub(super) fn pools(&self) -> Vec<Arc<Shared>> {
        let pools: Vec<_> = self.tree.line.lock().pools.values().cloned().collect();
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether to warn that dials wait.
    pub(super) fn warns(&self, now: Instant) -> bool {
        self.warned.allows(now).is_some()
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        self.tree.line.lock().remove(self.id);
    }
}

impl fmt::Debug for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Level { open, sockets, dials, .. } = self.level();
        f.debug_struct("Cap")
            .field("name", &self.name)
            .field("open", &open)
            .field("sockets", &sockets)
            .field("dials", &dials)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { short: AtomicBool::new(false), line: Mutex::new(Line::default()) }
    }
}

/// A pool's registration.
#[derive(Debug)]
pub(super) struct Member {
    id: u64,
    cap: Arc<Cap>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let pool = self.cap.tree.line.lock().pools.remove(&self.id);
        drop(pool);
    }
}
