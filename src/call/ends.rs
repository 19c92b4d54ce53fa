//! The two ends of a call as the floor above holds them: a client's call, a server's call.

use crate::call::finish::wake;
use crate::call::stalls::Stalls;
use crate::call::state::{Credit, HeadState, RecvEnd, SendEnd, SharedCall};
use crate::error::{Error, Kind};
use crate::grpc::Code;
use crate::http2::hpack::Template;
use crate::http2::{ErrorCode, Fields, Head};
use crate::rt;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How the peer's side of an exchange ended.
#[derive(Debug)]
pub enum End {
    /// END_STREAM without trailers.
    Finished,
    /// With these trailers.
    Trailers(Fields),
}

/// Bytes of a body, or its end.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Body {
    /// Bytes were moved.
    Octets,
    /// Nothing follows.
    End,
}

/// The exchange failed: nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Reads the peer's side of an exchange.
#[derive(Debug, Clone)]
pub struct Reader(Arc<SharedCall>);

/// Writes our side of an exchange.
#[derive(Debug, Clone)]
pub struct Writer(Arc<SharedCall>);

impl Reader {
    /// The reading end of a call.
    #[must_use]
    pub const fn new(call: Arc<SharedCall>) -> Self {
        Self(call)
    }

    /// Waits for the head; then `f` sees it.
    pub fn poll_head<R>(
        &self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut crate::call::state::RecvState) -> R,
    ) -> Poll<Result<R, Error>> {
        let mut x = self.0.lock();
        if x.recv.head_ready {
            return Poll::Ready(Ok(f(&mut x.recv)));
        }
        if let Some(RecvEnd::Failed(error)) = &x.recv.end {
            return Poll::Ready(Err(error.clone()));
        }
        x.wait_read(cx);
        Poll::Pending
    }

    /// Moves the bytes that have arrived behind `into`. `credit` says what became of earlier ones;
    /// the peer has them back.
    pub fn poll_body(
        &self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        credit: Credit,
    ) -> Poll<Result<Body, Error>> {
        let mut x = self.0.lock();
        let mut report = false;
        if credit.bytes() > 0 && !x.done {
            x.recv.credit.add(credit);
            report = x.handle.as_ref().is_some_and(|p| p.carrier().is_worth(&x.recv.credit));
        }
        let poll = if !x.recv.body.is_empty() {
            if into.is_empty() {
                std::mem::swap(into, &mut x.recv.body);
            } else {
                into.extend_from_slice(&x.recv.body);
            }
            x.recv.body.clear();
            Poll::Ready(Ok(Body::Octets))
        } else {
            match &x.recv.end {
                Some(RecvEnd::Failed(error)) => Poll::Ready(Err(error.clone())),
                Some(_) => Poll::Ready(Ok(Body::End)),
                None => {
                    x.wait_read(cx);
                    Poll::Pending
                }
            }
        };
        drop(x);
        if report {
            self.0.notify();
        }
        poll
    }

    /// Waits until the peer's side has ended, however; then `f` sees head, body and trailers.
    pub fn poll_whole<R>(
        &self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut crate::call::state::RecvState) -> R,
    ) -> Poll<Result<R, Error>> {
        let mut x = self.0.lock();
        match &x.recv.end {
            Some(RecvEnd::Failed(error)) => Poll::Ready(Err(error.clone())),
            Some(_) => Poll::Ready(Ok(f(&mut x.recv))),
            None => {
                x.wait_read(cx);
                Poll::Pending
            }
        }
    }

    /// How the peer's side ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<Result<End, Error>> {
        let mut x = self.0.lock();
        match x.recv.end.clone()? {
            RecvEnd::Finished => Some(Ok(End::Finished)),
            RecvEnd::Trailers => Some(Ok(End::Trailers(std::mem::take(&mut x.recv.trailers)))),
            RecvEnd::Failed(error) => Some(Err(error)),
        }
    }

    /// Waits until the peer has reset the stream, the deadline has passed or the connection is
    /// lost; CANCELLED once the exchange has ended well. Any number of tasks may wait, beside the
    /// one that reads.
    pub fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut x = self.0.lock();
        if let Some(error) = &x.failure {
            return Poll::Ready(error.clone());
        }
        if x.done {
            return Poll::Ready(Error::local(Kind::Cancelled, Code::Cancelled, "the call is over"));
        }
        x.wait_over(cx);
        Poll::Pending
    }
}

impl Writer {
    /// The writing end of a call.
    #[must_use]
    pub const fn new(call: Arc<SharedCall>) -> Self {
        Self(call)
    }

    /// Writes the head: stable fields of a template, then `extra`.
    ///
    /// # Errors
    /// The exchange is over.
    pub fn head(&self, template: Option<Arc<Template>>, extra: &Fields) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || x.send.head != HeadState::None {
            return Err(Closed);
        }
        x.send.template = template;
        x.send.extra.extend_from(extra);
        x.send.head = HeadState::Ready;
        drop(x);
        self.0.notify();
        Ok(())
    }

    /// Writes a head that is all there is: the driver never finds it without the end.
    ///
    /// # Errors
    /// The exchange is over, or something was written before.
    pub fn head_alone(&self, head: &Fields) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || x.send.head != HeadState::None || !x.send.end.is_open() {
            return Err(Closed);
        }
        x.send.extra.extend_from(head);
        x.send.head = HeadState::Ready;
        x.send.end = SendEnd::Finish;
        drop(x);
        self.0.notify();
        Ok(())
    }

    /// Whether another message is accepted now: less than 64 KiB wait, or none at all while much is
    /// held for the connection or the process is short of memory.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut x = self.0.lock();
        if x.done || x.cancel.is_some() || !x.send.end.is_open() {
            return Poll::Ready(Err(Closed));
        }
        if x.has_room() {
            return Poll::Ready(Ok(()));
        }
        x.wait_write(cx);
        Poll::Pending
    }

    /// Appends bytes: `small` are gathered, `large` are chained behind them without a copy.
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub fn send(&self, small: &[u8], large: Option<Bytes>) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || !x.send.end.is_open() {
            return Err(Closed);
        }
        x.send.tail().extend_from_slice(small);
        if let Some(large) = large {
            x.send.chain(large);
        }
        x.count_queued();
        drop(x);
        self.0.notify();
        Ok(())
    }

    /// Adds trailers ahead of the end; they leave when the end says [`SendEnd::Trailers`].
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub fn trailers(&self, trailers: &Fields) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || !x.send.end.is_open() {
            return Err(Closed);
        }
        x.send.trailers.extend_from(trailers);
        Ok(())
    }

    /// Ends our side.
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub fn finish(&self, end: SendEnd, trailers: Option<&Fields>) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || !x.send.end.is_open() {
            return Err(Closed);
        }
        if let Some(trailers) = trailers {
            x.send.trailers.extend_from(trailers);
        }
        x.send.end = end;
        drop(x);
        self.0.notify();
        Ok(())
    }

    /// Gives the exchange up: the stream is reset with `code`, and the reading end, which may wait
    /// elsewhere, is told CANCELLED behind what has arrived.
    pub fn cancel(&self, code: ErrorCode) {
        let mut x = self.0.lock();
        if x.done || x.cancel.is_some() {
            return;
        }
        x.cancel = Some(code);
        if x.recv.end.is_none() {
            let text = "the call was cancelled on this side";
            x.recv.end =
                Some(RecvEnd::Failed(Error::local(Kind::Cancelled, Code::Cancelled, text)));
        }
        let wakers = x.take_wakers();
        drop(x);
        wake(wakers);
        self.0.notify();
    }

    /// How long this side's bytes have waited for windows, up to now.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.0.lock().send.stalls.until(rt::now())
    }

    /// Whether our side has been ended or the exchange is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let x = self.0.lock();
        x.done || !x.send.end.is_open()
    }

    /// Whether the head was written.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.0.lock().send.head != HeadState::None
    }

    /// The call itself, for what is written in one piece.
    #[must_use]
    pub const fn call(&self) -> &Arc<SharedCall> {
        &self.0
    }
}

/// One request as a handler holds it. Dropped before the answer was finished, it resets the
/// stream.
#[derive(Debug)]
pub struct ServerCall {
    call: Arc<SharedCall>,
}

impl ServerCall {
    /// The call of a call that holds a request's head, for the handler.
    #[must_use]
    pub const fn new(call: Arc<SharedCall>) -> Self {
        Self { call }
    }

    /// Reads the request's head.
    pub fn with_head<R>(&self, f: impl FnOnce(&mut Head) -> R) -> R {
        f(&mut self.call.lock().recv.head)
    }

    /// When the caller's patience ends.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.lock().deadline
    }

    /// Sees the whole request at once; for handlers that asked for it.
    pub fn with_whole<R>(&self, f: impl FnOnce(&mut crate::call::state::RecvState) -> R) -> R {
        f(&mut self.call.lock().recv)
    }

    /// Waits until the caller has given up, its deadline has passed or the connection is lost.
    pub async fn cancelled(&self) -> Error {
        let reader = self.reader();
        poll_fn(|cx| reader.poll_failed(cx)).await
    }

    /// The reading end.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.call))
    }

    /// The writing end.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer(Arc::clone(&self.call))
    }

    /// The call itself.
    #[must_use]
    pub const fn call(&self) -> &Arc<SharedCall> {
        &self.call
    }

    /// Lends the empty buffer that [`SendState::tail`](crate::call::state::SendState::tail) gives, so that an
    /// answer is encoded with no lock held; `f` sees the request's head. To be given back by
    /// [`ServerCall::answer`], or dropped.
    pub fn lend_body<R>(&self, f: impl FnOnce(&Head) -> R) -> (R, Vec<u8>) {
        let mut x = self.call.lock();
        let tail = x.send.tail();
        let body = if tail.is_empty() { std::mem::take(tail) } else { Vec::new() };
        (f(&x.recv.head), body)
    }

    /// Answers in one piece: head, body written by `body`, and the end. One lock, one notice.
    /// `body` runs under the lock: no user code.
    ///
    /// # Errors
    /// The exchange is over, or something was written before.
    pub fn answer(
        &self,
        template: Arc<Template>,
        end: SendEnd,
        body: impl FnOnce(&mut crate::call::state::SendState),
    ) -> Result<(), Closed> {
        let mut x = self.call.lock();
        if x.done || x.send.head != HeadState::None || !x.send.end.is_open() {
            return Err(Closed);
        }
        body(&mut x.send);
        x.send.template = Some(template);
        x.send.head = HeadState::Ready;
        x.send.end = end;
        drop(x);
        self.call.notify();
        Ok(())
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        let mut x = self.call.lock();
        if x.done || !x.send.end.is_open() || x.cancel.is_some() {
            return;
        }
        x.cancel = Some(ErrorCode::INTERNAL_ERROR);
        drop(x);
        self.call.notify();
    }
}

/// The clock, for callers above that fill calls.
#[must_use]
pub fn now() -> Instant {
    rt::now()
}
