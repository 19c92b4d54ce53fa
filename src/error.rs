//! [`Error`]: why a call failed, where, who ended it, and whether a retry is safe.
//!
//! An error carries a gRPC [`Status`] and five facts about the failure:
//!
//! | question | answer |
//! | --- | --- |
//! | What happened? | [`Error::kind`], [`Error::code`] |
//! | Who ended the call? | [`Error::initiator`] |
//! | May the peer have acted on it? | [`Error::processed`], [`Error::is_retry_safe`] |
//! | In which phase did it end? | [`Error::phase`] |
//! | On which connection and stream? | [`Error::connection`] |

mod kind;
mod phase;

pub use kind::{ConnectionFacts, Initiator, Kind, Processed};
pub use phase::Phase;

pub use crate::http2::ErrorCode;

use crate::grpc::status::{Code, Status};
use std::fmt;
use std::sync::Arc;

/// The reason why a call failed.
///
/// `Display` prints one line with everything the error knows. The type is one word large.
///
/// ```
/// # #[cfg(all(feature = "client", feature = "server"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # use framewire::{Method, Raw, Response, Status};
/// # const GET: Method<Raw, Raw> = Method::new("/users.v1.Users/Get");
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let router = Router::new().unary(&GET, |_context, _request| async {
/// #     Err::<Response<Raw>, _>(Status::new(Code::NotFound, "no user 42"))
/// # });
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://users.local").connector(connector).build()?;
/// use framewire::Code;
///
/// let user = match channel.unary(&GET, Raw::default()).await {
///     Ok(response) => Some(response.into_inner()),
///     Err(error) if error.code() == Code::NotFound => None,
///     Err(error) => return Err(error.into()),
/// };
/// assert_eq!(user, None);
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "client", feature = "server")))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// Bytes of a GOAWAY's debug data that an error keeps: enough for a sentence.
pub(crate) const DEBUG_BYTES: usize = 256;

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
    source: Option<Cause>,
}

/// What an error was caused by; clones share it.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Creates an error from its four mandatory parts; the `with_` methods add the others.
    ///
    /// ```
    /// use framewire::error::{Error, Initiator, Kind, Phase, Processed};
    /// use framewire::{Code, Status};
    ///
    /// let status = Status::new(Code::Unavailable, "connection refused");
    /// let error = Error::new(Kind::Connect, status, Initiator::Io, Processed::No)
    ///     .with_phase(Phase::Dial);
    /// assert_eq!(error.phase(), Some(Phase::Dial));
    /// let text = "UNAVAILABLE: connection refused, while connecting; not processed, a retry is safe";
    /// assert_eq!(error.to_string(), text);
    /// ```
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
            source: None,
        }))
    }

    /// Creates the error of a call that the peer answered with `status`.
    ///
    /// The kind is [`Kind::Status`], the initiator the peer, and the call counts as processed.
    ///
    /// ```
    /// use framewire::error::{Error, Kind};
    /// use framewire::{Code, Status};
    ///
    /// let error = Error::from_peer(Status::new(Code::NotFound, "no user 42"));
    /// assert_eq!(error.kind(), Kind::Status);
    /// assert_eq!(error.to_string(), "NOT_FOUND: no user 42");
    /// ```
    #[must_use]
    pub fn from_peer(status: Status) -> Self {
        Self::new(Kind::Status, status, Initiator::Remote, Processed::Yes)
    }

    /// Creates the error of a call that this side refused before it sent anything.
    ///
    /// ```
    /// use framewire::Code;
    /// use framewire::error::{Error, Kind};
    ///
    /// let error = Error::local(Kind::Misuse, Code::Internal, "the request was taken before");
    /// // Nothing was sent, but the same call would fail again.
    /// assert!(!error.is_retry_safe());
    /// assert_eq!(error.to_string(), "INTERNAL: the request was taken before; nothing was sent");
    /// ```
    #[must_use]
    pub fn local(kind: Kind, code: Code, message: impl Into<String>) -> Self {
        let status = Status::new(code, message.into());
        Self::new(kind, status, Initiator::Local, Processed::No)
    }

    /// Sets the phase in which the call ended. Default: unknown.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase = Some(phase);
        self
    }

    /// Sets whether the peer may have acted on the request.
    #[must_use]
    pub fn with_processed(mut self, processed: Processed) -> Self {
        self.0.processed = processed;
        self
    }

    /// Sets the HTTP/2 error code of RST_STREAM or GOAWAY (RFC 9113 §7). Default: none.
    #[must_use]
    pub fn with_h2_code(mut self, code: ErrorCode) -> Self {
        self.0.h2_code = Some(code);
        self
    }

    /// Sets the debug data of a GOAWAY (RFC 9113 §6.8) and escapes what is not printable ASCII.
    ///
    /// At most 256 bytes are kept. Empty data changes nothing.
    #[must_use]
    pub fn with_debug(mut self, debug: &[u8]) -> Self {
        if !debug.is_empty() {
            let debug = debug.get(..DEBUG_BYTES).unwrap_or(debug);
            self.0.debug = Some(debug.escape_ascii().to_string());
        }
        self
    }

    /// Sets the connection that carried the call. Default: none.
    #[must_use]
    pub fn with_connection(mut self, facts: ConnectionFacts) -> Self {
        self.0.connection = Some(facts);
        self
    }

    /// Sets the cause, which becomes [`source()`](std::error::Error::source). Default: none. `Display` does
    /// not print it: the status says what it means.
    #[must_use]
    pub fn with_source(mut self, cause: Arc<dyn std::error::Error + Send + Sync>) -> Self {
        self.0.source = Some(cause);
        self
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the gRPC code of [`Error::status`].
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// Returns the gRPC status: code, message, details and the metadata of the trailers.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Returns the gRPC status and drops the rest.
    ///
    /// ```
    /// use framewire::{Code, Error, Status};
    ///
    /// // A handler that forwards the status of a call it made.
    /// fn forward(error: Error) -> Status {
    ///     error.into_status()
    /// }
    /// let error = Error::from(Status::new(Code::NotFound, "no user 42"));
    /// assert_eq!(forward(error).message(), "no user 42");
    /// ```
    #[must_use]
    pub fn into_status(self) -> Status {
        self.0.status
    }

    /// Returns the phase in which the call ended; `None` if it is unknown.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Returns who ended the call.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        self.0.initiator
    }

    /// Returns whether the peer may have acted on the request.
    #[must_use]
    pub fn processed(&self) -> Processed {
        self.0.processed
    }

    /// Returns whether the same call can be made again without the risk that it runs twice.
    ///
    /// True if the peer definitely did not process the call, except for [`Kind::Misuse`] and
    /// [`Kind::Panicked`], which would fail again. A `false` does not forbid a retry of an idempotent method: see
    /// [`Processed`].
    ///
    /// ```
    /// use framewire::error::{Error, Kind};
    /// use framewire::{Code, Status};
    ///
    /// let full = Error::local(Kind::Limit, Code::ResourceExhausted, "the queue is full");
    /// assert!(full.is_retry_safe());
    ///
    /// let answered = Error::from(Status::new(Code::Unavailable, "overloaded"));
    /// assert!(!answered.is_retry_safe());
    /// ```
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        self.0.processed == Processed::No && !matches!(self.0.kind, Kind::Misuse | Kind::Panicked)
    }

    /// Returns the HTTP/2 error code that ended the call (RFC 9113 §7); `None` if there was none.
    #[must_use]
    pub fn h2_code(&self) -> Option<ErrorCode> {
        self.0.h2_code
    }

    /// Returns the debug data of the peer's GOAWAY, escaped; `None` if there was none.
    #[must_use]
    pub fn debug_text(&self) -> Option<&str> {
        self.0.debug.as_deref()
    }

    /// Returns the connection that carried the call; `None` if the call never got one.
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
                // `escape_debug` keeps the message on one line; it would escape quotes as well.
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
            Processed::No if !self.is_retry_safe() => "; nothing was sent",
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

impl std::error::Error for Error {
    /// Returns the error of the dial, the socket or TLS that ended the call; `None` if there was none.
    ///
    /// The chain ends at the error of the system or of rustls, such as `std::io::Error`.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}

/// Same as [`Error::from_peer`].
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from_peer(status)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::*;

    #[test]
    fn debug_data_is_cut_and_escaped() {
        let error = Error::local(Kind::Reset, Code::Internal, "x");
        let kept = error.clone().with_debug(&[b'a'; 1000]);
        assert_eq!(kept.debug_text().map(str::len), Some(DEBUG_BYTES));
        assert_eq!(error.with_debug(b"\r\n\xff").debug_text(), Some("\\r\\n\\xff"));
    }
}
