//! A message and what travels around it.

use crate::grpc::compression::Encoding;
use crate::grpc::metadata::Metadata;
use std::panic::Location;
use std::time::Duration;

/// A request: a message, its metadata, and how the call is to be made.
#[derive(Clone, Debug)]
pub struct Request<T> {
    message: T,
    metadata: Metadata,
    timeout: Option<Duration>,
    wait_for_ready: bool,
    encoding: Encoding,
    site: Option<&'static Location<'static>>,
}

impl<T> Request<T> {
    /// A request without metadata or deadline.
    #[must_use]
    pub const fn new(message: T) -> Self {
        Self {
            message,
            metadata: Metadata::new(),
            timeout: None,
            wait_for_ready: false,
            encoding: Encoding::Identity,
            site: None,
        }
    }

    /// With metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// With a bound on the whole call: queue, dial, send and response. It is sent along as
    /// `grpc-timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for a connection instead of failing with the last dial's error. Off by default.
    #[must_use]
    pub fn with_wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// Compresses the call's messages. Identity by default.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The message.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to be changed.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message, taken out.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The metadata, to be changed.
    pub const fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// The bound on the call.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether the call waits for a connection.
    #[must_use]
    pub const fn wait_for_ready(&self) -> bool {
        self.wait_for_ready
    }

    /// How its messages are encoded.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Where in the caller's code the call was begun; a channel notes it, to name calls that are
    /// held for too long.
    #[must_use]
    pub const fn site(&self) -> Option<&'static Location<'static>> {
        self.site
    }

    /// Notes where the caller of this function stands.
    #[must_use]
    #[track_caller]
    pub const fn begun_here(mut self) -> Self {
        self.site = Some(Location::caller());
        self
    }

    /// The same call with another message.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Request<U> {
        Request {
            message: f(self.message),
            metadata: self.metadata,
            timeout: self.timeout,
            wait_for_ready: self.wait_for_ready,
            encoding: self.encoding,
            site: self.site,
        }
    }
}

/// Anything that can begin a call: a message, or a [`Request`] round one.
pub trait IntoRequest<T> {
    /// The request.
    fn into_request(self) -> Request<T>;
}

impl<T> IntoRequest<T> for T {
    fn into_request(self) -> Request<T> {
        Request::new(self)
    }
}

impl<T> IntoRequest<T> for Request<T> {
    fn into_request(self) -> Self {
        self
    }
}

/// A response: a message, and the metadata before and after it.
#[derive(Clone, Debug, Default)]
pub struct Response<T> {
    message: T,
    metadata: Metadata,
    trailers: Metadata,
    encoding: Option<Encoding>,
}

impl<T> Response<T> {
    /// A response without metadata.
    #[must_use]
    pub const fn new(message: T) -> Self {
        Self { message, metadata: Metadata::new(), trailers: Metadata::new(), encoding: None }
    }

    /// With metadata that travels before the message.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// With metadata that travels behind it.
    #[must_use]
    pub fn with_trailers(mut self, trailers: Metadata) -> Self {
        self.trailers = trailers;
        self
    }

    /// With the message encoded so, as far as the caller accepts that; else it is not encoded.
    /// Without this a server answers in the encoding of the request.
    #[must_use]
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// How the message came: gzip only when its Compressed-Flag was set. On a server, what
    /// [`Response::with_encoding`] asked for.
    #[must_use]
    pub const fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// The message.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, taken out.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The metadata that came before the message.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The metadata that came behind it.
    #[must_use]
    pub const fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// Message, metadata before, metadata behind.
    #[must_use]
    pub fn into_parts(self) -> (T, Metadata, Metadata) {
        (self.message, self.metadata, self.trailers)
    }
}
