//! What the peer sends, and what a reader did with its bytes.

use crate::call::send::{FIELDS_KEPT, KEPT};
use crate::error::{Error, Initiator, Kind, Processed};
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

/// What a reader did with received bytes and has not reported to the driver. The words are those of
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
    /// Nothing was done.
    pub const NONE: Self =
        Self { released_unread: 0, assembled: 0, released_assembled: 0, expected: 0 };

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
    head: Head,
    /// The head has come, and may be read.
    head_ready: bool,
    /// The encoding that a gRPC head announces, once it was checked.
    checked: Option<Encoding>,
    /// Bytes of the body not yet taken by the caller.
    body: BytesMut,
    /// What the caller did with bytes and the connection has not been told.
    credit: Credit,
    trailers: Fields,
    end: Option<RecvEnd>,
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

/// What its reader sees and takes.
impl RecvState {
    /// Returns the head.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the head, whose fields a reader may take.
    pub const fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    /// Returns whether the head has come.
    #[must_use]
    pub const fn is_head_ready(&self) -> bool {
        self.head_ready
    }

    /// Returns the encoding that the head of a gRPC response announces. The head is checked once.
    ///
    /// # Errors
    /// The status of a head that is not gRPC.
    #[inline]
    pub fn encoding(&self) -> Result<Encoding, Status> {
        self.checked.map_or_else(|| response::check_head(&self.head), Ok)
    }

    /// Returns the encoding that the head announces, if the head was checked for it.
    #[must_use]
    pub const fn checked_encoding(&self) -> Option<Encoding> {
        self.checked
    }

    /// Returns the bytes of the body that the reader has not taken.
    #[must_use]
    pub const fn body(&self) -> &BytesMut {
        &self.body
    }

    /// Returns the body, for a reader that takes bytes of it.
    pub const fn body_mut(&mut self) -> &mut BytesMut {
        &mut self.body
    }

    /// Returns how the peer's side ended.
    #[must_use]
    pub const fn end(&self) -> Option<&RecvEnd> {
        self.end.as_ref()
    }

    /// Returns the trailers, if the peer's side ended with them.
    #[must_use]
    pub const fn trailers(&self) -> Option<&Fields> {
        match self.end {
            Some(RecvEnd::Trailers) => Some(&self.trailers),
            _ => None,
        }
    }

    /// Returns the trailers, whose fields a reader may take; empty ones if none came.
    pub const fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.trailers
    }

    /// Takes the trailers; empty ones if none came.
    pub fn take_trailers(&mut self) -> Fields {
        std::mem::take(&mut self.trailers)
    }

    /// Returns whether a gRPC response has begun, so that the call is settled whatever its status: a
    /// head came that is not all of it.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        let trailers_only = matches!(self.end, Some(RecvEnd::Finished))
            && self.head.fields().get("grpc-status").is_some();
        self.head_ready && !trailers_only && self.encoding().is_ok()
    }

    /// Returns how the call ended, as far as head and status tell; messages are not looked at.
    ///
    /// # Errors
    /// The status, or why there is none.
    pub fn outcome(&self) -> Result<(), Error> {
        if self.head_ready {
            self.encoding().map_err(not_grpc)?;
        }
        if let Some(RecvEnd::Failed(error)) = &self.end {
            return Err(error.clone());
        }
        response::check_end(&self.head, self.trailers()).map_err(Error::from_peer)
    }

    /// Notes what a reader did with bytes.
    pub(super) const fn add_credit(&mut self, credit: Credit) {
        self.credit.add(credit);
    }

    /// Returns what readers did with bytes since the last report.
    pub(super) const fn credit(&self) -> &Credit {
        &self.credit
    }
}

/// What the connection does.
impl RecvState {
    pub(super) const fn take_credit(&mut self) -> Credit {
        std::mem::replace(&mut self.credit, Credit::NONE)
    }

    pub(super) const fn set_head(&mut self, head: &mut Head) {
        std::mem::swap(&mut self.head, head);
    }

    pub(super) const fn set_head_ready(&mut self) {
        self.head_ready = true;
    }

    pub(super) const fn set_checked(&mut self, encoding: Encoding) {
        self.checked = Some(encoding);
    }

    pub(super) fn reserve_body(&mut self, bytes: usize) {
        self.body.reserve(bytes);
    }

    pub(super) fn push_body(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    pub(super) const fn set_trailers(&mut self, trailers: &mut Fields) {
        std::mem::swap(&mut self.trailers, trailers);
    }

    pub(super) fn set_end(&mut self, end: RecvEnd) {
        self.end = Some(end);
    }

    pub(super) fn clear(&mut self) {
        self.head.shrink(FIELDS_KEPT);
        self.head_ready = false;
        self.checked = None;
        self.body.clear();
        self.shrink(KEPT);
        self.credit = Credit::NONE;
        self.trailers.clear();
        self.trailers.shrink(FIELDS_KEPT);
        self.end = None;
    }

    pub(super) fn has_large_fields(&self) -> bool {
        self.head.capacity() > FIELDS_KEPT || self.trailers.capacity() > FIELDS_KEPT
    }

    /// Frees a body of more than `kept` bytes. A handler may still read the fields.
    pub(super) fn shrink(&mut self, kept: usize) {
        if self.body.capacity() > kept {
            self.body = BytesMut::new();
        }
    }
}

/// A status found in a head: the peer's own, or what its HTTP status maps to.
#[must_use]
pub fn not_grpc(status: Status) -> Error {
    Error::new(Kind::NotGrpc, status, Initiator::Remote, Processed::Yes)
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::recv::*;

    #[test]
    fn credit_is_the_sum_of_its_moves() {
        let mut credit =
            Credit { released_unread: 2, assembled: 3, released_assembled: 5, expected: 7 };
        assert_eq!((credit.read(), credit.bytes()), (5, 10));
        credit.add(Credit { released_unread: 1, ..Credit::NONE });
        assert_eq!((credit.read(), credit.bytes(), credit.expected), (6, 11, 7));
        credit.add(Credit { released_assembled: 1, ..Credit::NONE });
        assert_eq!((credit.bytes(), credit.expected), (12, 0), "a message was taken");
    }

    #[test]
    fn a_large_head_alone_is_large() {
        let mut state = RecvState::default();
        assert!(!state.has_large_fields());
        state.head_mut().fields_mut().push("x", vec![b'v'; 2 * FIELDS_KEPT]);
        assert!(state.has_large_fields());
    }
}
