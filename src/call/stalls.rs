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

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::stalls::*;

    #[test]
    fn each_windows_time_adds_up_and_no_other() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        stalls.note(Blocked::StreamWindow, at(0));
        // Said again, it goes on.
        stalls.note(Blocked::StreamWindow, at(1));
        stalls.note(Blocked::Queue, at(3));
        stalls.note(Blocked::ConnectionWindow, at(10));
        stalls.note(Blocked::No, at(15));
        let all = stalls.until(at(100));
        assert_eq!((all.stream.as_secs(), all.connection.as_secs()), (3, 5));
        stalls.note(Blocked::StreamWindow, at(100));
        assert_eq!(stalls.until(at(101)).stream.as_secs(), 4, "one that has not ended counts");
    }
}
