//! What waits while the outgoing buffer is full: for a peer that reads slowly, heads, trailers and messages stay
//! in their calls, which are bounded by the limits of streams and of what a call queues.

use crate::connection::driver::Core;
use crate::connection::driver::flush::OUT_FULL;
use crate::http2::StreamKey;

/// Streams that have ended and stay in the order of those that wait before they are removed.
const STALE: usize = 32;

impl Core {
    /// Returns whether nothing more is to be appended to the outgoing buffer.
    #[inline]
    pub(super) fn is_out_full(&self) -> bool {
        let bytes = self.out.len();
        bytes >= OUT_FULL / 8 && bytes >= self.out_full()
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
