//! [`Channel`] as a tower service of `http::Request`: under the stubs of tonic, and under tower layers.
//!
//! A gRPC request gets the channel's deadlines, retries and interceptors, as the channel's own calls do. A
//! request of another content-type is plain HTTP/2, as with [`Channel::http`].

mod body;
mod pump;

pub use body::ResponseBody;

use crate::client::call::{Call, Options, gone};
use crate::client::channel::Channel;
use crate::error::{Error, Kind};
use crate::grpc::{Code, Metadata, header_map, response, timeout};
use crate::http2::Fields;
use body::Receiving;
use http::header;
use http::request::Parts;
use http_body::Body;
use pump::Upload;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// What services of the tower ecosystem return as errors.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a channel that is used as a tower service returns the errors of this side.
///
/// It concerns gRPC requests only: plain HTTP has no way but an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ErrorMode {
    /// As a response that carries their status, as if the server had sent it: generated stubs see code and
    /// text. The [`Error`] is in the response's extensions. An error behind the head ends the body with
    /// trailers that carry its status.
    #[default]
    Status,
    /// As errors of the service and of its bodies: tower's retry and load layers see them.
    Err,
}

/// A channel as a tower service, with an [`ErrorMode`]. [`Channel::http_service`] returns it.
///
/// A [`Channel`] is such a service itself, with [`ErrorMode::Status`].
#[derive(Clone, Debug)]
pub struct HttpService {
    channel: Channel,
    errors: ErrorMode,
}

impl Channel {
    /// Returns the channel as a tower service of `http::Request` that returns its own errors as `errors` says.
    ///
    /// ```
    /// use framewire::client::{Channel, ErrorMode};
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// let service = channel.http_service(ErrorMode::Err);
    /// # drop(service);
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    #[must_use]
    pub fn http_service(&self, errors: ErrorMode) -> HttpService {
        HttpService { channel: self.clone(), errors }
    }
}

/// Makes one call per request.
///
/// A URI without scheme or authority gets those of the channel. `grpc-timeout` is the deadline of the call,
/// its wait for a connection and its retries included; the server is told what is left of it. Dropping the
/// future or the response body cancels the call. Hedging policies do not apply; retry policies do.
///
/// # Runtime
/// `call` polls the body once. A body that is not complete then is sent by a task on the channel's runtime.
impl<B> Service<http::Request<B>> for Channel
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Error;
    type Future = ResponseFuture;

    /// Always ready: a call waits for its connection itself, within its deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        begin(self, ErrorMode::Status, request)
    }
}

impl<B> Service<http::Request<B>> for HttpService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Error;
    type Future = ResponseFuture;

    /// Always ready: a call waits for its connection itself, within its deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        begin(&self.channel, self.errors, request)
    }
}

fn begin<B>(channel: &Channel, errors: ErrorMode, request: http::Request<B>) -> ResponseFuture
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let grpc = content_type.is_some_and(|value| response::is_grpc(value.as_bytes()));
    let (parts, body) = request.into_parts();
    let begun = start(channel, parts, grpc, body);
    let errors = if grpc { errors } else { ErrorMode::Err };
    ResponseFuture { begun: Some(begun), grpc, errors }
}

/// Makes the call and sends what there is of its request.
fn start<B>(channel: &Channel, mut parts: Parts, grpc: bool, body: B) -> Result<Receiving, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let timeout = if grpc { take_timeout(&mut parts)? } else { None };
    let head = head(channel, &parts, grpc)?;
    let mut upload = Upload::new(body);
    let (first, whole) = upload.gather()?;
    // Found out before anything is sent.
    let runtime = if whole { None } else { Some(channel.inner.pool.runtime()?) };
    let options = Options::passed_on(timeout);
    let call = Call::fill(channel, None, &head, options, grpc, |out| {
        for bytes in first {
            out.append(bytes);
        }
        Ok(whole)
    })?;
    if grpc {
        call.retry_by_policy(parts.uri.path());
    }
    call.send();
    if let (Some(runtime), Some(writer)) = (runtime, call.writer()) {
        runtime.spawn(upload.pump(writer));
    }
    Receiving::new(call).ok_or_else(gone)
}

/// Takes the deadline of the call out of its headers: the connection writes what is left of it.
fn take_timeout(parts: &mut Parts) -> Result<Option<Duration>, Error> {
    let Some(value) = parts.headers.remove(timeout::NAME) else { return Ok(None) };
    let parsed = timeout::parse(value.as_bytes());
    parsed.map(Some).map_err(|error| Error::local(Kind::Misuse, Code::Internal, error.to_string()))
}

/// Returns the head of a request.
fn head(channel: &Channel, parts: &Parts, grpc: bool) -> Result<Fields, Error> {
    let (scheme, authority) = channel.scheme_and_authority();
    let pseudo = header_map::pseudo_fields(parts, scheme, authority);
    let mut head = pseudo.map_err(|error| {
        let text = format!("the host of the request is no authority: {error}");
        Error::local(Kind::Misuse, Code::Internal, text)
    })?;
    let mut fields = Fields::new();
    header_map::append_to(&parts.headers, &mut fields);
    if grpc && !channel.inner.interceptors.is_empty() {
        let (reserved, mut metadata) = Metadata::split(&fields);
        Call::intercept(channel, &mut metadata)?;
        fields = reserved;
        metadata.append_to(&mut fields);
    }
    head.extend_from(&fields);
    if grpc && !parts.headers.contains_key(header::USER_AGENT) {
        head.push("user-agent", &*channel.inner.user_agent);
    }
    Ok(head)
}

/// Waits for the head of a response. Polled again after it was ready, it returns an error.
#[must_use = "a future does nothing unless it is polled"]
pub struct ResponseFuture {
    /// `None` once it was ready.
    begun: Option<Result<Receiving, Error>>,
    grpc: bool,
    errors: ErrorMode,
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("done", &self.begun.is_none())
            .finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<http::Response<ResponseBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (grpc, errors) = (self.grpc, self.errors);
        let response = match self.begun.take().unwrap_or_else(|| Err(gone())) {
            Err(error) => Err(error),
            Ok(mut receiving) => match receiving.poll_head(cx) {
                Poll::Pending => {
                    self.begun = Some(Ok(receiving));
                    return Poll::Pending;
                }
                Poll::Ready(head) => head
                    .map(|head| head.map(|head| ResponseBody::new(receiving, head, grpc, errors))),
            },
        };
        Poll::Ready(match response {
            Err(error) if errors == ErrorMode::Status => Ok(stand_in(error)),
            response => response,
        })
    }
}

/// Returns a response that carries an error of this side as its status.
// gRPC PROTOCOL-HTTP2 §Responses: Trailers-Only
fn stand_in(error: Error) -> http::Response<ResponseBody> {
    let fields = response::trailers_only(error.status(), usize::MAX);
    let mut response = http::Response::new(ResponseBody::default());
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = header_map::received(&fields);
    response.extensions_mut().insert(error);
    response
}
