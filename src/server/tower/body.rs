//! The body of a request, frame by frame.

use crate::call::frames::{Left, Piece, poll_piece};
use crate::call::reader::Reader;
use crate::error::Error;
use crate::grpc::header_map;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body of a request that a tower service receives; see
/// [`Router::tower`](crate::server::Router::tower).
///
/// Its frames are data, then at most one frame of trailers. The default is a body that has ended. What is
/// read counts as read: the caller may send as many bytes more.
///
/// # Errors
/// How the call ended before its request: the caller has reset the stream, the deadline has passed, or the
/// connection is lost.
#[derive(Default)]
pub struct ServerBody {
    /// `None` after the end.
    reader: Option<Reader>,
    left: Left,
}

impl ServerBody {
    pub(super) const fn new(reader: Reader, length: Option<u64>) -> Self {
        Self { reader: Some(reader), left: Left::new(length) }
    }
}

/// Says how far the body has come, not what is in it.
impl fmt::Debug for ServerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBody")
            .field("ended", &self.reader.is_none())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(reader) = &self.reader else { return Poll::Ready(None) };
        let piece = ready!(poll_piece(reader, cx));
        if let Ok(Piece::Data(bytes)) = piece {
            return Poll::Ready(Some(Ok(self.left.frame(bytes))));
        }
        self.reader = None;
        Poll::Ready(match piece {
            Ok(Piece::End(Some(fields))) if !fields.is_empty() => {
                Some(Ok(Frame::trailers(header_map::received(&fields))))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.reader.as_ref().is_none_or(Reader::is_at_end)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.hint(self.reader.is_none())
    }
}
