//! A subchannel: one address and the connections to it. [`Lifecycle`] holds what changes when
//! connections come and go; the queue of idle connections is apart, because calls use it.

mod attempt;
mod capped;
mod claim;
mod dial;
mod early_end;
mod idle;
mod lifecycle;
mod owner;
mod state;

use crate::connection::handle::Handle;
use crate::pool::options::PoolOptions;
use crate::rt::sync::{AtomicU32, Mutex, MutexGuard, Ordering, next_id};
use crate::transport::connect::{ConnectPhase, Progress, Target};
pub(super) use idle::IdleConnections;
use lifecycle::Lifecycle;
use std::sync::Arc;
use tokio::sync::Notify;

pub(super) use lifecycle::{Limits, LongIdle};
pub use state::ChannelState;
pub(super) use state::aggregate;

/// One address.
#[derive(Debug)]
pub(super) struct Subchannel {
    id: u64,
    pub(super) target: Target,
    /// The queue of connections without calls.
    pub(super) idle: IdleConnections,
    /// Turns of the oldest connection, plus one, when all were above their soft target; 0 if one was
    /// below since.
    above_target: AtomicU32,
    /// Wakes the dial task: there is a reason to ask again whether it is wanted, and when.
    news: Arc<Notify>,
    /// How far the dial in flight has come.
    pub(super) progress: Progress,
    lifecycle: Mutex<Lifecycle>,
}

impl Subchannel {
    pub(super) fn new(target: Target, options: &PoolOptions) -> Arc<Self> {
        let max = options.max_connections.max(1);
        Arc::new(Self {
            id: next_id(),
            target,
            // Those that are closed stay in it until they are popped.
            idle: IdleConnections::new(max as usize * 2),
            above_target: AtomicU32::new(0),
            news: Arc::default(),
            progress: Progress::watched(),
            lifecycle: Mutex::new(Lifecycle::new(max)),
        })
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Locks the lifecycle, for a transition or a question. The caller holds no other lock but the
    /// picker's, and takes none but those of the cap and of the random numbers.
    pub(super) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock()
    }

    /// The connections that calls may be written to, oldest first.
    pub(super) fn connections(&self) -> Vec<Arc<Handle>> {
        self.lifecycle().carriers().cloned().collect()
    }

    /// Takes no more connections and ends the dial. Returns the connections that still take calls.
    pub(super) fn shut_down(&self) -> Vec<Arc<Handle>> {
        let handles = self.lifecycle().shut_down();
        self.wake_dial();
        handles
    }

    /// Whether a dial has begun and its transport is not open.
    pub(super) fn is_dialing(&self) -> bool {
        let opened = self.progress.phase() == ConnectPhase::Http2;
        self.lifecycle().dial_began().is_some() && !opened
    }

    /// The dial task asks again whether it is wanted, and when.
    pub(super) fn wake_dial(&self) {
        self.news.notify_one();
    }

    /// Whether a connection is ready and takes calls.
    pub(super) fn is_connected(&self) -> bool {
        self.lifecycle().is_connected()
    }

    /// A connection was below its soft target.
    pub(super) fn note_below_target(&self) {
        if self.above_target.load(Ordering::Relaxed) != 0 {
            self.above_target.store(0, Ordering::Relaxed);
        }
    }

    /// Whether all connections have been above their soft target for two turns of the oldest one.
    pub(super) fn stays_above_target(&self) -> bool {
        let Some(turns) = self.lifecycle().handles().next().map(|oldest| oldest.turns()) else {
            return true;
        };
        let now = turns.wrapping_add(1).max(1);
        let since = self.above_target.load(Ordering::Relaxed);
        if since == 0 {
            self.above_target.store(now, Ordering::Relaxed);
            return false;
        }
        now.wrapping_sub(since) >= 2
    }
}
