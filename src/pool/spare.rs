//! Connections without calls are given up when dials of other channels wait for their sockets.

use crate::connection::driver;
use crate::pool::Shared;
use crate::pool::cap::{Cap, Capped, Need, Shortage};
use crate::pool::counters::Count;
use crate::pool::subchannel::{LongIdle, Subchannel};
use std::sync::Arc;
use std::time::Instant;

/// A connection that can be given up.
struct Spare {
    pool: Arc<Shared>,
    subchannel: Arc<Subchannel>,
    idle: LongIdle,
}

impl Shared {
    /// What a dial of this subchannel is needed for.
    pub(super) fn need(&self, subchannel: &Subchannel) -> Need {
        let called = subchannel.lifecycle().is_called();
        if called && !self.is_connected() {
            return Need::First;
        }
        if self.queue.needs_no_permit() { Need::Kept } else { Need::More }
    }

    /// A dial waits for a socket: closes the connections that have been idle for longest, in all channels
    /// that share the cap, one for each dial that waits. Warns if there are too few.
    pub(super) fn make_way(&self, capped: &Capped, now: Instant) {
        if give_up(&self.cap, &self.cap.pools(), now) {
            return;
        }
        // One that only waits for its peer to close is closed at once.
        let _ = self.cap.lingering().into_iter().find(|one| driver::cut_lingering_client(*one));
        if self.cap.warns(now) {
            let target = &self.target;
            crate::rt::log!(warn, %target, %capped, "no connection is idle: dials wait");
        }
    }

    /// A connection of this channel has become idle while a dial waits for a socket.
    pub(super) fn give_way(&self, now: Instant) {
        if let Some(me) = self.me.upgrade() {
            give_up(&self.cap, &[me], now);
        }
    }

    /// The connection that is given up first, if one of this channel's helps.
    fn spare_for(self: &Arc<Self>, shortage: &Shortage, now: Instant) -> Option<Spare> {
        let need = shortage.need(&self.cap)?;
        let min = self.min_connections();
        let candidates = self.candidates();
        let found = candidates.iter().filter_map(|one| {
            let idle = one.subchannel.lifecycle().longest_idle(min, now)?;
            let (pool, subchannel) = (Arc::clone(self), Arc::clone(&one.subchannel));
            (!idle.kept || need == Need::First).then_some(Spare { pool, subchannel, idle })
        });
        found.min_by_key(Spare::rank)
    }
}

impl Spare {
    const fn rank(&self) -> (bool, Instant) {
        (self.idle.kept, self.idle.since)
    }

    /// Closes it, unless it has been used meanwhile.
    fn give_up(&self) {
        let Self { pool, subchannel, idle } = self;
        if !subchannel.lifecycle().give_up(idle) {
            return;
        }
        let connection = idle.handle.id();
        crate::rt::log!(debug, connection, "closed: another channel needs its socket");
        pool.counters.note(Count::Shrunk);
        pool.publish();
        idle.handle.make_way();
    }
}

/// Gives up connections of these pools as long as dials wait. Returns whether none waits any more.
fn give_up(cap: &Cap, pools: &[Arc<Shared>], now: Instant) -> bool {
    while let Some(shortage) = cap.shortage() {
        let spares = pools.iter().filter_map(|pool| pool.spare_for(&shortage, now));
        let Some(spare) = spares.min_by_key(Spare::rank) else { return false };
        spare.give_up();
    }
    true
}
