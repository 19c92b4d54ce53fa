//! The router: which handler serves which path. It sees a request before any gRPC check, so it serves
//! gRPC methods and plain HTTP/2 requests on the same connection.

mod options;
mod routes;
#[cfg(feature = "tower")]
mod services;

pub(super) use routes::Routes;

use crate::call::messages::MessageLimits;
use crate::connection::cost::Execution;
use crate::connection::dispatch::Handler;
use crate::grpc::{Decode, Encode, Method, Response, Status};
use crate::server::context::{Context, Interceptor};
use crate::server::grpc::Shape;
use crate::server::plain::{HttpReply, HttpRequest, plain};
use crate::server::streaming::{Replies, Requests};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

/// The handlers of a server, by path.
///
/// A handler receives a [`Context`] and its request, and returns a response or a [`Status`]. If a handler
/// panics, its call ends with INTERNAL, and no other call is affected. Two handlers for one method, or for
/// one prefix of plain HTTP, are an error of [`ServerBuilder::bind`](super::ServerBuilder::bind).
///
/// ```
/// # #[cfg(feature = "client")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Server, transport::in_memory};
/// use framewire::server::Router;
/// use framewire::{Code, Method, Raw, Response, Status};
///
/// const GET: Method<Raw, Raw> = Method::new("/users.v1.Users/Get");
///
/// let router = Router::new()
///     .unary(&GET, |_context, id: Raw| async move {
///         if id.0 != b"42".as_slice() {
///             return Err(Status::new(Code::NotFound, "no such user"));
///         }
///         Ok(Response::new(Raw(b"Ada".as_slice().into())))
///     })
///     .max_receive_message(64 * 1024);
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://users.local").connector(connector).build()?;
///
/// let user = channel.unary(&GET, Raw(b"42".as_slice().into())).await?;
/// assert_eq!(user.into_inner().0, b"Ada".as_slice());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Default, Clone)]
pub struct Router {
    methods: HashMap<Vec<u8>, Entry>,
    plain: Vec<(Vec<u8>, Arc<dyn Handler>)>,
    #[cfg(feature = "tower")]
    services: services::Services,
    interceptors: Vec<Interceptor>,
    limits: MessageLimits,
    spawn_always: bool,
    executions: HashMap<&'static str, Execution>,
    /// Methods and prefixes that were added twice.
    twice: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    make: Arc<dyn Fn(Shape) -> Arc<dyn Handler> + Send + Sync>,
    handler: Option<Arc<dyn Handler>>,
    whole: bool,
}

impl Router {
    /// Creates a router without handlers.
    ///
    /// It answers gRPC requests with UNIMPLEMENTED and other requests with HTTP status 404.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for a method with one request message and one response message.
    ///
    /// The handler starts when the whole request has arrived. Its future is dropped if the caller
    /// cancels, the deadline passes or the connection is lost; see [`Context::detach`]. The type
    /// [`Router`] has an example.
    #[must_use]
    pub fn unary<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), true, move |shape| {
            super::grpc::unary(Arc::clone(&f), shape)
        })
    }

    /// Adds a handler for a method with one request message and many response messages.
    ///
    /// The handler sends them through its [`Replies`] and returns the final status.
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
    /// # use framewire::{Method, Raw, server::Replies};
    /// # const COUNT: Method<Raw, Raw> = Method::new("/example.Count/Count");
    /// let router = Router::new().server_streaming(
    ///     &COUNT,
    ///     |_context, _request: Raw, mut replies: Replies<Raw>| async move {
    ///         for number in ["one", "two"] {
    ///             replies.send(Raw(number.into())).await?;
    ///         }
    ///         Ok(())
    ///     },
    /// );
    /// # let (connector, listener) = in_memory(64 * 1024);
    /// # let _server = Server::builder(router).serve(listener)?;
    /// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
    /// let mut numbers = channel.server_streaming(&COUNT, Raw::default())?;
    /// assert_eq!(numbers.message().await?, Some(Raw("one".into())));
    /// assert_eq!(numbers.message().await?, Some(Raw("two".into())));
    /// assert_eq!(numbers.message().await?, None);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn server_streaming<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Req, Replies<Res>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), true, move |shape| {
            super::grpc::server_streaming(Arc::clone(&f), shape)
        })
    }

    /// Adds a handler for a method with many request messages and one response message.
    ///
    /// The handler starts with the request head and reads the messages from its [`Requests`].
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
    /// # use framewire::{Method, Raw, Response, server::Requests};
    /// # const SUM: Method<Raw, Raw> = Method::new("/example.Sum/Bytes");
    /// let router = Router::new().client_streaming(
    ///     &SUM,
    ///     |_context, mut requests: Requests<Raw>| async move {
    ///         let mut bytes = 0;
    ///         while let Some(request) = requests.message().await? {
    ///             bytes += request.0.len();
    ///         }
    ///         Ok(Response::new(Raw(bytes.to_string().into())))
    ///     },
    /// );
    /// # let (connector, listener) = in_memory(64 * 1024);
    /// # let _server = Server::builder(router).serve(listener)?;
    /// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
    /// let (mut sender, response) = channel.client_streaming(&SUM, ())?;
    /// sender.send(Raw("three".into())).await?;
    /// sender.send(Raw("four".into())).await?;
    /// sender.finish()?;
    /// assert_eq!(response.one().await?.into_inner(), Raw("9".into()));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn client_streaming<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Requests<Req>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), false, move |shape| {
            super::grpc::client_streaming(Arc::clone(&f), shape)
        })
    }

    /// Adds a handler for a method with many request messages and many response messages.
    ///
    /// The handler may read and send in any order.
    ///
    /// ```
    /// # #[cfg(feature = "client")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
    /// # use framewire::{Method, Raw, server::{Replies, Requests}};
    /// # const CHAT: Method<Raw, Raw> = Method::new("/example.Chat/Echo");
    /// let router = Router::new().bidi(
    ///     &CHAT,
    ///     |_context, mut requests: Requests<Raw>, mut replies: Replies<Raw>| async move {
    ///         while let Some(request) = requests.message().await? {
    ///             replies.send(request).await?;
    ///         }
    ///         Ok(())
    ///     },
    /// );
    /// # let (connector, listener) = in_memory(64 * 1024);
    /// # let _server = Server::builder(router).serve(listener)?;
    /// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
    /// let (mut sender, mut replies) = channel.bidi(&CHAT, ())?;
    /// sender.send(Raw("hello".into())).await?;
    /// assert_eq!(replies.message().await?, Some(Raw("hello".into())));
    /// sender.finish()?;
    /// assert_eq!(replies.message().await?, None);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "client"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn bidi<Req, Res, F, Fut>(self, method: &Method<Req, Res>, f: F) -> Self
    where
        Req: Decode + Send + 'static,
        Res: Encode + Send + 'static,
        F: Fn(Context, Requests<Req>, Replies<Res>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let f = Arc::new(f);
        self.add(method.path().as_str(), false, move |shape| {
            super::grpc::bidi(Arc::clone(&f), shape)
        })
    }

    /// Adds a plain HTTP/2 handler for paths that begin with `prefix` and are not a method's path.
    ///
    /// If several prefixes match, the longest one wins. gRPC requests do not go to it. The handler starts when the whole body has
    /// arrived. A body larger than [`Router::max_http_body`] is answered with 413, and a panic of the
    /// handler with 500. See [`HttpReply`] for an example.
    #[must_use]
    pub fn http<F, Fut>(mut self, prefix: &str, f: F) -> Self
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HttpReply> + Send + 'static,
    {
        let twice = self.has_plain(prefix.as_bytes());
        #[cfg(feature = "tower")]
        let twice = twice || self.services.has(prefix.as_bytes());
        if twice {
            self.twice.push(format!("{prefix} (plain HTTP)"));
        }
        self.plain.push((prefix.as_bytes().to_vec(), plain(f)));
        self.plain.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    fn has_plain(&self, prefix: &[u8]) -> bool {
        self.plain.iter().any(|(other, _)| other == prefix)
    }

    fn add(
        mut self,
        path: &str,
        whole: bool,
        make: impl Fn(Shape) -> Arc<dyn Handler> + Send + Sync + 'static,
    ) -> Self {
        let entry = Entry { make: Arc::new(make), handler: None, whole };
        if self.methods.insert(path.as_bytes().to_vec(), entry).is_some() {
            self.twice.push(path.to_owned());
        }
        self
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut methods: Vec<_> =
            self.methods.keys().map(|path| String::from_utf8_lossy(path)).collect();
        methods.sort();
        f.debug_struct("Router").field("methods", &methods).finish_non_exhaustive()
    }
}
