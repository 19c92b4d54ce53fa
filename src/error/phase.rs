//! The phases of a call.

/// A phase of a call: where its time goes, and where it can end.
///
/// [`Error::phase`](crate::Error::phase) names the phase in which a call ended, and a call's timeline
/// has the duration of each phase.
///
/// ```
/// use framewire::error::Phase;
///
/// assert_eq!(Phase::ALL.len(), 12);
/// assert_eq!(format!("timed out while {}", Phase::Dial.words()), "timed out while connecting");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Phase {
    /// The resolver looks up the target's name.
    Resolve,
    /// The call waits for a permit of a connection.
    PoolWait,
    /// The socket connects.
    Dial,
    /// The TLS handshake runs.
    Tls,
    /// The connection waits for the peer's SETTINGS (RFC 9113 §3.4).
    Settings,
    /// The call waits for capacity: every connection is full by the peer's
    /// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §5.1.2), or the call waits for its tenant's quota.
    StreamQuota,
    /// The request waits for the stream's flow-control window (RFC 9113 §6.9.1).
    StreamWindow,
    /// The request waits for the connection's flow-control window (RFC 9113 §6.9.1).
    ConnectionWindow,
    /// The request is queued for the socket.
    WriteQueue,
    /// The request was sent, and no byte of the response has arrived.
    Server,
    /// The response arrives.
    Read,
    /// The outcome is ready, and the caller has not polled for it.
    Caller,
}

impl Phase {
    /// Every phase, in the order in which a call passes through them.
    pub const ALL: [Self; 12] = [
        Self::Resolve,
        Self::PoolWait,
        Self::Dial,
        Self::Tls,
        Self::Settings,
        Self::StreamQuota,
        Self::StreamWindow,
        Self::ConnectionWindow,
        Self::WriteQueue,
        Self::Server,
        Self::Read,
        Self::Caller,
    ];

    /// Returns the phase in words that follow "while", such as `connecting`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Resolve => "resolving the name",
            Self::PoolWait => "waiting for a connection",
            Self::Dial => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Settings => "waiting for the peer's SETTINGS",
            Self::StreamQuota => "waiting for capacity on a connection",
            Self::StreamWindow => "waiting for the stream's flow-control window",
            Self::ConnectionWindow => "waiting for the connection's flow-control window",
            Self::WriteQueue => "writing the request",
            Self::Server => "waiting for the response",
            Self::Read => "reading the response",
            Self::Caller => "waiting for the caller",
        }
    }
}
