//! The events that a connection reports to its pool.

use crate::error::{Error, Phase};
use crate::http2::{ErrorCode, StreamId};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An event on a connection, reported to the pool that owns it.
#[derive(Clone, Debug)]
pub enum ConnectionEvent {
    /// The peer's first SETTINGS arrived.
    Ready,
    /// The peer changed SETTINGS_MAX_CONCURRENT_STREAMS.
    StreamLimit,
    /// The connection takes no new calls: GOAWAY was received, a probe had no answer, or stream
    /// identifiers ran out.
    Draining,
    /// The peer sent GOAWAY with this code, and with this last stream that it may have processed.
    Goaway(ErrorCode, StreamId),
    /// The peer's GOAWAY said `too_many_pings`.
    TooManyPings,
    /// It has had no calls for a while, and has freed its buffers.
    Quiet,
    /// Calls are held until a PING is answered: the connection was silent for long.
    Probing,
    /// A live peer would have answered that PING by now: the pool should dial another connection.
    Overdue,
    /// The peer answered in time, after this long without a byte.
    Proved(Duration),
    /// A PING was not answered in time, after this long without a byte.
    Unproved(Duration),
    /// The connection died without FIN or RST, after this long without a byte.
    DiedSilently(Duration),
    /// A caller holds a call and does not poll it.
    Leaked(Leak),
    /// The connection ends before the peer's SETTINGS. [`ConnectionEvent::Closed`] follows.
    NeverReady(EarlyEnd),
    /// The connection has ended. Its socket may still wait for the peer to close.
    Closed(Option<Error>, DisconnectReason),
    /// The socket is closed too, and counts in no limit any more.
    SocketClosed,
}

/// The reason why a connection ended, in the terms of gRFC A94.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum DisconnectReason {
    /// This side closed it.
    #[default]
    Shutdown,
    /// The peer sent a TCP RST.
    Reset,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer closed it.
    Aborted,
    /// The socket failed otherwise, or the peer broke HTTP/2.
    Socket,
}

impl DisconnectReason {
    /// Returns the value of `grpc.disconnect_error`.
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

/// What is known about a connection that ended before the peer's SETTINGS.
#[derive(Clone, Debug, Default)]
pub struct EarlyEnd {
    /// How the byte stream failed; `None` if the peer closed it, or this side did.
    pub io: Option<Arc<io::Error>>,
    /// The first bytes that are no HTTP/2, [`EarlyEnd::HEARD`] at most.
    pub heard: Vec<u8>,
}

impl EarlyEnd {
    /// Bytes that tell protocols apart.
    pub const HEARD: usize = 16;
}

/// A call that a caller holds and does not poll.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leak {
    /// The method's path, if the call has one.
    pub method: Option<String>,
    /// The line of the caller's code that started the call.
    pub site: Option<&'static std::panic::Location<'static>>,
    /// Time since the call started.
    pub age: Duration,
    /// Time since the call was last polled and since it last made progress.
    pub still: Duration,
    /// The phase that the call was last in.
    pub phase: Phase,
    /// The identifier of its connection.
    pub connection: u64,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.method.as_deref().unwrap_or("without a method"))?;
        if let Some(site) = self.site {
            write!(f, ", started at {site},")?;
        }
        write!(
            f,
            " is held and not polled: it is {:.0?} old, unchanged for {:.0?}, last phase: {}, on \
             connection {}",
            self.age,
            self.still,
            self.phase.words(),
            self.connection
        )
    }
}
