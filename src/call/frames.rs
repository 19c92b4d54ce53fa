//! Bodies of the `http-body` crate: the peer's side of a call as one, and one of the user's as what is sent.

use crate::call::reader::{Body, End, Reader};
use crate::call::state::Credit;
use crate::error::Error;
use crate::grpc::header_map;
use crate::http2::Fields;
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Empty frames of a body of the user that are read in one turn.
const EMPTY_MAX: usize = 32;

/// Bytes of a body, or what is behind them.
#[derive(Debug)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Nothing follows; the trailers, if any came.
    End(Option<Fields>),
}

/// Waits for the next piece of the peer's body. Its bytes count as read: the peer may send as many more.
///
/// # Errors
/// How the call failed.
pub fn poll_piece(reader: &Reader, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>> {
    let mut bytes = BytesMut::new();
    if ready!(reader.poll_body(cx, &mut bytes, Credit::NONE))? == Body::Bytes {
        let released_unread = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        reader.report(Credit { released_unread, ..Credit::NONE });
        return Poll::Ready(Ok(Piece::Data(bytes.freeze())));
    }
    Poll::Ready(match reader.end() {
        Some(Ok(End::Trailers(fields))) => Ok(Piece::End(Some(fields))),
        Some(Err(error)) => Err(error),
        Some(Ok(End::Finished)) | None => Ok(Piece::End(None)),
    })
}

/// Bytes of a body that are still to come, if its head says how many.
#[derive(Debug, Default)]
pub struct Left(Option<u64>);

impl Left {
    /// A body of so many bytes.
    #[must_use]
    pub const fn new(length: Option<u64>) -> Self {
        Self(length)
    }

    /// Returns bytes as a frame, and counts them.
    pub fn frame(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.0 = self.0.map(|left| left.saturating_sub(bytes.len() as u64));
        Frame::data(bytes)
    }

    /// Returns what is known of the bytes to come.
    #[must_use]
    pub fn hint(&self, ended: bool) -> SizeHint {
        match (ended, self.0) {
            (true, _) => SizeHint::with_exact(0),
            (false, Some(left)) => SizeHint::with_exact(left),
            (false, None) => SizeHint::default(),
        }
    }
}

/// What a body of the user has next.
#[derive(Debug)]
pub enum Next {
    /// Bytes, at least one.
    Data(Bytes),
    /// Trailers: nothing follows.
    Trailers(Fields),
    /// Nothing follows.
    End,
}

/// Waits for what a body of the user has next. It is user code.
///
/// It passes over empty frames. After some of them others have their turn, and the end of the call is seen.
///
/// # Errors
/// That of the body.
pub fn poll_next<B: http_body::Body>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Result<Next, B::Error>> {
    for _ in 0..EMPTY_MAX {
        let Some(frame) = ready!(body.as_mut().poll_frame(cx)).transpose()? else {
            return Poll::Ready(Ok(Next::End));
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Poll::Ready(Ok(Next::Trailers(trailers(frame)))),
        };
        if data.has_remaining() {
            return Poll::Ready(Ok(Next::Data(data.copy_to_bytes(data.remaining()))));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn trailers<D>(frame: Frame<D>) -> Fields {
    let mut fields = Fields::new();
    if let Ok(trailers) = frame.into_trailers() {
        header_map::append_to(&trailers, &mut fields);
    }
    fields
}
