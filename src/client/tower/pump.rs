//! The body of a request on its way: what is ready at once, and a task for the rest.

use super::BoxError;
use crate::call::frames::{Next, poll_next};
use crate::call::state::{SendEnd, Until, Wait};
use crate::call::writer::{Closed, Writer, poll_ready};
use crate::client::call::panicked;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::{Code, Status};
use crate::http2::{ErrorCode, Fields};
use crate::rt::contain::{Panicked, contain};
use bytes::Bytes;
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// Bytes that are gathered before a request is sent.
const FIRST_MAX: usize = 64 * 1024;

/// User code that may panic.
const BODY: &str = "the body of a request";

/// A body that is sent.
pub(super) struct Upload<B> {
    body: Pin<Box<B>>,
    /// Trailers that were found before the request was sent.
    trailers: Option<Fields>,
}

impl<B> Upload<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B) -> Self {
        Self { body: Box::pin(body), trailers: None }
    }

    /// Returns what is ready at once, and whether that is all.
    ///
    /// # Errors
    /// The body failed or panicked; nothing was sent.
    pub(super) fn gather(&mut self) -> Result<(Vec<Bytes>, bool), Error> {
        let (mut first, mut bytes) = (Vec::new(), 0);
        // The task that waits for more polls again, with a waker of its own.
        let cx = &mut Context::from_waker(Waker::noop());
        while bytes < FIRST_MAX {
            match self.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(next) => match next.map_err(|e| e.with_processed(Processed::No))? {
                    Next::End => return Ok((first, true)),
                    Next::Trailers(fields) => {
                        self.trailers = Some(fields);
                        break;
                    }
                    Next::Data(data) => {
                        bytes += data.len();
                        first.push(data);
                    }
                },
            }
        }
        Ok((first, false))
    }

    /// Sends the rest. It ends when the call does.
    pub(super) async fn pump(mut self, writer: Writer) {
        let end = Unfinished(&writer);
        let (mut over, mut space) = (Wait::new(writer.call()), writer.wait());
        loop {
            let next = poll_fn(|cx| {
                let closed = over.poll(Until::Over, cx, |x| x.is_closed().then_some(()));
                if closed.is_ready() {
                    return Poll::Ready(None);
                }
                if let Some(fields) = self.trailers.take() {
                    return Poll::Ready(Some(Ok(Next::Trailers(fields))));
                }
                match ready!(poll_ready(&mut space, cx)) {
                    Ok(()) => self.poll_next(cx).map(Some),
                    Err(Closed) => Poll::Ready(None),
                }
            });
            // An error means that the call is over: its reader knows how it ended.
            let sent = match next.await {
                None => return,
                Some(Ok(Next::Data(bytes))) => writer.append(bytes),
                Some(Ok(Next::End)) => writer.finish(SendEnd::Finish, None),
                Some(Ok(Next::Trailers(fields))) => writer.finish(SendEnd::Trailers, Some(&fields)),
                Some(Err(error)) => return end.stop(error),
            };
            if sent.is_err() || writer.is_closed() {
                return;
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        let body = self.body.as_mut();
        contain(|| poll_next(body, cx).map_err(|cause| failed(cause.into())))
            .unwrap_or_else(|Panicked| Poll::Ready(Err(panicked(BODY, Processed::Maybe))))
    }
}

/// The error of a call whose body failed. Stubs look for their own error among its causes.
fn failed(cause: BoxError) -> Error {
    let status = Status::new(Code::Cancelled, format!("the body of the request failed: {cause}"));
    let error = Error::new(Kind::Cancelled, status, Initiator::Local, Processed::Maybe);
    error.with_source(Arc::from(cause))
}

/// A body that is being sent. Dropped before its end, as when the runtime ends, it ends the call.
struct Unfinished<'a>(&'a Writer);

impl Unfinished<'_> {
    fn stop(&self, error: Error) {
        let call = self.0.call();
        let stopped = call.lock().stop(ErrorCode::CANCEL, error);
        stopped.finish(call);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.0.is_closed() {
            let text = "the runtime that sent the body of the request has ended";
            let status = Status::new(Code::Unavailable, text);
            self.stop(Error::new(Kind::Shutdown, status, Initiator::Local, Processed::Maybe));
        }
    }
}
