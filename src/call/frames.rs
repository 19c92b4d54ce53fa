//! The peer's side of a call as frames of the `http-body` crate.

use crate::call::reader::{Body, End, Reader};
use crate::call::state::Credit;
use crate::error::Error;
use crate::http2::Fields;
use bytes::{Bytes, BytesMut};
use std::task::{Context, Poll, ready};

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
