//! A stream: its state, its two windows, and the value that the layer above keeps with it.

pub mod recent;
pub mod state;
pub mod table;

use crate::http2::fields::Fields;
use crate::http2::flow::{RecvWindow, SendWindow};
use crate::http2::stream_id::StreamId;
use bytes::Bytes;
use state::State;
use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

pub use recent::{Ended, Recent};
pub use table::{StreamKey, StreamTable};

/// The most work that a stream is charged, in nanoseconds. A longer upload has paid for its frames.
const WORK_MAX: u64 = 10_000_000;

/// The reason why the DATA of a stream is not sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Blocked {
    /// No DATA waits.
    #[default]
    No,
    /// The DATA waits for its turn.
    Queue,
    /// The peer's window for this stream is used up.
    StreamWindow,
    /// The peer's window for the connection is used up.
    ConnectionWindow,
}

/// DATA that was accepted and is not framed yet.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) chunks: VecDeque<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) end: PendingEnd,
}

/// Prints the size, not the content.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("len", &self.bytes)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// What follows the last pending byte.
#[derive(Debug, Default)]
pub(crate) enum PendingEnd {
    #[default]
    Open,
    /// END_STREAM on the last DATA frame.
    EndStream,
    /// Trailers.
    Trailers(Box<Fields>),
}

/// One stream. `T` is the value of the layer above.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) id: StreamId,
    pub(crate) state: State,
    /// How the stream ended; valid once the state is closed.
    pub(crate) ended: Ended,
    /// The final head has arrived; DATA or trailers follow.
    pub(crate) head_received: bool,
    /// Our side's end was accepted, sent or pending.
    pub(crate) finishing: bool,
    /// In the scheduler's queue.
    pub(crate) queued: bool,
    pub(crate) blocked: Blocked,
    /// In the list of streams whose sending changed.
    pub(crate) touched: bool,
    /// Whether the method is HEAD: the response then has no content, whatever its content-length is.
    pub(crate) bodiless: bool,
    /// Blanks at the ends of values in its trailers are stripped.
    pub(crate) lenient: bool,
    /// Content was sent on it.
    pub(crate) answered: bool,
    pub(crate) informational: u32,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    /// Bytes received, and neither assembled nor released.
    pub(crate) unread: u32,
    /// Prefetched bytes that have not arrived.
    pub(crate) ahead: u32,
    /// Prefetched bytes among `unread`. The budget is charged for them, so they do not hold the connection's
    /// window.
    pub(crate) charged: u32,
    /// When the last WINDOW_UPDATE was sent.
    pub(crate) updated: Option<Instant>,
    /// The bytes of `content-length` that are still to come.
    pub(crate) content_left: Option<u64>,
    /// A reset by the peer before this instant is premature.
    pub(crate) premature_until: Instant,
    /// The work for this stream since content was last sent on it, in nanoseconds.
    pub(crate) work: u64,
    pub(crate) pending: Option<Box<Pending>>,
    pub(crate) user: T,
}

impl<T> Stream<T> {
    pub(crate) fn new(
        id: StreamId,
        send: u32,
        recv: u32,
        premature_until: Instant,
        user: T,
    ) -> Self {
        Self {
            id,
            state: State::Open,
            ended: Ended::Normally,
            head_received: false,
            finishing: false,
            queued: false,
            blocked: Blocked::No,
            touched: false,
            bodiless: false,
            lenient: false,
            answered: false,
            informational: 0,
            send_window: SendWindow::new(send),
            recv_window: RecvWindow::new(recv),
            unread: 0,
            ahead: 0,
            charged: 0,
            updated: None,
            content_left: None,
            premature_until,
            work: 0,
            pending: None,
            user,
        }
    }

    /// Charges work to the stream.
    pub(crate) fn charge(&mut self, work: u64) {
        self.work = (self.work + work).min(WORK_MAX);
    }

    /// Adds bytes that have arrived to the unread ones. Returns those that count for the connection.
    pub(crate) fn add_unread(&mut self, bytes: u32) -> u32 {
        let charged = bytes.min(self.ahead);
        self.ahead -= charged;
        self.charged += charged;
        self.unread += bytes;
        bytes - charged
    }

    /// Subtracts unread bytes. Returns those that counted for the connection.
    pub(crate) fn subtract_unread(&mut self, bytes: u32) -> u32 {
        let charged = bytes.min(self.charged);
        self.charged -= charged;
        self.unread -= bytes;
        bytes - charged
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |p| p.bytes)
    }
}

#[cfg(test)]
mod tests {
    /// What a message was granted ahead of its bytes is charged as they come, and counts for the connection no
    /// second time.
    #[test]
    fn bytes_that_were_granted_ahead_count_once() {
        let now = std::time::Instant::now();
        let mut stream = super::Stream::new(super::StreamId::new(1), 0, 0, now, ());
        stream.ahead = 10;
        assert_eq!((stream.add_unread(7), stream.ahead, stream.charged), (0, 3, 7));
        assert_eq!((stream.add_unread(7), stream.ahead, stream.charged), (4, 0, 10));
        assert_eq!((stream.subtract_unread(12), stream.unread, stream.charged), (2, 2, 0));
    }

    use crate::http2::stream::state::{Input, NotAllowed, State};

    /// The table printed in `spec-notes/rfc9113/5.1-stream-states.md`, walked over all pairs.
    #[test]
    fn the_table_is_the_note() {
        let note = include_str!("../../../spec-notes/rfc9113/5.1-stream-states.md");
        for state in State::ALL {
            for input in Input::ALL {
                let cell = match state.next(input) {
                    Ok(next) => format!("{next:?}"),
                    Err(NotAllowed::Local) => "misuse".to_owned(),
                    Err(NotAllowed::Peer(rule)) => format!("{rule:?}"),
                };
                let line = format!("| {state:?} | {input:?} | {cell} |");
                assert!(note.contains(&line), "the note lacks: {line}");
            }
        }
    }
}
