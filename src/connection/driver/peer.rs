//! Ends a connection whose peer's system has stopped answering, as the system on this side sees it.

use crate::connection::driver::Core;
use crate::connection::keepalive::liveness::{Liveness, LivenessWatch, SAMPLE_EVERY};
use crate::http2::ErrorCode;
use crate::transport::socket::SocketHandle;
use std::time::Instant;

/// When the socket is looked at next, and what was seen. It is looked at once a second from a write until
/// everything is acknowledged.
#[derive(Debug)]
pub(super) struct PeerWatch {
    watch: LivenessWatch,
    next: Option<Instant>,
}

impl PeerWatch {
    pub(super) const fn new() -> Self {
        Self { watch: LivenessWatch::new(), next: None }
    }

    pub(super) const fn next_look(&self) -> Option<Instant> {
        self.next
    }
}

impl Core {
    /// Notes that bytes were written: an acknowledgement is expected.
    pub(super) fn expect_answer(&mut self) {
        if self.socket.is_some() && self.timers.peer.next.is_none() {
            self.timers.peer.next = Some(self.now + SAMPLE_EVERY);
        }
    }

    pub(super) fn check_peer(&mut self) {
        let now = self.now;
        if self.timers.peer.next.is_none_or(|at| now < at) {
            return;
        }
        // Bytes came meanwhile: the system need not be asked.
        if now.saturating_duration_since(self.timers.heard_at()) < SAMPLE_EVERY {
            self.timers.peer.next = Some(now + SAMPLE_EVERY);
            return;
        }
        let info = self.socket.as_ref().and_then(SocketHandle::tcp_info);
        let PeerWatch { watch, next } = &mut self.timers.peer;
        *next = match info.map(|info| watch.sample(&info, now)) {
            // Systems that do not say leave it to their own timers.
            None | Some(Liveness::Idle) => None,
            Some(Liveness::Waiting) => Some(now + SAMPLE_EVERY),
            Some(Liveness::Dead) => return self.died("the peer's system has stopped answering"),
        };
    }

    /// Ends the connection: the peer is dead.
    pub(super) fn died(&mut self, text: &'static str) {
        self.timers.peer.next = None;
        self.died_silently();
        self.closing.abrupt = true;
        self.end_with(ErrorCode::NO_ERROR, text);
    }
}
