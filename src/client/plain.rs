//! Plain HTTP/2 requests on a channel: the same connections, no gRPC.

use crate::call::state::RecvEnd;
use crate::client::call::{Call, Options, gone};
use crate::client::channel::Channel;
use crate::error::{Error, Kind};
use crate::grpc::{Code, Request};
use crate::http2::Fields;
use bytes::Bytes;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

/// A plain HTTP/2 request with its whole body, for [`Channel::http`].
///
/// ```
/// use framewire::client::HttpRequest;
/// use std::time::Duration;
///
/// let request = HttpRequest::new("PUT", "/flags/beta")
///     .with_field("content-type", "text/plain")
///     .with_body("on")
///     .with_timeout(Duration::from_secs(2));
/// assert_eq!(request.body.len(), 2);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HttpRequest {
    /// `:method`.
    pub method: String,
    /// `:path`.
    pub path: String,
    /// Further fields; names in lower case.
    pub fields: Fields,
    /// The body.
    pub body: Bytes,
    /// The time until the whole response must have arrived. Default none.
    pub timeout: Option<Duration>,
}

impl HttpRequest {
    /// Creates a request without fields or body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), ..Self::default() }
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

    /// Sets the time until the whole response must have arrived.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A plain HTTP/2 response with its whole body, from [`Channel::http`].
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpResponse {
    /// `:status`.
    pub status: u16,
    /// The head's fields.
    pub fields: Fields,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Fields,
}

/// Prints no path, field value or body: any of them may be a secret.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_method = self.method.bytes().all(|byte| byte.is_ascii_alphabetic());
        f.debug_struct("HttpRequest")
            .field("method", &if is_method { &self.method } else { "not a method" })
            .field("fields", &self.fields)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Prints no field value or body: any of them may be a secret.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("fields", &self.fields)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("trailers", &self.trailers)
            .finish()
    }
}

impl Channel {
    /// Sends a plain HTTP/2 request and returns the whole response.
    ///
    /// # Errors
    /// Why there is no response; a response with any `:status` is none of them. [`Kind::Misuse`] for a method
    /// or a path that is none; nothing was sent. RESOURCE_EXHAUSTED, kind
    /// `Limit`, when its body is larger than
    /// [`ChannelBuilder::max_http_body`](super::ChannelBuilder::max_http_body).
    ///
    /// # Cancel safety
    /// As [`Channel::unary`].
    pub async fn http(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        if let Some(text) = malformed(&request) {
            return Err(Error::local(Kind::Misuse, Code::Internal, text));
        }
        let mut head = Fields::new();
        let (scheme, authority) = self.scheme_and_authority();
        head.push(":method", &request.method);
        head.push(":scheme", scheme);
        head.push(":path", &request.path);
        head.push(":authority", authority);
        head.extend_from(&request.fields);
        let mut wish = Request::new(());
        if let Some(timeout) = request.timeout {
            wish = wish.with_timeout(timeout);
        }
        let body = request.body;
        let mut call = Call::fill(self, None, &head, Options::of(&wish, true), false, |out| {
            if !body.is_empty() {
                out.chain(body);
            }
            Ok(true)
        })?;
        call.send();
        let mut timer = pin!(None);
        poll_fn(|cx| call.poll_end(timer.as_mut(), cx)).await?;
        let response = call.shared().map(|shared| {
            let mut x = shared.lock();
            if let Some(RecvEnd::Failed(error)) = x.end() {
                return Err(error.clone());
            }
            Ok(HttpResponse {
                status: x.recv().head().status(),
                fields: x.recv().head().fields().clone(),
                body: std::mem::take(x.recv_mut().body_mut()).freeze(),
                trailers: x.recv_mut().take_trailers(),
            })
        });
        call.done();
        response.unwrap_or_else(|| Err(gone()))
    }
}

/// Returns what is wrong with the method or path of a request. Neither is repeated: both may be secret.
fn malformed(request: &HttpRequest) -> Option<&'static str> {
    // RFC 9110 §9.1, §5.6.2: a method is a token; CONNECT has no path, and is not for this
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if request.method.is_empty() || !request.method.bytes().all(token) {
        return Some("the method of the request is not a token");
    }
    if request.method == "CONNECT" {
        return Some("CONNECT has no path: Channel::http does not send it");
    }
    // RFC 9112 §3.2: origin form, or the asterisk of OPTIONS
    let origin =
        request.path.starts_with('/') || (request.path == "*" && request.method == "OPTIONS");
    if !origin || !request.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Some(
            "the path of the request does not begin with \"/\", or has characters that paths do not have",
        );
    }
    None
}
