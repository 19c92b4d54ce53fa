//! What the peer sends, and what a reader did with its bytes.

use crate::call::send::KEPT;
use crate::error::Error;
use crate::grpc::status::Status;
use crate::grpc::{Encoding, response};
use crate::http2::{Fields, Head};
use bytes::BytesMut;
use std::fmt;

/// How the peer's side ended.
#[derive(Clone, Debug)]
pub enum RecvEnd {
    /// END_STREAM without trailers.
    Finished,
    /// Trailers came; they stand in [`RecvState::trailers`].
    Trailers,
    /// It did not end well.
    Failed(Error),
}

/// What a reader did with unread bytes and has not reported to the driver. The words are those of
/// `connection::memory`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Unread bytes that were released: their message was complete when the reader looked.
    pub released_unread: u32,
    /// Unread bytes that were assembled: the reader waits for the rest of their message.
    pub assembled: u32,
    /// Assembled bytes that were released: their message was taken since.
    pub released_assembled: u32,
    /// Bytes still to come of the message that is waited for, if its prefix has arrived.
    pub expected: usize,
}

impl Credit {
    /// Adds what was done since.
    pub const fn add(&mut self, later: Self) {
        self.released_unread += later.released_unread;
        self.assembled += later.assembled;
        self.released_assembled += later.released_assembled;
        if later.released_assembled > 0 || later.expected > 0 {
            self.expected = later.expected;
        }
    }

    /// Returns the bytes that are no longer unread: what an engine without a budget credits.
    #[must_use]
    pub const fn read(&self) -> u32 {
        self.released_unread + self.assembled
    }

    /// Returns the bytes of all three moves.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.released_unread + self.assembled + self.released_assembled
    }
}

/// What the peer sends.
#[derive(Default)]
pub struct RecvState {
    /// The head, once [`RecvState::head_ready`].
    pub head: Head,
    /// The head has come.
    pub head_ready: bool,
    /// The encoding that a gRPC response's head announces, once [`CallState::declines`] has checked
    /// it.
    ///
    /// [`CallState::declines`]: crate::call::state::CallState::declines
    pub checked: Option<Encoding>,
    /// Bytes of the body not yet taken by the caller.
    pub body: BytesMut,
    /// What the caller did with bytes and the driver has not been told.
    pub credit: Credit,
    /// Trailers.
    pub trailers: Fields,
    /// How the peer's side ended.
    pub end: Option<RecvEnd>,
}

/// Says how much there is of messages, not what is in them.
impl fmt::Debug for RecvState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvState")
            .field("head", &self.head)
            .field("head_ready", &self.head_ready)
            .field("body", &self.body.len())
            .field("trailers", &self.trailers)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl RecvState {
    /// The encoding that the head of a gRPC response announces. The head is checked once.
    ///
    /// # Errors
    /// The status of a head that is not gRPC.
    #[inline]
    pub fn encoding(&self) -> Result<Encoding, Status> {
        self.checked.map_or_else(|| response::check_head(&self.head), Ok)
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.head_ready = false;
        self.checked = None;
        self.body.clear();
        if self.body.capacity() > KEPT {
            self.body = BytesMut::new();
        }
        self.credit = Credit::default();
        self.trailers.clear();
        self.end = None;
    }
}
