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

/// Receives the messages of a request.
#[derive(Debug)]
pub struct Requests<M> {
    messages: MessageReader<M>,
}

impl<M: Decode> Requests<M> {
    pub(super) fn new(reader: Reader, encoding: Encoding, max: usize) -> Self {
        Self { messages: MessageReader::new(reader, encoding, max) }
    }

    /// The next message; `None` when the caller has ended its side. Cancel safe.
    ///
    /// # Errors
    /// The status to answer with: the request is broken, or the caller is gone.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        let next = poll_fn(|cx| self.messages.poll_next(cx)).await;
        next.transpose().map_err(Error::into_status)
    }

    /// How the last message came: gzip only when its Compressed-Flag was set.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.messages.last_encoding()
    }
}

/// Sends the messages of a response.
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

    /// How messages are encoded from now on. Before the head has left this is also what it
    /// announces; afterwards only that and identity can be chosen. What the caller does not accept
    /// counts as identity. At first messages are encoded as the request was.
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

    /// Adds metadata that comes behind the messages, with the status.
    ///
    /// # Errors
    /// The call is over.
    pub fn trailers(&mut self, metadata: &Metadata) -> Result<(), Status> {
        let mut fields = Fields::new();
        metadata.append_to(&mut fields);
        self.messages.writer().trailers(&fields).map_err(|Closed| over())
    }

    /// Sends the metadata that comes before the messages, at once. Without this it leaves with
    /// the first message, empty.
    ///
    /// # Errors
    /// The call is over, or the head was sent.
    pub fn metadata(&mut self, metadata: &Metadata) -> Result<(), Status> {
        self.head = true;
        let mut fields = Fields::new();
        metadata.append_to(&mut fields);
        let head = Some(head_template(self.encoding));
        self.messages.writer().head(head, &fields).map_err(|Closed| over())
    }

    /// How long the bytes of this answer have waited for windows, up to now.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.messages.writer().stalls()
    }

    /// Waits until a message is accepted: one of any size at first, further ones while less than
    /// 64 KiB are queued, or none at all where the connection's queues hold more than 4 MiB or the
    /// process is short of memory. Cancel safe.
    ///
    /// # Errors
    /// CANCELLED: nobody waits for the answer any more.
    pub async fn ready(&self) -> Result<(), Status> {
        self.messages.ready().await.map_err(|Closed| over())
    }

    /// Sends a message; ready when it is accepted.
    ///
    /// # Errors
    /// CANCELLED when the call is over; RESOURCE_EXHAUSTED for a message over the limit.
    pub async fn send(&mut self, message: M) -> Result<(), Status> {
        self.ready().await?;
        self.try_send(message)
    }

    /// Sends a message without waiting, whatever is queued.
    ///
    /// # Errors
    /// As [`Replies::send`].
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
    Status::new(Code::Cancelled, "the call is over")
}
