//! One channel's part of a configuration: the same identity and roots, sessions of its own.
//!
//! A session is a credential: whoever shows its ticket is taken for the client that earned it. So
//! no two channels hold one in common, whatever else they share.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};

use crate::rt::sync::{AtomicUsize, Mutex, Ordering};
use crate::transport::tls::client::{ClientTls, Current};
use crate::transport::tls::session::{SessionStore, Totals};

/// Tickets kept in a store unless a pool wants more.
const SESSIONS: usize = 64;

/// How stores of a configuration are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct StorePlan {
    /// Tickets; none turns resumption off.
    capacity: usize,
    /// As many as were asked for, whatever a pool may hold.
    fixed: bool,
    pub(super) tls12: Tls12Resumption,
}

impl StorePlan {
    /// As many tickets as asked for; else 64, or more for a larger pool.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity: capacity.unwrap_or(SESSIONS),
            fixed: capacity.is_some(),
            tls12: Tls12Resumption::SessionIdOrTickets,
        }
    }

    /// What a foreign configuration wants. rustls tells it only where it shows itself to people:
    /// two that look alike are alike, and a test sees to it that they still differ.
    pub(super) fn of(resumption: &Resumption) -> Self {
        let look = |resumption: &Resumption| format!("{resumption:?}");
        let seen = look(resumption);
        let alike =
            |way: &Tls12Resumption| look(&resumption.clone().tls12_resumption(*way)) == seen;
        let ways = [Tls12Resumption::SessionIdOrTickets, Tls12Resumption::SessionIdOnly];
        let tls12 = ways.into_iter().find(alike).unwrap_or(Tls12Resumption::Disabled);
        let off = look(&Resumption::disabled().tls12_resumption(tls12)) == seen;
        Self { tls12, ..Self::new(off.then_some(0)) }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.capacity > 0
    }

    /// A store for a pool of so many connections.
    pub(super) fn store(&self, pool: usize, totals: &Arc<Totals>) -> Arc<SessionStore> {
        let capacity = if self.fixed { self.capacity } else { self.capacity.max(pool) };
        Arc::new(SessionStore::new(capacity, Arc::clone(totals)))
    }

    pub(super) fn resumption(&self, sessions: &Arc<SessionStore>) -> Resumption {
        if self.is_on() {
            Resumption::store(sessions.clone()).tls12_resumption(self.tls12)
        } else {
            Resumption::disabled()
        }
    }
}

/// A configuration with a store of its own, made anew for each generation.
pub(super) struct Apart {
    tls: ClientTls,
    /// Connections that the channel may hold.
    pool: AtomicUsize,
    made: Mutex<Option<Made>>,
}

struct Made {
    config: Arc<ClientConfig>,
    sessions: Arc<SessionStore>,
    generation: u64,
}

impl Apart {
    pub(super) fn new(tls: ClientTls) -> Self {
        Self { tls, pool: AtomicUsize::new(0), made: Mutex::new(None) }
    }

    /// The channel may hold so many connections: as many tickets are kept.
    pub(super) fn provide_for(&self, connections: usize) {
        self.pool.fetch_max(connections, Ordering::Relaxed);
        let made = self.made.lock();
        if let Some(made) = &*made
            && !self.tls.shared.current.lock().plan.fixed
        {
            made.sessions.grow(connections);
        }
    }

    /// The present configuration and its generation.
    pub(super) fn current(&self) -> (Arc<ClientConfig>, u64) {
        let mut made = self.made.lock();
        let current = self.tls.shared.current.lock().clone();
        if let Some(made) = made.as_ref().filter(|made| made.generation == current.generation) {
            return (made.config.clone(), made.generation);
        }
        let Current { mut config, plan, totals, generation, .. } = current;
        let sessions = plan.store(self.pool.load(Ordering::Relaxed), &totals);
        Arc::make_mut(&mut config).resumption = plan.resumption(&sessions);
        *made = Some(Made { config: config.clone(), sessions, generation });
        (config, generation)
    }
}

impl fmt::Debug for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart").field("tls", &self.tls).finish_non_exhaustive()
    }
}
