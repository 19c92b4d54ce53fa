//! What this side of a call sends: a head, bytes of the body, an end.

mod body;

use crate::call::stalls::Stalls;
use crate::http2::hpack::Template;
use crate::http2::{Blocked, Fields, SendHead};
use crate::memory::queued::QueuedReservation;
use crate::memory::replay::ReplayReservation;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Messages up to this are gathered in the call, longer ones are chained.
pub const INLINE_MAX: usize = 4096;
/// Memory that a recycled call keeps in each of its buffers.
pub(crate) const KEPT: usize = 8 * 1024;
/// Memory that it keeps in each of its field lists.
pub(crate) const FIELDS_KEPT: usize = 2 * 1024;

/// How far the head has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HeadState {
    /// The caller has not written it.
    #[default]
    None,
    /// The driver may send it.
    Ready,
    /// It was written to a connection.
    Sent,
}

/// How our side of the exchange ends.
#[derive(Clone, Debug, Default)]
pub enum SendEnd {
    /// More may follow.
    #[default]
    Open,
    /// END_STREAM behind the last byte.
    Finish,
    /// [`SendState::trailers`] behind the last byte.
    Trailers,
    /// Stable trailers behind the last byte.
    Template(Arc<Template>),
}

impl SendEnd {
    /// Whether more may follow.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// What the caller sends.
#[derive(Default)]
pub struct SendState {
    /// Stable fields of the head.
    template: Option<Arc<Template>>,
    /// Further fields of the head.
    extra: Fields,
    head: HeadState,
    /// What is handed over is kept as well, until a response begins: the call can move to another
    /// connection.
    replayable: bool,
    trailers: Fields,
    end: SendEnd,
    /// The end was handed to the connection.
    end_sent: bool,
    /// Bytes handed to the connection and not yet framed.
    in_flight: usize,
    /// How long they waited for windows, on all connections.
    stalls: Stalls,
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
    tail: Vec<u8>,
    /// How much of what is kept was handed over, in bytes: so many whole chunks, and so much of the
    /// next one, or of the tail when there is none.
    handed: usize,
    next: u32,
    within: u32,
    /// The reservation for it.
    lease: Option<ReplayReservation>,
    /// What is counted of a large queue.
    counted: Option<QueuedReservation>,
}

/// Says how much there is of messages, not what is in them.
impl fmt::Debug for SendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendState")
            .field("extra", &self.extra)
            .field("head", &self.head)
            .field("waiting", &self.waiting())
            .field("in_flight", &self.in_flight)
            .field("trailers", &self.trailers)
            .field("end", &self.end)
            .field("end_sent", &self.end_sent)
            .finish_non_exhaustive()
    }
}

/// Head, trailers and end, as the caller writes them.
impl SendState {
    /// Returns how far the head has come.
    #[must_use]
    pub const fn head(&self) -> HeadState {
        self.head
    }

    /// Writes the head: stable fields of a template, then `extra`.
    pub fn set_head(&mut self, template: Option<Arc<Template>>, extra: &Fields) {
        self.template = template;
        self.extra.extend_from(extra);
        self.head = HeadState::Ready;
    }

    /// Returns the head's fields beside the template's.
    #[must_use]
    pub const fn extra(&self) -> &Fields {
        &self.extra
    }

    /// Returns the head's fields beside the template's, for what an attempt adds to them.
    pub const fn extra_mut(&mut self) -> &mut Fields {
        &mut self.extra
    }

    /// Returns the head's stable fields.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        self.template.as_deref()
    }

    /// Returns how this side ends.
    #[must_use]
    pub const fn end(&self) -> &SendEnd {
        &self.end
    }

    /// Returns whether more may follow.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.end.is_open()
    }

    /// Ends this side.
    pub fn set_end(&mut self, end: SendEnd) {
        self.end = end;
    }

    /// Returns the trailers.
    #[must_use]
    pub const fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Adds trailers; they leave when the end says [`SendEnd::Trailers`].
    pub fn add_trailers(&mut self, trailers: &Fields) {
        self.trailers.extend_from(trailers);
    }

    /// Returns the trailers, to which more may be added.
    pub const fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.trailers
    }

    /// Takes the trailers that were added.
    pub fn take_trailers(&mut self) -> Fields {
        std::mem::take(&mut self.trailers)
    }
}

/// How far the connection has come.
impl SendState {
    /// Returns whether the head is all there is to send.
    #[must_use]
    pub fn ends_with_head(&self) -> bool {
        matches!(self.end, SendEnd::Finish) && self.waiting() == 0
    }

    /// Returns the head as it is sent.
    #[must_use]
    pub fn fields(&self) -> SendHead<'_> {
        SendHead { template: self.template.as_deref(), extra: &self.extra }
    }

    /// The head was written to a stream; `end` with END_STREAM.
    pub const fn head_sent(&mut self, end: bool) {
        self.head = HeadState::Sent;
        self.end_sent = end;
    }

    /// Returns whether the end was handed to the connection.
    #[must_use]
    pub const fn is_end_sent(&self) -> bool {
        self.end_sent
    }

    /// The end was handed to the connection.
    pub const fn end_was_sent(&mut self) {
        self.end_sent = true;
    }

    /// Returns the bytes handed to the connection and not yet framed.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sets the bytes handed to the connection and not yet framed.
    pub const fn set_in_flight(&mut self, bytes: usize) {
        self.in_flight = bytes;
    }

    /// Notes what holds the stream's bytes back from now on.
    pub fn note_blocked(&mut self, blocked: Blocked, now: Instant) {
        self.stalls.note(blocked, now);
    }

    /// Returns how long bytes have waited for windows, up to now.
    #[must_use]
    pub fn stalls(&self, now: Instant) -> Stalls {
        self.stalls.until(now)
    }

    /// Returns whether all that was handed over is kept for another connection.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        self.replayable
    }

    pub(super) const fn counted_mut(&mut self) -> &mut Option<QueuedReservation> {
        &mut self.counted
    }

    /// Forgets what was written: the head is these fields, and all there is.
    pub(super) fn replace_with_head(&mut self, fields: &Fields) {
        self.template = None;
        self.forget_body();
        self.extra.clear();
        self.extra.extend_from(fields);
        self.head = HeadState::Ready;
        self.end = SendEnd::Finish;
    }
}
