//! The body of a request or response: queued by the caller, handed over piece by piece, and kept for a
//! replay as far as the channel's budget has memory for it.

use super::{FIELDS_KEPT, HeadState, INLINE_MAX, KEPT, SendEnd, SendState};
use crate::call::stalls::Stalls;
use crate::memory::replay::{ReplayBudget, ReplayReservation, UNCOUNTED};
use bytes::{Buf, Bytes};
use std::sync::Arc;

impl SendState {
    /// Bytes that wait in the call or in the connection.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.in_flight + self.waiting()
    }

    /// Bytes that wait in the call.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.chunk_bytes + self.tail.len() - self.handed
    }

    /// Where small messages are encoded.
    pub const fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Chains bytes behind everything written so far.
    pub fn chain(&mut self, bytes: Bytes) {
        self.seal();
        self.chunk_bytes += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Appends bytes: copied if they are few, else chained.
    #[cfg(feature = "tower")]
    pub fn append(&mut self, bytes: Bytes) {
        if bytes.len() > INLINE_MAX {
            return self.chain(bytes);
        }
        self.tail.extend_from_slice(&bytes);
        self.settle();
    }

    /// Closes the tail when it has become long, so that it is chained and not copied.
    pub fn settle(&mut self) {
        if self.tail.len() > INLINE_MAX {
            self.seal();
        }
    }

    /// Closes the tail: what is in it is chained.
    pub fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            self.chunk_bytes += tail.len();
            self.chunks.push_back(tail);
        }
    }

    /// Keeps the whole request, which stands here, unless it is large and there is no room for it.
    pub fn keep_whole(&mut self, keep: &Arc<ReplayBudget>) {
        let bytes = self.waiting();
        if bytes > UNCOUNTED {
            self.lease = ReplayReservation::whole(keep, bytes);
        }
        self.replayable = bytes <= UNCOUNTED || self.lease.is_some();
    }

    /// Keeps what will be handed over, as far as there is room for it.
    pub fn keep_stream(&mut self, keep: &Arc<ReplayBudget>) {
        self.lease = Some(ReplayReservation::new(keep));
        self.replayable = true;
    }

    /// Whether another connection could carry the call: nothing of it was written, or all that was
    /// is kept.
    #[must_use]
    pub fn is_movable(&self) -> bool {
        self.replayable || self.head != HeadState::Sent
    }

    /// Hands over the next chained bytes.
    #[inline]
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        // Most calls have none.
        if self.chunks.is_empty() { None } else { self.next_chunk() }
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        if self.replayable {
            return self.copy_chunk();
        }
        let chunk = self.chunks.pop_front()?;
        self.chunk_bytes -= chunk.len();
        Some(chunk)
    }

    fn copy_chunk(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.get(self.next as usize)?;
        let piece = chunk.slice(self.within as usize..);
        if !self.admits(piece.len()) {
            self.commit();
            return self.take_chunk();
        }
        self.handed += piece.len();
        self.next += 1;
        self.within = 0;
        Some(piece)
    }

    /// What is to be handed over of the tail, once no chunk is left.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        let behind_chunks = self.next as usize == self.chunks.len();
        let from = if behind_chunks { self.within as usize } else { 0 };
        self.tail.get(from..).unwrap_or_default()
    }

    /// [`SendState::rest`] was handed over.
    #[inline]
    pub fn rest_handed(&mut self) {
        if !self.replayable {
            return self.tail.clear();
        }
        let bytes = self.rest().len();
        if !self.admits(bytes) {
            return self.forget_body();
        }
        self.handed += bytes;
        self.within = u32::try_from(self.tail.len()).unwrap_or(u32::MAX);
        if self.tail.len() > INLINE_MAX {
            self.seal();
            self.next += 1;
            self.within = 0;
        }
    }

    fn admits(&mut self, bytes: usize) -> bool {
        let all = self.handed + bytes;
        self.lease.as_mut().is_none_or(|lease| lease.covers(all))
    }

    /// What was handed over is kept no longer: the response has begun, or there is no room for it.
    pub fn commit(&mut self) {
        if self.waiting() == 0 {
            return self.forget_body();
        }
        self.replayable = false;
        for _ in 0..std::mem::take(&mut self.next) {
            self.take_chunk();
        }
        let within = std::mem::take(&mut self.within) as usize;
        if let Some(front) = self.chunks.front_mut() {
            front.advance(within);
            self.chunk_bytes -= within;
        } else {
            self.tail.drain(..within);
        }
        self.handed = 0;
        self.lease = None;
    }

    /// Forgets all that was written.
    pub fn forget_body(&mut self) {
        if !self.chunks.is_empty() {
            self.chunks.clear();
            self.chunk_bytes = 0;
        }
        self.tail.clear();
        self.replayable = false;
        self.handed = 0;
        self.next = 0;
        self.within = 0;
        if self.lease.is_some() {
            self.lease = None;
        }
    }

    /// Makes everything kept ready to be sent anew.
    pub fn rewind(&mut self) {
        if self.head == HeadState::Sent {
            self.head = HeadState::Ready;
        }
        self.end_sent = false;
        self.in_flight = 0;
        self.handed = 0;
        self.next = 0;
        self.within = 0;
    }

    pub(crate) fn has_large_fields(&self) -> bool {
        self.extra.capacity() > FIELDS_KEPT || self.trailers.capacity() > FIELDS_KEPT
    }

    /// Frees a tail of more than `kept` bytes.
    pub(crate) fn shrink(&mut self, kept: usize) {
        if self.tail.capacity() > kept {
            self.tail = Vec::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.template = None;
        self.extra.clear();
        self.head = HeadState::None;
        self.forget_body();
        self.trailers.clear();
        self.end = SendEnd::Open;
        self.end_sent = false;
        self.in_flight = 0;
        self.counted = None;
        self.stalls = Stalls::default();
        self.shrink(KEPT);
        self.extra.shrink(FIELDS_KEPT);
        self.trailers.shrink(FIELDS_KEPT);
    }
}
