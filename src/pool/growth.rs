//! When more connections are wanted, to which endpoint, and what state that makes.

use crate::pool::balance::Balance;
use crate::pool::dial;
use crate::pool::endpoint::Endpoint;
use crate::pool::{ChannelState, Shared};
use crate::rt;
use crate::rt::sync::Ordering;
use std::sync::Arc;

impl Shared {
    /// A call found every connection of its endpoint full to the soft target.
    pub(super) fn pressed(&self, connection: u64) {
        for endpoint in self.endpoints().iter() {
            let its_own = endpoint.members().iter().any(|member| member.id() == connection);
            if its_own && endpoint.stays_pressed() {
                self.start_dial(endpoint);
            }
        }
    }

    /// More places are wanted: dials, as the balance says, where bounds allow.
    pub(super) fn grow(&self) {
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return self.resolve();
        }
        match self.options.balance {
            Balance::PickFirst => {
                let n = endpoints.len();
                let first = self.turn.load(Ordering::Relaxed) as usize % n;
                self.start_dial(&endpoints[first]);
            }
            Balance::RoundRobin | Balance::LeastLoaded => {
                for endpoint in endpoints.iter() {
                    self.start_dial(endpoint);
                }
            }
        }
    }

    /// One dial in flight an endpoint.
    pub(super) fn start_dial(&self, endpoint: &Arc<Endpoint>) {
        let mut cold = endpoint.cold.lock();
        if cold.dialing || cold.removed || self.shutdown.load(Ordering::Acquire) {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        let (open, _) = endpoint.counts();
        let beyond = endpoint.may_exceed();
        if open >= self.options.max_connections.max(1) + u32::from(beyond) {
            return;
        }
        // What a connection can carry is known once its SETTINGS have come.
        if !beyond && endpoint.members().iter().any(|m| !m.is_ready()) {
            return;
        }
        cold.dialing = true;
        drop(cold);
        rt::spawn(dial::run(me, dial::Dialing(Arc::clone(endpoint))));
    }

    /// PickFirst goes on to the next endpoint; `false` when all have been tried.
    pub(super) fn next_endpoint(&self, failed: &Arc<Endpoint>) -> bool {
        match self.untried(failed) {
            Some((at, next)) => {
                self.turn.store(at, Ordering::Relaxed);
                self.start_dial(&next);
                true
            }
            None => false,
        }
    }

    /// PickFirst tries the next endpoint beside one that is slow to answer.
    pub(super) fn dial_beside(&self, slow: &Arc<Endpoint>) {
        if let Some((_, next)) = self.untried(slow).filter(|_| !self.is_connected()) {
            self.start_dial(&next);
        }
    }

    /// PickFirst stays with the endpoint that was first to answer.
    pub(super) fn prefer(&self, endpoint: &Arc<Endpoint>) {
        if self.options.balance != Balance::PickFirst || self.is_connected() {
            return;
        }
        if let Some(at) = self.endpoints().iter().position(|other| other.id == endpoint.id) {
            self.turn.store(at as u32, Ordering::Relaxed);
        }
    }

    /// The next endpoint that is neither being dialled nor in back-off.
    fn untried(&self, after: &Arc<Endpoint>) -> Option<(u32, Arc<Endpoint>)> {
        let endpoints = self.endpoints();
        let n = endpoints.len();
        let now = rt::now();
        let from = endpoints.iter().position(|endpoint| endpoint.id == after.id).unwrap_or(0);
        (1..n).map(|i| (from + i) % n).find_map(|at| {
            let endpoint = endpoints.get(at)?;
            let cold = endpoint.cold.lock();
            let untried = !cold.removed && cold.retry_at.is_none_or(|retry| retry <= now);
            (untried && !cold.dialing).then(|| (at as u32, Arc::clone(endpoint)))
        })
    }

    /// Publishes the state that the endpoints add up to.
    pub(super) fn publish(&self) {
        let endpoints = self.endpoints();
        let ready = endpoints.iter().flat_map(|e| e.members()).filter(|m| m.is_ready()).count();
        self.ready.send_replace(ready as u32);
        let mut failed = self.resolving.lock().error.is_some();
        let mut dialing = false;
        for endpoint in endpoints.iter() {
            let cold = endpoint.cold.lock();
            failed |= cold.last_error.is_some();
            dialing |= cold.dialing && cold.retry_at.is_none();
        }
        let fresh = endpoints.iter().any(|endpoint| endpoint.is_connected());
        let state = match (ready > 0, dialing || fresh, failed) {
            (true, ..) => ChannelState::Ready,
            (_, true, _) => ChannelState::Connecting,
            (_, _, true) => ChannelState::TransientFailure,
            _ => ChannelState::Idle,
        };
        self.watch.send_if_modified(|old| {
            let changed = *old != state && *old != ChannelState::Shutdown;
            if changed {
                *old = state;
            }
            changed
        });
    }
}
