//! What happens to a connection, as its pool hears of it.

use crate::error::{Error, Phase};
use crate::http2::ErrorCode;
use std::fmt;
use std::time::Duration;

/// What happened to a connection, for the pool that owns it.
#[derive(Clone, Debug)]
pub enum ConnectionEvent {
    /// The peer's SETTINGS have come.
    Ready,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is another one.
    StreamLimit,
    /// No new call is welcome: GOAWAY was sent or received, or identifiers run out.
    Draining,
    /// The peer sent GOAWAY.
    Goaway(ErrorCode),
    /// The peer's GOAWAY said `too_many_pings`.
    TooManyPings,
    /// Calls are held back behind a PING: the connection was silent for long.
    Probing,
    /// A live peer would have answered that PING: another connection had better be dialled.
    Overdue,
    /// The peer was heard in time, after so long without an byte.
    Proved(Duration),
    /// A PING was not answered in time, after so long without an byte.
    Unproved(Duration),
    /// It died without FIN or RST, after so long without an byte.
    DiedSilently(Duration),
    /// Somebody holds a call and does not wait for it.
    Leaked(Leak),
    /// It is over.
    Closed(Option<Error>, DisconnectReason),
}

/// How a connection came to its end, in the words of gRFC A94.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum DisconnectReason {
    /// This side closed it.
    #[default]
    Shutdown,
    /// RST.
    Reset,
    /// Nothing was heard in time.
    TimedOut,
    /// The peer closed it.
    Aborted,
    /// The socket failed otherwise, or the peer broke HTTP/2.
    Socket,
}

impl DisconnectReason {
    /// The value of `grpc.disconnect_error`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Shutdown => "subchannel shutdown",
            Self::Reset => "connection reset",
            Self::TimedOut => "connection timed out",
            Self::Aborted => "connection aborted",
            Self::Socket => "socket error",
        }
    }

    pub(crate) fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Self::Reset,
            std::io::ErrorKind::TimedOut => Self::TimedOut,
            std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::UnexpectedEof => {
                Self::Aborted
            }
            _ => Self::Socket,
        }
    }
}

/// A call that somebody holds and nobody waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leak {
    /// The method's path, if the call has one.
    pub method: Option<String>,
    /// Where in the caller's code it was begun.
    pub site: Option<&'static std::panic::Location<'static>>,
    /// How long ago it began.
    pub age: Duration,
    /// How long nobody has waited for it and nothing has moved.
    pub still: Duration,
    /// What it was last seen doing.
    pub phase: Phase,
    /// Its connection.
    pub connection: u64,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.method.as_deref().unwrap_or("without a method"))?;
        if let Some(site) = self.site {
            write!(f, ", begun at {site},")?;
        }
        write!(
            f,
            " is held and nobody waits for it: {:.0?} old, still for {:.0?}, last seen {}, on \
             connection {}",
            self.age,
            self.still,
            self.phase.words(),
            self.connection
        )
    }
}
