//! How long a peer may take to complete what it has begun: a field block, and a frame while no stream is
//! open.

use crate::http2::buffer::{RecvBuffer, SendBuffer};
use crate::http2::connection::lifecycle::Life;
use crate::http2::connection::recv::Fatal;
use crate::http2::connection::{Connection, PREFACE};
use crate::http2::frame::{FrameHeader, FrameType, HEADER_LEN};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::{ConnectionError, Violation};
use std::time::Instant;

/// A frame of which a part has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    /// When its first byte arrived.
    begun: Instant,
    /// The same, or since when no stream is open.
    since: Instant,
    /// The streams that had ended by then.
    ended: u64,
    /// The stream whose field block it is a part of, as far as it has arrived.
    head: Option<StreamId>,
}

impl<T> Connection<T> {
    /// Notes whether the caller reads: while it does not, the peer's bytes may wait in the transport, so the
    /// times for what it has begun stand still, and begin anew.
    pub fn note_reading(&mut self, reading: bool, now: Instant) {
        if self.reading == reading {
            return;
        }
        self.reading = reading;
        self.block.restart(now);
        if let Some(partial) = &mut self.partial {
            (partial.begun, partial.since) = (now, now);
        }
    }
}

impl<T: Default> Connection<T> {
    /// Returns when to call [`Connection::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let times = [self.block_deadline(), self.frame_deadline()];
        times.into_iter().flatten().min().filter(|_| self.reading)
    }

    /// Notes whether a part of a frame has arrived, when the parser needs more bytes.
    pub(super) fn note_partial(&mut self, input: &RecvBuffer, now: Instant) {
        let preface = (1..PREFACE.len()).contains(&self.preface_left);
        let payload = self.incoming.is_some() || self.skip > 0;
        let begun = !input.is_empty() || payload || preface;
        if !begun {
            self.partial = None;
            return;
        }
        let ended = self.ended();
        let new = Partial { begun: now, since: now, ended, head: None };
        let partial = self.partial.get_or_insert(new);
        if !payload && self.preface_left == 0 {
            partial.head = head_of(input.bytes());
        }
    }

    /// Forgets the part of a frame that is whole now, and returns when it began.
    pub(super) fn frame_begun(&mut self, now: Instant) -> Instant {
        self.partial.take().map_or(now, |partial| partial.begun)
    }

    fn block_deadline(&self) -> Option<Instant> {
        let time = self.limits.field_block_time;
        let partial = self.partial.filter(|partial| partial.head.is_some());
        let partial = partial.and_then(|partial| partial.begun.checked_add(time));
        // A block that is open began before the frame that continues it.
        self.block.deadline(time).or(partial)
    }

    fn frame_deadline(&self) -> Option<Instant> {
        self.partial?.since.checked_add(self.limits.frame_time)
    }

    fn ended(&self) -> u64 {
        self.stats.streams_opened.saturating_sub(self.streams.len() as u64)
    }

    /// Returns whether no stream was open since a part of a frame arrived. The time begins anew after
    /// one was: a slow peer with streams is honest.
    fn idle_since_partial(&mut self, now: Instant) -> bool {
        let (busy, ended) = (!self.streams.is_empty(), self.ended());
        let Some(partial) = &mut self.partial else { return false };
        let idle = !busy && partial.ended == ended;
        if !idle {
            (partial.since, partial.ended) = (now, ended);
        }
        idle
    }

    /// Applies limits that are times. [`Connection::next_event`] does so as well, once it needs more bytes.
    ///
    /// # Errors
    /// Same as [`Connection::next_event`].
    pub fn handle_timeout(
        &mut self,
        out: &mut SendBuffer,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.life() == Life::Closed || !self.reading {
            return Ok(());
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if due(self.block_deadline()) {
            let head = self.partial.and_then(|partial| partial.head);
            let id = self.block.open_on().or(head).unwrap_or_default();
            return Err(self.fail(Fatal(Violation::FieldBlockStalled, id), out));
        }
        if due(self.frame_deadline()) && self.idle_since_partial(now) {
            let stalled = Fatal(Violation::FrameStalled, StreamId::CONNECTION);
            return Err(self.fail(stalled, out));
        }
        Ok(())
    }
}

/// Returns the stream of the field block of which `part` is the beginning of a frame; that of the connection
/// if the identifier is still to come.
fn head_of(part: &[u8]) -> Option<StreamId> {
    let [_, _, _, kind, ..] = part else { return None };
    let block = matches!(FrameType::from_byte(*kind), FrameType::Headers | FrameType::Continuation);
    let header = part.first_chunk::<HEADER_LEN>().map(FrameHeader::parse);
    block.then(|| header.map_or(StreamId::CONNECTION, |header| header.stream_id))
}
