//! The options of a router: interceptors, limits, and which task polls a handler.

use crate::connection::cost::Execution;
use crate::grpc::{Method, Status};
use crate::server::context::Context;
use crate::server::router::Router;
use std::sync::Arc;

impl Router {
    /// Adds an interceptor: `f` sees each gRPC call before its handler, and may refuse it.
    ///
    /// Interceptors run in the order in which they were added; the first error is the response. Plain
    /// HTTP/2 requests and unknown methods do not reach them.
    /// See [`Interceptor`](crate::server::Interceptor) for an example.
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

    /// Sets whether each handler gets its own task, except where [`Router::execution`] says otherwise.
    /// Default: `false`.
    ///
    /// By default, the connection's task polls unary handlers that have proved to be fast:
    /// [`Execution::Measured`].
    #[must_use]
    pub const fn spawn_always(mut self, always: bool) -> Self {
        self.spawn_always = always;
        self
    }

    /// Sets which task polls the handlers of a method. Default: [`Execution::Measured`] for a method
    /// with one request and one response, [`Execution::Spawned`] for the others.
    ///
    /// The order in which the method and its execution are set does not matter.
    ///
    /// ```
    /// use framewire::server::{Execution, Router};
    /// use framewire::{Method, Raw, Response};
    ///
    /// const HASH: Method<Raw, Raw> = Method::new("/example.Passwords/Hash");
    ///
    /// let router = Router::new()
    ///     // Takes 50 ms of computation now and then.
    ///     .execution(&HASH, Execution::Spawned)
    ///     .unary(&HASH, |_context, password: Raw| async move { Ok(Response::new(password)) });
    /// # drop(router);
    /// ```
    #[must_use]
    pub fn execution<Req, Res>(mut self, method: &Method<Req, Res>, execution: Execution) -> Self {
        self.executions.insert(method.path().as_str(), execution);
        self
    }
}
