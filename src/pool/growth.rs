//! Decides which subchannels dial: when calls find no capacity, when PickFirst moves to the next
//! endpoint, when a channel is warmed up. Publishes the channel's state and the picker's list.

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::balance::Balance;
use crate::pool::picker::Candidate;
use crate::pool::subchannel::{Subchannel, aggregate};
use crate::pool::{ChannelState, Pool, Shared, shut_down};
use crate::rt;
use crate::rt::sync::Ordering;
use std::sync::Arc;
use std::time::Instant;

impl Pool {
    /// Connects until `connections` to each endpoint are ready, which includes TLS, ALPN and the
    /// peer's SETTINGS. The pool keeps as many from then on and replaces those that are lost; 0 ends
    /// this.
    ///
    /// # Errors
    /// Returns why the endpoints are unreachable. The pool continues to try.
    ///
    /// # Cancel safety
    /// The number stays when the future is dropped.
    pub async fn warm(&self, connections: u32) -> Result<(), Error> {
        let shared = &self.shared;
        let connections = connections.min(shared.options.max_connections);
        shared.warm.store(connections, Ordering::Relaxed);
        let mut ready = shared.ready.subscribe();
        let mut state = shared.watch.subscribe();
        shared.connect();
        shared.maintenance.notify_one();
        loop {
            let wanted = connections * shared.candidates().len().max(1) as u32;
            if *ready.borrow_and_update() >= wanted {
                return Ok(());
            }
            if shared.is_shut_down() {
                return Err(shut_down());
            }
            state.mark_unchanged();
            if let Some(error) = shared.unreachable(rt::now()) {
                return Err(error);
            }
            tokio::select! {
                biased;
                _ = ready.changed() => {}
                _ = state.changed() => {}
            }
        }
    }

    /// Replaces the connections that were made with an older TLS configuration, as if they were too
    /// old: new ones are ready before they take no more calls. Returns how many there are.
    pub fn drain_replaced(&self) -> usize {
        let shared = &self.shared;
        let Some(generation) = shared.connector.tls_generation() else { return 0 };
        shared.tls_since.store(generation, Ordering::Release);
        let older = |handle: &&Arc<Handle>| shared.is_outdated(handle) && handle.is_accepting();
        let count = shared.live.lock().iter().filter(older).count();
        shared.maintenance.notify_one();
        count
    }
}

impl Shared {
    /// Dials if no connection takes calls.
    pub(super) fn connect(&self) {
        self.maintain();
        if !self.is_connected() {
            self.grow();
        }
    }

    /// More capacity is needed: dials as the balance says, if the limits allow.
    pub(super) fn grow(&self) {
        let candidates = self.candidates();
        if candidates.is_empty() {
            return self.resolve();
        }
        match self.options.balance {
            Balance::PickFirst => {
                self.start_dial(&candidates[self.picker.first(candidates.len())].subchannel);
            }
            Balance::RoundRobin | Balance::LeastLoaded => {
                candidates.iter().for_each(|one| self.start_dial(&one.subchannel));
            }
        }
    }

    /// The connections that each subchannel keeps.
    pub(super) fn min_connections(&self) -> u32 {
        let sized = self.sized.load(Ordering::Relaxed);
        self.warm.load(Ordering::Relaxed).max(self.options.min_connections).max(sized)
    }

    /// Whether the subchannel has too few connections, or an old one that needs a replacement.
    pub(super) fn needs_connection(&self, subchannel: &Subchannel) -> bool {
        let min = self.min_connections();
        let lifecycle = subchannel.lifecycle();
        lifecycle.count() < min || lifecycle.is_replacing()
    }

    /// PickFirst moves to the next endpoint; `false` if all were tried.
    pub(super) fn next_endpoint(&self, failed: &Subchannel) -> bool {
        let next = self.untried(failed);
        if let Some((index, next)) = &next {
            self.picker.set_first(*index);
            self.start_dial(next);
        }
        next.is_some()
    }

    /// PickFirst tries the next endpoint beside one that is slow to answer.
    pub(super) fn dial_beside(&self, slow: &Subchannel) {
        if let Some((_, next)) = self.untried(slow).filter(|_| !self.is_connected()) {
            self.start_dial(&next);
        }
    }

    /// PickFirst stays with the endpoint that was first to answer.
    pub(super) fn prefer(&self, subchannel: &Subchannel) {
        if self.options.balance != Balance::PickFirst || self.is_connected() {
            return;
        }
        let same = |id| self.candidates().iter().position(|one| one.subchannel.id() == id);
        if let Some(index) = same(subchannel.id()) {
            self.picker.set_first(index);
        }
    }

    /// The next endpoint that is neither being dialled nor in backoff.
    fn untried(&self, after: &Subchannel) -> Option<(usize, Arc<Subchannel>)> {
        let candidates = self.candidates();
        let n = candidates.len();
        let now = rt::now();
        let from = candidates.iter().position(|one| one.subchannel.id() == after.id()).unwrap_or(0);
        (1..n).map(|i| (from + i) % n).find_map(|at| {
            let subchannel = &candidates.get(at)?.subchannel;
            let lifecycle = subchannel.lifecycle();
            let tried = lifecycle.is_dialing() || lifecycle.backoff().pending(now).is_some();
            (!tried && !lifecycle.is_shut_down()).then(|| (at, Arc::clone(subchannel)))
        })
    }

    /// The error of the last attempt, if every endpoint waits for its backoff.
    pub(super) fn unreachable(&self, now: Instant) -> Option<Error> {
        let candidates = self.candidates();
        if candidates.is_empty() {
            return self.resolving.lock().failed(now);
        }
        let mut last = None;
        for Candidate { subchannel, .. } in candidates.iter() {
            let lifecycle = subchannel.lifecycle();
            if lifecycle.is_connected() || lifecycle.backoff().pending(now).is_none() {
                return None;
            }
            last = lifecycle.backoff().error().cloned();
        }
        last
    }

    /// After subchannels or their connections have changed: updates the picker's list and the
    /// channel's state.
    pub(super) fn publish(&self) {
        self.picker.update();
        let candidates = self.candidates();
        let of = |one: &Candidate| {
            let lifecycle = one.subchannel.lifecycle();
            (lifecycle.state(), lifecycle.ready())
        };
        let found: Vec<_> = candidates.iter().map(of).collect();
        self.ready.send_replace(found.iter().map(|(_, ready)| ready).sum());
        let failed = self.resolving.lock().error().is_some();
        let state = aggregate(found.iter().map(|(state, _)| *state), failed);
        self.watch.send_if_modified(|old| {
            let changed = *old != state && *old != ChannelState::Shutdown;
            if changed {
                *old = state;
            }
            changed
        });
    }

    /// A connection or a dial has ended, or an old connection is closed for calls.
    pub(super) fn lost(&self, subchannel: &Arc<Subchannel>) {
        self.publish();
        self.maintenance.notify_one();
        self.resolve();
        if self.is_shut_down() || self.queue.is_empty() {
            return;
        }
        match self.options.balance {
            // Another endpoint may be next.
            Balance::PickFirst => self.grow(),
            Balance::RoundRobin | Balance::LeastLoaded => self.start_dial(subchannel),
        }
    }
}
