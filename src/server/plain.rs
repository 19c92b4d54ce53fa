//! Plain HTTP/2 handlers on the same port as the gRPC methods.

use crate::call::served::ServerCall;
use crate::call::state::SendEnd;
use crate::connection::dispatch::Handler;
use crate::http2::{Fields, Head};
use crate::server::contained::Serving;
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;

// RFC 9110 §15: 1xx is interim, and there is none outside 100 to 599
/// The statuses that a response can have.
const FINAL: RangeInclusive<u16> = 200..=599;

/// A plain HTTP/2 request with its whole body.
///
/// ```
/// use framewire::server::{HttpReply, HttpRequest, Router};
///
/// let router = Router::new().http("/", |request: HttpRequest| async move {
///     match (request.head.method(), request.head.path()) {
///         (b"GET", b"/health") => HttpReply::new(200),
///         (b"POST", _) => HttpReply::new(200).with_body(request.body),
///         _ => HttpReply::new(404),
///     }
/// });
/// # drop(router);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method, the path and the header fields.
    pub head: Head,
    /// The whole body; empty if there is none.
    pub body: Bytes,
    /// The trailers; empty if there are none.
    pub trailers: Fields,
}

/// A plain HTTP/2 response.
///
/// A response to HEAD, and one with status 204 or 304, is sent without body and trailers. A status that
/// cannot end a request, below 200 or above 599, is logged and sent as 500; so is a `content-length` that is not
/// the length of the body.
///
/// ```
/// # #[cfg(feature = "client")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// use framewire::client::HttpRequest;
/// use framewire::server::HttpReply;
///
/// let router = Router::new().http("/health", |_request| async {
///     HttpReply::new(200).with_field("content-type", "text/plain").with_body("ok")
/// });
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
/// let response = channel.http(HttpRequest::new("GET", "/health")).await?;
/// assert_eq!(response.status, 200);
/// assert_eq!(response.body, "ok");
/// assert_eq!(response.fields.get("content-type"), Some(b"text/plain".as_slice()));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpReply {
    /// The HTTP status, `:status` (RFC 9113 §8.3.2), from 200 to 599.
    pub status: u16,
    /// The header fields; names must be lower case (RFC 9113 §8.2).
    pub fields: Fields,
    /// The whole body.
    pub body: Bytes,
    /// The trailers; sent if there are any.
    pub trailers: Fields,
}

/// Prints no path, no field value and no body: any of them may be a secret.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("head", &self.head)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("trailers", &self.trailers)
            .finish()
    }
}

/// Prints no field value and no body: any of them may be a secret.
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
    /// Creates a response with this HTTP status, without fields and without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Sets the body. Default: empty.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header field; `name` must be lower case (RFC 9113 §8.2).
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name, value);
        self
    }
}

/// Creates a plain handler. If `f` panics, the response is 500.
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

fn answer(call: &ServerCall, mut reply: HttpReply) {
    if !FINAL.contains(&reply.status) {
        crate::rt::log!(
            error,
            status = reply.status,
            "an HttpReply needs a status from 200 to 599; sent 500"
        );
        reply = HttpReply::new(500);
    }
    let announced = reply.fields.get("content-length").map(<[u8]>::to_vec);
    let head_only = call.with_head(|head| head.method() == b"HEAD");
    let mut head = Fields::new();
    head.push(":status", reply.status.to_string());
    head.extend_from(&reply.fields);
    let writer = call.writer();
    // RFC 9110 §9.3.2, §15.3.5, §15.4.5: no content follows the head
    if head_only || matches!(reply.status, 204 | 304) {
        // RFC 9110 §8.6: a HEAD request is answered with the length that GET would have
        if head_only && !reply.body.is_empty() && head.get("content-length").is_none() {
            head.push("content-length", reply.body.len().to_string());
        }
        let _ = writer.head_alone(&head);
        return;
    }
    // RFC 9110 §8.6: what is announced is what follows
    if announced.is_some_and(|length| length != reply.body.len().to_string().as_bytes()) {
        crate::rt::log!(
            error,
            bytes = reply.body.len(),
            "an HttpReply has another content-length than its body; sent 500"
        );
        return panicked(call);
    }
    let end = if reply.trailers.is_empty() { SendEnd::Finish } else { SendEnd::Trailers };
    // Body and end before the head: then one write sends all three.
    if !reply.body.is_empty() {
        let _ = writer.send(&mut Vec::new(), Some(reply.body));
    }
    let _ = writer.finish(end, Some(&reply.trailers));
    let _ = writer.head(None, &head);
}

/// Answers 500.
fn panicked(call: &ServerCall) {
    let mut head = Fields::new();
    head.push(":status", "500");
    let _ = call.writer().head_alone(&head);
}
