//! What an error says in one word each: its kind, who caused it, what the peer did with the call.

use std::time::Duration;

/// The kind of a failure.
///
/// Each variant names the usual gRPC codes; [`Error::code`](crate::Error::code) has the code itself.
///
/// ```
/// # #[cfg(all(feature = "client", feature = "server"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(Router::new()).serve(listener)?;
/// # let channel = Channel::builder("http://users.local").connector(connector).build()?;
/// use framewire::error::{Initiator, Kind, Processed};
/// use framewire::{Code, Method, Raw};
///
/// const GET: Method<Raw, Raw> = Method::new("/users.v1.Users/Get");
///
/// // The server does not have this method.
/// let error = channel.unary(&GET, Raw::default()).await.unwrap_err();
/// assert_eq!(error.kind(), Kind::Status);
/// assert_eq!(error.code(), Code::Unimplemented);
/// assert_eq!(error.initiator(), Initiator::Remote);
/// assert_eq!(error.processed(), Processed::Yes);
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "client", feature = "server")))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The peer answered with a status other than OK.
    Status,
    /// The deadline passed before the response ended (DEADLINE_EXCEEDED).
    Deadline,
    /// This side cancelled the call (CANCELLED).
    Cancelled,
    /// No connection could be established: name, socket, TLS or SETTINGS (UNAVAILABLE).
    Connect,
    /// The connection was lost while the call used it (UNAVAILABLE).
    ConnectionLost,
    /// The peer reset the stream with RST_STREAM (RFC 9113 §6.4); the HTTP/2 code gives the gRPC
    /// code.
    Reset,
    /// The peer sent GOAWAY and did not process the call (RFC 9113 §6.8; UNAVAILABLE).
    GoAway,
    /// The peer broke a rule of HTTP/2 or of gRPC (usually INTERNAL).
    Protocol,
    /// The response is not gRPC; the HTTP status gives the gRPC code.
    NotGrpc,
    /// A limit of this side or of the peer was exceeded (RESOURCE_EXHAUSTED).
    Limit,
    /// The caller asked for something that cannot be done, such as sending on a call that has ended.
    Misuse,
    /// User code of this side panicked: an interceptor or a codec (INTERNAL).
    Panicked,
    /// This side is shutting down (UNAVAILABLE).
    Shutdown,
}

/// Who ended a call.
///
/// ```
/// use framewire::error::{Error, Initiator, Kind};
/// use framewire::{Code, Status};
///
/// let local = Error::local(Kind::Limit, Code::ResourceExhausted, "the queue is full");
/// assert_eq!(local.initiator(), Initiator::Local);
///
/// let remote = Error::from_peer(Status::new(Code::NotFound, "no user 42"));
/// assert_eq!(remote.initiator(), Initiator::Remote);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Initiator {
    /// This process: a deadline, a cancellation or a limit of ours.
    Local,
    /// The peer: a status, RST_STREAM, GOAWAY or a broken rule.
    Remote,
    /// The network between the two: a failed dial or a lost connection.
    Io,
}

/// Whether the peer may have acted on the request.
///
/// It decides whether the call can be made again:
///
/// ```
/// use framewire::error::{Error, Initiator, Kind, Processed};
/// use framewire::{Code, Status};
///
/// fn may_retry(error: &Error, idempotent: bool) -> bool {
///     match error.processed() {
///         Processed::No => error.is_retry_safe(),
///         Processed::Maybe => idempotent,
///         Processed::Yes => false,
///     }
/// }
///
/// let status = Status::new(Code::Unavailable, "the connection was lost");
/// let lost = Error::new(Kind::ConnectionLost, status, Initiator::Io, Processed::Maybe);
/// assert!(may_retry(&lost, true));
/// assert!(!may_retry(&lost, false));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Processed {
    /// Definitely not (RFC 9113 §8.7): any call can be retried.
    No,
    /// Perhaps: retry only if the method is idempotent.
    Maybe,
    /// Yes: the peer answered.
    Yes,
}

/// The connection that carried a call.
///
/// ```
/// # #[cfg(all(feature = "client", feature = "server"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # use framewire::{Method, Raw, Request, Response, Status, error::Kind};
/// # const SLOW: Method<Raw, Raw> = Method::new("/example.Slow/Call");
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let router = Router::new().unary(&SLOW, |_context, _request| {
/// #     std::future::pending::<Result<Response<Raw>, Status>>()
/// # });
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://slow.local").connector(connector).build()?;
/// use std::time::Duration;
///
/// // The handler of this method never answers.
/// let request = Request::new(Raw::default()).with_timeout(Duration::from_millis(50));
/// let error = channel.unary(&SLOW, request).await.unwrap_err();
/// assert_eq!(error.kind(), Kind::Deadline);
///
/// let facts = error.connection().expect("the call was sent on a connection");
/// assert_eq!(facts.stream_id, Some(1));
/// println!("connection {} to {}, {:?} old", facts.id, facts.peer, facts.age);
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "client", feature = "server")))]
/// # fn main() {}
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionFacts {
    /// A number that is unique in the process.
    pub id: u64,
    /// The peer's address as text, such as `127.0.0.1:50051`.
    pub peer: String,
    /// Time since the connection was established.
    pub age: Duration,
    /// The HTTP/2 stream of the call (RFC 9113 §5.1.1); `None` if none was opened.
    pub stream_id: Option<u32>,
}
