//! What the peer did that the floor above must know.

use crate::http2::connection::head::Head;
use crate::http2::error::ErrorCode;
use crate::http2::stream::StreamKey;
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;

/// Why a stream ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The peer sent RST_STREAM with this code.
    ByPeer(ErrorCode),
    /// The peer broke a rule on this stream, and we sent RST_STREAM.
    Violation(Violation),
}

/// One thing that happened. It borrows from the receive buffer and from the connection, so it
/// is gone before the next one.
#[derive(Debug)]
pub enum Event<'a, T> {
    /// A request on a server, the final response on a client.
    Head {
        /// The stream; new on a server.
        key: StreamKey,
        /// Its identifier.
        id: StreamId,
        /// The caller's value; `T::default()` on a server's new stream.
        user: &'a mut T,
        /// Decoded and checked; may be swapped out.
        head: &'a mut Head,
        /// Nothing follows.
        end_stream: bool,
    },
    /// An informational (1xx) response.
    Informational {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// Decoded and checked.
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
        /// Nothing follows.
        end_stream: bool,
    },
    /// Trailers, the last frame of the peer's side.
    Trailers {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// Its fields; may be swapped out.
        head: &'a mut Head,
    },
    /// The stream is over.
    Reset {
        /// The stream.
        key: StreamKey,
        /// The caller's value.
        user: &'a mut T,
        /// Who ended it and why.
        cause: Cause,
    },
    /// The peer's SETTINGS took effect.
    Settings {
        /// The first ones: the connection is active.
        first: bool,
    },
    /// The peer's answer to a PING of ours.
    Pong([u8; 8]),
    /// The peer is going away. Ask [`super::Connection::unprocessed`] for the streams it will
    /// not act on.
    GoAway {
        /// The last stream it may have acted on.
        last_stream_id: StreamId,
        /// Why.
        code: ErrorCode,
        /// Diagnostic bytes, at most 1 KiB of them.
        debug: &'a [u8],
    },
}
