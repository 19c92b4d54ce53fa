//! What went wrong, where, by whose doing, and whether a retry is safe.

pub use crate::http2::ErrorCode;

use crate::grpc::status::{Code, Status};
use std::fmt;
use std::time::Duration;

/// Where an RPC spends its time, and where it can end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Resolving the target's name.
    Resolve,
    /// Waiting for a connection that may be used.
    PoolWait,
    /// Connecting the socket.
    Dial,
    /// The TLS handshake.
    Tls,
    /// Waiting for the peer's SETTINGS.
    Settings,
    /// Waiting for the peer's stream limit, or in the line of the call's tenant.
    StreamQuota,
    /// Waiting for the stream's window.
    StreamWindow,
    /// Waiting for the connection's window.
    ConnectionWindow,
    /// Written, waiting for the socket.
    WriteQueue,
    /// The peer is at work.
    Server,
    /// The response is arriving.
    Read,
    /// Waiting for the caller to poll.
    Caller,
}

impl Phase {
    /// Every phase, in order.
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

    /// In words, for a sentence that begins with "while".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Resolve => "resolving the name",
            Self::PoolWait => "waiting for a connection",
            Self::Dial => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Settings => "waiting for the peer's SETTINGS",
            Self::StreamQuota => "waiting for the peer's stream limit",
            Self::StreamWindow => "waiting for the stream's flow-control window",
            Self::ConnectionWindow => "waiting for the connection's flow-control window",
            Self::WriteQueue => "writing the request",
            Self::Server => "waiting for the response",
            Self::Read => "reading the response",
            Self::Caller => "waiting for the caller",
        }
    }
}

/// What kind of failure it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The peer answered with this status.
    Status,
    /// The deadline passed.
    Deadline,
    /// The call was cancelled on this side.
    Cancelled,
    /// No connection could be made.
    Connect,
    /// The connection was lost.
    ConnectionLost,
    /// The stream was reset.
    Reset,
    /// The peer went away before it acted on the call.
    GoAway,
    /// The peer broke HTTP/2 or gRPC.
    Protocol,
    /// The peer answered, but not in gRPC.
    NotGrpc,
    /// A limit of ours or of the peer.
    Limit,
    /// The caller asked for something impossible.
    Misuse,
    /// This side is shutting down.
    Shutdown,
}

/// Who ended it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Initiator {
    /// This side.
    Local,
    /// The peer.
    Remote,
    /// The network between.
    Io,
}

/// Whether the peer may have acted on the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Processed {
    /// Surely not: a retry is safe.
    No,
    /// Perhaps: a retry is safe only if the method is idempotent.
    Maybe,
    /// Yes: the peer answered.
    Yes,
}

/// The connection on which it happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionFacts {
    /// Unique within the process.
    pub id: u64,
    /// The peer's address, in words.
    pub peer: String,
    /// Time since the connection was made.
    pub age: Duration,
    /// The stream, where one was opened.
    pub stream_id: Option<u32>,
}

/// Why a call failed. One word large; its `Display` is one line that needs no other.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    status: Status,
    phase: Option<Phase>,
    initiator: Initiator,
    processed: Processed,
    h2_code: Option<ErrorCode>,
    debug: Option<String>,
    connection: Option<ConnectionFacts>,
}

impl Error {
    /// A failure with its gRPC status; see the `with_` methods for the rest.
    #[must_use]
    pub fn new(kind: Kind, status: Status, initiator: Initiator, processed: Processed) -> Self {
        Self(Box::new(Inner {
            kind,
            status,
            phase: None,
            initiator,
            processed,
            h2_code: None,
            debug: None,
            connection: None,
        }))
    }

    /// The status that the peer answered with.
    #[must_use]
    pub fn from_peer(status: Status) -> Self {
        Self::new(Kind::Status, status, Initiator::Remote, Processed::Yes)
    }

    /// A failure that this side decided on before anything was sent.
    #[must_use]
    pub fn local(kind: Kind, code: Code, message: impl Into<String>) -> Self {
        let status = Status::new(code, message.into());
        Self::new(kind, status, Initiator::Local, Processed::No)
    }

    /// With the phase in which it ended.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase = Some(phase);
        self
    }

    /// With whether the peer may have acted on the request, where that differs from call to call.
    #[must_use]
    pub fn with_processed(mut self, processed: Processed) -> Self {
        self.0.processed = processed;
        self
    }

    /// With the HTTP/2 error code.
    #[must_use]
    pub fn with_h2_code(mut self, code: ErrorCode) -> Self {
        self.0.h2_code = Some(code);
        self
    }

    /// With the debug text of a GOAWAY; control characters are escaped.
    #[must_use]
    pub fn with_debug(mut self, debug: &[u8]) -> Self {
        if !debug.is_empty() {
            self.0.debug = Some(debug.escape_ascii().to_string());
        }
        self
    }

    /// With the connection on which it happened.
    #[must_use]
    pub fn with_connection(mut self, facts: ConnectionFacts) -> Self {
        self.0.connection = Some(facts);
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// The gRPC status: code, message, details, and the trailers' metadata.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// The gRPC status, taken out.
    #[must_use]
    pub fn into_status(self) -> Status {
        self.0.status
    }

    /// The phase in which it ended, where it is known.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Who ended it.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        self.0.initiator
    }

    /// Whether the peer may have acted on the request.
    #[must_use]
    pub fn processed(&self) -> Processed {
        self.0.processed
    }

    /// Whether the call may be made again without any risk of acting twice.
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        self.0.processed == Processed::No && self.0.kind != Kind::Misuse
    }

    /// The HTTP/2 error code that ended it.
    #[must_use]
    pub fn h2_code(&self) -> Option<ErrorCode> {
        self.0.h2_code
    }

    /// The debug text of the peer's GOAWAY, escaped.
    #[must_use]
    pub fn debug_text(&self) -> Option<&str> {
        self.0.debug.as_deref()
    }

    /// The connection on which it happened.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionFacts> {
        self.0.connection.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{}", inner.status.code().name())?;
        if !inner.status.message().is_empty() {
            f.write_str(": ")?;
            for c in inner.status.message().chars() {
                // What would break the line is escaped; quotes are words like any other.
                match c {
                    '\'' | '"' => fmt::Write::write_char(f, c)?,
                    c => write!(f, "{}", c.escape_debug())?,
                }
            }
        }
        if inner.kind == Kind::Status {
            return Ok(());
        }
        if let Some(phase) = inner.phase {
            write!(f, ", while {}", phase.words())?;
        }
        if let Some(code) = inner.h2_code {
            write!(f, " [{code}]")?;
        }
        if let Some(debug) = &inner.debug {
            write!(f, " (the peer said: {debug})")?;
        }
        f.write_str(match inner.processed {
            Processed::No if inner.kind == Kind::Misuse => "; nothing was sent",
            Processed::No => "; not processed, a retry is safe",
            Processed::Maybe => "; it may have been processed",
            Processed::Yes => "",
        })?;
        if let Some(c) = &inner.connection {
            write!(f, "; connection {} to {}, {:.1} s old", c.id, c.peer, c.age.as_secs_f64())?;
            if let Some(id) = c.stream_id {
                write!(f, ", stream {id}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from_peer(status)
    }
}
