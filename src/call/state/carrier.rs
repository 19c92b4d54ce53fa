//! Transitions of the connection that carries the call.

use super::{CallState, RecvEnd, Stage};
use crate::call::{Credit, Permit};
use crate::error::{Error, Phase};
use crate::grpc::{Encoding, message};
use crate::http2::{Fields, Head, StreamKey};
use std::task::Waker;
use std::time::Instant;

/// The longest request, in bytes, that counts as small.
const SMALL_REQUEST: usize = 16 * 1024;
/// The Compressed-Flag of a message that is compressed.
const COMPRESSED: u8 = 1;

/// What came of a response's head.
#[derive(Debug)]
pub enum HeadArrival {
    /// The head is all of the response: the peer's side has ended.
    Ended,
    /// The body behind it must not be read: the call ends with this error, and the stream is reset
    /// with CANCEL.
    Declined(Error),
    /// The body follows. Wake the reader, if there is one.
    Begun(Option<Waker>),
}

impl CallState {
    /// Server: a request's head has come. `head` is swapped with an empty one.
    pub fn request_received(
        &mut self,
        key: Option<StreamKey>,
        stream_id: Option<u32>,
        permit: Permit,
        head: &mut Head,
        end_stream: bool,
    ) {
        self.recv.set_head(head);
        self.recv.set_head_ready();
        self.stage = Stage::Open(key);
        self.stream_id = stream_id;
        self.permit = Some(permit);
        if end_stream {
            self.recv.set_end(RecvEnd::Finished);
        }
    }

    /// Server: the handler's plan says how the request is read, and by when it is answered.
    pub const fn planned(
        &mut self,
        grpc: bool,
        whole: bool,
        message_max: usize,
        deadline: Option<Instant>,
    ) {
        self.spec.grpc = grpc;
        self.spec.whole = whole;
        self.spec.message_max = message_max;
        if deadline.is_some() {
            self.spec.deadline = deadline;
        }
    }

    /// Server: the request's head announces this encoding of its compressed messages.
    pub const fn announced_by_request(&mut self, encoding: Encoding) {
        self.recv.set_checked(encoding);
    }

    /// Server: returns whether the request, which has arrived as a whole, is decoded quickly: it is short,
    /// and not compressed.
    #[must_use]
    pub fn is_small_request(&self) -> bool {
        let body = self.recv.body();
        body.len() <= SMALL_REQUEST && body.first() != Some(&COMPRESSED)
    }

    /// Client: the connection queues the call, for the peer's stream limit or behind a probe.
    pub fn parked(&mut self, phase: Phase, now: Instant) {
        self.timeline.enter(phase, now);
        if self.stage == Stage::Pending {
            self.stage = Stage::Parked;
        }
    }

    /// Client: the connection takes the call out of its queue; returns `false` when it is over.
    pub fn unparked(&mut self) -> bool {
        if self.stage == Stage::Parked {
            self.stage = Stage::Pending;
        }
        !self.is_over()
    }

    /// Client: the head was written to a stream; `end` with END_STREAM.
    #[inline]
    pub fn opened(&mut self, key: Option<StreamKey>, stream_id: Option<u32>, end: bool) {
        self.attempts += 1;
        self.stage = Stage::Open(key);
        self.stream_id = stream_id;
        self.send.head_sent(end);
    }

    /// Client: a response's head has come. `head` is swapped with an empty one. An engine calls this
    /// before it looks at any byte of the body: a page of HTML has no message length, and may never
    /// end.
    #[inline]
    pub fn response_head(&mut self, head: &mut Head, end_stream: bool) -> HeadArrival {
        self.recv.set_head(head);
        if end_stream {
            self.recv.set_head_ready();
            self.recv.set_end(RecvEnd::Finished);
            return HeadArrival::Ended;
        }
        if let Some(error) = self.declines() {
            return HeadArrival::Declined(error);
        }
        self.recv.set_head_ready();
        if self.send.is_replayable() {
            self.send.commit();
        }
        let quiet = self.spec.whole && !self.spec.wake_at_head;
        HeadArrival::Begun(if quiet { None } else { self.reader.take() })
    }

    /// Bytes of the body have come.
    ///
    /// # Errors
    /// The message, or plain body, is over its limit; checked for a call that wants the whole.
    #[inline]
    pub fn body_received(&mut self, data: &[u8]) -> Result<(), Error> {
        if !self.spec.whole {
            self.recv.push_body(data);
            return Ok(());
        }
        if self.recv.body().is_empty() {
            // Memory at once for the message that the prefix announces, as far as it is believed.
            let max = self.spec.message_max.saturating_add(message::PREFIX);
            let announced = self.announced(data).min(max);
            self.recv.reserve_body(message::assembly_capacity(data.len(), announced));
        }
        self.recv.push_body(data);
        self.over_message_max().map_or(Ok(()), Err)
    }

    /// Returns the bytes that are still to come of the message that a whole body consists of.
    #[must_use]
    #[inline]
    pub fn body_expected(&self) -> usize {
        let body = self.recv.body();
        self.announced(body).saturating_sub(body.len())
    }

    /// The peer's side has ended: `trailers` are swapped with empty ones, or there are none.
    #[inline]
    pub fn peer_ended(&mut self, trailers: Option<&mut Fields>) {
        match trailers {
            Some(trailers) => {
                self.recv.set_trailers(trailers);
                self.recv.set_end(RecvEnd::Trailers);
            }
            None => self.recv.set_end(RecvEnd::Finished),
        }
    }

    /// Takes what readers did with bytes since the last report.
    pub const fn take_credit(&mut self) -> Credit {
        self.recv.take_credit()
    }

    /// Takes who waits for something to arrive.
    pub const fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Server: answers with a head alone, in place of whatever the handler wrote.
    pub fn answer_with_head(&mut self, fields: &Fields) {
        self.send.replace_with_head(fields);
    }

    /// Server: nothing more of the request is read. A handler that still reads finds the error behind what has
    /// arrived, unless that is all.
    pub fn cut_request(&mut self, error: &Error) {
        if self.recv.end().is_none() {
            self.recv.set_end(RecvEnd::Failed(error.clone()));
        }
        self.failure.get_or_insert_with(|| error.clone());
    }

    /// Frees buffers of more than `kept` bytes. Returns whether field lists hold much memory, which a handler
    /// may still read; `None` if the same holds of bytes of the body, which stay.
    pub fn shrink(&mut self, kept: usize) -> Option<bool> {
        self.send.forget_body();
        self.send.shrink(kept);
        if !self.recv.body().is_empty() {
            return None;
        }
        self.recv.shrink(kept);
        Some(self.recv.has_large_fields() || self.send.has_large_fields())
    }
}
