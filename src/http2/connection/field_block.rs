//! Joins the fragments of a field block (RFC 9113 §4.3) within limits.

use crate::http2::stream_id::StreamId;
use std::time::{Duration, Instant};

/// The open field block, if any: CONTINUATION is expected on one stream.
#[derive(Debug, Default)]
pub(crate) struct FieldBlock {
    open: Option<Open>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    id: StreamId,
    end_stream: bool,
    continuations: u32,
    since: Instant,
}

impl FieldBlock {
    /// Returns the stream of the open block.
    pub(crate) fn open_on(&self) -> Option<StreamId> {
        self.open.as_ref().map(|open| open.id)
    }

    pub(crate) fn deadline(&self, time: Duration) -> Option<Instant> {
        self.open.as_ref()?.since.checked_add(time)
    }

    /// Begins the time anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.since = now;
        }
    }

    pub(crate) fn begin(&mut self, id: StreamId, end_stream: bool, first: &[u8], since: Instant) {
        self.open = Some(Open { id, end_stream, continuations: 0, since });
        self.bytes.clear();
        self.bytes.extend_from_slice(first);
    }

    /// Adds a fragment and returns the bytes and the CONTINUATION frames so far.
    pub(crate) fn append(&mut self, fragment: &[u8]) -> (usize, u32) {
        self.bytes.extend_from_slice(fragment);
        let count = self.open.as_mut().map_or(0, |open| {
            open.continuations += 1;
            open.continuations
        });
        (self.bytes.len(), count)
    }

    /// Ends the block and returns its stream, END_STREAM of its HEADERS, and its bytes.
    pub(crate) fn finish(&mut self) -> Option<(StreamId, bool, Vec<u8>)> {
        let open = self.open.take()?;
        Some((open.id, open.end_stream, std::mem::take(&mut self.bytes)))
    }

    pub(crate) fn shrink(&mut self) {
        if self.open.is_none() {
            self.bytes = Vec::new();
        }
    }
}
