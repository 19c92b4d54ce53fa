//! The writing end of a call, as the layer above holds it.

use crate::call::stalls::Stalls;
use crate::call::state::{HeadState, INLINE_MAX, SendEnd, SharedCall, Until, Wait};
use crate::http2::hpack::Template;
use crate::http2::{ErrorCode, Fields};
use crate::rt;
use bytes::Bytes;
use std::future::poll_fn;
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
        if x.is_over() || x.send().head() != HeadState::None {
            return Err(Closed);
        }
        x.send_mut().set_head(template, extra);
        self.0.tell(x);
        Ok(())
    }

    /// Writes a head that is all there is: the driver never finds it without the end. What was written of a
    /// body before is forgotten.
    ///
    /// # Errors
    /// The exchange is over, or something was written before.
    pub fn head_alone(&self, head: &Fields) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.is_closed() || x.send().head() != HeadState::None {
            return Err(Closed);
        }
        x.send_mut().replace_with_head(head);
        self.0.tell(x);
        Ok(())
    }

    /// Waits until another message is accepted: less than 64 KiB wait, or none at all while much is
    /// held for the connection or the process is short of memory. Any number of tasks may wait.
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub async fn ready(&self) -> Result<(), Closed> {
        let mut wait = self.wait();
        poll_fn(|cx| poll_ready(&mut wait, cx)).await
    }

    /// The wait of one future, for [`poll_ready`].
    #[must_use]
    pub fn wait(&self) -> Wait<'_> {
        Wait::new(&self.0)
    }

    /// Appends `bytes`, then `large`, which is chained without a copy. Takes the memory of `bytes`
    /// where that saves a copy; afterwards `bytes` is empty and may have other memory.
    ///
    /// # Errors
    /// The call is over, or this side was ended.
    pub fn send(&self, bytes: &mut Vec<u8>, large: Option<Bytes>) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.is_closed() {
            return Err(Closed);
        }
        let send = x.send_mut();
        let tail = send.tail();
        if tail.is_empty() {
            std::mem::swap(tail, bytes);
        } else if bytes.len() > INLINE_MAX {
            send.chain(std::mem::take(bytes).into());
        } else {
            tail.extend_from_slice(bytes);
            bytes.clear();
        }
        if let Some(large) = large {
            send.chain(large);
        }
        x.count_queued();
        self.0.tell(x);
        Ok(())
    }

    /// Appends bytes of a body: copied if they are few, else chained.
    ///
    /// # Errors
    /// The call is over, or this side was ended.
    #[cfg(feature = "tower")]
    pub fn append(&self, bytes: Bytes) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.is_closed() {
            return Err(Closed);
        }
        x.send_mut().append(bytes);
        x.count_queued();
        self.0.tell(x);
        Ok(())
    }

    /// Adds trailers ahead of the end; they leave when the end says [`SendEnd::Trailers`].
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub fn trailers(&self, trailers: &Fields) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.is_closed() {
            return Err(Closed);
        }
        x.send_mut().add_trailers(trailers);
        Ok(())
    }

    /// Ends our side.
    ///
    /// # Errors
    /// The exchange is over, or our side was ended.
    pub fn finish(&self, end: SendEnd, trailers: Option<&Fields>) -> Result<(), Closed> {
        let mut x = self.0.lock();
        if x.is_closed() {
            return Err(Closed);
        }
        if let Some(trailers) = trailers {
            x.send_mut().add_trailers(trailers);
        }
        x.send_mut().set_end(end);
        self.0.tell(x);
        Ok(())
    }

    /// Gives the exchange up: the stream is reset with `code`, and the reading end, which may wait
    /// elsewhere, is told CANCELLED behind what has arrived.
    pub fn cancel(&self, code: ErrorCode) {
        let stopped = self.0.lock().cancel(code);
        stopped.finish(&self.0);
    }

    /// How long this side's bytes have waited for windows, up to now.
    #[must_use]
    pub fn stalls(&self) -> Stalls {
        self.0.lock().send().stalls(rt::now())
    }

    /// Whether our side has been ended or the exchange is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_closed()
    }

    /// Whether the head was written.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.0.lock().send().head() != HeadState::None
    }

    /// The call itself, for what is written in one piece.
    #[must_use]
    pub const fn call(&self) -> &Arc<SharedCall> {
        &self.0
    }
}

/// Whether another message is accepted now; see [`Writer::ready`].
///
/// # Errors
/// The exchange is over, or our side was ended.
pub fn poll_ready(wait: &mut Wait<'_>, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
    wait.poll(Until::Writable, cx, |x| match x.is_closed() {
        true => Some(Err(Closed)),
        false => x.accepts_message().then_some(Ok(())),
    })
}
