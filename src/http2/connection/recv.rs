//! Receiving: frame → checks → effect → event.
//!
//! hot: no allocation, one table lookup per frame.

use crate::http2::buffer::{RecvBuffer, SendBuffer};
use crate::http2::connection::abuse::weight;
use crate::http2::connection::event::{Cause, Event};
use crate::http2::connection::{Connection, PREFACE, Role};
use crate::http2::error::ErrorCode;
use crate::http2::frame::{Flags, Frame, FrameHeader, FrameType, HEADER_LEN};
use crate::http2::stream::{Ended, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::{ConnectionError, Scope, Violation};
use std::ops::Range;
use std::time::Instant;

/// The most bytes of a HEADERS frame beside its fragment: pad length, padding and priority.
const BLOCK_PADDING: usize = 1 + 255 + 5;

/// One step of the parser, without borrows.
pub(super) enum Step {
    More,
    Wait(usize),
    Head { key: StreamKey, end_stream: bool },
    Informational { key: StreamKey },
    Data { key: StreamKey, range: Range<usize>, end_stream: bool },
    Trailers { key: StreamKey },
    Reset { key: StreamKey, cause: Cause },
    Settings { first: bool },
    Pong([u8; 8]),
    GoAway { last_stream_id: StreamId, code: ErrorCode },
}

/// A violation that ends the connection, and its stream.
pub(super) struct Fatal(pub(super) Violation, pub(super) StreamId);

pub(super) type StepResult = Result<Step, Fatal>;

impl<T: Default> Connection<T> {
    /// Returns the next event, or `None` if more bytes are needed. Call it again until `None`.
    ///
    /// Acknowledgements and resets that the protocol requires are appended to `out`. It returns `None` as well
    /// when [`Connection::control_full`]: write as much of `out` as the transport takes, and call it again.
    ///
    /// # Errors
    /// If the peer broke a rule that ends the connection, or does not read its answers: GOAWAY was appended to
    /// `out`. Every later call returns the same error.
    pub fn next_event<'a>(
        &'a mut self,
        input: &'a mut RecvBuffer,
        out: &mut SendBuffer,
        now: Instant,
    ) -> Result<Option<Event<'a, T>>, ConnectionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let step = loop {
            match self.answers.check(out, self.limits.control_frames_queued) {
                Ok(false) => {}
                Ok(true) => return Ok(None),
                Err(()) => {
                    let flood = Fatal(Violation::AnswersUnread, StreamId::CONNECTION);
                    return Err(self.fail(flood, out));
                }
            }
            match self.step(input, out, now) {
                Ok(Step::More) => {}
                Ok(Step::Wait(wanted)) => {
                    self.wanted = wanted;
                    self.note_partial(input, now);
                    return self.handle_timeout(out, now).map(|()| None);
                }
                Ok(step) => break step,
                Err(broken) => return Err(self.fail(broken, out)),
            }
        };
        Ok(self.event(step, input))
    }

    /// Turns a step into an event, which borrows.
    fn event<'a>(&'a mut self, step: Step, input: &'a RecvBuffer) -> Option<Event<'a, T>> {
        let Self { streams, head, goaway_debug, .. } = self;
        Some(match step {
            Step::More | Step::Wait(_) => return None,
            Step::Head { key, end_stream } => {
                let stream = streams.get_mut(key)?;
                Event::Head { key, id: stream.id, user: &mut stream.user, head, end_stream }
            }
            Step::Informational { key } => {
                Event::Informational { key, user: &mut streams.get_mut(key)?.user, head }
            }
            Step::Data { key, range, end_stream } => {
                let user = &mut streams.get_mut(key)?.user;
                Event::Data { key, user, data: input.at(range), end_stream }
            }
            Step::Trailers { key } => {
                Event::Trailers { key, user: &mut streams.get_mut(key)?.user, head }
            }
            Step::Reset { key, cause } => {
                Event::Reset { key, user: &mut streams.get_mut(key)?.user, cause }
            }
            Step::Settings { first } => Event::Settings { first },
            Step::Pong(opaque) => Event::Pong(opaque),
            Step::GoAway { last_stream_id, code } => {
                Event::GoAway { last_stream_id, code, debug: goaway_debug }
            }
        })
    }

    // RFC 9113 §5.4.1: send GOAWAY with the last stream identifier, then close
    pub(super) fn fail(
        &mut self,
        Fatal(violation, stream_id): Fatal,
        out: &mut SendBuffer,
    ) -> ConnectionError {
        let error = ConnectionError { violation, stream_id };
        // RFC 9113 §6.8: this side has acted on the request that it refused, so that nobody repeats it elsewhere
        let request = stream_id.is_client_initiated() && self.role == Role::Server;
        if violation.is_refused_head() && request && self.life.accepts(stream_id) {
            self.last_peer_id = self.last_peer_id.max(stream_id);
        }
        self.error = Some(error);
        self.goaway_of_error(out);
        self.life.close();
        error
    }

    fn step(&mut self, input: &mut RecvBuffer, out: &mut SendBuffer, now: Instant) -> StepResult {
        if self.incoming.is_some() {
            return self.deliver(input, out, now);
        }
        if self.skip > 0 {
            let n = input.len().min(self.skip as usize);
            let _ = input.consume(n);
            self.skip -= n as u32;
            if self.skip > 0 {
                return Ok(Step::Wait(0));
            }
            self.partial = None;
            return Ok(Step::More);
        }
        if self.preface_left > 0 {
            return self.recv_preface(input);
        }
        let bytes = input.bytes();
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(Step::Wait(HEADER_LEN));
        };
        // RFC 9113 §3.4: an answer of HTTP/1 is no preface; named, as a wrong port is common
        if !self.life.is_handshaken() && fixed.starts_with(b"HTTP/1.") {
            return Err(Fatal(Violation::PrefaceHttp1, StreamId::CONNECTION));
        }
        let header = FrameHeader::parse(fixed);
        self.check_header(header)?;
        let available = bytes.len();
        match header.frame_type {
            FrameType::Data => self.recv_data_header(header, input, out, now),
            FrameType::Unknown(_) => {
                // RFC 9113 §5.5: unknown frames are ignored and discarded
                let _ = input.consume(HEADER_LEN);
                self.skip = header.length;
                if header.length == 0 {
                    self.partial = None;
                }
                self.wasted(weight::FRAME + weight::content(header.length), header.stream_id, now)?;
                Ok(Step::More)
            }
            _ => {
                let whole = HEADER_LEN + header.length as usize;
                if available < whole {
                    return Ok(Step::Wait(whole));
                }
                let range = input.consume(whole);
                let begun = self.frame_begun(now);
                let payload = input.at(range.start + HEADER_LEN..range.end);
                self.stats.frames_received += 1;
                match Frame::parse(header, payload) {
                    Ok(frame) => self.recv_frame(frame, begun, out, now),
                    Err(violation) => self.violated(violation, header.stream_id, out, now),
                }
            }
        }
    }

    /// Checks the frame header before any payload is buffered.
    fn check_header(&self, header: FrameHeader) -> Result<(), Fatal> {
        let id = header.stream_id;
        // RFC 9113 §3.4: SETTINGS is the first frame of each side
        let settings = header.frame_type == FrameType::Settings && !header.flags.has(Flags::ACK);
        if !self.life.is_handshaken() && !settings {
            return Err(Fatal(Violation::FirstFrameNotSettings, id));
        }
        // RFC 9113 §4.2: a frame over SETTINGS_MAX_FRAME_SIZE is a FRAME_SIZE_ERROR
        if header.length > self.limits.frame_bytes {
            return Err(Fatal(Violation::FrameTooLarge, id));
        }
        // A field block over the bound ends the connection before it is buffered.
        let block_max = self.limits.header_list_fatal().saturating_add(BLOCK_PADDING);
        if header.frame_type == FrameType::Headers && header.length as usize > block_max {
            return Err(Fatal(Violation::FieldBlockTooLarge, id));
        }
        match self.block.open_on() {
            // RFC 9113 §6.10: only CONTINUATION of the same stream may follow
            Some(open) if header.frame_type != FrameType::Continuation || id != open => {
                Err(Fatal(Violation::FieldBlockInterrupted, id))
            }
            None if header.frame_type == FrameType::Continuation && !id.is_connection() => {
                Err(Fatal(Violation::ContinuationUnexpected, id))
            }
            _ => Ok(()),
        }
    }

    // RFC 9113 §3.4: a server closes on anything but the 24 bytes
    fn recv_preface(&mut self, input: &mut RecvBuffer) -> StepResult {
        let n = input.len().min(self.preface_left);
        let range = input.consume(n);
        let at = PREFACE.len() - self.preface_left;
        let bytes = input.at(range);
        if PREFACE.get(at..at + n) != Some(bytes) {
            let rule = match bytes {
                // The type and the major version of a TLS record.
                [0x16, 0x03, ..] | [0x16] if at == 0 => Violation::PrefaceTls,
                _ if bytes.iter().all(|o| matches!(o, b'\r' | b'\n' | b' '..=b'~')) => {
                    Violation::PrefaceHttp1
                }
                _ => Violation::Preface,
            };
            return Err(Fatal(rule, StreamId::CONNECTION));
        }
        self.preface_left -= n;
        Ok(if self.preface_left > 0 { Step::Wait(0) } else { Step::More })
    }

    fn recv_frame(
        &mut self,
        frame: Frame<'_>,
        begun: Instant,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        match frame {
            Frame::Headers { stream_id, fragment, end_stream, end_headers } => {
                if end_headers {
                    return self.recv_block(stream_id, end_stream, fragment, out, now);
                }
                if fragment.is_empty() {
                    self.empty_frame(now, stream_id)?;
                }
                self.block.begin(stream_id, end_stream, fragment, begun);
                Ok(Step::More)
            }
            Frame::Continuation { stream_id, fragment, end_headers } => {
                self.recv_continuation(stream_id, fragment, end_headers, out, now)
            }
            // RFC 9113 §5.3.2: PRIORITY has no effect here
            Frame::Priority { .. } | Frame::Data { .. } | Frame::Unknown { .. } => {
                self.wasted(weight::FRAME, StreamId::CONNECTION, now)?;
                Ok(Step::More)
            }
            // RFC 9113 §8.4: no side of ours lets the peer push
            Frame::PushPromise { stream_id } => Err(Fatal(Violation::PushPromise, stream_id)),
            Frame::RstStream { stream_id, code } => self.recv_reset(stream_id, code, now),
            Frame::Settings { ack, entries } => self.recv_settings(ack, entries, out, now),
            Frame::Ping { ack, opaque } => self.recv_ping(ack, opaque, out, now),
            Frame::GoAway { last_stream_id, code, debug } => {
                self.recv_goaway(last_stream_id, code, debug, now)
            }
            Frame::WindowUpdate { stream_id, increment } => {
                self.recv_window_update(stream_id, increment, out, now)
            }
        }
    }

    fn recv_continuation(
        &mut self,
        id: StreamId,
        fragment: &[u8],
        end_headers: bool,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        if fragment.is_empty() {
            self.empty_frame(now, id)?;
        }
        self.wasted(weight::FRAME, id, now)?;
        let (bytes, frames) = self.block.append(fragment);
        if bytes > self.limits.header_list_fatal() {
            return Err(Fatal(Violation::FieldBlockTooLarge, id));
        }
        if frames > self.limits.continuation_frames {
            return Err(Fatal(Violation::ContinuationFlood, id));
        }
        if !end_headers {
            return Ok(Step::More);
        }
        let Some((id, end_stream, block)) = self.block.finish() else { return Ok(Step::More) };
        self.recv_block(id, end_stream, &block, out, now)
    }

    /// Handles a broken rule: resets the stream, or ends the connection.
    pub(super) fn violated(
        &mut self,
        rule: Violation,
        id: StreamId,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        // RFC 9113 §6.4: RST_STREAM is never sent for an idle stream, so the connection ends
        let idle = matches!(self.late(id), Err(Some(Violation::FrameOnIdle)))
            && self.streams.key(id).is_none();
        if rule.scope() == Scope::Connection || id.is_connection() || idle {
            return Err(Fatal(rule, id));
        }
        let key = self.streams.key(id);
        self.wasted(weight::FRAME + weight::ANSWERED, id, now)?;
        self.wasted_stream(key, id, now)?;
        if key.is_none_or(|key| !self.is_closed(key)) || rule.code() == ErrorCode::STREAM_CLOSED {
            self.write_reset(id, rule.code(), out);
            self.answers.add(out);
        }
        match key {
            Some(key) if !self.is_closed(key) => {
                self.close_stream(key, Ended::ResetByUs);
                Ok(Step::Reset { key, cause: Cause::Violation(rule) })
            }
            Some(_) => Ok(Step::More),
            None => {
                if self.recent.find(id).is_none() {
                    self.recent.push(id, Ended::ResetByUs);
                }
                Ok(Step::More)
            }
        }
    }

    pub(super) fn empty_frame(&mut self, now: Instant, id: StreamId) -> Result<(), Fatal> {
        self.abuse.empty_frame(&self.limits, now).map_err(|rule| Fatal(rule, id))
    }

    /// Charges work for a frame that led to nothing.
    pub(super) fn wasted(&mut self, work: u64, id: StreamId, now: Instant) -> Result<(), Fatal> {
        self.abuse.wasted(work, now).map_err(|rule| Fatal(rule, id))
    }

    /// Charges what a stream of the peer cost that ends before its answer.
    pub(super) fn wasted_stream(
        &mut self,
        key: Option<StreamKey>,
        id: StreamId,
        now: Instant,
    ) -> Result<(), Fatal> {
        let Some(stream) = key.and_then(|key| self.streams.get_mut(key)) else { return Ok(()) };
        let premature = now < stream.premature_until;
        let work = std::mem::take(&mut stream.work);
        self.abuse.wasted_stream(work, premature, now).map_err(|rule| Fatal(rule, id))
    }
}

/// Returns the violation of a late frame on an ended stream; `None` if it is to be ignored.
// RFC 9113 §5.1: after our RST_STREAM frames in flight are discarded, after the peer's they are
// a stream error, after END_STREAM a connection error
pub(super) const fn after(ended: Ended) -> Option<Violation> {
    match ended {
        Ended::ResetByUs => None,
        Ended::ResetByPeer => Some(Violation::FrameAfterReset),
        Ended::Normally => Some(Violation::FrameOnClosed),
    }
}
