//! A message with its metadata and the options of its call.

use crate::grpc::compression::Encoding;
use crate::grpc::metadata::Metadata;
use std::panic::Location;
use std::time::Duration;

/// A message to send, with metadata and the options of the call.
///
/// ```
/// use framewire::{Metadata, Raw, Request};
/// use std::time::Duration;
///
/// let mut metadata = Metadata::new();
/// metadata.insert("authorization", "Bearer swordfish")?;
/// let request = Request::new(Raw(b"hello".as_slice().into()))
///     .with_metadata(metadata)
///     .with_timeout(Duration::from_secs(1));
/// assert_eq!(request.timeout(), Some(Duration::from_secs(1)));
/// assert_eq!(request.metadata().len(), 1);
/// # Ok::<(), framewire::metadata::MetadataError>(())
/// ```
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
    /// Creates a request without metadata and without a deadline.
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

    /// Sets the metadata. Default: empty.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets a limit on the whole call: queue, dial, request and response. Default: none.
    ///
    /// The peer is told in `grpc-timeout` (gRPC PROTOCOL-HTTP2 §Requests). A call that takes longer
    /// fails with DEADLINE_EXCEEDED.
    ///
    /// ```
    /// use framewire::Request;
    /// use std::time::Duration;
    ///
    /// let request = Request::new(()).with_timeout(Duration::from_millis(250));
    /// assert_eq!(request.timeout(), Some(Duration::from_millis(250)));
    /// assert_eq!(Request::new(()).timeout(), None);
    /// ```
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets whether the call waits for a connection instead of failing with the last dial's error.
    ///
    /// Default: `false`. Set a timeout as well, or the call may wait without end.
    ///
    /// ```
    /// use framewire::Request;
    /// use std::time::Duration;
    ///
    /// let request = Request::new(()).with_wait_for_ready(true).with_timeout(Duration::from_secs(5));
    /// assert!(request.wait_for_ready());
    /// ```
    #[must_use]
    pub fn with_wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// Sets the encoding of the messages that this call sends. Default: [`Encoding::Identity`].
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Returns the message.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.message
    }

    /// Returns the message, for changes.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// Returns the message and drops the rest.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// Returns the metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the metadata, for changes.
    ///
    /// ```
    /// use framewire::Request;
    ///
    /// let mut request = Request::new(());
    /// request.metadata_mut().insert("x-tenant", "red")?;
    /// assert_eq!(request.metadata().get("x-tenant"), Some("red"));
    /// # Ok::<(), framewire::metadata::MetadataError>(())
    /// ```
    pub const fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Returns the limit on the whole call; `None` means no deadline.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns whether the call waits for a connection.
    #[must_use]
    pub const fn wait_for_ready(&self) -> bool {
        self.wait_for_ready
    }

    /// Returns the encoding of the messages.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the line of the caller's code that began the call.
    ///
    /// A channel sets it, and names it when it reports a call that is never read to its end.
    #[must_use]
    pub const fn site(&self) -> Option<&'static Location<'static>> {
        self.site
    }

    /// Sets [`Request::site`] to the line that calls this function.
    #[must_use]
    #[track_caller]
    pub const fn begun_here(mut self) -> Self {
        self.site = Some(Location::caller());
        self
    }

    /// Replaces the message and keeps the metadata and the options.
    ///
    /// ```
    /// use framewire::Request;
    ///
    /// let request = Request::new(41).with_wait_for_ready(true).map(|id| id + 1);
    /// assert_eq!(*request.get_ref(), 42);
    /// assert!(request.wait_for_ready());
    /// ```
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

/// What a call accepts as its request: a message, or a [`Request`] that holds one.
///
/// ```
/// use framewire::{IntoRequest, Raw, Request};
///
/// fn size(request: impl IntoRequest<Raw>) -> usize {
///     request.into_request().get_ref().0.len()
/// }
/// let message = Raw(b"hello".as_slice().into());
/// assert_eq!(size(message.clone()), 5);
/// assert_eq!(size(Request::new(message)), 5);
/// ```
pub trait IntoRequest<T> {
    /// Converts `self` into a request.
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

/// A response message, with the metadata before it (response headers) and after it (trailers).
///
/// ```
/// use framewire::{Metadata, Response};
///
/// let mut trailers = Metadata::new();
/// trailers.insert("x-rows", "3")?;
/// let response = Response::new("Ada").with_trailers(trailers);
/// assert_eq!(*response.get_ref(), "Ada");
/// assert_eq!(response.trailers().get("x-rows"), Some("3"));
/// # Ok::<(), framewire::metadata::MetadataError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Response<T> {
    message: T,
    metadata: Metadata,
    trailers: Metadata,
    encoding: Option<Encoding>,
}

impl<T> Response<T> {
    /// Creates a response without metadata.
    #[must_use]
    pub const fn new(message: T) -> Self {
        Self { message, metadata: Metadata::new(), trailers: Metadata::new(), encoding: None }
    }

    /// Sets the metadata that is sent before the message. Default: empty.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the metadata that is sent after the message, in the trailers. Default: empty.
    #[must_use]
    pub fn with_trailers(mut self, trailers: Metadata) -> Self {
        self.trailers = trailers;
        self
    }

    /// Sets the encoding of the message. Default: the encoding of the request.
    ///
    /// If the caller does not accept the encoding, the message is sent as it is.
    #[must_use]
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// Returns the encoding of the message.
    ///
    /// On a client: gzip if the Compressed-Flag of the message was set. On a server: the encoding that
    /// [`Response::with_encoding`] set.
    #[must_use]
    pub const fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// Returns the message.
    #[must_use]
    pub const fn get_ref(&self) -> &T {
        &self.message
    }

    /// Returns the message and drops the rest.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// Returns the metadata before the message.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the metadata after the message.
    #[must_use]
    pub const fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// Returns the message, the metadata before it and the metadata after it.
    ///
    /// ```
    /// use framewire::Response;
    ///
    /// let (message, metadata, trailers) = Response::new("Ada").into_parts();
    /// assert_eq!(message, "Ada");
    /// assert!(metadata.is_empty() && trailers.is_empty());
    /// ```
    #[must_use]
    pub fn into_parts(self) -> (T, Metadata, Metadata) {
        (self.message, self.metadata, self.trailers)
    }
}
