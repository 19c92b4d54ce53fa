//! The current configuration of a client, and how its session stores are created.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};

use crate::transport::tls::session::{SessionStore, Totals};

/// The tickets that a store keeps, unless a pool needs more.
const SESSIONS: usize = 64;

/// How the session stores of a configuration are created.
#[derive(Clone, Copy, Debug)]
pub(super) struct StorePlan {
    /// The number of tickets; zero turns resumption off.
    capacity: usize,
    /// Whether the caller set the number, so that a pool does not change it.
    pub(super) fixed: bool,
    pub(super) tls12: Tls12Resumption,
}

impl StorePlan {
    /// Plans stores with `capacity` tickets, by default 64, or more for a larger pool.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity: capacity.unwrap_or(SESSIONS),
            fixed: capacity.is_some(),
            tls12: Tls12Resumption::SessionIdOrTickets,
        }
    }

    /// Reads the plan from a rustls configuration. rustls shows these options only in its `Debug` text, so
    /// the texts are compared; a test checks that different options have different texts.
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

    /// Creates a store for a pool of at most `pool` connections.
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

/// A configuration and its sessions. No two share a session store, so only the owner of a session
/// resumes it.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) config: Arc<ClientConfig>,
    /// `None` for a rustls configuration, which has its own store.
    pub(super) sessions: Option<Arc<SessionStore>>,
    pub(super) plan: StorePlan,
    /// The statistics of all stores of this generation.
    pub(super) totals: Arc<Totals>,
    pub(super) generation: u64,
}

impl Current {
    /// Returns the same configuration with an empty store.
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
