//! The events that the layer above receives.

use crate::http2::connection::head::Head;
use crate::http2::error::ErrorCode;
use crate::http2::stream::StreamKey;
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;

/// The reason why a stream was reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The peer sent RST_STREAM with this code.
    ByPeer(ErrorCode),
    /// The peer broke a rule on this stream, and this side sent RST_STREAM.
    Violation(Violation),
}

/// Something that the peer did. It borrows from the receive buffer and from the connection, so it must be
/// dropped before the next call.
#[derive(Debug)]
pub enum Event<'a, T> {
    /// A request head on a server, the head of the final response on a client.
    Head {
        /// The stream; new on a server.
        key: StreamKey,
        /// Its identifier.
        id: StreamId,
        /// The caller's value; `T::default()` on a server's new stream.
        user: &'a mut T,
        /// The head, decoded and checked; may be swapped out.
        head: &'a mut Head,
        /// Whether this ends the peer's side of the stream.
        end_stream: bool,
    },
    /// An informational (1xx) response.
    Informational {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// The head, decoded and checked.
        head: &'a mut Head,
    },
    /// Bytes of a body: a whole DATA frame or a part of one.
    Data {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// The bytes, to be released once they are read.
        data: &'a [u8],
        /// Whether this ends the peer's side of the stream.
        end_stream: bool,
    },
    /// Trailers; they end the peer's side of the stream.
    Trailers {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// The fields; may be swapped out.
        head: &'a mut Head,
    },
    /// The stream was reset.
    Reset {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// Who reset it, and why.
        cause: Cause,
    },
    /// The peer's SETTINGS were applied.
    Settings {
        /// Whether these are the first, so that the connection is active.
        first: bool,
    },
    /// The peer acknowledged a PING.
    Pong([u8; 8]),
    /// The peer sent GOAWAY. [`Connection::unprocessed`](super::Connection::unprocessed) closes and
    /// returns the streams that it will not process; take each of them.
    GoAway {
        /// The last stream that it may have processed.
        last_stream_id: StreamId,
        /// The error code.
        code: ErrorCode,
        /// The debug data, at most 1 KiB of it.
        debug: &'a [u8],
    },
}
