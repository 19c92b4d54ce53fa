//! What a handler knows about its call besides the message.

use crate::call::reader::Reader;
use crate::call::state::SharedCall;
use crate::error::Error;
use crate::grpc::{Encoding, Metadata, Status};
use crate::rt;
use crate::transport::connect::ConnectionInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call, as its handler sees it: metadata, deadline, connection, cancellation.
///
/// Clones refer to the same call.
///
/// ```
/// # #[cfg(feature = "client")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # use framewire::{Method, Raw, Request, Response};
/// # use std::time::Duration;
/// # const WHO: Method<Raw, Raw> = Method::new("/example.Who/AmI");
/// use framewire::server::Context;
///
/// let router = Router::new().unary(&WHO, |context: Context, _request: Raw| async move {
///     assert_eq!(context.path(), "/example.Who/AmI");
///     assert!(context.remaining().unwrap() <= Duration::from_secs(5));
///     let name = context.metadata().get("x-name").unwrap_or("nobody").to_owned();
///     Ok(Response::new(Raw(name.into())))
/// });
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
/// let mut request = Request::new(Raw::default()).with_timeout(Duration::from_secs(5));
/// request.metadata_mut().insert("x-name", "Ada")?;
/// assert_eq!(channel.unary(&WHO, request).await?.into_inner(), Raw("Ada".into()));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    call: Arc<SharedCall>,
    pub(super) encoding: Encoding,
}

/// The reason why a call ended before its handler.
pub type Cancelled = Error;

/// A function that sees each gRPC call before its handler; an error is sent as the response.
///
/// [`Router::intercept`](crate::server::Router::intercept) adds one. It must not block: it may run on
/// the connection's task.
///
/// ```
/// # #[cfg(feature = "client")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # use framewire::{Code, Method, Raw, Response, Status};
/// # const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
/// let router = Router::new()
///     .unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) })
///     .intercept(|context| match context.metadata().get("authorization") {
///         Some("Bearer swordfish") => Ok(()),
///         _ => Err(Status::new(Code::Unauthenticated, "send a valid token")),
///     });
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
/// let error = channel.unary(&ECHO, Raw::default()).await.unwrap_err();
/// assert_eq!(error.code(), Code::Unauthenticated);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
pub type Interceptor = Arc<dyn Fn(&Context) -> Result<(), Status> + Send + Sync>;

impl Context {
    pub(super) const fn new(call: Arc<SharedCall>) -> Self {
        Self { call, encoding: Encoding::Identity }
    }

    /// Returns a copy of the request's metadata.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata::from_received(self.call.lock().recv().head().fields().clone())
    }

    /// Returns the encoding of the message of a unary or server-streaming request.
    ///
    /// It is gzip only if the Compressed-Flag of the message was set. For streamed requests see
    /// [`Requests::encoding`](super::Requests::encoding).
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the deadline of the call by this process's clock; `None` if the caller set none.
    ///
    /// It is the time of arrival plus `grpc-timeout` (gRPC PROTOCOL-HTTP2 §Requests).
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.lock().deadline()
    }

    /// Returns the time left until the deadline, zero if it has passed; `None` if the caller set none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(rt::now()))
    }

    /// Returns the facts of the caller's connection: addresses, TLS version, client certificates.
    ///
    /// `None` once the connection has released the call.
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
    /// # use framewire::{Method, Raw, Response, server::Context};
    /// # const WHO: Method<Raw, Raw> = Method::new("/example.Who/AmI");
    /// let router = Router::new().unary(&WHO, |context: Context, _request: Raw| async move {
    ///     let info = context.connection().expect("the call is on a connection");
    ///     let safe = if info.tls.is_some() { "TLS" } else { "plaintext" };
    ///     Ok(Response::new(Raw(safe.into())))
    /// });
    /// # let (connector, listener) = in_memory(64 * 1024);
    /// # let _server = Server::builder(router).serve(listener)?;
    /// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
    /// let response = channel.unary(&WHO, Raw::default()).await?;
    /// assert_eq!(response.into_inner(), Raw("plaintext".into()));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionInfo> {
        self.call.lock().permit().map(|permit| permit.carrier().info().clone())
    }

    /// Returns the `:path` of the request, `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> String {
        String::from_utf8_lossy(self.call.lock().recv().head().path()).into_owned()
    }

    /// Waits until the caller cancels, the deadline passes or the connection is lost, and returns why.
    /// Once the call has ended with its answer, it returns CANCELLED with
    /// [`Processed::Yes`](crate::error::Processed::Yes), which no other end has.
    ///
    /// The handler's future is dropped at that time, so this is for tasks that the handler has spawned.
    /// Cancel safe.
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
    /// # use framewire::{Method, Raw, Request, Response, Status, server::Context};
    /// # use std::time::Duration;
    /// # const SLOW: Method<Raw, Raw> = Method::new("/example.Slow/Call");
    /// # let (reason, told) = tokio::sync::oneshot::channel();
    /// # let reason = std::sync::Mutex::new(Some(reason));
    /// let router = Router::new().unary(&SLOW, move |context: Context, _request: Raw| {
    ///     let reason = reason.lock().unwrap().take().expect("one call");
    ///     // This task ends with the call, whatever happens to the handler.
    ///     tokio::spawn(async move { reason.send(context.cancelled().await) });
    ///     std::future::pending::<Result<Response<Raw>, Status>>()
    /// });
    /// # let (connector, listener) = in_memory(64 * 1024);
    /// # let _server = Server::builder(router).serve(listener)?;
    /// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
    /// let request = Request::new(Raw::default()).with_timeout(Duration::from_millis(50));
    /// channel.unary(&SLOW, request).await.unwrap_err();
    /// println!("cancelled: {}", told.await?);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    pub async fn cancelled(&self) -> Cancelled {
        Reader::new(Arc::clone(&self.call)).failed().await
    }

    /// Keeps the handler running after the caller cancels, the deadline passes or the connection is
    /// lost. By default its future is dropped then.
    ///
    /// Of a streaming request it still reads what has arrived, then the end if the caller had finished,
    /// otherwise an error. It counts against the connection's limit of streams until it has ended.
    pub fn detach(&self) {
        self.call.lock().detach_handler();
    }
}
