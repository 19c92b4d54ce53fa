//! The two halves of a streaming call.

use crate::call::deadline::{DeadlineTimer, poll_deadline};
use crate::call::messages::{MessageReader, MessageWriter, SendFailure};
use crate::call::reader::End;
use crate::call::recv::not_grpc;
use crate::call::stalls::Stalls;
use crate::call::state::SendEnd;
use crate::call::writer::{Closed, Writer, poll_ready};
use crate::client::call::{Call, DECODE, ENCODE, panicked};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::{Code, Decode, Encode, Encoding, Metadata, Response, Status, response};
use crate::http2::ErrorCode;
use crate::rt;
use crate::rt::contain::{Panicked, contain};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Sends the messages of a call. Dropped without [`Sender::finish`], it cancels the call.
#[derive(Debug)]
pub struct Sender<M> {
    messages: Option<MessageWriter<M>>,
    /// When the call must have ended.
    deadline: Option<Instant>,
    /// The encoding that the head announces.
    announced: Encoding,
}

impl<M: Encode> Sender<M> {
    pub(super) fn new(call: &Call, encoding: Encoding, max: usize) -> Self {
        let messages = call.writer().map(|writer| MessageWriter::new(writer, encoding, max));
        Self { messages, deadline: call.deadline(), announced: encoding }
    }

    /// How messages are encoded from now on: as the request announced, or not at all. Another
    /// encoding counts as identity.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        let known = if encoding == self.announced { encoding } else { Encoding::Identity };
        if let Some(messages) = &mut self.messages {
            messages.set_encoding(known);
        }
    }

    /// Waits until a message is accepted: one of any size at first, further ones while less than
    /// 64 KiB are queued, or none at all where the connection's queues hold more than 4 MiB or the
    /// process is short of memory. Any number of tasks may wait. Cancel safe.
    ///
    /// # Errors
    /// The call is over: how it ended, as [`Streaming`] says. A call that has ended with OK takes no
    /// more messages, which is [`Kind::Misuse`]. DEADLINE_EXCEEDED at the call's deadline. Also
    /// [`Kind::Misuse`]: the call has a deadline, and the caller waits outside a tokio runtime with a timer.
    pub async fn ready(&self) -> Result<(), Error> {
        let writer = self.messages.as_ref().ok_or_else(over)?.writer();
        let mut wait = writer.wait();
        let mut timer = pin!(None);
        poll_fn(|cx| {
            if let Poll::Ready(ready) = poll_ready(&mut wait, cx) {
                return Poll::Ready(ready.map_err(|Closed| closed(writer)));
            }
            let Some(deadline) = self.deadline else { return Poll::Pending };
            ready!(poll_deadline(timer.as_mut(), deadline, cx))?;
            let stopped = writer.call().lock().expire(None, rt::now());
            stopped.finish(writer.call());
            poll_ready(&mut wait, cx).map_err(|Closed| closed(writer))
        })
        .await
    }

    /// Sends a message; ready when it is accepted. A future that is dropped before has sent
    /// nothing.
    ///
    /// # Errors
    /// As [`Sender::ready`]; or the message cannot be sent: then the call goes on. A codec that panics
    /// ends the call with INTERNAL, [`Kind::Panicked`].
    pub async fn send(&mut self, message: M) -> Result<(), Error> {
        self.ready().await?;
        self.try_send(message)
    }

    /// Sends a message without waiting, whatever is queued.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn try_send(&mut self, message: M) -> Result<(), Error> {
        let messages = self.messages.as_mut().ok_or_else(over)?;
        let pushed = contain(|| {
            let pushed = messages.push(&message);
            drop(message);
            pushed
        });
        match pushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendFailure::Closed)) => Err(closed(messages.writer())),
            Ok(Err(SendFailure::Message(status))) => {
                let processed = messages.writer().call().lock().processed();
                Err(Error::new(Kind::Misuse, status, Initiator::Local, processed))
            }
            Err(Panicked) => {
                let call = messages.writer().call();
                let processed = call.lock().processed();
                let error = panicked(ENCODE, processed);
                let stopped = call.lock().stop(ErrorCode::CANCEL, error.clone());
                stopped.finish(call);
                Err(error)
            }
        }
    }

    /// How long this call's bytes have waited for windows, up to now.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.messages.as_ref().map(|messages| messages.writer().stalls()).unwrap_or_default()
    }

    /// Ends this side; the other half goes on.
    ///
    /// # Errors
    /// The call is over: how it ended, as for [`Sender::ready`].
    pub fn finish(mut self) -> Result<(), Error> {
        let messages = self.messages.take().ok_or_else(over)?;
        let writer = messages.writer();
        writer.finish(SendEnd::Finish, None).map_err(|Closed| closed(writer))
    }

    /// Gives the call up with an HTTP/2 error code, usually CANCEL.
    pub fn cancel(mut self, code: ErrorCode) {
        if let Some(messages) = self.messages.take() {
            messages.writer().cancel(code);
        }
    }
}

impl<M> Drop for Sender<M> {
    fn drop(&mut self) {
        if let Some(messages) = self.messages.take() {
            cancel_unless_over(messages.into_writer());
        }
    }
}

fn cancel_unless_over(writer: Writer) {
    if !writer.is_closed() {
        writer.cancel(ErrorCode::CANCEL);
    }
}

/// Why nothing more can be sent.
fn closed(writer: &Writer) -> Error {
    let x = writer.call().lock();
    x.closed_by().map_or_else(over, |error| x.located(error, rt::now()))
}

fn over() -> Error {
    let status = Status::new(Code::Internal, "the peer has ended the call with OK");
    Error::new(Kind::Misuse, status, Initiator::Local, Processed::Yes)
}

/// A future that waits for something of a call. Dropped while it does, it leaves no waker behind: nobody
/// waits any more.
struct Waiting<'a, M> {
    stream: &'a mut Streaming<M>,
    waits: bool,
}

impl<'a, M> Waiting<'a, M> {
    const fn new(stream: &'a mut Streaming<M>) -> Self {
        Self { stream, waits: false }
    }

    async fn until<T>(
        mut self,
        mut poll: impl FnMut(&mut Streaming<M>, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|cx| {
            let polled = poll(self.stream, cx);
            self.waits = polled.is_pending();
            polled
        })
        .await
    }
}

impl<M> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let Some(shared) = self.stream.call.shared() else { return };
        let waker = shared.lock().stop_reading();
        drop(waker);
    }
}

/// Receives the messages of a call, then its status. Dropped before the end, it cancels the call.
#[derive(Debug)]
pub struct Streaming<M> {
    call: Call,
    messages: Option<MessageReader<M>>,
    metadata: Option<Metadata>,
    trailers: Metadata,
    /// The head was seen; or the call has ended, and how.
    head: bool,
    end: Option<Result<(), Error>>,
    deadline: DeadlineTimer,
}

impl<M: Decode> Streaming<M> {
    pub(super) fn new(call: Call, max: usize) -> Self {
        let messages =
            call.reader().map(|reader| MessageReader::new(reader, Encoding::Identity, max));
        let deadline = DeadlineTimer::new(call.deadline());
        let (metadata, trailers) = (None, Metadata::new());
        Self { call, messages, metadata, trailers, head: false, end: None, deadline }
    }

    /// The next message; `None` once the call has ended with OK. Cancel safe.
    ///
    /// # Errors
    /// The peer's status, or why there is none. Every later call returns the same.
    pub async fn message(&mut self) -> Result<Option<M>, Error> {
        Waiting::new(self).until(Self::poll_message).await
    }

    /// As [`Streaming::message`].
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<M>, Error>> {
        self.poll_in_time(cx, Self::poll_next)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<M>, Error>> {
        if let Some(end) = &self.end {
            return Poll::Ready(end.clone().map(|()| None));
        }
        if !self.head
            && let Err(error) = ready!(self.poll_head(cx))
        {
            return Poll::Ready(Err(error));
        }
        let Some(messages) = &mut self.messages else { return Poll::Ready(Ok(None)) };
        let Ok(next) = contain(|| messages.poll_next(cx)) else {
            let error = panicked(DECODE, Processed::Yes);
            self.call.stop(ErrorCode::CANCEL, error.clone());
            return Poll::Ready(Err(self.ended(error)));
        };
        match ready!(next) {
            Some(Ok(message)) => Poll::Ready(Ok(Some(message))),
            Some(Err(error)) => Poll::Ready(Err(self.ended(error))),
            None => {
                let end = self.read_end();
                Poll::Ready(match end {
                    Ok(()) => {
                        self.end = Some(Ok(()));
                        self.call.done();
                        Ok(None)
                    }
                    Err(error) => Err(self.ended(error)),
                })
            }
        }
    }

    /// Waits for what `poll` waits for, up to the call's deadline: then the call ends.
    fn poll_in_time<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl Fn(&mut Self, &mut Context<'_>) -> Poll<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        let mut polled = poll(self, cx);
        if polled.is_pending() {
            ready!(self.deadline.poll(cx))?;
            self.call.expire();
            polled = poll(self, cx);
        }
        if polled.is_ready() {
            self.deadline.stop();
        }
        polled
    }

    /// The metadata that comes before the messages. Cancel safe.
    ///
    /// # Errors
    /// The call ended without it. Every later call returns the same.
    pub async fn metadata(&mut self) -> Result<&Metadata, Error> {
        if !self.head {
            Waiting::new(self).until(Self::poll_metadata).await?;
        }
        match (&self.metadata, &self.end) {
            (None, Some(Err(error))) => Err(error.clone()),
            _ => Ok(self.metadata.get_or_insert_default()),
        }
    }

    /// How the last message came: gzip only when its Compressed-Flag was set.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.messages.as_ref().map(MessageReader::last_encoding).unwrap_or_default()
    }

    /// The metadata behind the messages; empty before the end.
    #[must_use]
    pub const fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// The one message of a call that answers with one, and its metadata.
    ///
    /// # Errors
    /// The peer's status, or why there is none; INTERNAL for none or more than one message.
    pub async fn one(mut self) -> Result<Response<M>, Error> {
        let one = |text: &'static str| super::call::broken(Status::new(Code::Internal, text));
        let Some(message) = self.message().await? else {
            return Err(one("the peer answered OK without a message"));
        };
        if self.message().await?.is_some() {
            return Err(one("the peer answered with more than one message"));
        }
        let encoding = self.encoding();
        let metadata = self.metadata.take().unwrap_or_default();
        let trailers = std::mem::take(&mut self.trailers);
        let response = Response::new(message).with_metadata(metadata).with_trailers(trailers);
        Ok(response.with_encoding(encoding))
    }

    fn poll_metadata(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_in_time(cx, Self::poll_head)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(Ok(())) };
        let seen = ready!(messages.reader().poll_head(cx, |inc| {
            let encoding = inc.encoding()?;
            // Trailers-Only keeps its fields for the status.
            let metadata = match inc.head().fields().get("grpc-status") {
                Some(_) => Metadata::new(),
                None => response::take_metadata(inc.head_mut().fields_mut()),
            };
            Ok((encoding, metadata))
        }));
        self.head = true;
        match seen {
            Ok(Ok((encoding, metadata))) => {
                messages.set_encoding(encoding);
                self.metadata = Some(metadata);
                Poll::Ready(Ok(()))
            }
            Ok(Err(status)) => Poll::Ready(Err(self.ended(not_grpc(status)))),
            Err(error) => Poll::Ready(Err(self.ended(error))),
        }
    }

    /// The peer's side has ended: what its trailers say.
    fn read_end(&mut self) -> Result<(), Error> {
        let Some(messages) = &self.messages else { return Ok(()) };
        let Some(shared) = self.call.shared() else { return Ok(()) };
        let trailers = match messages.reader().end() {
            Some(Err(error)) => return Err(error),
            Some(Ok(End::Trailers(fields))) => Some(fields),
            _ => None,
        };
        let mut x = shared.lock();
        let status = response::check_end(x.recv().head(), trailers.as_ref());
        let status = status.map_err(Error::from_peer);
        // The trailers are taken out: the sending half reads it there.
        x.note_outcome(&status);
        drop(x);
        if let Some(mut fields) = trailers {
            self.trailers = response::take_metadata(&mut fields);
        }
        status
    }

    fn ended(&mut self, error: Error) -> Error {
        let error = match self.call.shared() {
            Some(shared) => shared.lock().located(error, rt::now()),
            None => error,
        };
        self.end = Some(Err(error.clone()));
        error
    }
}
