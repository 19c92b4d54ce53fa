//! How a server's driver finds the handler of a request, before any gRPC check.
//!
//! A gRPC router is one implementation, a plain HTTP/2 handler another.

use crate::call::served::ServerCall;
pub use crate::connection::cost::Cost;
use crate::grpc::Encoding;
use crate::http2::Head;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The future of a handler. It answers through its [`ServerCall`].
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one kind of request.
pub trait Handler: Send + Sync + 'static {
    /// Returns the future that serves a request. It runs on the connection's task and must be short: user
    /// code runs when the future is polled.
    fn call(&self, call: ServerCall) -> HandlerFuture;

    /// Returns the measured cost of this handler, which decides whether the connection's task polls it.
    /// `None` always spawns.
    fn cost(&self) -> Option<&Cost> {
        None
    }
}

/// How a request is served.
#[derive(Clone)]
pub struct Plan {
    /// The handler.
    pub handler: Arc<dyn Handler>,
    /// The handler starts when the whole body has arrived; with `grpc`, that is one message.
    pub whole: bool,
    /// The body consists of gRPC messages; otherwise of bytes of plain HTTP.
    pub grpc: bool,
    /// The largest message, or plain body, in bytes that is accepted if `whole`.
    pub message_max: usize,
    /// The encoding of the request's compressed messages, if the head was checked for it.
    pub encoding: Option<Encoding>,
    /// Time after which the handler is dropped and the call ends with DEADLINE_EXCEEDED.
    pub timeout: Option<Duration>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("whole", &self.whole)
            .field("grpc", &self.grpc)
            .field("message_max", &self.message_max)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Finds the handler of a request. It sees method, path and fields as they arrived.
pub trait Dispatch: Send + Sync + 'static {
    /// Returns the plan for a request. Runs on the connection's task: must not block.
    fn plan(&self, head: &Head) -> Plan;
}
