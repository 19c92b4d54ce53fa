//! Bytes that arrived: consumed ≤ filled ≤ capacity.
//!
//! hot: parsed where they lie; moved only when a frame's rest does not fit.

use std::fmt;
use std::ops::Range;

/// Capacity of a buffer that starts to be used, in bytes.
const INITIAL: usize = 16 * 1024;
/// What a buffer grows to when reads fill it, in bytes.
const LARGEST: usize = 256 * 1024;

/// A receive buffer. Without bytes in it, it can hold no memory at all.
#[derive(Default)]
pub struct RecvBuffer {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

/// Says how much there is, not what is in it.
impl fmt::Debug for RecvBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBuffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl RecvBuffer {
    /// An empty buffer; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { buf: Vec::new(), start: 0, end: 0 }
    }

    /// Bytes not yet consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// Number of bytes not yet consumed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for at least one more read; `wanted` is what the parser needs in one piece.
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

    /// Notes that a read filled `n` bytes of [`RecvBuffer::spare`].
    pub fn filled(&mut self, n: usize) {
        let room = self.buf.len() - self.end;
        assert!(n <= room, "a read reported more bytes than it was lent");
        self.end += n;
        // A read that filled everything says that more waits: the next one may be larger.
        if n == room && self.buf.len() < LARGEST && n > 0 {
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

    /// Consumes `n` bytes and says where they lie until the next [`RecvBuffer::spare`].
    pub(crate) fn consume(&mut self, n: usize) -> Range<usize> {
        assert!(n <= self.len(), "consumed more than arrived");
        let range = self.start..self.start + n;
        self.start += n;
        range
    }

    /// Bytes that [`RecvBuffer::consume`] named.
    pub(crate) fn at(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    /// Gives the memory back when nothing waits in it.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::new();
        }
    }

    /// Bytes of memory held.
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
