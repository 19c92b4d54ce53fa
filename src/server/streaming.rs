//! The two halves of a streaming call on a server.

use crate::call::messages::{MessageReader, MessageWriter, SendFailure};
use crate::call::reader::Reader;
use crate::call::stalls::Stalls;
use crate::call::writer::{Closed, Writer};
use crate::error::Error;
use crate::grpc::{Code, Decode, Encode, Encoding, Metadata, Status};
use crate::http2::Fields;
use crate::server::head::{accepts, head_template};
use std::future::poll_fn;

/// Receives the messages of a streaming request.
///
/// [`Router::client_streaming`](crate::server::Router::client_streaming) and
/// [`Router::bidi`](crate::server::Router::bidi) pass it to handlers.
#[derive(Debug)]
pub struct Requests<M> {
    messages: MessageReader<M>,
}

impl<M: Decode> Requests<M> {
    pub(super) fn new(reader: Reader, encoding: Encoding, max: usize) -> Self {
        Self { messages: MessageReader::new(reader, encoding, max) }
    }

    /// Waits for the next message; `None` after the caller has finished sending, and only then. An error is
    /// returned again by every later call. Cancel safe.
    ///
    /// It may be read for longer than the handler lives, by a detached handler or in another task: all that
    /// has arrived comes first, then `None` or the error.
    ///
    /// # Errors
    /// The status that the handler should return: INTERNAL for a malformed message, RESOURCE_EXHAUSTED
    /// for one over [`Router::max_receive_message`](crate::server::Router::max_receive_message), another
    /// one if the call has ended before the caller has finished: DEADLINE_EXCEEDED at the deadline, UNAVAILABLE
    /// if the connection was lost or a shutdown cut the call, CANCELLED if the caller cancelled it or the
    /// handler has answered it.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        let next = poll_fn(|cx| self.messages.poll_next(cx)).await;
        next.transpose().map_err(Error::into_status)
    }

    /// Returns the encoding of the last message: gzip if its Compressed-Flag was set.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.messages.last_encoding()
    }
}

/// Sends the messages of a streaming response.
///
/// [`Router::server_streaming`](crate::server::Router::server_streaming) and
/// [`Router::bidi`](crate::server::Router::bidi) pass it to handlers.
///
/// ```
/// # #[cfg(feature = "client")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// # use framewire::{Metadata, Method, Raw, server::Replies};
/// # const LIST: Method<Raw, Raw> = Method::new("/users.v1.Users/List");
/// let list = |_context, _request: Raw, mut replies: Replies<Raw>| async move {
///     let mut trailers = Metadata::new();
///     trailers.insert("x-rows", "1").map_err(|error| {
///         framewire::Status::new(framewire::Code::Internal, error.to_string())
///     })?;
///     replies.trailers(&trailers)?;
///     replies.send(Raw("Ada".into())).await
/// };
/// let router = Router::new().server_streaming(&LIST, list);
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://example.local").connector(connector).build()?;
/// let mut users = channel.server_streaming(&LIST, Raw::default())?;
/// assert_eq!(users.message().await?, Some(Raw("Ada".into())));
/// assert_eq!(users.message().await?, None);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Replies<M> {
    messages: MessageWriter<M>,
    encoding: Encoding,
    head: bool,
}

impl<M: Encode> Replies<M> {
    pub(super) const fn new(writer: Writer, encoding: Encoding, max: usize) -> Self {
        Self { messages: MessageWriter::new(writer, encoding, max), encoding, head: false }
    }

    /// Sets the encoding of the messages that follow. Default: the encoding of the request.
    ///
    /// Before the response head is sent, this also sets the encoding that the head announces. After that,
    /// only the announced encoding and identity are possible. An encoding that is not possible, or that
    /// the caller does not accept, counts as identity.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        let usable = if self.head {
            encoding == self.encoding
        } else {
            let call = self.messages.writer().call();
            accepts(call.lock().recv().head(), encoding)
        };
        let encoding = if usable { encoding } else { Encoding::Identity };
        if !self.head {
            self.encoding = encoding;
        }
        self.messages.set_encoding(encoding);
    }

    /// Adds metadata that is sent after the messages, with the status.
    ///
    /// # Errors
    /// CANCELLED if the call has ended.
    pub fn trailers(&mut self, metadata: &Metadata) -> Result<(), Status> {
        let mut fields = Fields::new();
        metadata.append_to(&mut fields);
        self.messages.writer().trailers(&fields).map_err(|Closed| over())
    }

    /// Sends the response head with this metadata immediately.
    ///
    /// Without this call, the head is sent with the first message and has no metadata.
    ///
    /// # Errors
    /// CANCELLED if the call has ended or the head was already sent.
    pub fn metadata(&mut self, metadata: &Metadata) -> Result<(), Status> {
        self.head = true;
        let mut fields = Fields::new();
        metadata.append_to(&mut fields);
        let head = Some(head_template(self.encoding));
        self.messages.writer().head(head, &fields).map_err(|Closed| over())
    }

    /// Returns how long the bytes of this response have waited for flow-control windows so far.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.messages.writer().stalls()
    }

    /// Waits until a message can be queued. Cancel safe.
    ///
    /// An empty queue accepts one message of any size, and more while less than 64 KiB are queued. If the
    /// queues of the connection hold more than 4 MiB, or the memory budget is exhausted, the queue must
    /// be empty.
    ///
    /// # Errors
    /// CANCELLED if the call has ended.
    pub async fn ready(&self) -> Result<(), Status> {
        self.messages.ready().await.map_err(|Closed| over())
    }

    /// Waits until a message can be queued, and queues it.
    ///
    /// Cancel safe: a future that is dropped before it is ready has queued nothing.
    ///
    /// # Errors
    /// CANCELLED if the call has ended; RESOURCE_EXHAUSTED if the message is larger than
    /// [`Router::max_send_message`](crate::server::Router::max_send_message).
    pub async fn send(&mut self, message: M) -> Result<(), Status> {
        self.ready().await?;
        self.try_send(message)
    }

    /// Queues a message without waiting, however much is queued.
    ///
    /// Check [`Replies::ready`] first, or the queue grows without a limit.
    ///
    /// # Errors
    /// Same as [`Replies::send`].
    pub fn try_send(&mut self, message: M) -> Result<(), Status> {
        if !self.head {
            self.metadata(&Metadata::new())?;
        }
        self.messages.push(&message).map_err(|failure| match failure {
            SendFailure::Closed => over(),
            SendFailure::Message(status) => status,
        })
    }
}

fn over() -> Status {
    Status::new(Code::Cancelled, "the call has ended; stop sending")
}
