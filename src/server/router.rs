//! The router: which handler serves which path. It sees a request before any gRPC check, so it serves
//! gRPC methods and plain HTTP/2 requests on the same connection.

use crate::call::messages::MessageLimits;
use crate::connection::dispatch::{Dispatch, Handler, Plan};
use crate::grpc::{Code, Decode, Encode, Method, Response, Status, request, shown};
use crate::http2::{Fields, Head};
use crate::server::context::{Context, Interceptor};
use crate::server::grpc::{Shape, refusing};
use crate::server::plain::{HttpReply, HttpRequest, plain};
use crate::server::streaming::{Replies, Requests};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

/// The handlers of a server, by path.
///
/// A handler receives a [`Context`] and its request, and returns a response or a [`Status`]. If a handler
/// panics, its call ends with INTERNAL, and no other call is affected. A second handler for the same
/// method replaces the first.
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
    interceptors: Vec<Interceptor>,
    limits: MessageLimits,
    spawn_always: bool,
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
    /// If several prefixes match, the longest one wins. The handler starts when the whole body has
    /// arrived. A body larger than [`Router::max_http_body`] is answered with 413, and a panic of the
    /// handler with 500. See [`HttpReply`] for an example.
    #[must_use]
    pub fn http<F, Fut>(mut self, prefix: &str, f: F) -> Self
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HttpReply> + Send + 'static,
    {
        self.plain.push((prefix.as_bytes().to_vec(), plain(f)));
        self.plain.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    /// Adds an interceptor: `f` sees each gRPC call before its handler, and may refuse it.
    ///
    /// Interceptors run in the order in which they were added; the first error is the response. Plain
    /// HTTP/2 requests and unknown methods do not reach them. See [`Interceptor`] for an example.
    #[must_use]
    pub fn intercept(
        mut self,
        f: impl Fn(&Context) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.interceptors.push(Arc::new(f));
        self
    }

    /// Sets the largest message that a handler receives, in bytes after decompression. Default: 4 MiB.
    ///
    /// A larger message ends its call with RESOURCE_EXHAUSTED.
    #[must_use]
    pub const fn max_receive_message(mut self, bytes: usize) -> Self {
        self.limits.receive = bytes;
        self
    }

    /// Sets the largest request body for a plain HTTP/2 handler, in bytes. Default: the limit of
    /// [`Router::max_receive_message`].
    ///
    /// A larger body is answered with 413, and the rest of it is not read.
    #[must_use]
    pub const fn max_http_body(mut self, bytes: usize) -> Self {
        self.limits.http_body = Some(bytes);
        self
    }

    /// Sets the largest message that a handler sends, in bytes. Default: 2 GiB − 1.
    ///
    /// A larger message ends its call with RESOURCE_EXHAUSTED.
    #[must_use]
    pub const fn max_send_message(mut self, bytes: usize) -> Self {
        self.limits.send = bytes;
        self
    }

    /// Sets whether each unary handler gets its own task. Default: `false`.
    ///
    /// By default, the connection's task polls unary handlers that have proved to be fast.
    #[must_use]
    pub const fn spawn_always(mut self, always: bool) -> Self {
        self.spawn_always = always;
        self
    }

    fn add(
        mut self,
        path: &str,
        whole: bool,
        make: impl Fn(Shape) -> Arc<dyn Handler> + Send + Sync + 'static,
    ) -> Self {
        let entry = Entry { make: Arc::new(make), handler: None, whole };
        self.methods.insert(path.as_bytes().to_vec(), entry);
        self
    }

    // Every handler gets the router's limits and interceptors.
    pub(super) fn settle(mut self) -> Routes {
        let shape = Shape {
            limits: self.limits,
            interceptors: Arc::from(self.interceptors.clone()),
            in_place: !self.spawn_always,
        };
        for entry in self.methods.values_mut() {
            entry.handler = Some((entry.make)(shape.clone()));
        }
        Routes(self)
    }

    fn find_plain(&self, path: &[u8]) -> Option<&Arc<dyn Handler>> {
        self.plain.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, h)| h)
    }
}

/// A router at work: it serves connections.
pub(super) struct Routes(Router);

impl Dispatch for Routes {
    fn plan(&self, head: &Head) -> Plan {
        self.0.plan(head)
    }
}

impl Router {
    fn plan(&self, head: &Head) -> Plan {
        let entry = self.methods.get(head.path());
        let plan = |handler: Arc<dyn Handler>, whole| Plan {
            handler,
            whole,
            grpc: true,
            message_max: self.limits.receive,
            timeout: None,
        };
        let Some((entry, handler)) = entry.and_then(|e| Some((e, e.handler.clone()?))) else {
            if let Some(handler) = self.find_plain(head.path()) {
                let max = self.limits.http_body_max();
                if head.content_length().is_some_and(|bytes| bytes > max as u64) {
                    return plan(refusing(alone("413")), false);
                }
                let plan = plan(Arc::clone(handler), true);
                return Plan { grpc: false, message_max: max, ..plan };
            }
            return plan(refusing(unknown(head)), false);
        };
        match request::check(head) {
            Ok(received) => {
                let mut plan = plan(handler, entry.whole);
                plan.timeout = received.timeout;
                plan
            }
            Err(answer) => plan(refusing(answer), false),
        }
    }
}

/// Returns the response for a path without a handler.
fn unknown(head: &Head) -> Fields {
    match request::check(head) {
        Ok(_) => {
            let path = shown::path(head.path());
            request::refuse(Code::Unimplemented, format!("this server has no method {path}"))
        }
        Err(answer) if head.method() == b"POST" => answer,
        Err(_) => alone("404"),
    }
}

fn alone(status: &str) -> Fields {
    let mut fields = Fields::new();
    fields.push(":status", status);
    fields
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut methods: Vec<_> =
            self.methods.keys().map(|path| String::from_utf8_lossy(path)).collect();
        methods.sort();
        f.debug_struct("Router").field("methods", &methods).finish_non_exhaustive()
    }
}
