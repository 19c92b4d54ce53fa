//! What silence leads to: a PING of doubt, a periodic PING, and what follows if it is not answered.

use crate::connection::driver::Core;
use crate::connection::keepalive::{KEEPALIVE_MIN, PingRule, STRIKES};
use crate::http2::{ErrorCode, Role};
use std::time::{Duration, Instant};

/// The opaque bytes of the PING that asks whether the peer lives.
const DOUBT: [u8; 8] = *b"fw.doubt";

impl Core {
    pub(super) fn check_silence(&mut self) {
        let now = self.now;
        let since = |at: Instant| now.saturating_duration_since(at);
        if !self.conn.lifecycle().is_handshaken()
            && since(self.timers.born) >= self.options.settings_time
        {
            self.end_with(ErrorCode::NO_ERROR, "the peer's SETTINGS did not come in time");
        }
        let stall = self.options.write_stall_time;
        if stall.zip(self.flush.blocked).is_some_and(|(time, at)| since(at) >= time) {
            self.end_with(ErrorCode::NO_ERROR, "the socket took no byte in time");
        }
        let asked = self.timers.doubt.map(since);
        let timeout = self.keepalive().map(|_| self.options.keepalive_timeout);
        if asked.zip(timeout).is_some_and(|(silence, timeout)| silence >= timeout) {
            self.died("the peer did not answer a PING within keepalive_timeout");
        } else if asked.is_some_and(|silence| silence >= self.options.doubt.answer) {
            self.unanswered();
        } else if self.doubt_at().is_some_and(|at| at <= now) {
            self.timers.doubt_spent = true;
            self.ask(DOUBT);
        } else if self.keepalive_at().is_some_and(|at| at <= now) {
            self.ask(DOUBT);
        }
    }

    /// Takes the connection out of picking: a PING is not answered. Calls in flight continue, because a
    /// peer that is slow or stopped is not dead.
    fn unanswered(&mut self) {
        if self.conn.role() == Role::Client && !std::mem::replace(&mut self.timers.unanswered, true)
        {
            crate::rt::log!(
                debug,
                connection = self.handle.id(),
                "a PING is not answered: no new calls"
            );
            // The owner is told again if it was told before: it may count on this connection.
            self.leave_picking();
            self.retire();
        }
    }

    /// Returns when the unanswered PING has a consequence.
    pub(super) fn answer_at(&self) -> Option<Instant> {
        let asked = self.timers.doubt?;
        let client = self.conn.role() == Role::Client;
        let doubt = (client && !self.timers.unanswered).then_some(self.options.doubt.answer);
        let keepalive = self.keepalive().map(|_| self.options.keepalive_timeout);
        doubt.into_iter().chain(keepalive).min().map(|time| asked + time)
    }

    /// Sends a PING that the peer must answer.
    pub(super) fn ask(&mut self, opaque: [u8; 8]) {
        let (interval, now) = (self.ping_interval(), self.now);
        self.timers.strikes.sent(interval, now);
        self.timers.doubt = Some(now);
        self.handle.tally().pinged();
        self.conn.ping(&mut self.out, opaque);
    }

    /// The engine's measuring PINGs count like all others.
    pub(super) fn note_pings(&mut self) {
        let stats = self.conn.stats();
        // Modulo 2^32: only what was added counts.
        let (sent, answered) = (stats.bdp_pings as u32, stats.bdp_samples as u32);
        let (interval, now) = (self.ping_interval(), self.now);
        let timers = &mut self.timers;
        for _ in 0..sent.wrapping_sub(timers.measured.0) {
            self.handle.tally().pinged();
            timers.strikes.sent(interval, now);
        }
        for _ in 0..answered.wrapping_sub(timers.measured.1) {
            timers.acknowledged(now);
        }
        timers.measured = (sent, answered);
    }

    /// Returns the shortest time between two PINGs that the peer is assumed to allow: that of a default gRPC
    /// server, or the user's `keepalive` if that is shorter.
    pub(super) fn ping_interval(&self) -> Duration {
        let calls = self.conn.streams() > 0;
        let rule = PingRule::GRPC.interval(calls);
        let wish = self.keepalive().filter(|_| calls || self.options.keepalive_without_calls);
        wish.map_or(rule, |wish| wish.min(rule))
    }

    /// Returns when silence leads to a PING of doubt. It counts from the first call: before it, no answer
    /// was expected.
    pub(super) fn doubt_at(&self) -> Option<Instant> {
        let timers = &self.timers;
        let busy = timers.busy.filter(|_| self.conn.role() == Role::Client)?;
        if timers.doubt.is_some() || timers.doubt_spent {
            return None;
        }
        // Only HEADERS or DATA lower the strikes. Until they come, one more PING may end the
        // connection.
        let strikes = timers.strikes.with_another(self.ping_interval(), self.now);
        (strikes <= STRIKES).then(|| timers.heard.max(busy) + self.options.doubt.after)
    }

    /// Returns when the next periodic PING is due. The ACK of any PING postpones it.
    pub(super) fn keepalive_at(&self) -> Option<Instant> {
        // gRFC A8: by default no keepalive pings without calls
        let always = self.options.keepalive_without_calls || self.conn.role() == Role::Server;
        let since = if always { Some(self.timers.born) } else { self.timers.busy };
        let since = since.filter(|_| self.timers.doubt.is_none())?;
        Some(self.timers.heard.max(since) + self.keepalive()?)
    }

    fn keepalive(&self) -> Option<Duration> {
        self.options.keepalive.map(|interval| interval.max(KEEPALIVE_MIN))
    }
}
