//! The states of a connection (RFC 9113 §3.4, §5.4.1, §6.8): handshaking → active → closing → closed.
//!
//! *Closing* records the GOAWAY of each side: the peer's decides whether this side may open streams, ours
//! whether the peer may.

use crate::http2::error::ErrorCode;
use crate::http2::stream_id::StreamId;

/// A GOAWAY that was sent or received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoAway {
    /// The sender did not and will not process streams above this identifier.
    pub last_stream_id: StreamId,
    /// The error code.
    pub code: ErrorCode,
}

/// The state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// The peer's first SETTINGS have not arrived.
    Handshaking,
    /// Streams may be opened.
    Active,
    /// At least one side sent GOAWAY; existing streams continue.
    Closing,
    /// Nothing is sent or read.
    Closed,
}

/// The state of a connection, and the GOAWAY of each side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifecycle {
    handshaken: bool,
    closed: bool,
    sent: Option<GoAway>,
    received: Option<GoAway>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// Creates the state of a new connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { handshaken: false, closed: false, sent: None, received: None }
    }

    /// Returns the state.
    #[must_use]
    pub const fn life(&self) -> Life {
        if self.closed {
            Life::Closed
        } else if self.sent.is_some() || self.received.is_some() {
            Life::Closing
        } else if self.handshaken {
            Life::Active
        } else {
            Life::Handshaking
        }
    }

    /// Records that the peer's first SETTINGS arrived.
    pub const fn settings_received(&mut self) {
        self.handshaken = true;
    }

    /// Returns whether the peer's first SETTINGS arrived.
    #[must_use]
    pub const fn is_handshaken(&self) -> bool {
        self.handshaken
    }

    /// Records a GOAWAY that was sent. A later one may only lower the identifier.
    pub fn goaway_sent(&mut self, goaway: GoAway) {
        debug_assert!(self.sent.is_none_or(|old| goaway.last_stream_id <= old.last_stream_id));
        self.sent = Some(goaway);
    }

    /// Records a GOAWAY that was received; `false` if it raises the identifier.
    // RFC 9113 §6.8: endpoints must not increase the value of the last stream identifier
    #[must_use]
    pub fn goaway_received(&mut self, goaway: GoAway) -> bool {
        if self.received.is_some_and(|old| goaway.last_stream_id > old.last_stream_id) {
            return false;
        }
        self.received = Some(goaway);
        true
    }

    /// Records that the connection is closed.
    pub const fn close(&mut self) {
        self.closed = true;
    }

    /// Returns the last GOAWAY that was sent.
    #[must_use]
    pub const fn sent(&self) -> Option<GoAway> {
        self.sent
    }

    /// Returns the last GOAWAY that was received.
    #[must_use]
    pub const fn received(&self) -> Option<GoAway> {
        self.received
    }

    /// Returns whether this side may open a stream.
    // RFC 9113 §6.8: receivers of a GOAWAY must not open additional streams
    #[must_use]
    pub const fn may_open(&self) -> bool {
        matches!(self.life(), Life::Handshaking | Life::Active)
    }

    /// Returns whether a stream of the peer is processed.
    #[must_use]
    pub fn accepts(&self, id: StreamId) -> bool {
        !self.closed && self.sent.is_none_or(|goaway| id <= goaway.last_stream_id)
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::connection::lifecycle::*;

    fn goaway(id: u32) -> GoAway {
        GoAway { last_stream_id: StreamId::new(id), code: ErrorCode::NO_ERROR }
    }

    /// Every order of the four inputs leads to the life that the table names.
    #[test]
    fn all_orders_of_all_inputs() {
        let steps: [fn(&mut Lifecycle); 4] = [
            Lifecycle::settings_received,
            |l| l.goaway_sent(goaway(5)),
            |l| assert!(l.goaway_received(goaway(5))),
            Lifecycle::close,
        ];
        for subset in 0..16u32 {
            let mut forwards = Lifecycle::new();
            let mut backwards = Lifecycle::new();
            for (i, step) in steps.iter().enumerate().filter(|(i, _)| subset & (1 << i) != 0) {
                step(&mut forwards);
                let _ = i;
            }
            for (_, step) in steps.iter().enumerate().rev().filter(|(i, _)| subset & (1 << i) != 0)
            {
                step(&mut backwards);
            }
            assert_eq!(forwards, backwards);
            let want = match (subset & 8 != 0, subset & 6 != 0, subset & 1 != 0) {
                (true, _, _) => Life::Closed,
                (_, true, _) => Life::Closing,
                (_, _, true) => Life::Active,
                _ => Life::Handshaking,
            };
            assert_eq!(forwards.life(), want);
            assert_eq!(forwards.may_open(), subset & 14 == 0);
        }
    }

    #[test]
    fn a_peers_goaway_only_goes_down() {
        let mut life = Lifecycle::new();
        assert!(life.goaway_received(goaway(9)));
        assert!(life.goaway_received(goaway(5)));
        assert!(!life.goaway_received(goaway(7)));
    }

    #[test]
    fn our_goaway_draws_the_line() {
        let mut life = Lifecycle::new();
        assert!(life.accepts(StreamId::new(101)));
        life.goaway_sent(goaway(7));
        assert!(life.accepts(StreamId::new(7)) && !life.accepts(StreamId::new(9)));
    }
}
