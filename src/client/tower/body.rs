//! The response of a call: its head, then its body frame by frame.

use super::ErrorMode;
use crate::call::deadline::DeadlineTimer;
use crate::call::frames::{Left, Piece, poll_piece};
use crate::call::reader::Reader;
use crate::call::state::RecvEnd;
use crate::client::call::Call;
use crate::error::Error;
use crate::grpc::{header_map, response};
use crate::http2::{Fields, Head};
use crate::rt;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A call whose response is read.
pub(super) struct Receiving {
    call: Call,
    reader: Reader,
    deadline: DeadlineTimer,
}

/// What a head says of the body behind it.
pub(super) struct Expected {
    /// The head was all there is.
    ended: bool,
    /// The head carries the status of a gRPC response.
    status: bool,
    /// The bytes of the body, if the head says so.
    length: Option<u64>,
}

impl Receiving {
    pub(super) fn new(call: Call) -> Option<Self> {
        let (reader, deadline) = (call.reader()?, DeadlineTimer::new(call.deadline()));
        Some(Self { call, reader, deadline })
    }

    /// Waits for the head.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Expected>, Error>> {
        self.poll_in_time(cx, |reader, cx| {
            reader.poll_head(cx, |recv| {
                let ended = matches!(recv.end(), Some(RecvEnd::Finished)) && recv.body().is_empty();
                read_head(recv.head(), ended)
            })
        })
    }

    /// Waits for what `poll` waits for, up to the deadline of the call: then the call ends.
    fn poll_in_time<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl Fn(&Reader, &mut Context<'_>) -> Poll<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        let mut polled = poll(&self.reader, cx);
        if polled.is_pending() {
            ready!(self.deadline.poll(cx))?;
            self.call.expire();
            polled = poll(&self.reader, cx);
        }
        if polled.is_ready() {
            self.deadline.stop();
        }
        polled.map_err(|error| match self.call.shared() {
            Some(shared) => shared.lock().located(error, rt::now()),
            None => error,
        })
    }

    /// The body of a gRPC response has ended: the error of this side, if nobody else's status says how.
    fn missing_status(&self, trailers: Option<&Fields>) -> Option<Error> {
        let mut x = self.call.shared()?.lock();
        let status = response::check_end(x.recv().head(), trailers).map_err(Error::from_peer);
        // The sending half asks how the call has ended.
        x.note_outcome(&status);
        let fields = trailers.unwrap_or_else(|| x.recv().head().fields());
        status.err().filter(|_| fields.get("grpc-status").is_none())
    }
}

fn read_head(head: &Head, ended: bool) -> Response<Expected> {
    let status = head.fields().get("grpc-status").is_some();
    let length = head.content_length();
    let mut response = Response::new(Expected { ended, status, length });
    *response.status_mut() =
        StatusCode::from_u16(head.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.version_mut() = Version::HTTP_2;
    *response.headers_mut() = header_map::received(head.fields());
    response
}

/// The body of a response. Dropped before its end, it cancels the call.
///
/// Its frames are data, then at most one frame of trailers. The default is a body that has ended.
///
/// # Errors
/// Why the body is cut. [`ErrorMode`] decides whether a gRPC body yields an error or trailers with its status.
#[derive(Default)]
pub struct ResponseBody {
    /// `None` after the end.
    receiving: Option<Receiving>,
    grpc: bool,
    errors: ErrorMode,
    left: Left,
}

impl ResponseBody {
    pub(super) fn new(
        receiving: Receiving,
        expected: Expected,
        grpc: bool,
        errors: ErrorMode,
    ) -> Self {
        let mut body =
            Self { receiving: Some(receiving), grpc, errors, left: Left::new(expected.length) };
        if expected.ended && (expected.status || !grpc) {
            body.end();
        }
        body
    }

    /// The call has ended: nothing is left to cancel.
    fn end(&mut self) {
        if let Some(mut receiving) = self.receiving.take() {
            receiving.call.done();
        }
    }

    /// The body ends with an error of this side.
    fn fail(&mut self, error: Error) -> Result<Frame<Bytes>, Error> {
        self.end();
        if !self.grpc || self.errors == ErrorMode::Err {
            return Err(error);
        }
        let mut fields = Fields::new();
        error.status().to_trailers(&mut fields, usize::MAX);
        Ok(Frame::trailers(header_map::received(&fields)))
    }
}

/// Says how far the body has come, not what is in it.
impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("ended", &self.receiving.is_none())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(receiving) = &mut this.receiving else { return Poll::Ready(None) };
        let piece = match ready!(receiving.poll_in_time(cx, poll_piece)) {
            Ok(piece) => piece,
            Err(error) => return Poll::Ready(Some(this.fail(error))),
        };
        let trailers = match piece {
            Piece::Data(bytes) => {
                return Poll::Ready(Some(Ok(this.left.frame(bytes))));
            }
            Piece::End(trailers) => trailers,
        };
        if this.grpc
            && let Some(error) = receiving.missing_status(trailers.as_ref())
        {
            return Poll::Ready(Some(this.fail(error)));
        }
        this.end();
        let trailers = trailers.map(|fields| header_map::received(&fields));
        let trailers = trailers.filter(|trailers: &HeaderMap| !trailers.is_empty());
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.receiving.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.hint(self.receiving.is_none())
    }
}
