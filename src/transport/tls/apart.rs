//! A channel's view of a configuration: the shared identity and roots, with its own session store.
//!
//! A session is a credential: a server takes the holder of its ticket for the client that it authenticated.
//! So two channels never share a session, whatever else they share.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::rt::sync::{AtomicUsize, Mutex, Ordering};
use crate::transport::tls::client::ClientTls;
use crate::transport::tls::current::Current;
use crate::transport::tls::session::SessionStore;

/// A configuration with its own session store, which is new for each generation.
pub(super) struct Apart {
    tls: ClientTls,
    /// The connection limit of the channel.
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

    /// Keeps at least as many tickets as the channel may have connections.
    pub(super) fn provide_for(&self, connections: usize) {
        self.pool.fetch_max(connections, Ordering::Relaxed);
        let made = self.made.lock();
        if let Some(made) = &*made
            && !self.tls.shared.current.lock().plan.fixed
        {
            made.sessions.grow(connections);
        }
    }

    /// Returns the current configuration and its generation.
    pub(super) fn current(&self) -> (Arc<ClientConfig>, u64) {
        let mut made = self.made.lock();
        let current = self.tls.shared.current.lock().clone();
        if let Some(made) = made.as_ref().filter(|made| made.generation == current.generation) {
            return (made.config.clone(), made.generation);
        }
        let Current { mut config, plan, totals, generation, .. } = current;
        let sessions = plan.store(self.pool.load(Ordering::Relaxed), &totals);
        Arc::make_mut(&mut config).resumption = plan.resumption(&sessions);
        let before = made.replace(Made { config: config.clone(), sessions, generation });
        drop(made);
        // Its verifier may be the user's.
        drop(before);
        (config, generation)
    }
}

impl fmt::Debug for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart").field("tls", &self.tls).finish_non_exhaustive()
    }
}
