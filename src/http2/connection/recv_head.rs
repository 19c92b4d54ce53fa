//! Field sections from the peer: requests, responses, trailers, and late sections.
//!
//! hot: one table lookup per section; the decoded head is recycled.

use crate::http2::buffer::SendBuffer;
use crate::http2::connection::abuse::weight;
use crate::http2::connection::head::{HeadSink, Section};
use crate::http2::connection::recv::{Fatal, Step, StepResult, after};
use crate::http2::connection::{Connection, Role};
use crate::http2::error::ErrorCode;
use crate::http2::stream::state::{Input, NotAllowed, State};
use crate::http2::stream::{Ended, Stream, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;
use std::time::{Duration, Instant};

/// The longest age that is added to the clock; no stream lives for ten years.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl<T: Default> Connection<T> {
    /// Handles a whole field block. Every path decodes it, so that the HPACK table stays correct.
    pub(super) fn recv_block(
        &mut self,
        id: StreamId,
        end_stream: bool,
        block: &[u8],
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let key = self.streams.key(id);
        let known = key.and_then(|key| self.streams.get(key));
        let lenient = known.is_some_and(|stream| stream.lenient);
        let known = known.map(|stream| (stream.state, stream.ended, stream.head_received));
        let verdict = match known {
            Some((state, ended, _)) => match state.next(Input::RecvHeaders) {
                Ok(_) => Ok(()),
                Err(NotAllowed::Peer(rule)) if !state.is_closed() => Err(Some(rule)),
                Err(_) => Err(after(ended)),
            },
            None => self.check_new(id),
        };
        let section = match (verdict, known) {
            (Err(_), _) => Section::Discard,
            (Ok(()), Some((_, _, true))) => Section::Trailers,
            (Ok(()), Some(_)) => Section::Response,
            (Ok(()), None) => Section::Request,
        };
        let mut sink = HeadSink::new(&mut self.head, section, &self.limits).lenient(lenient);
        // RFC 9113 §4.3: a field block that cannot be decoded is a COMPRESSION_ERROR
        if self.decoder.decode(block, &mut sink).is_err() {
            return Err(Fatal(Violation::FieldBlockUndecodable, id));
        }
        if sink.bytes() > self.limits.header_list_fatal() {
            return Err(Fatal(Violation::FieldBlockTooLarge, id));
        }
        let work = weight::block(block.len(), sink.bytes());
        let inflated = weight::inflated(block.len(), sink.bytes(), self.limits.header_table_bytes);
        let again = sink.is_request() && id <= self.last_peer_id;
        let message = sink.finish();
        self.abuse.progress();
        if verdict.is_err() {
            self.wasted(work, id, now)?;
        } else if inflated > 0 {
            self.wasted(inflated, id, now)?;
        }
        match verdict {
            // RFC 9113 §5.1.1: a second request on an identifier is no late frame of the first one
            Err(None) if again => return Err(Fatal(Violation::StreamIdOrder, id)),
            // RFC 9113 §6.8: streams above our GOAWAY are ignored
            Err(None) => return Ok(Step::More),
            Err(Some(rule)) => return self.violated(rule, id, out, now),
            Ok(()) => {}
        }
        let Some(key) = key else {
            return self.begin_stream(id, end_stream, message, work, out, now);
        };
        self.charge(Some(key), work, id, now)?;
        self.recv_section(key, section, end_stream, message, out, now)
    }

    /// Handles HEADERS on a stream that is not in the table; `Err(None)` ignores them.
    fn check_new(&mut self, id: StreamId) -> Result<(), Option<Violation>> {
        let peers = id.is_client_initiated() == (self.role == Role::Server);
        if !peers || self.role == Role::Client {
            return self.late(id);
        }
        if id <= self.last_peer_id {
            return match self.recent.find(id) {
                Some(ended) => Err(after(ended)),
                None if self.recent.may_have_reset(id) => Err(None),
                // RFC 9113 §5.1.1: identifiers of new streams only go up
                None => Err(Some(Violation::StreamIdOrder)),
            };
        }
        if !self.life.accepts(id) {
            return Err(None);
        }
        Ok(())
    }

    /// Handles a frame on a stream that is not in the table.
    pub(super) fn late(&self, id: StreamId) -> Result<(), Option<Violation>> {
        let ours = id.is_client_initiated() == (self.role == Role::Client);
        let idle = if ours {
            self.next_id.is_some_and(|next| id >= next)
        } else {
            id > self.last_peer_id && self.life.accepts(id)
        };
        if idle {
            let parity = !ours && self.role == Role::Client;
            return Err(Some(if parity {
                Violation::StreamIdParity
            } else {
                Violation::FrameOnIdle
            }));
        }
        match self.recent.find(id) {
            Some(ended) => Err(after(ended)),
            None if ours || self.recent.may_have_reset(id) || !self.life.accepts(id) => Err(None),
            None => Err(Some(Violation::FrameOnClosed)),
        }
    }

    fn begin_stream(
        &mut self,
        id: StreamId,
        end_stream: bool,
        message: Result<(), Violation>,
        work: u64,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        self.last_peer_id = id;
        let length = self.head.content_length();
        let rule = match message {
            Err(rule) => Some(rule),
            Ok(()) if end_stream && length.is_some_and(|n| n > 0) => Some(Violation::ContentLength),
            Ok(()) => None,
        };
        if let Some(rule) = rule {
            self.wasted(work, id, now)?;
            return self.violated(rule, id, out, now);
        }
        // Of a head over the limit, no handler begins.
        let handled = self.head.over_limit().is_none();
        let work = if handled { work + weight::REQUEST } else { work };
        // RFC 9113 §5.1.2: a stream over the limit is refused; it counts until it is taken
        let over = self.streams.len() >= self.limits.concurrent_streams as usize;
        if over || self.abuse.refuses_streams(now) {
            self.stats.streams_refused += 1;
            // Charged as if it were served: refusals save work, they do not excuse the peer.
            self.wasted(work, id, now)?;
            self.write_reset(id, ErrorCode::REFUSED_STREAM, out);
            self.answers.add(out);
            self.recent.push(id, Ended::ResetByUs);
            return Ok(Step::More);
        }
        let send = self.peer.initial_window_size;
        let recv = self.limits.stream_window;
        let premature_until = now + self.limits.premature_age.min(AGE_MAX);
        let mut stream = Stream::new(id, send, recv, premature_until, T::default());
        stream.head_received = true;
        stream.lenient = self.head.is_lenient();
        stream.content_left = length;
        stream.work = work;
        if end_stream {
            stream.state = State::HalfClosedRemote;
        }
        self.stats.streams_opened += 1;
        let key = self.streams.insert(stream);
        Ok(Step::Head { key, end_stream })
    }

    /// Handles a response or trailers.
    fn recv_section(
        &mut self,
        key: StreamKey,
        section: Section,
        end_stream: bool,
        message: Result<(), Violation>,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let limit = self.limits.informational_responses;
        let status = self.head.status();
        let length = self.head.content_length();
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::More) };
        let id = stream.id;
        let informational = section == Section::Response && (100..200).contains(&status);
        let over = self.head.over_limit().is_some();
        let rule = match message {
            Err(rule) => Some(rule),
            // RFC 9113 §8.1: trailers carry END_STREAM, informational responses do not
            Ok(()) if section == Section::Trailers && !end_stream => {
                Some(Violation::TrailersWithoutEnd)
            }
            Ok(()) if informational && end_stream => Some(Violation::InformationalEnd),
            Ok(()) => None,
        };
        if let Some(rule) = rule {
            return self.violated(rule, id, out, now);
        }
        if informational && !over {
            stream.informational = stream.informational.saturating_add(1);
            if stream.informational > limit {
                return self.violated(Violation::InformationalFlood, id, out, now);
            }
            return Ok(Step::Informational { key });
        }
        if section == Section::Response {
            stream.head_received = true;
            stream.lenient = self.head.is_lenient();
            let bodiless = stream.bodiless || matches!(status, 204 | 304);
            // RFC 9110 §6.4.1: such a response has no content, whatever its content-length is
            stream.content_left = if bodiless { Some(0) } else { length };
        }
        if end_stream {
            if stream.content_left.is_some_and(|left| left > 0) {
                return self.violated(Violation::ContentLength, id, out, now);
            }
            self.recv_end(key);
        }
        Ok(if section == Section::Trailers {
            Step::Trailers { key }
        } else {
            Step::Head { key, end_stream }
        })
    }

    /// Records that the peer has ended its side of the stream.
    pub(super) fn recv_end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Ok(next) = stream.state.next(Input::RecvEnd) {
            stream.state = next;
        }
        if stream.state.is_closed() {
            self.note_closed(key);
        }
    }
}
