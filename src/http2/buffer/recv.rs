//! Received bytes: consumed ≤ filled ≤ capacity.
//!
//! hot: bytes are parsed in the buffer, and moved only if the rest of a frame does not fit.

use std::fmt;
use std::ops::Range;

/// The first capacity of a buffer, in bytes.
const INITIAL: usize = 16 * 1024;
/// The largest capacity, reached if reads fill the buffer, in bytes. Only a frame that is longer and that is
/// needed in one piece makes it larger.
const LARGEST: usize = 256 * 1024;

/// A receive buffer. An empty one needs no memory.
#[derive(Default)]
pub struct RecvBuffer {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The most bytes that it held since [`RecvBuffer::shrink`].
    most: usize,
    /// It does not grow for the sake of speed.
    small: bool,
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
        Self { buf: Vec::new(), start: 0, end: 0, most: 0, small: false }
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
    /// piece. It is empty if the buffer is full of bytes that the parser has not consumed.
    pub fn spare(&mut self, wanted: usize) -> &mut [u8] {
        if self.len() >= LARGEST.max(wanted) {
            return &mut [];
        }
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
        let needed = self.len().saturating_add(1).max(wanted.min(LARGEST)).max(INITIAL);
        if self.buf.len() < needed {
            // A long frame gets its memory as it arrives, and not at its word.
            self.grow(needed.max(wanted.min(self.buf.len() * 2)));
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
        self.most = self.most.max(self.len());
        // A read that filled the buffer means that more bytes wait: make the next read larger.
        if n == spare && self.buf.len() < LARGEST && n > 0 && !self.small {
            self.grow((self.buf.len() * 4).min(LARGEST));
        }
    }

    /// Appends bytes from elsewhere (tests, and drivers without a socket).
    pub fn extend(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = self.spare(self.len() + rest.len());
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

    /// Sets whether the buffer stays at its first size unless a frame needs more.
    pub const fn keep_small(&mut self, small: bool) {
        self.small = small;
    }

    /// Returns the bytes of memory held above the first size.
    #[must_use]
    pub fn extra_capacity(&self) -> usize {
        self.buf.capacity().saturating_sub(INITIAL)
    }

    /// Frees memory that was not used since the last call, down to the first size.
    pub fn shrink(&mut self) {
        let len = self.len();
        let most = std::mem::replace(&mut self.most, len).max(len).max(INITIAL);
        if most <= self.buf.capacity() / 4 {
            self.compact();
            self.buf.truncate(most);
            self.buf.shrink_to_fit();
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
        self.buf.resize(capacity.max(self.end + 1), 0);
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

    /// A frame of 4 MiB that is needed in one piece takes a few reads, not one a byte, and no memory before
    /// its bytes arrive.
    #[test]
    fn a_long_frame_takes_few_reads() {
        let wanted = 4 << 20;
        let mut buffer = RecvBuffer::new();
        let mut reads = 0;
        while buffer.len() < wanted {
            let spare = buffer.spare(wanted).len();
            assert!(buffer.capacity() <= (2 * buffer.len()).max(LARGEST) + INITIAL);
            buffer.filled(spare.min(wanted - buffer.len()));
            reads += 1;
        }
        assert!(reads <= 20, "{reads} reads");
    }

    #[test]
    fn a_full_buffer_grows_no_more() {
        let mut buffer = RecvBuffer::new();
        let mut bytes = 0;
        loop {
            let n = buffer.spare(9).len();
            if n == 0 {
                break;
            }
            buffer.filled(n);
            bytes += n;
        }
        assert_eq!((bytes, buffer.capacity()), (LARGEST, LARGEST));
    }

    #[test]
    fn memory_that_is_not_used_is_freed_with_bytes_left() {
        let mut buffer = RecvBuffer::new();
        buffer.extend(&[7; 500_000]);
        let all = buffer.len();
        let _ = buffer.consume(all - 5);
        buffer.shrink();
        assert!(buffer.extra_capacity() > 0, "it was used since the last call");
        buffer.shrink();
        assert_eq!((buffer.extra_capacity(), buffer.bytes()), (0, &[7; 5][..]));
        buffer.keep_small(true);
        for _ in 0..100 {
            let spare = buffer.spare(0).len();
            buffer.filled(spare);
            let all = buffer.len();
            let _ = buffer.consume(all);
            assert_eq!(buffer.extra_capacity(), 0);
        }
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
