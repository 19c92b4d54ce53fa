//! What waits while the outgoing buffer is full: for a peer that reads slowly, heads, trailers and messages stay
//! in their calls, which are bounded by the limits of streams and of what a call queues.

use crate::call::Carrier;
use crate::connection::driver::Core;
use crate::connection::driver::flush::OUT_FULL;
use crate::http2::{Role, StreamKey};

/// The status message of a call whose answer is given up.
const GIVEN_UP: &str = "the answer was given up: this side is short of memory, and much of it waits for this \
                        connection, whose peer reads slowly";
/// Streams that have ended and stay in the order of those that wait before they are removed.
const STALE: usize = 32;

impl Core {
    /// Returns whether nothing more is to be appended to the outgoing buffer.
    #[inline]
    pub(super) fn is_out_full(&self) -> bool {
        let bytes = self.out.len();
        bytes >= OUT_FULL / 8 && bytes >= self.out_full()
    }

    /// Returns whether a handler waits for memory: the budget is overdrawn, or it is tight and others wait, while
    /// another handler of the connection runs, or an answer waits for its peer.
    pub(super) fn must_hold(&self) -> bool {
        (self.memory.is_overdrawn() || (self.handlers.has_held() && self.memory.is_tight()))
            && (!self.handlers.has_capacity(1) || !self.handle.queued_bytes().is_empty())
    }

    /// Returns whether a handler may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.handlers.has_capacity(self.conn.limits().concurrent_streams) && !self.must_hold()
    }

    /// While the budget is overdrawn, ends streams whose answers do not leave, the largest first, until no more than the budget is held, or no more than this connection's share. Ask about once a
    /// second.
    pub(super) fn give_up_largest(&mut self) {
        let server = self.conn.role() == Role::Server;
        if !server || !self.handle.queued_bytes().is_greedy(false) {
            return;
        }
        let stalled = |key: &StreamKey| Some((self.conn.user(*key)?.stall.stuck(self.now)?, *key));
        let mut streams: Vec<_> = self.conn.keys().iter().filter_map(stalled).collect();
        streams.sort_unstable_by_key(|(bytes, _)| *bytes);
        while let Some((_, key)) = streams.pop() {
            if !self.handle.queued_bytes().is_greedy(true) {
                return;
            }
            self.fail_exhausted(key, GIVEN_UP.to_owned());
        }
    }

    /// Notes that a stream's call has something to send.
    #[cold]
    pub(super) fn defer(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        if std::mem::replace(&mut entry.deferred, true) {
            return;
        }
        if self.deferred.len() > STALE + 2 * self.conn.streams() {
            self.deferred.retain(|key| self.conn.user(*key).is_some());
        }
        self.deferred.push_back(key);
    }

    /// Returns whether calls wait for the outgoing buffer alone.
    pub(super) fn has_held_back(&self) -> bool {
        !self.deferred.is_empty()
            || (!self.waiting.is_empty()
                && self.timers.probe.is_none()
                && self.conn.may_open().is_ok())
    }

    /// Sends what waits, in order, until the outgoing buffer is full.
    pub(super) fn resume(&mut self) {
        // What is left in calls then is no answer.
        if self.flush.failed {
            return;
        }
        while !self.deferred.is_empty() && !self.is_out_full() {
            let Some(key) = self.deferred.pop_front() else { return };
            let Some(entry) = self.conn.user_mut(key) else { continue };
            entry.deferred = false;
            if let Some(call) = entry.call.clone() {
                self.pump_unless(false, key, &call);
            }
        }
        if !self.waiting.is_empty() {
            self.open_waiting();
        }
    }
}
