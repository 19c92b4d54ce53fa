//! The writing end of a call, as the layer above holds it.

use crate::call::finish::wake;
use crate::call::stalls::Stalls;
use crate::call::state::{HeadState, INLINE_MAX, RecvEnd, SendEnd, SharedCall};
use crate::error::{Error, Kind};
use crate::grpc::Code;
use crate::http2::hpack::Template;
use crate::http2::{ErrorCode, Fields};
use crate::rt;
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The exchange failed: nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Writes our side of an exchange.
#[derive(Debug, Clone)]
pub struct Writer(Arc<SharedCall>);

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

    /// Appends `bytes`, then `large`, which is chained without a copy. Takes the memory of `bytes`
    /// where that saves a copy; afterwards `bytes` is empty and may have other memory.
    ///
    /// # Errors
    /// The call is over, or this side was ended.
    pub fn send(&self, bytes: &mut Vec<u8>, large: Option<Bytes>) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.done || !x.send.end.is_open() {
            return Err(Closed);
        }
        let tail = x.send.tail();
        if tail.is_empty() {
            std::mem::swap(tail, bytes);
        } else if bytes.len() > INLINE_MAX {
            x.send.chain(std::mem::take(bytes).into());
        } else {
            tail.extend_from_slice(bytes);
            bytes.clear();
        }
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
