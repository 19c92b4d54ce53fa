//! Plain HTTP/2 handlers beside the gRPC methods.

use crate::call::served::ServerCall;
use crate::call::state::SendEnd;
use crate::connection::dispatch::Handler;
use crate::http2::{Fields, Head};
use crate::server::contained::Serving;
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// A plain HTTP/2 request with its whole body; [`Router::http`](crate::server::Router::http) handlers
/// get it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpRequest {
    /// Method, path and fields.
    pub head: Head,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Fields,
}

/// A plain HTTP/2 response, which [`Router::http`](crate::server::Router::http) handlers return.
///
/// ```
/// use framewire::server::{HttpReply, Router};
///
/// let router = Router::new().http("/healthz", |_request| async {
///     HttpReply::new(200).with_field("content-type", "text/plain").with_body("ok")
/// });
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpReply {
    /// `:status`.
    pub status: u16,
    /// Further fields; names in lower case.
    pub fields: Fields,
    /// The body.
    pub body: Bytes,
    /// Trailers, sent when there are any.
    pub trailers: Fields,
}

/// Prints no path, field value or body: any of them may be a secret.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("head", &self.head)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("trailers", &self.trailers)
            .finish()
    }
}

/// Prints no field value or body: any of them may be a secret.
impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .field("fields", &self.fields)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("trailers", &self.trailers)
            .finish()
    }
}

impl HttpReply {
    /// Creates a response without fields or body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a field; the name in lower case.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name, value);
        self
    }
}

/// A plain handler. A panic ends its request with 500.
pub(super) fn plain<F, Fut>(f: F) -> Arc<dyn Handler>
where
    F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HttpReply> + Send + 'static,
{
    let f = Arc::new(f);
    let begin = move |call: &ServerCall| {
        let request = call.with_whole(|inc| HttpRequest {
            head: inc.head().clone(),
            body: std::mem::take(inc.body_mut()).freeze(),
            trailers: inc.take_trailers(),
        });
        let f = Arc::clone(&f);
        Some(async move { f(request).await })
    };
    Arc::new(Serving::new(begin, answer, panicked))
}

fn answer(call: &ServerCall, reply: HttpReply) {
    let mut head = Fields::new();
    head.push(":status", reply.status.to_string());
    head.extend_from(&reply.fields);
    let end = if reply.trailers.is_empty() { SendEnd::Finish } else { SendEnd::Trailers };
    let writer = call.writer();
    // Body and end first: with them in place the head leaves with everything in one piece.
    if !reply.body.is_empty() {
        let _ = writer.send(&mut Vec::new(), Some(reply.body));
    }
    let _ = writer.finish(end, Some(&reply.trailers));
    let _ = writer.head(None, &head);
}

fn panicked(call: &ServerCall) {
    let mut head = Fields::new();
    head.push(":status", "500");
    let _ = call.writer().head_alone(&head);
}
