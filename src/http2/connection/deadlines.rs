//! How long a peer may take to complete what it has begun: a field block, and a frame while no stream is
//! open.

use crate::http2::buffer::{RecvBuffer, SendBuffer};
use crate::http2::connection::lifecycle::Life;
use crate::http2::connection::recv::Fatal;
use crate::http2::connection::{Connection, PREFACE};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::{ConnectionError, Violation};
use std::time::Instant;

/// A frame of which a part has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    /// When its first byte arrived, or since when no stream is open.
    since: Instant,
    /// The streams that had ended by then.
    ended: u64,
}

impl<T: Default> Connection<T> {
    /// Returns when to call [`Connection::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let block = self.block.deadline(self.limits.field_block_time);
        block.into_iter().chain(self.frame_deadline()).min()
    }

    /// Notes whether a part of a frame has arrived, when the parser needs more bytes.
    pub(super) fn note_partial(&mut self, input: &RecvBuffer, now: Instant) {
        let preface = (1..PREFACE.len()).contains(&self.preface_left);
        let begun = !input.is_empty() || self.incoming.is_some() || self.skip > 0 || preface;
        if !begun {
            self.partial = None;
        } else if self.partial.is_none() {
            self.partial = Some(Partial { since: now, ended: self.ended() });
        }
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
            *partial = Partial { since: now, ended };
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
        if self.life() == Life::Closed {
            return Ok(());
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if due(self.block.deadline(self.limits.field_block_time)) {
            let id = self.block.open_on().unwrap_or_default();
            return Err(self.fail(Fatal(Violation::FieldBlockStalled, id), out));
        }
        if due(self.frame_deadline()) && self.idle_since_partial(now) {
            let stalled = Fatal(Violation::FrameStalled, StreamId::CONNECTION);
            return Err(self.fail(stalled, out));
        }
        Ok(())
    }
}
