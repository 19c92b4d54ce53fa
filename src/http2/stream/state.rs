//! The states of a stream (RFC 9113 §5.1) as a table.
//!
//! Reserved states do not exist here: push is switched off by both roles.

use crate::http2::violation::Violation;

/// Where a stream is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Nothing was sent or received.
    Idle,
    /// Both sides may send.
    Open,
    /// We have ended our side.
    HalfClosedLocal,
    /// The peer has ended its side.
    HalfClosedRemote,
    /// Nobody may send.
    Closed,
}

/// What can happen to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Input {
    /// We send HEADERS.
    SendHeaders,
    /// We send DATA.
    SendData,
    /// A frame of ours carries END_STREAM.
    SendEnd,
    /// We send RST_STREAM.
    SendReset,
    /// HEADERS came.
    RecvHeaders,
    /// DATA came.
    RecvData,
    /// A frame with END_STREAM came.
    RecvEnd,
    /// RST_STREAM came.
    RecvReset,
    /// WINDOW_UPDATE came.
    RecvWindowUpdate,
    /// The connection was lost.
    Lost,
    /// GOAWAY named a lower last stream.
    Refused,
}

/// Why an input is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAllowed {
    /// The peer broke a rule.
    Peer(Violation),
    /// Our own side asked for what the state forbids.
    Local,
}

impl State {
    /// Every state, for tests that walk the table.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Open, Self::HalfClosedLocal, Self::HalfClosedRemote, Self::Closed];

    /// The state after `input`.
    ///
    /// # Errors
    /// Who is to blame when the state does not allow the input.
    // RFC 9113 §5.1: the state machine of Figure 2
    pub const fn next(self, input: Input) -> Result<Self, NotAllowed> {
        use Input as I;

        let idle = Err(NotAllowed::Peer(Violation::FrameOnIdle));
        let ended = Err(NotAllowed::Peer(Violation::FrameAfterEnd));
        let closed = Err(NotAllowed::Peer(Violation::FrameOnClosed));
        match (self, input) {
            (_, I::Lost | I::Refused) => Ok(Self::Closed),
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

    /// Whether our side may still send.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosedRemote)
    }

    /// Whether the peer may still send.
    #[must_use]
    pub const fn can_recv(self) -> bool {
        matches!(self, Self::Open | Self::HalfClosedLocal)
    }

    /// Whether the stream is over.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl Input {
    /// Every input, for tests that walk the table.
    pub const ALL: [Self; 11] = [
        Self::SendHeaders,
        Self::SendData,
        Self::SendEnd,
        Self::SendReset,
        Self::RecvHeaders,
        Self::RecvData,
        Self::RecvEnd,
        Self::RecvReset,
        Self::RecvWindowUpdate,
        Self::Lost,
        Self::Refused,
    ];
}
