//! Probes a connection that was silent for long before a call depends on it.
//!
//! A middlebox on the path may have dropped its state. A call that was written waits until TCP notices,
//! and may not move any more. A call that is held until a PING is answered moves to another connection
//! within two round trips.

use crate::call::state::SharedCall;
use crate::connection::driver::Core;
use crate::connection::handle::ConnectionEvent;
use crate::connection::keepalive::{PROBE_TIMEOUT_MIN, STRIKES};
use crate::error::Phase;
use crate::http2::Role;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The opaque bytes of the PING whose answer held calls wait for.
const PROBE: [u8; 8] = *b"fw.probe";

impl Core {
    /// Returns whether nothing was heard for so long that a new call is held.
    pub(super) fn is_unproved(&self) -> bool {
        let Some(age) = self.options.probe_after else { return false };
        let silence = self.now.saturating_duration_since(self.timers.heard_at());
        self.conn.role() == Role::Client
            && self.conn.lifecycle().is_handshaken()
            && (self.timers.probe.is_some() || silence >= age)
    }

    /// Holds a call. The first one sends the PING, unless the peer may count it as one too many: then the
    /// call moves to another connection at once.
    pub(super) fn hold(&mut self, call: Arc<SharedCall>) {
        // It was in the mailbox when the previous probe failed.
        if !self.handle.is_accepting() {
            return self.redispatch(call);
        }
        self.park(call, Phase::PoolWait);
        if self.timers.probe.is_some() {
            return;
        }
        // A PING is unanswered already: its answer serves as well.
        if let Some(asked) = self.timers.asked() {
            return self.await_answer(asked);
        }
        let strikes = self.timers.strikes.with_another(self.ping_interval(), self.now);
        // One strike stays reserved for a PING of doubt.
        if strikes + u32::from(!self.timers.is_doubt_spent()) > STRIKES {
            return self.retire();
        }
        self.ask(PROBE);
        self.await_answer(self.now);
    }

    fn await_answer(&mut self, asked: Instant) {
        let timeout = self.probe_timeout();
        self.timers.probe = Some(asked + timeout);
        self.timers.overdue = Some(asked + timeout / 2);
        self.handle.hold_calls();
        self.tell_owner(ConnectionEvent::Probing);
    }

    /// Notes that bytes came.
    pub(super) fn heard(&mut self) {
        let probed = self.timers.probe.is_some() || self.handle.is_unproved();
        let silence = self.now.saturating_duration_since(self.timers.heard_at());
        self.timers.heard(self.now);
        if probed {
            self.handle.set_proved();
            self.tell_owner(ConnectionEvent::Proved(silence));
        }
    }

    /// Moves the held calls if another connection is available before the answer.
    pub(super) fn check_held(&mut self) {
        if self.timers.probe.is_some() && self.handle.take_move_held() {
            while let Some(call) = self.waiting.pop_front() {
                self.redispatch(call);
            }
        }
    }

    /// Reports, once, that the connection died without FIN or RST.
    pub(super) fn died_silently(&mut self) {
        if self.conn.role() == Role::Client && self.timers.died() {
            let silence = self.timers.silence_before(self.now);
            self.tell_owner(ConnectionEvent::DiedSilently(silence));
        }
    }

    /// Returns two round trips, at least 20 ms.
    fn probe_timeout(&self) -> Duration {
        let tcp = self.handle.info().timings.tcp;
        let rtt = self.timers.rtt().max(self.conn.rtt().unwrap_or_default()).max(tcp);
        (rtt * 2).max(PROBE_TIMEOUT_MIN)
    }

    /// If the answer does not come in time, moves the held calls and takes no new ones. Streams that are
    /// left continue.
    pub(super) fn check_probe(&mut self) {
        if self.timers.overdue.is_some_and(|at| at <= self.now) {
            self.timers.overdue = None;
            self.tell_owner(ConnectionEvent::Overdue);
        }
        if self.timers.probe.is_some_and(|at| at <= self.now) {
            self.timers.probe = None;
            self.timers.overdue = None;
            let asked = self.timers.asked().unwrap_or(self.now);
            let silence = self.timers.silence_before(asked);
            crate::rt::log!(debug, connection = self.handle.id(), "no answer to a probe in time");
            self.tell_owner(ConnectionEvent::Unproved(silence));
            self.retire();
        }
    }
}
