//! Sending on streams. Finished frames are appended to the lent buffer.
//!
//! hot: HEADERS, DATA and trailers of a unary message are written in one piece, without a queue while the
//! windows allow it.

use crate::http2::buffer::SendBuffer;
use crate::http2::connection::field_rules::check_sent;
use crate::http2::connection::outgoing::{ALONE_MAX, Payload, SendHead, earn};
use crate::http2::connection::{Connection, Role};
use crate::http2::error::ErrorCode;
use crate::http2::fields::Fields;
use crate::http2::hpack::Template;
use crate::http2::stream::state::{Input, State};
use crate::http2::stream::{Ended, Pending, PendingEnd, Stream, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;
use std::fmt;
use std::time::Instant;

/// Bytes in the outgoing buffer above which DATA waits in its stream, as it does for a window.
const DIRECT_FULL: usize = 512 * 1024;

/// Why a stream cannot be opened now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenRefusal {
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached (RFC 9113 §5.1.2); wait.
    StreamLimit,
    /// The connection sent or received GOAWAY, or is closed (RFC 9113 §6.8).
    GoingAway,
    /// Stream identifiers are used up (RFC 9113 §5.1.1); another connection is needed.
    IdsExhausted,
    /// The head is larger than the peer accepts (RFC 9113 §6.5.2).
    HeadTooLarge {
        /// The size of the head.
        bytes: usize,
        /// The limit of the peer.
        limit: usize,
    },
    /// A field that the peer would have to refuse (RFC 9113 §8.2).
    Malformed(Violation),
}

/// Why something cannot be sent on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The stream is closed, or this side has ended it.
    Closed,
    /// The field list is larger than the peer accepts (RFC 9113 §6.5.2).
    HeadTooLarge {
        /// The size of the field list.
        bytes: usize,
        /// The limit of the peer.
        limit: usize,
    },
    /// A field that the peer would have to refuse (RFC 9113 §8.2).
    Malformed(Violation),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the stream has ended"),
            Self::HeadTooLarge { bytes, limit } => {
                write!(
                    f,
                    "the header list has {bytes} bytes, the peer accepts {limit}; send less metadata"
                )
            }
            Self::Malformed(rule) => write!(f, "{}", rule.text()),
        }
    }
}

impl std::error::Error for SendError {}

impl<T> Connection<T> {
    /// Checks whether [`Connection::open`] would succeed, except for the size of the head.
    ///
    /// # Errors
    /// The reason why a stream cannot be opened.
    pub fn may_open(&self) -> Result<(), OpenRefusal> {
        if self.error.is_some() || !self.life.may_open() {
            return Err(OpenRefusal::GoingAway);
        }
        if self.next_id.is_none() {
            return Err(OpenRefusal::IdsExhausted);
        }
        // RFC 9113 §5.1.2: endpoints stay within the limit their peer set
        if self.open_local >= self.stream_limit() {
            return Err(OpenRefusal::StreamLimit);
        }
        Ok(())
    }

    /// Returns how many streams may be open: the peer's limit, or before its SETTINGS arrive,
    /// [`Limits::streams_before_settings`](crate::http2::Limits::streams_before_settings).
    #[must_use]
    pub fn stream_limit(&self) -> u32 {
        if self.life.is_handshaken() {
            self.peer.max_concurrent_streams.unwrap_or(u32::MAX)
        } else {
            self.limits.streams_before_settings
        }
    }

    /// Opens a stream with its head; `end_stream` means that no DATA and no trailers follow.
    ///
    /// # Errors
    /// The reason, and the caller's value. Nothing was written.
    pub fn open(
        &mut self,
        out: &mut SendBuffer,
        head: SendHead<'_>,
        end_stream: bool,
        user: T,
        now: Instant,
    ) -> Result<StreamKey, (OpenRefusal, T)> {
        if let Err(refusal) = self.may_open() {
            return Err((refusal, user));
        }
        let Some(id) = self.next_id else { return Err((OpenRefusal::IdsExhausted, user)) };
        if let Err((bytes, limit)) = self.fits(head.list_size()) {
            return Err((OpenRefusal::HeadTooLarge { bytes, limit }, user));
        }
        if let Err(rule) = check_sent(head.extra) {
            return Err((OpenRefusal::Malformed(rule), user));
        }
        self.next_id = id.next();
        let send = self.peer.initial_window_size;
        let mut stream = Stream::new(id, send, self.limits.stream_window, now, user);
        stream.bodiless = head.template.is_none() && head.extra.get(":method") == Some(b"HEAD");
        if end_stream {
            stream.state = State::HalfClosedLocal;
            stream.finishing = true;
        }
        self.stats.streams_opened += 1;
        self.open_local += 1;
        let key = self.streams.insert(stream);
        self.write_head(id, head, end_stream, out);
        Ok(key)
    }

    /// Sends a response head.
    ///
    /// # Errors
    /// If the stream is in the wrong state, or the list is larger than the peer accepts.
    pub fn send_head(
        &mut self,
        out: &mut SendBuffer,
        key: StreamKey,
        head: SendHead<'_>,
        end_stream: bool,
    ) -> Result<(), SendError> {
        self.fits(head.list_size())
            .map_err(|(bytes, limit)| SendError::HeadTooLarge { bytes, limit })?;
        check_sent(head.extra).map_err(SendError::Malformed)?;
        let stream = self.streams.get_mut(key).ok_or(SendError::Closed)?;
        if stream.finishing || stream.state.next(Input::SendHeaders).is_err() {
            return Err(SendError::Closed);
        }
        let id = stream.id;
        stream.finishing = end_stream;
        self.write_head(id, head, end_stream, out);
        if end_stream {
            self.sent_end(key);
        }
        Ok(())
    }

    /// Sends bytes of a body, now or when the windows allow it. `end_stream` means that nothing follows.
    ///
    /// # Errors
    /// If the stream is closed, or this side has ended it.
    pub fn send_data(
        &mut self,
        out: &mut SendBuffer,
        key: StreamKey,
        payload: Payload<'_>,
        end_stream: bool,
        now: Instant,
    ) -> Result<(), SendError> {
        let connection = self.send_window.available();
        // Without other streams, a message is sent in one frame if the peer accepts its size; else in slices.
        let slice = if self.ready.is_empty() { ALONE_MAX } else { self.limits.data_slice_bytes };
        let direct_max = slice.min(self.peer.max_frame_size as usize);
        let stream = self.streams.get_mut(key).ok_or(SendError::Closed)?;
        if stream.finishing || stream.state.next(Input::SendData).is_err() {
            return Err(SendError::Closed);
        }
        let n = payload.len();
        stream.finishing = end_stream;
        if n == 0 && !end_stream {
            return Ok(());
        }
        let allowed = direct_max.min(connection).min(stream.send_window.available());
        // DATA waits if the transport does not write, however large the windows are.
        if stream.pending.is_none() && n <= allowed && out.len() < DIRECT_FULL {
            stream.send_window.take(n);
            let id = stream.id;
            self.send_window.take(n);
            earn(stream, &mut self.abuse, n);
            self.write_data(id, payload, end_stream, out);
            if end_stream {
                self.sent_end(key);
            }
            return Ok(());
        }
        let pending: &mut Pending = stream.pending.get_or_insert_default();
        pending.bytes += n;
        if n > 0 {
            pending.chunks.push_back(payload.into_bytes());
        }
        if end_stream {
            pending.end = PendingEnd::EndStream;
        }
        self.wait(key, now);
        Ok(())
    }

    /// Sends trailers after all waiting DATA; they end this side of the stream.
    ///
    /// # Errors
    /// If the stream is in the wrong state, or the list is larger than the peer accepts.
    pub fn send_trailers(
        &mut self,
        out: &mut SendBuffer,
        key: StreamKey,
        fields: &Fields,
    ) -> Result<(), SendError> {
        self.fits(fields.list_size())
            .map_err(|(bytes, limit)| SendError::HeadTooLarge { bytes, limit })?;
        check_sent(fields).map_err(SendError::Malformed)?;
        let stream = self.streams.get_mut(key).ok_or(SendError::Closed)?;
        if stream.finishing || stream.state.next(Input::SendEnd).is_err() {
            return Err(SendError::Closed);
        }
        stream.finishing = true;
        if let Some(pending) = &mut stream.pending {
            pending.end = PendingEnd::Trailers(Box::new(fields.clone()));
            return Ok(());
        }
        let id = stream.id;
        self.write_head(id, SendHead { template: None, extra: fields }, true, out);
        self.sent_end(key);
        Ok(())
    }

    /// Sends trailers from a template.
    ///
    /// # Errors
    /// Same as [`Connection::send_trailers`].
    pub fn send_template_trailers(
        &mut self,
        out: &mut SendBuffer,
        key: StreamKey,
        template: &Template,
    ) -> Result<(), SendError> {
        let stream = self.streams.get_mut(key).ok_or(SendError::Closed)?;
        if stream.pending.is_some() || self.fits(template.fields().list_size()).is_err() {
            return self.send_trailers(out, key, template.fields());
        }
        let head = SendHead { template: Some(template), extra: &Fields::new() };
        self.send_head(out, key, head, true)
    }

    /// Ends the stream with RST_STREAM (RFC 9113 §6.4); does nothing on a closed stream.
    pub fn reset(&mut self, out: &mut SendBuffer, key: StreamKey, code: ErrorCode) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.state.is_closed() {
            return;
        }
        let id = stream.id;
        self.write_reset(id, code, out);
        self.close_stream(key, Ended::ResetByUs);
    }

    fn fits(&self, bytes: usize) -> Result<(), (usize, usize)> {
        match self.peer.max_header_list_size {
            // RFC 9113 §6.5.2: the peer's advice is honoured instead of finding out
            Some(limit) if bytes > limit as usize => Err((bytes, limit as usize)),
            _ => Ok(()),
        }
    }

    /// Returns the identifier of the next stream that this side opens; `None` if all are used. A client
    /// that has used three quarters should move to another connection.
    #[must_use]
    pub const fn next_stream_id(&self) -> Option<StreamId> {
        self.next_id
    }

    /// Sets the identifier of the next stream, so that tests reach the last one quickly.
    pub fn set_next_stream_id(&mut self, id: StreamId) {
        if id.is_client_initiated() == (self.role == Role::Client) {
            self.next_id = Some(id);
        }
    }
}
