//! The states of a stream (RFC 9113 §5.1) as a table.
//!
//! Reserved states do not exist here, because both roles disable push.

use crate::http2::violation::Violation;

/// The state of a stream (RFC 9113 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Nothing was sent or received.
    Idle,
    /// Both sides may send.
    Open,
    /// This side has sent END_STREAM.
    HalfClosedLocal,
    /// The peer has sent END_STREAM.
    HalfClosedRemote,
    /// Neither side may send.
    Closed,
}

/// An input of the state machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Input {
    /// This side sends HEADERS.
    SendHeaders,
    /// This side sends DATA.
    SendData,
    /// This side sends END_STREAM.
    SendEnd,
    /// This side sends RST_STREAM.
    SendReset,
    /// HEADERS arrives.
    RecvHeaders,
    /// DATA arrives.
    RecvData,
    /// END_STREAM arrives.
    RecvEnd,
    /// RST_STREAM arrives.
    RecvReset,
    /// WINDOW_UPDATE arrives.
    RecvWindowUpdate,
}

/// The reason why an input is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAllowed {
    /// The peer broke a rule.
    Peer(Violation),
    /// This side tried what the state forbids.
    Local,
}

impl State {
    /// Every state, for tests that walk the table.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Open, Self::HalfClosedLocal, Self::HalfClosedRemote, Self::Closed];

    /// Returns the state after `input`.
    ///
    /// # Errors
    /// The violation, or misuse by this side, if the state does not allow the input.
    // RFC 9113 §5.1: the state machine of Figure 2
    pub const fn next(self, input: Input) -> Result<Self, NotAllowed> {
        use Input as I;

        let idle = Err(NotAllowed::Peer(Violation::FrameOnIdle));
        let ended = Err(NotAllowed::Peer(Violation::FrameAfterEnd));
        let closed = Err(NotAllowed::Peer(Violation::FrameOnClosed));
        match (self, input) {
            (Self::Idle, I::SendHeaders | I::RecvHeaders) => Ok(Self::Open),
            (Self::Idle, I::SendData | I::SendEnd | I::SendReset) => Err(NotAllowed::Local),
            // RFC 9113 §5.1: anything but HEADERS or PRIORITY on an idle stream is an error
            (Self::Idle, _) => idle,
            (Self::Open, I::SendEnd) => Ok(Self::HalfClosedLocal),
            (Self::Open, I::RecvEnd) => Ok(Self::HalfClosedRemote),
            (Self::HalfClosedLocal, I::RecvEnd) | (Self::HalfClosedRemote, I::SendEnd) => {
                Ok(Self::Closed)
            }
            (
                Self::Open | Self::HalfClosedLocal | Self::HalfClosedRemote,
                I::SendReset | I::RecvReset,
            ) => Ok(Self::Closed),
            (Self::HalfClosedLocal, I::SendHeaders | I::SendData | I::SendEnd)
            | (Self::Closed, I::SendHeaders | I::SendData | I::SendEnd) => Err(NotAllowed::Local),
            // RFC 9113 §5.1: more frames on a half-closed (remote) stream are STREAM_CLOSED
            (Self::HalfClosedRemote, I::RecvHeaders | I::RecvData | I::RecvEnd) => ended,
            (Self::Closed, I::RecvHeaders | I::RecvData | I::RecvEnd) => closed,
            // RFC 9113 §5.1: WINDOW_UPDATE and RST_STREAM may still arrive on a closed stream
            (Self::Closed, I::RecvWindowUpdate | I::RecvReset | I::SendReset) => Ok(Self::Closed),
            (state, _) => Ok(state),
        }
    }

    /// Returns whether this side may send.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosedRemote)
    }

    /// Returns whether the peer may send.
    #[must_use]
    pub const fn can_recv(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosedLocal)
    }

    /// Returns whether the stream is closed.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl Input {
    /// Every input, for tests that walk the table.
    pub const ALL: [Self; 9] = [
        Self::SendHeaders,
        Self::SendData,
        Self::SendEnd,
        Self::SendReset,
        Self::RecvHeaders,
        Self::RecvData,
        Self::RecvEnd,
        Self::RecvReset,
        Self::RecvWindowUpdate,
    ];
}
