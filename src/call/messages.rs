//! Messages over a call's bytes: what both sides' streaming calls are made of.

use crate::call::reader::{Body, Reader};
use crate::call::state::Credit;
use crate::call::writer::{Closed, Writer};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::codec;
use crate::grpc::codec::{Decode, Encode, Inflate};
use crate::grpc::message::PREFIX;
use crate::grpc::status::{Code, Status};
use crate::grpc::{Encoding, Splitter};
use crate::memory::inflated::InflatedReservation;
use bytes::BytesMut;
use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

/// Bounds of messages and plain bodies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageLimits {
    /// The largest message that is received, inflated. Default 4 MiB.
    pub receive: usize,
    /// The largest message that is sent, before compression. Default 2 GiB − 1.
    pub send: usize,
    /// The largest plain HTTP body that is received. `None`, the default, is `receive`.
    pub http_body: Option<usize>,
}

impl MessageLimits {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { receive: 4 * 1024 * 1024, send: i32::MAX as usize, http_body: None }
    }

    /// The largest plain HTTP body that is received, in bytes.
    #[must_use]
    pub const fn http_body_max(&self) -> usize {
        match self.http_body {
            Some(bytes) => bytes,
            None => self.receive,
        }
    }
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Receives messages. It reports each message that is taken; then credit returns to the peer. Credit also
/// returns for the message that is waited for, so a message larger than the window arrives.
pub struct MessageReader<M> {
    reader: Reader,
    splitter: Splitter,
    inbox: BytesMut,
    encoding: Encoding,
    /// How the message taken last came.
    last: Encoding,
    max: usize,
    /// Bytes moved here, and neither taken nor reported as assembled: the driver counts them as unread.
    unread: u32,
    /// Bytes that were reported as assembled, of the message that is waited for.
    assembled: u32,
    /// How much of that message is to come was reported.
    told: bool,
    /// What was done since the last report.
    unreported: Credit,
    ended: bool,
    /// Why no message follows.
    failed: Option<Error>,
    /// The charge for the message taken last.
    inflated: InflatedReservation,
    types: PhantomData<fn() -> M>,
}

/// Says how much there is of messages, not what is in them.
impl<M> fmt::Debug for MessageReader<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("reader", &self.reader)
            .field("splitter", &self.splitter)
            .field("inbox", &self.inbox.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<M: Decode> MessageReader<M> {
    /// Reads messages of at most `max` bytes.
    #[must_use]
    pub fn new(reader: Reader, encoding: Encoding, max: usize) -> Self {
        Self {
            reader,
            splitter: Splitter::new(max),
            inbox: BytesMut::new(),
            encoding,
            last: Encoding::Identity,
            max,
            unread: 0,
            assembled: 0,
            told: false,
            unreported: Credit::default(),
            ended: false,
            failed: None,
            inflated: InflatedReservation::default(),
            types: PhantomData,
        }
    }

    /// The encoding that the head announced.
    pub const fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// How the message taken last came: as announced, or not encoded.
    #[must_use]
    pub const fn last_encoding(&self) -> Encoding {
        self.last
    }

    /// The reading end below.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next message, `None` at the end of the peer's side. An error is the end: it is returned again.
    /// Cancel safe.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<M, Error>>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let next = std::task::ready!(self.poll_message(cx));
        if let Some(Err(error)) = &next {
            self.failed = Some(error.clone());
        }
        Poll::Ready(next)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<M, Error>>> {
        loop {
            match self.splitter.next() {
                Ok(Some(message)) => {
                    self.release((PREFIX + message.payload.len()) as u32);
                    // At once: its reader may stop here, and a peer may wait for exactly this credit.
                    self.reader.report(std::mem::take(&mut self.unreported));
                    let payload = message.payload;
                    self.last = if message.compressed { self.encoding } else { Encoding::Identity };
                    let decoded = if message.compressed {
                        self.inflate(&payload)
                    } else {
                        M::decode(payload)
                    };
                    return Poll::Ready(Some(decoded.map_err(local)));
                }
                Err(error) => return Poll::Ready(Some(Err(local(Status::from(error))))),
                Ok(None) if self.ended => return Poll::Ready(None),
                Ok(None) => {}
            }
            // What lies here belongs to the message that is waited for.
            self.unreported.assembled += self.unread;
            self.assembled += std::mem::take(&mut self.unread);
            if !self.told && self.assembled as usize >= PREFIX {
                self.told = true;
                self.unreported.expected = self.splitter.awaiting().unwrap_or(0);
            }
            let due = std::mem::take(&mut self.unreported);
            match std::task::ready!(self.reader.poll_body(cx, &mut self.inbox, due)) {
                Ok(Body::Bytes) => {
                    self.unread += self.inbox.len() as u32;
                    self.splitter.absorb(&mut self.inbox);
                }
                Ok(Body::End) => {
                    self.ended = true;
                    if let Err(error) = self.splitter.finish() {
                        return Poll::Ready(Some(Err(local(Status::from(error)))));
                    }
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Decodes a compressed message. Its memory is charged until the next one is.
    fn inflate(&mut self, payload: &[u8]) -> Result<M, Status> {
        self.inflated = InflatedReservation::default();
        let mut inflated = self.reader.inflated();
        let grant = &mut |bytes| inflated.grow_to(bytes);
        let inflate = Inflate { encoding: self.encoding, max: self.max, grant };
        let decoded = codec::decode_payload(payload, true, inflate);
        self.inflated = inflated;
        decoded
    }

    /// Notes that a message of so many bytes was taken.
    fn release(&mut self, bytes: u32) {
        let assembled = self.assembled.min(bytes);
        self.assembled -= assembled;
        let unread = (bytes - assembled).min(self.unread);
        self.unread -= unread;
        self.unreported.released_unread += unread;
        self.unreported.released_assembled += assembled;
        self.told = false;
    }
}

fn local(status: Status) -> Error {
    let status = status.or_internal("the codec of a message returned an error whose code is OK");
    let kind = if status.code() == Code::ResourceExhausted { Kind::Limit } else { Kind::Protocol };
    Error::new(kind, status, Initiator::Local, Processed::Yes)
}

/// Sends messages.
#[derive(Debug)]
pub struct MessageWriter<M> {
    writer: Writer,
    encoding: Encoding,
    max: usize,
    /// Where a message is encoded, with no lock held.
    scratch: Vec<u8>,
    types: PhantomData<fn(M)>,
}

/// Why a message was not accepted.
#[derive(Debug, Clone)]
pub enum SendFailure {
    /// The call is over, or this side was ended: how it ended is read from the other half.
    Closed,
    /// The message itself: too large, or it cannot be encoded.
    Message(Status),
}

impl<M> MessageWriter<M> {
    /// The writing end below, taken out.
    #[must_use]
    pub fn into_writer(self) -> Writer {
        self.writer
    }
}

impl<M: Encode> MessageWriter<M> {
    /// Writes messages of at most `max` bytes.
    #[must_use]
    pub const fn new(writer: Writer, encoding: Encoding, max: usize) -> Self {
        Self { writer, encoding, max, scratch: Vec::new(), types: PhantomData }
    }

    /// The writing end below.
    #[must_use]
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// How messages are encoded from now on.
    pub const fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// Waits until a message is accepted: less than 64 KiB wait, or none at all while much is
    /// held for the connection or the process is short of memory. Cancel safe.
    ///
    /// # Errors
    /// The call is over.
    pub async fn ready(&self) -> Result<(), Closed> {
        self.writer.ready().await
    }

    /// Accepts a message without waiting, whatever is queued.
    ///
    /// # Errors
    /// The call is over, or the message cannot be sent.
    pub fn push(&mut self, message: &M) -> Result<(), SendFailure> {
        // A message that panicked while it was encoded left a part of it here.
        self.scratch.clear();
        let large = codec::encode_message(message, self.encoding, self.max, &mut self.scratch)
            .map_err(SendFailure::Message)?;
        self.writer.send(&mut self.scratch, large).map_err(|Closed| SendFailure::Closed)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::messages::*;
    use crate::call::state::SharedCall;
    use crate::grpc::Raw;
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Instant;

    #[test]
    fn a_plain_body_has_the_limit_of_messages_or_its_own() {
        let limits = MessageLimits { receive: 7, ..MessageLimits::new() };
        assert_eq!(limits.http_body_max(), 7);
        assert_eq!(MessageLimits { http_body: Some(9), ..limits }.http_body_max(), 9);
    }

    /// What is sent is encoded from now on, and what is received is read so.
    #[cfg(feature = "gzip")]
    #[test]
    fn an_encoding_that_is_set_later_counts() {
        let call = SharedCall::new(Instant::now());
        let message = Raw(vec![7; 1000].into());
        let mut out = MessageWriter::new(Writer::new(Arc::clone(&call)), Encoding::Identity, 1000);
        out.set_encoding(Encoding::Gzip);
        out.push(&message).unwrap();
        let bytes = call.lock().send_mut().tail().clone();
        assert_eq!(bytes[0], 1, "compressed");
        call.lock().body_received(&bytes).unwrap();
        let reader = Reader::new(Arc::clone(&call));
        let mut messages = MessageReader::<Raw>::new(reader, Encoding::Identity, 1000);
        messages.set_encoding(Encoding::Gzip);
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(back))) = messages.poll_next(cx) else { panic!("no message") };
        assert_eq!(back, message);
    }

    /// A reader that stops after a message has reported it: the connection can take the credit.
    #[test]
    fn what_was_taken_is_reported_at_once() {
        let call = SharedCall::new(Instant::now());
        // Two messages, and the reader takes one.
        let bytes = [0, 0, 0, 0, 2, 7, 7, 0, 0, 0, 0, 1, 9];
        call.lock().body_received(&bytes).unwrap();
        let reader = Reader::new(Arc::clone(&call));
        let mut messages = MessageReader::<Raw>::new(reader, Encoding::Identity, 100);
        let cx = &mut Context::from_waker(Waker::noop());
        for bytes in [7, 6] {
            assert!(matches!(messages.poll_next(cx), Poll::Ready(Some(Ok(_)))));
            let credit = call.lock().take_credit();
            assert_eq!(credit, Credit { released_unread: bytes, ..Credit::NONE });
        }
    }

    /// A reader that goes on after an error gets it again, not the end and not a later message.
    #[test]
    fn an_error_is_returned_again() {
        let good: &[u8] = &[0, 0, 0, 0, 1, 7];
        let bad: [(&[u8], &str); 4] = [
            (&[9, 0, 0, 0, 1, 1], "flag"),
            (&[0, 0, 0, 0, 101], "over 100 bytes"),
            (&[1, 0, 0, 0, 1, 1], "compressed without an encoding"),
            (&[0, 0, 0, 0, 2, 7], "ends within a message"),
        ];
        for (bytes, what) in bad {
            let call = SharedCall::new(Instant::now());
            let mut x = call.lock();
            x.body_received(&[good, bytes].concat()).unwrap();
            x.peer_ended(None);
            drop(x);
            let reader = Reader::new(Arc::clone(&call));
            let mut messages = MessageReader::<Raw>::new(reader, Encoding::Identity, 100);
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(matches!(messages.poll_next(cx), Poll::Ready(Some(Ok(_)))), "{what}");
            let mut next = || match messages.poll_next(cx) {
                Poll::Ready(Some(Err(error))) => error.to_string(),
                other => panic!("{what}: {other:?}"),
            };
            assert_eq!([next(), next()], [next(), next()], "{what}");
        }
    }
}
