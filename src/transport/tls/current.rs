//! The configuration of a client that is in force, and how its stores of sessions are made.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};

use crate::transport::tls::session::{SessionStore, Totals};

/// Tickets kept in a store unless a pool wants more.
const SESSIONS: usize = 64;

/// How stores of a configuration are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct StorePlan {
    /// Tickets; none turns resumption off.
    capacity: usize,
    /// As many as were asked for, whatever a pool may hold.
    pub(super) fixed: bool,
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

/// A configuration and the sessions made under it. No two share a store of ours, so a session is
/// resumed only by who made it.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) config: Arc<ClientConfig>,
    /// A foreign configuration brings its own.
    pub(super) sessions: Option<Arc<SessionStore>>,
    pub(super) plan: StorePlan,
    /// What all stores of this generation saw.
    pub(super) totals: Arc<Totals>,
    pub(super) generation: u64,
}

impl Current {
    /// The same configuration with an empty store.
    pub(super) fn renewed(&self, generation: u64) -> Self {
        let totals = Arc::new(Totals::default());
        let mut config = self.config.clone();
        let sessions = self.sessions.as_ref().map(|_| {
            let sessions = self.plan.store(0, &totals);
            Arc::make_mut(&mut config).resumption = self.plan.resumption(&sessions);
            sessions
        });
        Self { config, sessions, plan: self.plan, totals, generation }
    }
}
