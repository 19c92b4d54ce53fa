//! What a handler may know of its call besides the message.

use crate::call::reader::Reader;
use crate::call::state::SharedCall;
use crate::error::Error;
use crate::grpc::{Encoding, Metadata, Status};
use crate::rt;
use crate::transport::connect::ConnectionInfo;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One call as its handler sees it.
#[derive(Debug, Clone)]
pub struct Context {
    call: Arc<SharedCall>,
    pub(super) encoding: Encoding,
}

/// Why a call ended before its handler did.
pub type Cancelled = Error;

/// Sees every gRPC call before its handler; an error is the answer.
pub type Interceptor = Arc<dyn Fn(&Context) -> Result<(), Status> + Send + Sync>;

impl Context {
    pub(super) const fn new(call: Arc<SharedCall>) -> Self {
        Self { call, encoding: Encoding::Identity }
    }

    /// The request's metadata. Copied when asked for.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata::from_received(self.call.lock().recv().head().fields().clone())
    }

    /// How the one message of a unary or server-streaming request came: gzip only when its
    /// Compressed-Flag was set. For a stream of requests see [`super::Requests::encoding`].
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// When the caller's patience ends, by this side's clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.lock().deadline()
    }

    /// How much of the caller's patience is left.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(rt::now()))
    }

    /// How the caller's connection was made: addresses, TLS, certificates.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionInfo> {
        self.call.lock().permit().map(|permit| permit.carrier().info().clone())
    }

    /// The `:path` of the request.
    #[must_use]
    pub fn path(&self) -> String {
        String::from_utf8_lossy(self.call.lock().recv().head().path()).into_owned()
    }

    /// Waits until the caller has given up, the deadline has passed or the connection is lost.
    /// The handler's future is dropped then, so only tasks of its own need to ask.
    pub async fn cancelled(&self) -> Cancelled {
        let reader = Reader::new(Arc::clone(&self.call));
        poll_fn(|cx| reader.poll_failed(cx)).await
    }

    /// Lets the handler run on when nobody waits for its answer any more.
    pub fn detach(&self) {
        self.call.lock().detach_handler();
    }
}
