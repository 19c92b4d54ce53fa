//! What we owe the peer on the connection: credit, PINGs, GOAWAY.

use crate::http2::bdp;
use crate::http2::buffer::SendBuffer;
use crate::http2::connection::Connection;
use crate::http2::connection::lifecycle::{GoAway, Life};
use crate::http2::error::ErrorCode;
use crate::http2::frame::write;
use crate::http2::stream::{Ended, StreamKey};
use crate::http2::stream_id::StreamId;
use std::time::Instant;

/// PINGs without an acknowledgement that are remembered; of more, the oldest is forgotten.
const PINGS: usize = 8;

/// Bytes of the connection's window below which the next small message may not fit.
const WITHHELD: i64 = 16 * 1024;

impl<T> Connection<T> {
    /// Releases unread bytes of `key`: returns their credit to both windows. Each window is announced
    /// once half of it is unannounced.
    pub fn release(&mut self, out: &mut SendBuffer, key: StreamKey, bytes: u32, now: Instant) {
        let bytes = self.assemble(out, key, bytes);
        self.credit(out, key, bytes, now);
    }

    /// Notes that unread bytes of `key` are assembled: returns their credit to the connection's
    /// window. [`Connection::credit`] returns it to the stream's. Returns how many bytes of them were
    /// unread.
    pub fn assemble(&mut self, out: &mut SendBuffer, key: StreamKey, bytes: u32) -> u32 {
        let Some(stream) = self.streams.get_mut(key) else { return 0 };
        let bytes = bytes.min(stream.unread);
        let counted = stream.subtract_unread(bytes);
        self.subtract_unread(u64::from(counted), out);
        bytes
    }

    /// Returns credit for assembled bytes to the window of `key`.
    pub fn credit(&mut self, out: &mut SendBuffer, key: StreamKey, bytes: u32, now: Instant) {
        let target = self.stream_target;
        let rtt = self.bdp.rtt();
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.state.can_recv() {
            return;
        }
        stream.recv_window.credit(bytes);
        // RFC 9113 §6.9: a receiver that consumed data may send WINDOW_UPDATE
        let Some(increment) = stream.recv_window.update() else { return };
        write::window_update(out.tail(), stream.id, increment);
        // A window that is consumed within one round trip may grow at the next update, up to the share of
        // the connection's window; then that one is too small.
        let before = stream.updated.replace(now);
        let took = before.map(|before| now.saturating_duration_since(before));
        if took.zip(rtt).is_none_or(|(took, rtt)| took > rtt) {
            return;
        }
        if stream.recv_window.target() < target {
            stream.recv_window.grow(target);
        } else if target < self.limits.stream_window_max {
            self.bdp.stream_was_limit();
        }
    }

    /// Returns the bytes by which the window of `key` is too small for a message of which `bytes`
    /// are still to come: what to prefetch. Zero if the message fits.
    #[must_use]
    pub fn prefetch_bytes(&self, key: StreamKey, bytes: usize) -> u32 {
        let Some(stream) = self.streams.get(key) else { return 0 };
        if !stream.state.can_recv() {
            return 0;
        }
        let wanted = bytes.min(self.limits.stream_window_max as usize) as i64;
        let coming = stream.recv_window.available() + i64::from(stream.recv_window.unannounced());
        u32::try_from(wanted - coming).unwrap_or(0)
    }

    /// Opens the window of `key` by `bytes` before they arrive, for a known large message, so that
    /// the message does not take one round trip per window. The caller has charged its budget, and
    /// does not credit the bytes again when they arrive.
    pub fn prefetch(&mut self, out: &mut SendBuffer, key: StreamKey, bytes: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.ahead = stream.ahead.saturating_add(bytes);
        stream.recv_window.credit(bytes);
        let increment = stream.recv_window.flush();
        if increment > 0 {
            write::window_update(out.tail(), stream.id, increment);
        }
    }

    /// Notes that bytes are no longer unread: pending connection credit returns.
    pub(super) fn subtract_unread(&mut self, bytes: u64, out: &mut SendBuffer) {
        self.unread = self.unread.saturating_sub(bytes);
        let excess = self.unread.saturating_sub(self.unread_free);
        if self.pending_credit > excess {
            let credit = self.pending_credit - excess;
            self.pending_credit = excess;
            self.recv_window.credit(credit as u32);
        }
        self.update_connection(out);
    }

    /// Lets `charged` bytes more than [`Limits::unread_free_bytes`](crate::http2::Limits::unread_free_bytes) be
    /// unread before connection credit is pending: the caller has charged its budget for them.
    pub fn allow_unread(&mut self, out: &mut SendBuffer, charged: u64) {
        self.unread_free = self.limits.unread_free_bytes.saturating_add(charged);
        self.subtract_unread(0, out);
    }

    /// Notes that bytes arrived. Connection credit returns at once while at most
    /// `Limits::unread_free_bytes` and what [`Connection::allow_unread`] adds are unread, so that a reader that holds no more than that does not
    /// stop the other streams; above, it is pending until bytes are read or their stream ends.
    pub(super) fn arrived(&mut self, bytes: u32, out: &mut SendBuffer, now: Instant) {
        let excess = self.unread.saturating_sub(self.unread_free);
        let pending = excess.saturating_sub(self.pending_credit).min(u64::from(bytes));
        self.pending_credit += pending;
        self.recv_window.credit(bytes - pending as u32);
        if self.update_connection(out) && self.bdp.start(now) {
            self.stats.bdp_pings += 1;
            write::ping(out.tail(), false, bdp::OPAQUE);
        }
    }

    fn update_connection(&mut self, out: &mut SendBuffer) -> bool {
        let Some(increment) = self.recv_window.update() else { return false };
        write::window_update(out.tail(), StreamId::CONNECTION, increment);
        true
    }

    /// Returns the bytes by which the last measurement asks the windows to grow, once per measurement.
    pub const fn take_growth_wanted(&mut self) -> Option<u32> {
        self.growth_wanted.take()
    }

    /// Grows the connection's window by `bytes`, and the largest window of streams with it.
    pub fn grow(&mut self, out: &mut SendBuffer, bytes: u32) {
        let target = self.recv_window.target().saturating_add(bytes);
        self.recv_window.grow(target.min(self.limits.connection_window_max));
        let stream = (self.recv_window.target() / 2).min(self.limits.stream_window_max);
        self.stream_target = self.stream_target.max(stream);
        self.bdp.grown();
        self.update_connection(out);
    }

    /// Returns whether the peer has little left of the connection's window because credit is pending: streams
    /// that nobody reads hold up the others.
    #[must_use]
    pub fn is_window_withheld(&self) -> bool {
        self.pending_credit > 0 && self.recv_window.available() < WITHHELD
    }

    /// Returns the size of the connection's receive window, in bytes.
    #[must_use]
    pub const fn recv_window_bytes(&self) -> u32 {
        self.recv_window.target()
    }

    /// Sends a PING with 8 bytes of opaque data (RFC 9113 §6.7). Its acknowledgement is one event; one
    /// that answers no PING is ignored.
    pub fn ping(&mut self, out: &mut SendBuffer, opaque: [u8; 8]) {
        if self.pings.len() >= PINGS {
            self.pings.remove(0);
        }
        self.pings.push(opaque);
        write::ping(out.tail(), false, opaque);
    }

    /// Returns whether [`Limits::control_frames_queued`](crate::http2::Limits::control_frames_queued) answers
    /// wait in `out`: the caller writes before it calls [`Connection::next_event`] again.
    #[must_use]
    pub fn control_full(&self, out: &SendBuffer) -> bool {
        self.answers.waiting(out) >= self.limits.control_frames_queued as usize
    }

    /// Sends the first GOAWAY of a graceful close, which refuses no stream yet (RFC 9113 §6.8).
    pub fn goaway_soon(&mut self, out: &mut SendBuffer) {
        if self.life.sent().is_none() {
            self.goaway(out, StreamId::MAX, ErrorCode::NO_ERROR, "");
        }
    }

    /// Sends the final GOAWAY: streams that the peer opens later are ignored (RFC 9113 §6.8).
    pub fn goaway_now(&mut self, out: &mut SendBuffer, code: ErrorCode, debug: &str) {
        self.goaway(out, self.last_peer_id, code, debug);
    }

    fn goaway(&mut self, out: &mut SendBuffer, last: StreamId, code: ErrorCode, debug: &str) {
        if self.life() == Life::Closed {
            return;
        }
        // RFC 9113 §6.8: the last stream identifier must not go up
        let last = self.life.sent().map_or(last, |old| old.last_stream_id.min(last));
        self.life.goaway_sent(GoAway { last_stream_id: last, code });
        write::goaway(out.tail(), last, code, debug);
    }

    /// Sends the GOAWAY of the error that ended the connection once more, for a buffer that replaces the one
    /// to which [`Connection::next_event`] has appended it.
    pub fn goaway_of_error(&self, out: &mut SendBuffer) {
        if let Some(error) = self.error {
            let violation = error.violation;
            write::goaway(out.tail(), self.last_peer_id, violation.code(), violation.text());
        }
    }

    /// Closes the connection: nothing is sent or read after this call.
    pub const fn close(&mut self) {
        self.life.close();
    }

    /// Closes and returns the streams that the peer's GOAWAY declares unprocessed (RFC 9113 §6.8).
    pub fn unprocessed(&mut self) -> Vec<StreamKey> {
        let Some(goaway) = self.life.received() else { return Vec::new() };
        let ours = |id: StreamId| id.is_client_initiated() == (self.role == super::Role::Client);
        let keys: Vec<_> = self
            .streams
            .iter()
            // RFC 9113 §6.8: streams above the identifier were not processed
            .filter(|(_, s)| ours(s.id) && s.id > goaway.last_stream_id && !s.state.is_closed())
            .map(|(key, _)| key)
            .collect();
        for key in &keys {
            self.close_stream(*key, Ended::ResetByUs);
        }
        keys
    }
}
