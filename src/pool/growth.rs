//! Decides which subchannels dial: when calls find no capacity, when PickFirst moves to the next
//! endpoint, when a channel is warmed up. Publishes the channel's state and the picker's list.

use crate::connection::handle::Handle;
use crate::error::Error;
use crate::pool::balance::Balance;
use crate::pool::picker::Candidate;
use crate::pool::subchannel::{Subchannel, aggregate};
use crate::pool::{ChannelState, Pool, Shared};
use crate::rt;
use crate::rt::contain::contain;
use crate::rt::sync::Ordering;
use std::sync::Arc;

impl Pool {
    /// Ends the backoffs: endpoints and names that failed are tried again at once, and the next failure
    /// counts as the first one.
    pub fn reset_connect_backoff(&self) {
        let shared = &self.shared;
        shared.resolving.lock().reset_backoff(rt::now());
        for Candidate { subchannel, .. } in shared.candidates().iter() {
            subchannel.lifecycle().reset_backoff();
            subchannel.wake_dial();
        }
        shared.maintenance.notify_one();
    }

    /// Replaces the connections that were made with an older TLS configuration, as if they were too
    /// old: new ones are ready before they take no more calls. Returns how many there are.
    pub fn drain_replaced(&self) -> usize {
        let shared = &self.shared;
        let Ok(Some(generation)) = contain(|| shared.connector.tls_generation()) else { return 0 };
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
        // Where no task can run, nothing is dialled.
        let _ = self.maintain();
        if !self.is_connected() {
            self.grow();
        }
    }

    /// More capacity is needed: dials as the balance says, if the limits allow.
    pub(super) fn grow(&self) {
        let candidates = self.candidates();
        if candidates.is_empty() {
            self.resolving.lock().want(rt::now());
            return self.resolve();
        }
        match self.options.balance {
            Balance::PickFirst => self.grow_first(&candidates),
            Balance::RoundRobin | Balance::LeastLoaded => {
                for one in candidates.iter() {
                    self.dial_for_calls(&one.subchannel);
                }
            }
        }
    }

    /// PickFirst dials the endpoint in use; without one, it tries them in the order of the list, from
    /// its head. If each has failed, each tries again after its own backoff.
    fn grow_first(&self, candidates: &[Candidate]) {
        let used = candidates.get(self.picker.first(candidates.len()));
        if let Some(used) = used.filter(|used| used.is_connected()) {
            self.dial_for_calls(&used.subchannel);
            return;
        }
        let now = rt::now();
        let (mut next, mut dialing) = (None, false);
        for Candidate { subchannel, .. } in candidates {
            let lifecycle = subchannel.lifecycle();
            let paused = lifecycle.backoff().pending(now).is_some();
            dialing |= lifecycle.is_dialing() && !paused;
            if !lifecycle.is_dialing() && !paused && next.is_none() {
                next = Some(subchannel);
            }
        }
        match next {
            // Once it is silent for long or has failed, the next one is tried.
            _ if dialing => {}
            Some(next) => _ = self.dial_for_calls(next),
            None => candidates.iter().for_each(|one| self.start_dial(&one.subchannel)),
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

    /// PickFirst tries the next endpoint after one that failed.
    pub(super) fn dial_next(&self, failed: &Subchannel) {
        if let Some(next) = self.untried(failed) {
            self.dial_for_calls(&next);
        }
    }

    /// PickFirst tries the next endpoint beside one that is slow to answer.
    pub(super) fn dial_beside(&self, slow: &Subchannel) {
        if let Some(next) = self.untried(slow).filter(|_| !self.is_connected()) {
            self.dial_for_calls(&next);
        }
    }

    /// A connection is ready, and it is the only one. PickFirst stays with its endpoint and gives up the
    /// dials to others; otherwise they are no longer urgent.
    pub(super) fn prefer(&self, subchannel: &Subchannel) {
        for (index, one) in self.candidates().iter().enumerate() {
            if one.subchannel.id() != subchannel.id() {
                one.subchannel.wake_dial();
            } else if self.options.balance == Balance::PickFirst {
                self.picker.set_first(index);
            }
        }
    }

    /// The next endpoint that is neither being dialled nor in backoff.
    fn untried(&self, after: &Subchannel) -> Option<Arc<Subchannel>> {
        let candidates = self.candidates();
        let n = candidates.len();
        let now = rt::now();
        let from = candidates.iter().position(|one| one.subchannel.id() == after.id()).unwrap_or(0);
        (1..n).map(|i| (from + i) % n).find_map(|at| {
            let subchannel = &candidates.get(at)?.subchannel;
            let lifecycle = subchannel.lifecycle();
            let tried = lifecycle.is_dialing() || lifecycle.backoff().pending(now).is_some();
            (!tried && !lifecycle.is_shut_down()).then(|| Arc::clone(subchannel))
        })
    }

    /// The error of the last attempt, if the last attempt of every endpoint failed. It is so while the
    /// next attempts run, so that calls fail at once (gRPC's TRANSIENT_FAILURE).
    pub(super) fn unreachable(&self) -> Option<Error> {
        let candidates = self.candidates();
        if candidates.is_empty() {
            return self.resolving.lock().failed(rt::now());
        }
        let mut last = None;
        for Candidate { subchannel, .. } in candidates.iter() {
            let lifecycle = subchannel.lifecycle();
            if !lifecycle.is_failing() {
                return None;
            }
            let error = lifecycle.backoff().error().cloned();
            // An error's drop may be the user's code.
            drop(lifecycle);
            last = error;
        }
        last
    }

    /// After subchannels or their connections have changed: updates the picker's list and the
    /// channel's state.
    pub(super) fn publish(&self) {
        self.picker.update();
        if self.options.balance == Balance::PickFirst {
            self.picker.leave_lost();
        }
        let candidates = self.candidates();
        let states = candidates.iter().map(|one| one.subchannel.lifecycle().state());
        let unnamed = self.resolving.lock().state();
        let state = aggregate(states, unnamed);
        self.watch.send_if_modified(|old| {
            let changed = *old != state && *old != ChannelState::Shutdown;
            if changed {
                *old = state;
            }
            changed
        });
        self.changes.send_replace(());
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
            Balance::RoundRobin | Balance::LeastLoaded => _ = self.dial_for_calls(subchannel),
        }
    }
}
