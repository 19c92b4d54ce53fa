//! Received bytes: consumed ≤ filled ≤ capacity.
//!
//! hot: bytes are parsed in the buffer, and moved only if the rest of a frame does not fit.

use std::fmt;
use std::ops::Range;

/// The first capacity of a buffer, in bytes.
const INITIAL: usize = 16 * 1024;
/// The largest capacity, reached if reads fill the buffer, in bytes.
const LARGEST: usize = 256 * 1024;

/// A receive buffer. An empty one needs no memory.
#[derive(Default)]
pub struct RecvBuffer {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

/// Prints the size, not the content.
impl fmt::Debug for RecvBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBuffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl RecvBuffer {
    /// Creates an empty buffer; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { buf: Vec::new(), start: 0, end: 0 }
    }

    /// Returns the bytes that are not consumed yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the number of bytes that are not consumed yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns whether all bytes are consumed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns spare capacity for a read. `wanted` is the number of bytes that the parser needs in one
    /// piece.
    pub fn spare(&mut self, wanted: usize) -> &mut [u8] {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
        let needed = self.len().saturating_add(1).max(wanted.min(LARGEST)).max(INITIAL);
        if self.buf.len() < needed {
            self.grow(needed);
        } else if self.start > 0 && self.buf.len() - self.end < self.buf.len() / 2 {
            self.compact();
        }
        let end = self.end;
        self.buf.get_mut(end..).unwrap_or_default()
    }

    /// Records that a read filled `n` bytes of [`RecvBuffer::spare`].
    ///
    /// # Panics
    /// If `n` is larger than the spare capacity.
    pub fn filled(&mut self, n: usize) {
        let spare = self.buf.len() - self.end;
        assert!(n <= spare, "a read reported more bytes than it was lent");
        self.end += n;
        // A read that filled the buffer means that more bytes wait: make the next read larger.
        if n == spare && self.buf.len() < LARGEST && n > 0 {
            self.grow(self.buf.len() * 4);
        }
    }

    /// Appends bytes from elsewhere (tests, and drivers without a socket).
    pub fn extend(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = self.spare(0);
            let n = spare.len().min(rest.len());
            let (now, later) = rest.split_at(n);
            spare[..n].copy_from_slice(now);
            self.filled(n);
            rest = later;
        }
    }

    /// Consumes `n` bytes and returns their range, valid until the next [`RecvBuffer::spare`].
    pub(crate) fn consume(&mut self, n: usize) -> Range<usize> {
        assert!(n <= self.len(), "consumed more than arrived");
        let range = self.start..self.start + n;
        self.start += n;
        range
    }

    /// Returns the bytes in a range of [`RecvBuffer::consume`].
    pub(crate) fn at(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    /// Frees the memory if all bytes are consumed.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::new();
        }
    }

    /// Returns the bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    fn compact(&mut self) {
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn grow(&mut self, capacity: usize) {
        self.compact();
        self.buf.resize(capacity.min(LARGEST).max(self.end + 1), 0);
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::buffer::recv::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = RecvBuffer::new();
        let sent: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut got = Vec::new();
        for chunk in sent.chunks(7_001) {
            buffer.extend(chunk);
            let n = buffer.len() / 2;
            let range = buffer.consume(n);
            got.extend_from_slice(buffer.at(range));
        }
        got.extend_from_slice(buffer.bytes());
        assert_eq!(got, sent);
    }

    #[test]
    fn empty_holds_nothing_after_release() {
        let mut buffer = RecvBuffer::new();
        buffer.extend(b"abc");
        buffer.release();
        assert_eq!(buffer.bytes(), b"abc");
        let n = buffer.len();
        let _ = buffer.consume(n);
        buffer.release();
        assert_eq!(buffer.capacity(), 0);
    }
}
