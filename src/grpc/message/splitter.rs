//! Cuts the bytes of a stream into messages.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::grpc::message::{Head, Message, MessageError, PREFIX};

/// Bytes reserved ahead because a prefix announces them: at most so many at once.
pub(super) const RESERVE: usize = 64 << 10;
/// Bytes reserved ahead per byte that arrived.
const AHEAD: usize = 63;

/// An assembly buffer that grew beyond this is released when it empties.
pub(super) const KEEP: usize = 4 << 10;

/// Returns the capacity for a message of `whole` bytes, prefix included, of which `held` bytes
/// have arrived: 63 times as much ahead up to 64 KiB, then as much again. Few bytes must not cost
/// much memory, whatever the prefix announces.
#[must_use]
pub fn assembly_capacity(held: usize, whole: usize) -> usize {
    let ahead = held.max(held.saturating_mul(AHEAD).min(RESERVE));
    held + ahead.min(whole.saturating_sub(held))
}

/// Splits messages out of the bytes of one direction of a stream, however these were cut.
///
/// Bytes are copied once, into the assembly buffer; payloads are slices of it. A prefix over the
/// limit or with a bad flag is refused when its fifth byte arrives, and nothing after it is kept.
pub struct Splitter {
    buf: BytesMut,
    head: Option<Head>,
    failed: Option<MessageError>,
    max: usize,
    // The largest capacity of `buf` since it was last replaced.
    peak: usize,
}

impl Splitter {
    /// A splitter for payloads of at most `max` bytes. Allocates nothing.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { buf: BytesMut::new(), head: None, failed: None, max, peak: 0 }
    }

    /// Takes bytes that arrived. An error shows at [`Splitter::next`]; after one, bytes are
    /// dropped.
    pub fn push(&mut self, data: &[u8]) {
        if self.failed.is_some() || data.is_empty() {
            return;
        }
        if self.head.is_none() {
            let mut prefix = [0; PREFIX];
            let held = self.buf.len().min(PREFIX);
            let taken = data.len().min(PREFIX - held);
            prefix[..held].copy_from_slice(&self.buf[..held]);
            prefix[held..held + taken].copy_from_slice(&data[..taken]);
            if held + taken == PREFIX && !self.learn(prefix) {
                return;
            }
        }
        let whole = self.head.map_or(0, |head| head.len.saturating_add(PREFIX));
        // Never beyond the message's end.
        let capacity = assembly_capacity(self.buf.len() + data.len(), whole);
        self.buf.reserve(capacity.saturating_sub(self.buf.len()).max(data.len()));
        self.buf.extend_from_slice(data);
        self.peak = self.peak.max(self.buf.capacity());
    }

    /// Takes bytes that arrived together with the memory they lie in; `bytes` is left empty,
    /// with memory to be filled next. Without bytes held here, nothing is copied.
    pub fn absorb(&mut self, bytes: &mut BytesMut) {
        if self.buf.is_empty() && self.failed.is_none() {
            std::mem::swap(&mut self.buf, bytes);
            self.peak = self.peak.max(self.buf.capacity());
        } else {
            self.push(bytes);
        }
        bytes.clear();
    }

    /// The next whole message, `None` while it has not all arrived.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooLarge`] or [`MessageError::BadFlag`], again and again: there is no way to
    /// find the next message after one of these.
    #[expect(clippy::should_implement_trait, reason = "a splitter goes on after None")]
    pub fn next(&mut self) -> Result<Option<Message>, MessageError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.head.is_none() {
            let Some(prefix) = self.buf.first_chunk::<PREFIX>() else { return Ok(None) };
            if !self.learn(*prefix) {
                return self.failed.map_or(Ok(None), Err);
            }
        }
        let Some(Head { compressed, len }) = self.head else { return Ok(None) };
        if self.buf.len() - PREFIX < len {
            return Ok(None);
        }
        self.head = None;
        self.buf.advance(PREFIX);
        let payload = if len == 0 { Bytes::new() } else { self.buf.split_to(len).freeze() };
        self.give_back();
        Ok(Some(Message { compressed, payload }))
    }

    /// Bytes of the first message that are still to come: 0 when it waits to be taken, `None` when
    /// none has begun or nothing more is wanted. Before a prefix is whole, the bytes it lacks.
    #[must_use]
    pub fn awaiting(&self) -> Option<usize> {
        if self.failed.is_some() || self.buf.is_empty() {
            return None;
        }
        let prefix = self.buf.first_chunk::<PREFIX>();
        let Some(prefix) = prefix else { return Some(PREFIX - self.buf.len()) };
        let head = self.head.or_else(|| Head::parse(*prefix, self.max).ok())?;
        Some(head.len.saturating_sub(self.buf.len() - PREFIX))
    }

    /// Whether no byte waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Bytes that arrived and were not taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Bytes of memory held by the assembly buffer.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// To be asked when the stream has ended and [`Splitter::next`] gives nothing more.
    ///
    /// # Errors
    ///
    /// [`MessageError::Truncated`] when the end came inside a message, or the earlier error.
    pub fn finish(&self) -> Result<(), MessageError> {
        match (self.failed, self.awaiting()) {
            (Some(error), _) => Err(error),
            (None, Some(missing)) => Err(MessageError::Truncated { missing }),
            (None, None) => Ok(()),
        }
    }

    /// Remembers the head of the first message, or its error; false for an error.
    fn learn(&mut self, prefix: [u8; PREFIX]) -> bool {
        match Head::parse(prefix, self.max) {
            Ok(head) => self.head = Some(head),
            Err(error) => {
                self.failed = Some(error);
                self.buf = BytesMut::new();
                self.peak = 0;
            }
        }
        self.failed.is_none()
    }

    /// Leaves a large buffer to the payloads cut from it. What is copied shrinks by eight each time.
    fn give_back(&mut self) {
        if self.peak > KEEP && self.buf.len() <= self.peak / 8 {
            self.buf = BytesMut::from(&self.buf[..]);
            self.peak = self.buf.capacity();
        }
    }
}

impl fmt::Debug for Splitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splitter")
            .field("len", &self.buf.len())
            .field("awaiting", &self.awaiting())
            .field("max", &self.max)
            .field("failed", &self.failed)
            .finish()
    }
}
