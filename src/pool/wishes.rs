//! What a channel asks of its pool beside calls.

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::{Pool, shut_down};
use crate::rt;
use crate::rt::sync::Ordering;
use std::sync::Arc;

impl Pool {
    /// Connects until `connections` to each endpoint are proved through TLS, ALPN and the peer's
    /// SETTINGS, and keeps them: what is lost is dialled anew. Zero ends it.
    ///
    /// # Errors
    /// Why the endpoints are out of reach. The pool goes on trying.
    ///
    /// # Cancel safety
    /// The wish stays when the future is dropped.
    pub async fn warm(&self, connections: u32) -> Result<(), Error> {
        let shared = &self.shared;
        let connections = connections.min(shared.options.max_connections);
        shared.warm.store(connections, Ordering::Relaxed);
        let mut ready = shared.ready.subscribe();
        let mut state = shared.watch.subscribe();
        shared.connect();
        shared.news.notify_one();
        loop {
            let wanted = connections * shared.endpoints().len().max(1) as u32;
            if *ready.borrow_and_update() >= wanted {
                return Ok(());
            }
            if shared.shutdown.load(Ordering::Acquire) {
                return Err(shut_down());
            }
            state.mark_unchanged();
            if let Some(error) = shared.broken(rt::now()) {
                return Err(error);
            }
            tokio::select! {
                biased;
                _ = ready.changed() => {}
                _ = state.changed() => {}
            }
        }
    }

    /// Replaces the connections that were made with another TLS configuration than the present one,
    /// as those that have grown old: younger ones are ready before they take no more calls. Says
    /// how many there are.
    pub fn drain_replaced(&self) -> usize {
        let shared = &self.shared;
        let Some(generation) = shared.connector.tls_generation() else { return 0 };
        shared.tls_since.store(generation, Ordering::Release);
        let older = |handle: &&Arc<Handle>| shared.is_outdated(handle) && handle.is_accepting();
        let count = shared.live.lock().iter().filter(older).count();
        shared.news.notify_one();
        count
    }
}
