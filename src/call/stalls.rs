//! How long a stream's bytes waited for the peer's leave to send them.

use crate::http2::Blocked;
use std::time::{Duration, Instant};

/// Time in which a stream had bytes to send and a window was closed. Waiting for a turn beside
/// other streams, or for the socket, is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    stream: Duration,
    connection: Duration,
    /// The one under way.
    since: Option<(Blocked, Instant)>,
}

impl Stalls {
    /// Notes that the stream is now `blocked` so.
    pub fn note(&mut self, blocked: Blocked, now: Instant) {
        if self.since.is_some_and(|(before, _)| before == blocked) {
            return;
        }
        *self = self.until(now);
        let stalled = matches!(blocked, Blocked::StreamWindow | Blocked::ConnectionWindow);
        self.since = stalled.then_some((blocked, now));
    }

    /// With the stall under way counted up to `now`.
    #[must_use]
    pub fn until(mut self, now: Instant) -> Self {
        let Some((blocked, since)) = &mut self.since else { return self };
        let passed = now.saturating_duration_since(*since);
        *since = now.max(*since);
        match blocked {
            Blocked::StreamWindow => self.stream += passed,
            Blocked::ConnectionWindow => self.connection += passed,
            Blocked::No | Blocked::Queue => {}
        }
        self
    }

    /// Time behind the stream's own window.
    #[must_use]
    pub const fn stream_window(&self) -> Duration {
        self.stream
    }

    /// Time behind the connection's window, which all its streams share.
    #[must_use]
    pub const fn connection_window(&self) -> Duration {
        self.connection
    }
}
