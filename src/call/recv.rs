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

/// What a reader did with bytes that were handed to it, not yet told to the driver.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Bytes of messages that were taken.
    pub consumed: u32,
    /// Bytes that moved into the assembly of the message that is waited for.
    pub gathered: u32,
    /// Bytes among those reported as gathered whose message was taken since.
    pub delivered: u32,
    /// Bytes still to come of the message that is waited for, where its prefix has come.
    pub expected: usize,
}

impl Credit {
    /// Adds what was done since.
    pub const fn add(&mut self, later: Self) {
        self.consumed += later.consumed;
        self.gathered += later.gathered;
        self.delivered += later.delivered;
        if later.delivered > 0 || later.expected > 0 {
            self.expected = later.expected;
        }
    }

    /// Bytes to be credited by who keeps no budget.
    #[must_use]
    pub const fn owed(&self) -> u32 {
        self.consumed + self.gathered
    }

    /// Bytes worth a report.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.consumed + self.gathered + self.delivered
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
