//! The reading end of a call, as the layer above holds it.

use crate::call::state::{Credit, RecvEnd, RecvState, SharedCall, Until, Wait};
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::{Code, Status};
use crate::http2::Fields;
use crate::memory::inflated::InflatedReservation;
use bytes::BytesMut;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

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
    Bytes,
    /// Nothing follows.
    End,
}

/// Reads the peer's side of an exchange.
#[derive(Debug, Clone)]
pub struct Reader(Arc<SharedCall>);

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
        f: impl FnOnce(&mut RecvState) -> R,
    ) -> Poll<Result<R, Error>> {
        let mut x = self.0.lock();
        if x.has_head() {
            return Poll::Ready(Ok(f(x.recv_mut())));
        }
        if let Some(RecvEnd::Failed(error)) = x.end() {
            return Poll::Ready(Err(error.clone()));
        }
        if x.is_over() && x.end().is_none() {
            return Poll::Ready(Err(ended()));
        }
        let before = x.wait_read(cx);
        drop(x);
        drop(before);
        Poll::Pending
    }

    /// Returns a charge of zero bytes for a message that is inflated, to the budget of the connection.
    pub(crate) fn inflated(&self) -> InflatedReservation {
        self.0.lock().inflated()
    }

    /// Moves the bytes that have arrived behind `into`. `credit` says what was done with bytes that were
    /// moved before; it is passed to the connection.
    pub fn poll_body(
        &self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        credit: Credit,
    ) -> Poll<Result<Body, Error>> {
        let mut x = self.0.lock();
        let news = match credit.bytes() > 0 && !x.is_over() {
            true => x.note_read(credit),
            false => None,
        };
        let mut before = None;
        let body = x.recv_mut().body_mut();
        let poll = if !body.is_empty() {
            if into.is_empty() {
                std::mem::swap(into, body);
            } else {
                into.extend_from_slice(body);
            }
            body.clear();
            Poll::Ready(Ok(Body::Bytes))
        } else {
            match x.end() {
                Some(RecvEnd::Failed(error)) => Poll::Ready(Err(error.clone())),
                Some(_) => Poll::Ready(Ok(Body::End)),
                // Answered before its request has ended: no more of it will come.
                None if x.is_over() => Poll::Ready(Err(ended())),
                None => {
                    before = x.wait_read(cx);
                    Poll::Pending
                }
            }
        };
        drop(x);
        drop(before);
        if let Some(news) = news {
            news.deliver(&self.0);
        }
        poll
    }

    /// Passes on what was done with bytes that were moved before.
    pub fn report(&self, credit: Credit) {
        let mut x = self.0.lock();
        if credit.bytes() == 0 || x.is_over() {
            return;
        }
        let news = x.note_read(credit);
        drop(x);
        if let Some(news) = news {
            news.deliver(&self.0);
        }
    }

    /// Returns whether the peer's side has ended well, without trailers, and all its bytes were moved.
    #[cfg(feature = "tower")]
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let x = self.0.lock();
        x.recv().body().is_empty() && matches!(x.end(), Some(RecvEnd::Finished))
    }

    /// How the peer's side ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<Result<End, Error>> {
        let mut x = self.0.lock();
        match x.end().cloned()? {
            RecvEnd::Finished => Some(Ok(End::Finished)),
            RecvEnd::Trailers => Some(Ok(End::Trailers(x.recv_mut().take_trailers()))),
            RecvEnd::Failed(error) => Some(Err(error)),
        }
    }

    /// Waits until the peer has reset the stream, the deadline has passed or the connection is
    /// lost; CANCELLED, and processed, once the exchange has ended well. Any number of tasks may wait, beside the
    /// one that reads.
    pub async fn failed(&self) -> Error {
        let mut wait = Wait::new(&self.0);
        poll_fn(|cx| {
            wait.poll(Until::Over, cx, |x| match x.failure() {
                Some(error) => Some(error.clone()),
                None => x.is_over().then(ended),
            })
        })
        .await
    }
}

/// What is said of a call that has ended well to those who wait for another end.
fn ended() -> Error {
    let status = Status::new(Code::Cancelled, "the call has ended with its answer");
    Error::new(Kind::Cancelled, status, Initiator::Local, Processed::Yes)
}
