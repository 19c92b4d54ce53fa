//! Bytes to be written: small ones are coalesced, large payloads are chained without a copy.
//!
//! hot: one growing vector and a short list; no allocation per frame.

use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;

/// Memory of one piece of copied bytes, in bytes; an empty buffer keeps it.
const PIECE: usize = 64 * 1024;
/// Copied bytes after which another piece begins: the memory of a written one is freed, and none is moved.
const FULL: usize = PIECE / 4 * 3;

/// A send buffer of whole frames. [`SendBuffer::slices`] is for a vectored write.
#[derive(Default)]
pub struct SendBuffer {
    /// The last piece of copied bytes; the first `written` of it were written.
    small: Vec<u8>,
    written: usize,
    /// All bytes that were ever written.
    passed: u64,
    /// Chained payloads and full pieces, each with the offset in `small` before which it is written.
    shared: VecDeque<(usize, Bytes)>,
    shared_bytes: usize,
}

/// Prints the size, not the content.
impl fmt::Debug for SendBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBuffer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl SendBuffer {
    /// Creates an empty buffer; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { small: Vec::new(), written: 0, passed: 0, shared: VecDeque::new(), shared_bytes: 0 }
    }

    /// Returns the bytes to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() - self.written + self.shared_bytes
    }

    /// Returns whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes were ever written from this buffer.
    pub(crate) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Returns [`SendBuffer::passed`] as it will be when all that waits now was written.
    pub(crate) fn end(&self) -> u64 {
        self.passed + self.len() as u64
    }

    /// Returns the vector to which small bytes are appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.small.len() >= FULL {
            self.begin_piece();
        }
        &mut self.small
    }

    #[cold]
    fn begin_piece(&mut self) {
        let full = Bytes::from(std::mem::replace(&mut self.small, Vec::with_capacity(PIECE)));
        let mut at = std::mem::take(&mut self.written);
        self.shared_bytes += full.len() - at;
        let mut pieces = VecDeque::with_capacity(2 * self.shared.len() + 1);
        for (before, bytes) in self.shared.drain(..) {
            if before > at {
                pieces.push_back((0, full.slice(at..before)));
                at = before;
            }
            pieces.push_back((0, bytes));
        }
        if at < full.len() {
            pieces.push_back((0, full.slice(at..)));
        }
        self.shared = pieces;
    }

    /// Chains bytes after everything appended so far.
    pub(crate) fn chain(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.shared_bytes += bytes.len();
            self.shared.push_back((self.small.len(), bytes));
        }
    }

    /// Returns the bytes to be written, in order, as slices for a vectored write.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.written;
        let mut pieces = self.shared.iter();
        let mut shared: Option<&Bytes> = None;
        let mut done = false;
        std::iter::from_fn(move || {
            loop {
                if let Some(bytes) = shared.take() {
                    return Some(&bytes[..]);
                }
                if done {
                    return None;
                }
                let end = match pieces.next() {
                    Some((before, bytes)) => {
                        shared = Some(bytes);
                        *before
                    }
                    None => {
                        done = true;
                        self.small.len()
                    }
                };
                let piece = self.small.get(at..end).unwrap_or_default();
                at = end;
                if !piece.is_empty() {
                    return Some(piece);
                }
            }
        })
    }

    /// Removes the first `n` bytes, which were written.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advanced over bytes that do not wait");
        self.passed += n as u64;
        let mut left = n;
        while left > 0 {
            let limit = self.shared.front().map_or(self.small.len(), |(before, _)| *before);
            let now = left.min(limit - self.written);
            self.written += now;
            left -= now;
            if left == 0 {
                break;
            }
            if let Some((_, bytes)) = self.shared.front_mut() {
                let now = left.min(bytes.len());
                bytes::Buf::advance(bytes, now);
                self.shared_bytes -= now;
                left -= now;
                if bytes.is_empty() {
                    self.shared.pop_front();
                }
            }
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.is_empty() {
            self.written = 0;
            self.small.clear();
            if self.small.capacity() > PIECE {
                self.small = Vec::new();
            }
        }
    }

    /// Frees the memory if nothing is to be written.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self { passed: self.passed, ..Self::new() };
        }
    }

    /// Returns the bytes of memory held, including chained payloads.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.small.capacity() + self.shared_bytes
    }
}

#[cfg(test)]
mod tests {
    use crate::http2::buffer::send::*;

    fn drain(buffer: &mut SendBuffer, step: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while !buffer.is_empty() {
            let first = buffer.slices().next().unwrap_or_default();
            let n = first.len().min(step);
            got.extend_from_slice(&first[..n]);
            buffer.advance(n);
        }
        got
    }

    #[test]
    fn order_is_kept_whatever_the_write_sizes() {
        for step in [1, 3, 1000] {
            let mut buffer = SendBuffer::new();
            buffer.chain(Bytes::from_static(b"ab"));
            buffer.tail().extend_from_slice(b"cd");
            buffer.chain(Bytes::from_static(b"ef"));
            buffer.chain(Bytes::from_static(b"gh"));
            buffer.tail().extend_from_slice(b"ij");
            assert_eq!(buffer.len(), 10);
            assert_eq!(buffer.slices().collect::<Vec<_>>().concat(), b"abcdefghij");
            assert_eq!(drain(&mut buffer, step), b"abcdefghij");
        }
    }

    #[test]
    fn pieces_keep_the_order() {
        let mut buffer = SendBuffer::new();
        let (mut want, mut got) = (Vec::new(), Vec::new());
        for i in 0..100u8 {
            buffer.tail().extend_from_slice(&[i; 5000]);
            want.extend_from_slice(&[i; 5000]);
            if i % 3 == 0 {
                buffer.chain(Bytes::from(vec![i ^ 0xff; 700]));
                want.extend_from_slice(&[i ^ 0xff; 700]);
            }
            let first = buffer.slices().next().unwrap_or_default();
            let n = first.len().min(77);
            got.extend_from_slice(&first[..n]);
            buffer.advance(n);
            assert_eq!(buffer.len() + got.len(), want.len());
        }
        got.append(&mut drain(&mut buffer, 4099));
        assert_eq!(got, want);
        assert_eq!(buffer.passed(), want.len() as u64);
        buffer.release();
        assert_eq!(buffer.capacity(), 0);
    }

    /// While bytes come and go and some always wait, the memory is that of what waits.
    #[test]
    fn written_pieces_are_freed() {
        let mut buffer = SendBuffer::new();
        for _ in 0..1000 {
            buffer.tail().extend_from_slice(&[7; 7000]);
            while buffer.len() > 512 * 1024 {
                let n = buffer.slices().next().unwrap_or_default().len().min(9000);
                buffer.advance(n);
            }
            let held: usize =
                buffer.shared.iter().map(|(_, piece)| piece.len() / FULL * PIECE).sum();
            assert!(buffer.small.capacity() <= PIECE);
            assert!(held <= 512 * 1024 / 3 * 4 + PIECE, "{held}");
        }
    }
}
